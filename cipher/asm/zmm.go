package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The registers of the AVX-512 kernels. Eight states of four blocks are one
// step of 512 bytes. Two sets of tweaks take turns: while one is in use, the
// other is made ready for the step behind it. A tweak t is kept as t plus the
// last round key, because the last AES round wants that sum; the first round
// key and the last together are what whitens the input.
var (
	zState = []reg.VecPhysical{reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7}
	zEven  = []reg.VecPhysical{reg.Z8, reg.Z9, reg.Z10, reg.Z11, reg.Z12, reg.Z13, reg.Z14, reg.Z15}
	zOdd   = []reg.VecPhysical{reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20, reg.Z21, reg.Z22, reg.Z23}

	zKeyA, zKeyB       = reg.Z24, reg.Z25
	zTempA, zTempB     = reg.Z26, reg.Z27
	zPoly, zWhite      = reg.Z28, reg.Z29
	zNumber, zReversed = reg.Z30, reg.Z31 // an encrypted sector number, and with its halves swapped
)

const (
	zBatch = 32             // sectors whose tweaks are encrypted together
	zFrame = zBatch*16 + 64 // with room for a look at the one behind the last
)

// zmm writes the kernel for AVX-512 with VAES and VPCLMULQDQ.
func (k kernel) zmm() {
	a := k.begin("AVX512", "512-bit")
	tweaks := aligned(zFrame)
	zConstants(a)
	batch, sector := GP64(), GP64()
	Label("batch")
	takeBatch(a, batch, zBatch)
	k.zTweaks(a, tweaks, batch)
	MOVQ(tweaks, sector)
	CMPQ(a.units, U8(1))
	JE(LabelRef("short"))
	k.zLong(a, batch, sector)
	JMP(LabelRef("end"))
	Label("short")
	k.zShort(a, batch, sector)
	Label("end")
	TESTQ(a.sectors, a.sectors)
	JNZ(LabelRef("batch"))
	VZEROUPPER()
	RET()
}

// zLong does the sectors of a batch, each of two steps or more. The last step
// of a sector makes ready the first of the next one.
func (k kernel) zLong(a args, batch, sector reg.Register) {
	pairs := GP64()
	zNext(sector)
	for i, t := range zEven {
		zFirst(a, i, t)
	}
	Label("sector")
	MOVQ(a.units, pairs)
	SHRQ(U8(1), pairs)
	k.zStep(a, zEven, func(i int) { zTimesX32(a, zEven[i], zOdd[i]) })
	DECQ(pairs)
	JZ(LabelRef("last"))
	Label("middle")
	k.zStep(a, zOdd, func(i int) { zTimesX64(a, zEven[i]) })
	k.zStep(a, zEven, func(i int) { zTimesX64(a, zOdd[i]) })
	DECQ(pairs)
	JNZ(LabelRef("middle"))
	Label("last")
	DECQ(batch)
	JZ(LabelRef("final"))
	zNext(sector)
	k.zStep(a, zOdd, func(i int) { zFirst(a, i, zEven[i]) })
	JMP(LabelRef("sector"))
	Label("final")
	k.zStep(a, zOdd, func(int) {})
}

// zShort does the sectors of a batch, each of one step.
func (k kernel) zShort(a args, batch, sector reg.Register) {
	zNext(sector)
	for i, t := range zEven {
		zFirst(a, i, t)
	}
	Label("pair")
	zNext(sector)
	k.zStep(a, zEven, func(i int) { zFirst(a, i, zOdd[i]) })
	DECQ(batch)
	JZ(LabelRef("end"))
	zNext(sector)
	k.zStep(a, zOdd, func(i int) { zFirst(a, i, zEven[i]) })
	DECQ(batch)
	JNZ(LabelRef("pair"))
}

// zConstants fills what stays the same for the whole call.
func zConstants(a args) {
	mask := GP64()
	MOVQ(U32(0xaa), mask)
	KMOVW(mask.As32(), reg.K1) // the upper halves
	VBROADCASTI32X4(polynomial, zPoly)
	VBROADCASTI32X4(at(a.keys, dataKeys), zWhite)
	VPXORQ(at(a.keys, lastWide), zWhite, zWhite)
}

// zTweaks encrypts the sector numbers of a batch and moves a.tweak past them.
// Four or fewer take one register, so that a single sector waits for nothing
// it does not need.
func (k kernel) zTweaks(a args, tweaks, batch reg.Register) {
	shift, base := GP64(), reg.Z9
	BSFQ(a.units, shift)
	VMOVQ(shift, reg.X8)
	VMOVQ(a.tweak, base.AsX())
	VSHUFI64X2(U8(0), base, base, base)
	CMPQ(batch, U8(4))
	JGT(LabelRef("many"))
	k.zEncryptTweaks(a, tweaks, 1)
	JMP(LabelRef("tweaked"))
	Label("many")
	k.zEncryptTweaks(a, tweaks, 8)
	Label("tweaked")
	moveTweak(a, batch)
}

// zEncryptTweaks encrypts the numbers of the 4n sectors from Z9 on, X8 being
// the logarithm of the units, and stores them.
func (k kernel) zEncryptTweaks(a args, tweaks reg.Register, n int) {
	for i, s := range zState[:n] {
		VMOVDQU64(sectorIndex.Offset(64*i), s)
		VPSLLQ(reg.X8, s, s)
		VPADDQ(reg.Z9, s, s)
	}
	for r := 0; r <= k.rounds; r++ {
		VBROADCASTI32X4(at(a.keys, tweakKey+16*r), zKeyA)
		for i := range n {
			s := zState[i]
			switch r {
			case 0:
				VPXORQ(zKeyA, s, s)
			case k.rounds:
				VAESENCLAST(zKeyA, s, s)
				VMOVDQU64(s, at(tweaks, 64*i))
			default:
				VAESENC(zKeyA, s, s)
			}
		}
	}
}

// zNext takes the encrypted number of the next sector.
func zNext(sector reg.Register) {
	VBROADCASTI32X4(at(sector, 0), zNumber)
	VPSHUFD(U8(0x4e), zNumber, zReversed)
	ADDQ(U8(16), sector)
}

// zFirst makes the tweaks of register i in a sector's first step: lane l is
// the sector's number times x to the 4i+l. Both halves are shifted left by the
// exponent; what leaves the lower half enters the upper, what leaves the upper
// half is reduced by the polynomial into the lower.
func zFirst(a args, i int, t reg.Register) {
	VPSLLVQ(shiftLeft.Offset(64*i), zNumber, t)
	VPSRLVQ(shiftRight.Offset(64*i), zReversed, zTempA)
	VPCLMULQDQ(U8(0), zPoly, zTempA, zTempB)
	VPXORQ(zTempA, t, reg.K1, t)
	VPTERNLOGQ(U8(0x96), at(a.keys, lastWide), zTempB, t)
}

// zTimesX32 sets to to t times x^32: a shift by four whole bytes, the reduction
// of what it pushed out, and what that lacks for the last round key in t.
func zTimesX32(a args, t, to reg.Register) {
	VPSRLDQ(U8(12), t, zTempA)
	VPCLMULQDQ(U8(0), zPoly, zTempA, zTempA)
	VPSLLDQ(U8(4), t, to)
	VPTERNLOGQ(U8(0x96), at(a.keys, lack32), zTempA, to)
}

// zTimesX64 multiplies t by x^64. What that pushes out is just what a
// carry-less multiplication takes.
func zTimesX64(a args, t reg.Register) {
	VPCLMULQDQ(U8(1), zPoly, t, zTempA)
	VPSLLDQ(U8(8), t, t)
	VPTERNLOGQ(U8(0x96), at(a.keys, lack64), zTempA, t)
}

// zStep does 512 bytes with one set of tweaks and moves both pointers past
// them. prepare makes ready one register of the other set; it runs between the
// rounds, because behind them it would wait in the scheduler for the whole
// chain of rounds.
func (k kernel) zStep(a args, tweak []reg.VecPhysical, prepare func(i int)) {
	round, last := VAESENC, VAESENCLAST
	if k.decrypt {
		round, last = VAESDEC, VAESDECLAST
	}
	for i, s := range zState {
		VMOVDQU64(at(a.src, 64*i), s)
		VPTERNLOGQ(U8(0x96), zWhite, tweak[i], s)
	}
	for r := 1; r < k.rounds; r++ {
		key := []reg.VecPhysical{zKeyA, zKeyB}[r%2]
		VBROADCASTI32X4(at(a.keys, dataKeys+16*r), key)
		for _, s := range zState {
			round(key, s, s)
		}
		if r <= len(tweak) {
			prepare(r - 1)
		}
	}
	for i, s := range zState {
		last(tweak[i], s, s)
		VMOVDQU64(s, at(a.dst, 64*i))
	}
	ADDQ(U32(512), a.src)
	ADDQ(U32(512), a.dst)
}
