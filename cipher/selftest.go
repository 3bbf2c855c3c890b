package cipher

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// ErrSelfTest says that the cipher gives wrong results on this machine. It
// must not touch data.
var ErrSelfTest = errors.New("cipher self test failed")

// knownAnswer is one run of sectors with the digest of its ciphertext. Key and
// plaintext are byte patterns made by pattern.
type knownAnswer struct {
	keyLen, sectorSize, sectors int
	first, offset               uint64
	sum                         string // SHA-256 of the ciphertext
}

// knownAnswers come from a reference implementation that shares no code with
// this package; TestSelfTestAnswers makes them again. Runs of 1 to 67 sectors
// reach every width and every tail of an engine that works on many blocks at a
// time.
func knownAnswers() []knownAnswer {
	return []knownAnswer{
		{64, 512, 1, 0xffffffffff, 0, "e1d0f1c2467f78f39ab5cd402dfd4049a2d70a8b29f1238a8599b8d2cbf469ac"},
		{64, 512, 67, 1<<32 - 2, 0, "da694ef042750499fe378d60778ab812978f8abe3a3eaf95b61a7bc99cfa6ed9"},
		{64, 4096, 1, 0, 0, "25ab5e3f2dbf1399eb0538f5a632384d363ca6cfb554dde492f1a5bf135dc705"},
		{64, 4096, 9, 1<<61 - 3, 5, "769e3e7f91d06e4d3dca5e62de19d8309fa2c6e7dd433cdd5288e06e0b7b740e"},
		{32, 512, 5, 7, 0, "5121fb57fc9444acef35c7d8702798cef83b6994af24a9a548879450deb70f0a"},
		{32, 4096, 3, 1 << 40, 1<<63 + 1, "889e4db5c4301e4f61085b9685b2ec194c1bce2bbcac2ff88255bdb9b6007287"},
	}
}

// SelfTest encrypts and decrypts known answers with the engine in use, in
// place and between two buffers; so it covers every kernel of that engine. Whoever is about to use the cipher for data
// calls it once at start, and stops on an error (FIPS 140-3 calls this a
// pre-operational test). It takes under 10 ms.
func SelfTest() error {
	for i, a := range knownAnswers() {
		x, err := NewXTS(pattern(a.keyLen, 1), a.sectorSize)
		if err == nil {
			err = a.check(x.WithTweakOffset(a.offset))
			x.Wipe()
		}
		if err != nil {
			return fmt.Errorf("%w: %s, answer %d: %w", ErrSelfTest, Engine(), i, err)
		}
	}
	return nil
}

// check runs s, which has the answer's key, against the answer.
func (a knownAnswer) check(s Sectors) error {
	plain := pattern(a.sectorSize*a.sectors, 2)
	out := make([]byte, len(plain))
	s.Encrypt(out, plain, a.first)
	if sum := sha256.Sum256(out); hex.EncodeToString(sum[:]) != a.sum {
		return errors.New("wrong ciphertext")
	}
	in := bytes.Clone(plain)
	s.Encrypt(in, in, a.first)
	if !bytes.Equal(in, out) {
		return errors.New("wrong ciphertext in place")
	}
	s.Decrypt(in, in, a.first)
	if !bytes.Equal(in, plain) {
		return errors.New("wrong plaintext in place")
	}
	s.Decrypt(in, out, a.first)
	if !bytes.Equal(in, plain) {
		return errors.New("wrong plaintext")
	}
	return nil
}

// pattern is n bytes without a period that a wrong stride could hide behind.
func pattern(n int, seed uint32) []byte {
	p := make([]byte, n)
	for i := range p {
		seed = seed*1664525 + 1013904223
		p[i] = byte(seed >> 24)
	}
	return p
}
