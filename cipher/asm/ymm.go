package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The registers of the AVX2 kernels. Eight states of two blocks are one step
// of 256 bytes; their tweaks live in the frame, round keys are read as they
// are needed.
var (
	yState = []reg.VecPhysical{reg.Y0, reg.Y1, reg.Y2, reg.Y3, reg.Y4, reg.Y5, reg.Y6, reg.Y7}
	yTemp  = []reg.VecPhysical{reg.Y8, reg.Y9, reg.Y10, reg.Y11}

	yKeyA, yKeyB        = reg.Y11, reg.Y12
	yPoly, yFirst, yEnd = reg.Y13, reg.Y14, reg.Y15
)

const (
	yBatch = 16  // sectors whose tweaks are encrypted together
	yStep  = 256 // bytes of a step
)

// ymm writes the kernel for AVX2 with VAES and VPCLMULQDQ.
func (k kernel) ymm() {
	a := k.begin("AVX2", "256-bit")
	tweaks := aligned(yBatch*16 + 2*yStep)
	set := GP64()
	LEAQ(at(tweaks, yBatch*16), set)
	VBROADCASTI128(polynomial, yPoly)
	VBROADCASTI128(at(a.keys, dataKeys), yFirst)
	VBROADCASTI128(at(a.keys, lastWide), yEnd)
	batch, sector, steps := GP64(), GP64(), GP64()
	Label("batch")
	takeBatch(a, batch, yBatch)
	k.yTweaks(a, tweaks, batch)
	MOVQ(tweaks, sector)
	Label("sector")
	yFirstSet(sector, set)
	LEAQ(Mem{Base: a.units, Index: a.units, Scale: 1}, steps)
	Label("step")
	k.yStep(a, set)
	DECQ(steps)
	JNZ(LabelRef("step"))
	ADDQ(U8(16), sector)
	DECQ(batch)
	JNZ(LabelRef("sector"))
	TESTQ(a.sectors, a.sectors)
	JNZ(LabelRef("batch"))
	VZEROUPPER()
	RET()
}

// yTweaks encrypts the sector numbers of a batch and moves a.tweak past them.
func (k kernel) yTweaks(a args, tweaks, batch reg.Register) {
	shift := GP64()
	BSFQ(a.units, shift)
	VMOVQ(shift, reg.X8)
	VMOVQ(a.tweak, reg.X9)
	VINSERTI128(U8(1), reg.X9, reg.Y9, reg.Y9)
	for i, s := range yState {
		VMOVDQU(sectorIndex.Offset(32*i), s)
		VPSLLQ(reg.X8, s, s)
		VPADDQ(reg.Y9, s, s)
	}
	CMPQ(batch, U8(2))
	JGT(LabelRef("many"))
	k.yEncryptTweaks(a, tweaks, 1)
	JMP(LabelRef("tweaked"))
	Label("many")
	k.yEncryptTweaks(a, tweaks, 8)
	Label("tweaked")
	moveTweak(a, batch)
}

// yEncryptTweaks encrypts n registers with the tweak key and stores them.
func (k kernel) yEncryptTweaks(a args, tweaks reg.Register, n int) {
	for r := 0; r <= k.rounds; r++ {
		VBROADCASTI128(at(a.keys, tweakKey+16*r), yKeyA)
		for i := range n {
			s := yState[i]
			switch r {
			case 0:
				VPXOR(yKeyA, s, s)
			case k.rounds:
				VAESENCLAST(yKeyA, s, s)
				VMOVDQU(s, at(tweaks, 32*i))
			default:
				VAESENC(yKeyA, s, s)
			}
		}
	}
}

// yFirstSet makes the 16 tweaks of a sector's first step, as zFirstSet does.
func yFirstSet(sector, set reg.Register) {
	VBROADCASTI128(at(sector, 0), reg.Y8)
	VPSHUFD(U8(0x4e), reg.Y8, reg.Y9)
	for i, t := range yState {
		VPSLLVQ(shiftLeft.Offset(32*i), reg.Y8, t)
		VPSRLVQ(shiftRight.Offset(32*i), reg.Y9, reg.Y10)
		VPCLMULQDQ(U8(0), yPoly, reg.Y10, reg.Y11)
		VPAND(highHalf, reg.Y10, reg.Y10)
		VPXOR(reg.Y10, t, t)
		VPXOR(reg.Y11, t, t)
		VMOVDQU(t, at(set, 32*i))
	}
}

// yStep does 256 bytes, moves both pointers past them, and leaves the next
// step's tweaks, x^16 times these, in the frame. The work on the tweaks stands
// between the rounds: behind them it would wait in the scheduler for the whole
// chain of rounds.
func (k kernel) yStep(a args, set reg.Register) {
	round, last := VAESENC, VAESENCLAST
	if k.decrypt {
		round, last = VAESDEC, VAESDECLAST
	}
	for i, s := range yState {
		VPXOR(at(set, 32*i), yFirst, s)
		VPXOR(at(a.src, 32*i), s, s)
	}
	for r := 1; r < k.rounds; r++ {
		key := []reg.VecPhysical{yKeyA, yKeyB}[r%2]
		VBROADCASTI128(at(a.keys, dataKeys+16*r), key)
		for _, s := range yState {
			round(key, s, s)
		}
		if r <= len(yState) {
			yAdvance(set, r-1)
		}
	}
	for i, s := range yState {
		last(at(set, yStep+32*i), s, s)
		VMOVDQU(s, at(a.dst, 32*i))
	}
	ADDQ(U32(yStep), a.src)
	ADDQ(U32(yStep), a.dst)
}

// yAdvance leaves tweak i plus the last round key behind the tweaks, and x^16
// times the tweak in its place.
func yAdvance(set reg.Register, i int) {
	t, carry, end := reg.Y8, reg.Y9, reg.Y10
	VMOVDQU(at(set, 32*i), t)
	VPXOR(t, yEnd, end)
	VMOVDQU(end, at(set, yStep+32*i))
	VPSRLDQ(U8(14), t, carry)
	VPCLMULQDQ(U8(0), yPoly, carry, carry)
	VPSLLDQ(U8(2), t, t)
	VPXOR(carry, t, t)
	VMOVDQU(t, at(set, 32*i))
}
