package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The registers of the AES-NI kernels, in the old encoding: some processors
// have AES-NI and no AVX. Eight states of one block are one step of 128
// bytes; their tweaks live in the frame.
var (
	xState = []reg.VecPhysical{reg.X0, reg.X1, reg.X2, reg.X3, reg.X4, reg.X5, reg.X6, reg.X7}

	xKeyA, xKeyB         = reg.X11, reg.X12
	xPoly, xFirst, xLast = reg.X13, reg.X14, reg.X15
)

const (
	xBatch = 8   // sectors whose tweaks are encrypted together
	xStep  = 128 // bytes of a step
)

// xmm writes the kernel for AES-NI with PCLMULQDQ.
func (k kernel) xmm() {
	a := k.begin("AESNI", "128-bit")
	tweaks := aligned(xBatch*16 + 2*xStep)
	set := GP64()
	LEAQ(at(tweaks, xBatch*16), set)
	MOVOU(polynomial, xPoly)
	MOVOU(at(a.keys, dataKeys), xFirst)
	MOVOU(at(a.keys, lastWide), xLast)
	batch, sector, steps := GP64(), GP64(), GP64()
	Label("batch")
	takeBatch(a, batch, xBatch)
	k.xTweaks(a, tweaks, batch)
	MOVQ(tweaks, sector)
	Label("sector")
	xFirstSet(sector, set)
	MOVQ(a.units, steps)
	SHLQ(U8(2), steps)
	Label("step")
	k.xStep(a, set)
	DECQ(steps)
	JNZ(LabelRef("step"))
	ADDQ(U8(16), sector)
	DECQ(batch)
	JNZ(LabelRef("sector"))
	TESTQ(a.sectors, a.sectors)
	JNZ(LabelRef("batch"))
	RET()
}

// xTweaks encrypts the sector numbers of a batch and moves a.tweak past them.
func (k kernel) xTweaks(a args, tweaks, batch reg.Register) {
	MOVQ(a.units, reg.X8)
	MOVQ(a.tweak, xState[0])
	for i, s := range xState[1:] {
		MOVOA(xState[i], s)
		PADDQ(reg.X8, s)
	}
	CMPQ(batch, U8(1))
	JGT(LabelRef("many"))
	k.xEncryptTweaks(a, tweaks, 1)
	JMP(LabelRef("tweaked"))
	Label("many")
	k.xEncryptTweaks(a, tweaks, 8)
	Label("tweaked")
	moveTweak(a, batch)
}

// xEncryptTweaks encrypts n registers with the tweak key and stores them.
func (k kernel) xEncryptTweaks(a args, tweaks reg.Register, n int) {
	for r := 0; r <= k.rounds; r++ {
		MOVOU(at(a.keys, tweakKey+16*r), xKeyA)
		for i := range n {
			s := xState[i]
			switch r {
			case 0:
				PXOR(xKeyA, s)
			case k.rounds:
				AESENCLAST(xKeyA, s)
				MOVOU(s, at(tweaks, 16*i))
			default:
				AESENC(xKeyA, s)
			}
		}
	}
}

// xFirstSet makes the 8 tweaks of a sector's first step, as zFirstSet does.
func xFirstSet(sector, set reg.Register) {
	MOVOU(at(sector, 0), reg.X8)
	MOVOU(reg.X8, at(set, 0))
	PSHUFD(U8(0x4e), reg.X8, reg.X9)
	MOVOU(highHalf, reg.X12)
	for i := 1; i < 8; i++ {
		t := xState[i]
		MOVOA(reg.X8, t)
		PSLLQ(U8(i), t)
		MOVOA(reg.X9, reg.X10)
		PSRLQ(U8(64-i), reg.X10)
		MOVOA(reg.X10, reg.X11)
		PCLMULQDQ(U8(0), xPoly, reg.X11)
		PAND(reg.X12, reg.X10)
		PXOR(reg.X10, t)
		PXOR(reg.X11, t)
		MOVOU(t, at(set, 16*i))
	}
}

// xStep does 128 bytes, moves both pointers past them, and leaves the next
// step's tweaks, x^8 times these, in the frame; see yStep.
func (k kernel) xStep(a args, set reg.Register) {
	round, last := AESENC, AESENCLAST
	if k.decrypt {
		round, last = AESDEC, AESDECLAST
	}
	for i, s := range xState {
		MOVOU(at(a.src, 16*i), s)
		PXOR(at(set, 16*i), s)
		PXOR(xFirst, s)
	}
	for r := 1; r < k.rounds; r++ {
		key := []reg.VecPhysical{xKeyA, xKeyB}[r%2]
		MOVOU(at(a.keys, dataKeys+16*r), key)
		for _, s := range xState {
			round(key, s)
		}
		if r <= len(xState) {
			xAdvance(set, r-1)
		}
	}
	for i, s := range xState {
		last(at(set, xStep+16*i), s)
		MOVOU(s, at(a.dst, 16*i))
	}
	ADDQ(U32(xStep), a.src)
	ADDQ(U32(xStep), a.dst)
}

// xAdvance leaves tweak i plus the last round key behind the tweaks, and x^8
// times the tweak in its place.
func xAdvance(set reg.Register, i int) {
	t, carry, end := reg.X8, reg.X9, reg.X10
	MOVOU(at(set, 16*i), t)
	MOVOA(t, end)
	PXOR(xLast, end)
	MOVOU(end, at(set, xStep+16*i))
	MOVOA(t, carry)
	PSRLDQ(U8(15), carry)
	PCLMULQDQ(U8(0), xPoly, carry)
	PSLLDQ(U8(1), t)
	PXOR(carry, t)
	MOVOU(t, at(set, 16*i))
}
