package cipher

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// schedule holds the expanded keys of one direction as the kernels want them.
// cipher/asm knows the layout; the size makes the collector align it to a
// cache line. Kernels may keep a tweak t as t+last, where + is XOR. Multiplied
// by x^n that is x^n t + x^n last, so to be kept again it lacks x^n last + last.
type schedule struct {
	last   [4][16]byte  // the last round key of data
	lack32 [4][16]byte  // x^32 last + last
	lack64 [4][16]byte  // x^64 last + last
	data   [15][16]byte // round keys of the data key, in the order of use
	tweak  [15][16]byte // round keys of the tweak key, always for encryption
	_      [32]byte
}

// first is what a kernel is called with.
func (s *schedule) first() *byte { return (*byte)(unsafe.Pointer(s)) }

// steps are the two parts of the AES key expansion that are made of table
// look-ups in FIPS 197, done by instructions that take the same time for
// every key.
type steps struct {
	subWord       func(uint32) uint32
	invMixColumns func(dst, src *[16]byte)
}

// expand fills enc and dec from an XTS key of 32 or 64 bytes.
func (st steps) expand(enc, dec *schedule, key []byte) {
	half := len(key) / 2
	rounds := half/4 + 6
	st.expandKey(&enc.data, key[:half])
	st.expandKey(&enc.tweak, key[half:])
	st.invert(&dec.data, &enc.data, rounds)
	dec.tweak = enc.tweak
	enc.finish(rounds)
	dec.finish(rounds)
}

// finish fills in what follows from the last round key.
func (s *schedule) finish(rounds int) {
	last := s.data[rounds]
	lo, hi := binary.LittleEndian.Uint64(last[:]), binary.LittleEndian.Uint64(last[8:])
	for i := range 4 {
		s.last[i] = last
		putBlock(&s.lack32[i], lo^lo<<32^reduced(hi>>32), hi^hi<<32^lo>>32)
		putBlock(&s.lack64[i], lo^reduced(hi), hi^lo^hi>>63^hi>>62^hi>>57)
	}
}

// reduced is the lower half of v times x^7 + x^2 + x + 1, which is what x^128
// is (IEEE 1619-2007 section 5.2).
func reduced(v uint64) uint64 { return v ^ v<<1 ^ v<<2 ^ v<<7 }

func putBlock(b *[16]byte, lo, hi uint64) {
	binary.LittleEndian.PutUint64(b[:], lo)
	binary.LittleEndian.PutUint64(b[8:], hi)
}

// expandKey is KeyExpansion of FIPS 197 section 5.2, on little-endian words.
func (st steps) expandKey(out *[15][16]byte, key []byte) {
	nk := len(key) / 4
	var w [60]uint32
	for i := range nk {
		w[i] = binary.LittleEndian.Uint32(key[4*i:])
	}
	rcon := uint32(1)
	for i := nk; i < 4*(nk+7); i++ {
		t := w[i-1]
		switch {
		case i%nk == 0:
			t = st.subWord(bits.RotateLeft32(t, -8)) ^ rcon
			rcon = rcon<<1 ^ rcon>>7*0x11b
		case nk == 8 && i%nk == 4:
			t = st.subWord(t)
		}
		w[i] = w[i-nk] ^ t
	}
	for i, v := range w {
		binary.LittleEndian.PutUint32(out[i/4][i%4*4:], v)
	}
	clear(w[:])
}

// invert makes the key schedule of the equivalent inverse cipher, FIPS 197
// section 5.3.5.
func (st steps) invert(dec, enc *[15][16]byte, rounds int) {
	dec[0], dec[rounds] = enc[rounds], enc[0]
	for r := 1; r < rounds; r++ {
		st.invMixColumns(&dec[r], &enc[rounds-r])
	}
}
