// Command asm writes the amd64 kernels of package cipher and, with -limit, the
// loops that measure how fast this machine can run AES rounds at all. It has a
// go.mod of its own, so that avo is no dependency of the product:
//
//	cd cipher/asm && go generate
package main

import (
	"flag"
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

//go:generate go run . -out ../xts_amd64.s -stubs ../xts_stubs_amd64.go -pkg cipher
//go:generate go run . -limit -out ../../bench/limit_amd64.s -stubs ../../bench/limit_stubs_amd64.go -pkg bench

// Layout of the structure schedule in package cipher, in bytes.
const (
	lastWide = 0   // the last round key, four times
	lack32   = 64  // what a tweak kept with the last round key lacks after x^32
	lack64   = 128 // and after x^64
	dataKeys = 192 // round keys of the data key, in the order of use
	tweakKey = 432 // round keys of the tweak key, for encryption
)

// Rounds of AES-128 and AES-256.
const (
	rounds128 = 10
	rounds256 = 14
)

// kernel is one function to write: a direction and a key size.
type kernel struct {
	decrypt bool
	rounds  int
}

// args are the parameters of a kernel, in registers.
type args struct {
	keys, dst, src, sectors, units, tweak reg.Register
}

func main() {
	limit := flag.Bool("limit", false, "write the loops for the bench")
	flag.Parse()
	if *limit {
		limits()
	} else {
		tables()
		for _, k := range []kernel{{false, rounds256}, {true, rounds256}, {false, rounds128}, {true, rounds128}} {
			k.zmm()
			k.ymm()
			k.xmm()
		}
		keySchedule()
		cpuid()
	}
	Generate()
}

// name is the function's name in a tier.
func (k kernel) name(tier string) string {
	way := "encrypt"
	if k.decrypt {
		way = "decrypt"
	}
	return fmt.Sprintf("%s%d%s", way, map[int]int{rounds128: 128, rounds256: 256}[k.rounds], tier)
}

// begin opens the function and loads its parameters.
func (k kernel) begin(tier, registers string) args {
	TEXT(k.name(tier), 0, "func(keys, dst, src *byte, sectors, units int, tweak uint64)")
	Doc(k.name(tier)+" does sectors whole sectors of units times 512 bytes with "+registers+" registers.",
		"Both counts are at least one. tweak is that of the first sector; each further one adds units.")
	Pragma("noescape")
	return args{
		Load(Param("keys"), GP64()), Load(Param("dst"), GP64()), Load(Param("src"), GP64()),
		Load(Param("sectors"), GP64()), Load(Param("units"), GP64()), Load(Param("tweak"), GP64()),
	}
}

// at is the memory n bytes behind the address in r.
func at(r reg.Register, n int) Mem { return Mem{Base: r, Disp: n} }

// aligned returns the address of n bytes of the frame, on a cache line.
func aligned(n int) reg.Register {
	m, r := AllocLocal(n+64), GP64()
	LEAQ(m, r)
	ADDQ(U8(63), r)
	ANDQ(I8(-64), r)
	return r
}

// takeBatch sets batch to the sectors of the next batch, at most limit, and
// takes them off a.sectors.
func takeBatch(a args, batch reg.Register, limit int) {
	full := GP64()
	MOVQ(a.sectors, batch)
	MOVQ(U32(limit), full)
	CMPQ(batch, full)
	CMOVQGT(full, batch)
	SUBQ(batch, a.sectors)
}

// Constants in the read-only data of the kernels.
var (
	sectorIndex Mem // 128-bit numbers 0 to 31
	shiftLeft   Mem // both halves of entry j: j
	shiftRight  Mem // both halves of entry j: 64-j
	polynomial  Mem // x^128 = x^7 + x^2 + x + 1 (IEEE 1619-2007 section 5.2)
	highHalf    Mem // a mask for the upper half of each 128 bits
)

func tables() {
	sectorIndex = GLOBL("sectorIndex", attr.RODATA|attr.NOPTR)
	for j := range 32 {
		DATA(j*16, U64(j))
		DATA(j*16+8, U64(0))
	}
	shiftLeft = GLOBL("shiftLeft", attr.RODATA|attr.NOPTR)
	for j := range 32 {
		DATA(j*16, U64(j))
		DATA(j*16+8, U64(j))
	}
	shiftRight = GLOBL("shiftRight", attr.RODATA|attr.NOPTR)
	for j := range 32 {
		DATA(j*16, U64(64-j))
		DATA(j*16+8, U64(64-j))
	}
	polynomial = GLOBL("polynomial", attr.RODATA|attr.NOPTR)
	DATA(0, U64(0x87))
	DATA(8, U64(0))
	highHalf = GLOBL("highHalf", attr.RODATA|attr.NOPTR)
	for j := range 2 {
		DATA(j*16, U64(0))
		DATA(j*16+8, U64(1<<64-1))
	}
}

// moveTweak adds the tweak units of a batch to a.tweak.
func moveTweak(a args, batch reg.Register) {
	passed := GP64()
	MOVQ(batch, passed)
	IMULQ(a.units, passed)
	ADDQ(passed, a.tweak)
}
