package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// keySchedule writes the two steps of the key expansion that would need
// tables, done without any: no access to memory depends on the key.
func keySchedule() {
	TEXT("subWordAESNI", attr.NOSPLIT, "func(w uint32) uint32")
	Doc("subWordAESNI is SubWord of FIPS 197 section 5.2.")
	w := Load(Param("w"), GP32())
	MOVD(w, reg.X0)
	PSHUFD(U8(0), reg.X0, reg.X0)
	AESKEYGENASSIST(U8(0), reg.X0, reg.X0)
	out := GP32()
	MOVD(reg.X0, out)
	Store(out, ReturnIndex(0))
	RET()

	TEXT("invMixColumnsAESNI", attr.NOSPLIT, "func(dst, src *[16]byte)")
	Doc("invMixColumnsAESNI is InvMixColumns of FIPS 197 section 5.3.3.")
	Pragma("noescape")
	dst, src := Load(Param("dst"), GP64()), Load(Param("src"), GP64())
	MOVOU(Mem{Base: src}, reg.X0)
	AESIMC(reg.X0, reg.X0)
	MOVOU(reg.X0, Mem{Base: dst})
	RET()
}

// cpuid writes what golang.org/x/sys/cpu has no answer for.
func cpuid() {
	TEXT("cpuid", attr.NOSPLIT, "func(leaf, subleaf uint32) (eax, ebx, ecx, edx uint32)")
	Doc("cpuid asks the processor.")
	Load(Param("leaf"), reg.EAX)
	Load(Param("subleaf"), reg.ECX)
	CPUID()
	for i, r := range []reg.Register{reg.EAX, reg.EBX, reg.ECX, reg.EDX} {
		Store(r, ReturnIndex(i))
	}
	RET()
}
