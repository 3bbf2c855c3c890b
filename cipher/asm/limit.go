package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// limits writes loops of nothing but AES rounds: what no XTS can pass.
func limits() {
	limitLoop("aesRoundsAVX512", 8*64, func() {
		for r := range rounds256 {
			for _, s := range zState {
				VAESENC([]reg.VecPhysical{zKeyA, zKeyB}[r%2], s, s)
			}
		}
	}, true)
	limitLoop("aesRoundsAVX2", 8*32, func() {
		for r := range rounds256 {
			for _, s := range yState {
				VAESENC([]reg.VecPhysical{reg.Y8, reg.Y9}[r%2], s, s)
			}
		}
	}, true)
	limitLoop("aesRoundsAESNI", 8*16, func() {
		for r := range rounds256 {
			for _, s := range xState {
				AESENC([]reg.VecPhysical{reg.X8, reg.X9}[r%2], s)
			}
		}
	}, false)
}

func limitLoop(name string, bytes int, body func(), upper bool) {
	TEXT(name, attr.NOSPLIT, "func(n int)")
	Doc(name + " does the 14 rounds of AES-256 n times, as many blocks at once as the kernel of that tier has.")
	n := Load(Param("n"), GP64())
	Label("loop")
	body()
	DECQ(n)
	JNZ(LabelRef("loop"))
	if upper {
		VZEROUPPER()
	}
	RET()
}
