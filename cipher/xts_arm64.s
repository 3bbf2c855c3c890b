#include "textflag.h"

// AES-XTS with the ARMv8 AES instructions. AESE adds the round key first and
// has no MixColumns, so the last round key is added by hand, together with the
// tweak. Eight blocks are one step; the tweak is doubled in general registers.
//
// R0 dst, R1 src, R2 sectors left, R3 units, R4 sector number, R5 keys
// R6 R7 tweak, R8 R9 scratch, R10 steps left, R11 R12 scratch
// V0-V7 states, V8-V15 tweaks, V16-V30 data keys, V31 a tweak key

#define DATA 192
#define TWEAK 432

// double multiplies the tweak by x (IEEE 1619-2007 section 5.2).
#define double \
	ASR  $63, R7, R8;       \
	AND  $0x87, R8, R8;     \
	EXTR $63, R6, R7, R7;   \
	EOR  R6<<1, R8, R6

// blockTweak puts the tweak into v and doubles it.
#define blockTweak(v) \
	VMOV R6, v.D[0]; \
	VMOV R7, v.D[1]; \
	double

#define encRound(key) \
	AESE key.B16, V0.B16; AESMC V0.B16, V0.B16; \
	AESE key.B16, V1.B16; AESMC V1.B16, V1.B16; \
	AESE key.B16, V2.B16; AESMC V2.B16, V2.B16; \
	AESE key.B16, V3.B16; AESMC V3.B16, V3.B16; \
	AESE key.B16, V4.B16; AESMC V4.B16, V4.B16; \
	AESE key.B16, V5.B16; AESMC V5.B16, V5.B16; \
	AESE key.B16, V6.B16; AESMC V6.B16, V6.B16; \
	AESE key.B16, V7.B16; AESMC V7.B16, V7.B16

#define encLast(key) \
	AESE key.B16, V0.B16; AESE key.B16, V1.B16; \
	AESE key.B16, V2.B16; AESE key.B16, V3.B16; \
	AESE key.B16, V4.B16; AESE key.B16, V5.B16; \
	AESE key.B16, V6.B16; AESE key.B16, V7.B16

#define decRound(key) \
	AESD key.B16, V0.B16; AESIMC V0.B16, V0.B16; \
	AESD key.B16, V1.B16; AESIMC V1.B16, V1.B16; \
	AESD key.B16, V2.B16; AESIMC V2.B16, V2.B16; \
	AESD key.B16, V3.B16; AESIMC V3.B16, V3.B16; \
	AESD key.B16, V4.B16; AESIMC V4.B16, V4.B16; \
	AESD key.B16, V5.B16; AESIMC V5.B16, V5.B16; \
	AESD key.B16, V6.B16; AESIMC V6.B16, V6.B16; \
	AESD key.B16, V7.B16; AESIMC V7.B16, V7.B16

#define decLast(key) \
	AESD key.B16, V0.B16; AESD key.B16, V1.B16; \
	AESD key.B16, V2.B16; AESD key.B16, V3.B16; \
	AESD key.B16, V4.B16; AESD key.B16, V5.B16; \
	AESD key.B16, V6.B16; AESD key.B16, V7.B16

// addTweaks adds the tweaks to the states.
#define addTweaks \
	VEOR V8.B16, V0.B16, V0.B16;  \
	VEOR V9.B16, V1.B16, V1.B16;  \
	VEOR V10.B16, V2.B16, V2.B16; \
	VEOR V11.B16, V3.B16, V3.B16; \
	VEOR V12.B16, V4.B16, V4.B16; \
	VEOR V13.B16, V5.B16, V5.B16; \
	VEOR V14.B16, V6.B16, V6.B16; \
	VEOR V15.B16, V7.B16, V7.B16

// addKey adds one round key to the states.
#define addKey(key) \
	VEOR key.B16, V0.B16, V0.B16; \
	VEOR key.B16, V1.B16, V1.B16; \
	VEOR key.B16, V2.B16, V2.B16; \
	VEOR key.B16, V3.B16, V3.B16; \
	VEOR key.B16, V4.B16, V4.B16; \
	VEOR key.B16, V5.B16, V5.B16; \
	VEOR key.B16, V6.B16, V6.B16; \
	VEOR key.B16, V7.B16, V7.B16

// load reads a step and makes its tweaks.
#define load \
	VLD1.P 64(R1), [V0.B16, V1.B16, V2.B16, V3.B16]; \
	VLD1.P 64(R1), [V4.B16, V5.B16, V6.B16, V7.B16]; \
	blockTweak(V8); blockTweak(V9); blockTweak(V10); blockTweak(V11);    \
	blockTweak(V12); blockTweak(V13); blockTweak(V14); blockTweak(V15);  \
	addTweaks

#define store \
	addTweaks;                                       \
	VST1.P [V0.B16, V1.B16, V2.B16, V3.B16], 64(R0); \
	VST1.P [V4.B16, V5.B16, V6.B16, V7.B16], 64(R0)

// begin loads the parameters and the data keys that both key sizes have.
#define begin \
	MOVD keys+0(FP), R5;     \
	MOVD dst+8(FP), R0;      \
	MOVD src+16(FP), R1;     \
	MOVD sectors+24(FP), R2; \
	MOVD units+32(FP), R3;   \
	MOVD tweak+40(FP), R4;   \
	ADD  $DATA, R5, R11;     \
	VLD1.P 64(R11), [V16.B16, V17.B16, V18.B16, V19.B16]; \
	VLD1.P 64(R11), [V20.B16, V21.B16, V22.B16, V23.B16]; \
	VLD1.P 48(R11), [V24.B16, V25.B16, V26.B16]

// sectorTweak encrypts the sector number into R6 and R7. n is the rounds less one.
#define sectorTweak(n, loop) \
	VEOR V0.B16, V0.B16, V0.B16;  \
	VMOV R4, V0.D[0];             \
	ADD  $TWEAK, R5, R11;         \
	MOVD $n, R12;                 \
loop:;                            \
	VLD1.P 16(R11), [V31.B16];    \
	AESE V31.B16, V0.B16;         \
	AESMC V0.B16, V0.B16;         \
	SUBS $1, R12, R12;            \
	BNE  loop;                    \
	VLD1.P 16(R11), [V31.B16];    \
	AESE V31.B16, V0.B16;         \
	VLD1 (R11), [V31.B16];        \
	VEOR V31.B16, V0.B16, V0.B16; \
	VMOV V0.D[0], R6;             \
	VMOV V0.D[1], R7;             \
	LSL  $2, R3, R10

// next ends a step and a sector.
#define next(step, sector) \
	SUBS $1, R10, R10; \
	BNE  step;         \
	ADD  R3, R4, R4;   \
	SUBS $1, R2, R2;   \
	BNE  sector

// func encrypt256CE(keys, dst, src *byte, sectors, units int, tweak uint64)
TEXT ·encrypt256CE(SB), NOSPLIT, $0-48
	begin
	VLD1 (R11), [V27.B16, V28.B16, V29.B16, V30.B16]
sector:
	sectorTweak(13, number)
step:
	load
	encRound(V16); encRound(V17); encRound(V18); encRound(V19)
	encRound(V20); encRound(V21); encRound(V22); encRound(V23)
	encRound(V24); encRound(V25); encRound(V26); encRound(V27)
	encRound(V28)
	encLast(V29)
	addKey(V30)
	store
	next(step, sector)
	RET

// func decrypt256CE(keys, dst, src *byte, sectors, units int, tweak uint64)
TEXT ·decrypt256CE(SB), NOSPLIT, $0-48
	begin
	VLD1 (R11), [V27.B16, V28.B16, V29.B16, V30.B16]
sector:
	sectorTweak(13, number)
step:
	load
	decRound(V16); decRound(V17); decRound(V18); decRound(V19)
	decRound(V20); decRound(V21); decRound(V22); decRound(V23)
	decRound(V24); decRound(V25); decRound(V26); decRound(V27)
	decRound(V28)
	decLast(V29)
	addKey(V30)
	store
	next(step, sector)
	RET

// func encrypt128CE(keys, dst, src *byte, sectors, units int, tweak uint64)
TEXT ·encrypt128CE(SB), NOSPLIT, $0-48
	begin
sector:
	sectorTweak(9, number)
step:
	load
	encRound(V16); encRound(V17); encRound(V18); encRound(V19)
	encRound(V20); encRound(V21); encRound(V22); encRound(V23)
	encRound(V24)
	encLast(V25)
	addKey(V26)
	store
	next(step, sector)
	RET

// func decrypt128CE(keys, dst, src *byte, sectors, units int, tweak uint64)
TEXT ·decrypt128CE(SB), NOSPLIT, $0-48
	begin
sector:
	sectorTweak(9, number)
step:
	load
	decRound(V16); decRound(V17); decRound(V18); decRound(V19)
	decRound(V20); decRound(V21); decRound(V22); decRound(V23)
	decRound(V24)
	decLast(V25)
	addKey(V26)
	store
	next(step, sector)
	RET

// func subWordCE(w uint32) uint32
// ShiftRows changes nothing where all four columns are the same.
TEXT ·subWordCE(SB), NOSPLIT, $0-12
	MOVWU w+0(FP), R0
	VDUP  R0, V0.S4
	VEOR  V1.B16, V1.B16, V1.B16
	AESE  V1.B16, V0.B16
	VMOV  V0.S[0], R0
	MOVW  R0, ret+8(FP)
	RET

// func invMixColumnsCE(dst, src *[16]byte)
TEXT ·invMixColumnsCE(SB), NOSPLIT, $0-16
	MOVD dst+0(FP), R0
	MOVD src+8(FP), R1
	VLD1 (R1), [V0.B16]
	AESIMC V0.B16, V0.B16
	VST1 [V0.B16], (R0)
	RET
