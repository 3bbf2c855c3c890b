package e2e

import (
	"bytes"
	"crypto/aes"
	stdcipher "crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"os"
	"testing"
)

// xts is AES-XTS with the plain64 tweak, written again here on crypto/aes
// alone, so that what lockplate encrypts is judged by code it does not share.
type xts struct {
	data, tweak stdcipher.Block
	sectorSize  int
}

func newXTS(t *testing.T, key []byte, sectorSize int) *xts {
	t.Helper()
	half := len(key) / 2
	data, err := aes.NewCipher(key[:half])
	must(t, err)
	tweak, err := aes.NewCipher(key[half:])
	must(t, err)
	return &xts{data, tweak, sectorSize}
}

// crypt works on whole sectors in place; block is Encrypt or Decrypt of the
// data key, first the number of the first sector.
func (x *xts) crypt(p []byte, first uint64, block func(dst, src []byte)) {
	for s := range len(p) / x.sectorSize {
		var tw [16]byte
		binary.LittleEndian.PutUint64(tw[:], (first+uint64(s))*uint64(x.sectorSize/512))
		x.tweak.Encrypt(tw[:], tw[:])
		sector := p[s*x.sectorSize:][:x.sectorSize]
		for i := 0; i < len(sector); i += 16 {
			b := sector[i : i+16]
			subtle.XORBytes(b, b, tw[:])
			block(b, b)
			subtle.XORBytes(b, b, tw[:])
			double(&tw)
		}
	}
}

func (x *xts) decrypt(p []byte, first uint64) { x.crypt(p, first, x.data.Decrypt) }
func (x *xts) encrypt(p []byte, first uint64) { x.crypt(p, first, x.data.Encrypt) }

// double multiplies by x in GF(2^128) as IEEE 1619 section 5.2 has it.
func double(tw *[16]byte) {
	var carry byte
	for i, b := range tw {
		tw[i] = b<<1 | carry
		carry = b >> 7
	}
	tw[0] ^= carry * 0x87
}

// IEEE 1619-2007 annex B, vector 10 (AES-256, sector number 0xff), first block.
func TestOracleAgainstStandardVector(t *testing.T) {
	key, err := hex.DecodeString("2718281828459045235360287471352662497757247093699959574966967627" +
		"3141592653589793238462643383279502884197169399375105820974944592")
	must(t, err)
	p := make([]byte, 512)
	for i := range p {
		p[i] = byte(i)
	}
	x := newXTS(t, key, 512)
	x.encrypt(p, 0xff)
	if got := hex.EncodeToString(p[:16]); got != "1c3b3a102f770386e4836c99e370cf9b" {
		t.Errorf("first block = %s", got)
	}
	x.decrypt(p, 0xff)
	if !bytes.Equal(p[:4], []byte{0, 1, 2, 3}) {
		t.Errorf("decrypt does not undo encrypt: %x", p[:16])
	}
}

// encryptFile is what dm-crypt would have written: the plain image at offset
// of the container.
func encryptFile(t *testing.T, container string, offset int64, plain []byte, x *xts) {
	t.Helper()
	p := bytes.Clone(plain)
	x.encrypt(p, 0)
	f, err := os.OpenFile(container, os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	_, err = f.WriteAt(p, offset)
	must(t, err)
}
