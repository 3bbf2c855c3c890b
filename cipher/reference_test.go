package cipher

import (
	"crypto/aes"
	stdcipher "crypto/cipher"
	"encoding/binary"
)

// reference is XTS written down from IEEE 1619-2007 section 5, one block at a
// time, with the tweak as two words; it shares nothing with the package.
type reference struct{ data, tweak stdcipher.Block }

func newReference(key []byte) reference {
	d, err := aes.NewCipher(key[:len(key)/2])
	if err != nil {
		panic(err)
	}
	t, err := aes.NewCipher(key[len(key)/2:])
	if err != nil {
		panic(err)
	}
	return reference{d, t}
}

// unit returns data unit src, whose tweak is the 128-bit little-endian iv,
// passed through block.
func (r reference) unit(src []byte, iv [16]byte, block func(dst, src []byte)) []byte {
	r.tweak.Encrypt(iv[:], iv[:])
	lo, hi := binary.LittleEndian.Uint64(iv[:]), binary.LittleEndian.Uint64(iv[8:])
	dst := make([]byte, len(src))
	for i := 0; i < len(src); i += 16 {
		var b [16]byte
		binary.LittleEndian.PutUint64(b[:], binary.LittleEndian.Uint64(src[i:])^lo)
		binary.LittleEndian.PutUint64(b[8:], binary.LittleEndian.Uint64(src[i+8:])^hi)
		block(b[:], b[:])
		binary.LittleEndian.PutUint64(dst[i:], binary.LittleEndian.Uint64(b[:])^lo)
		binary.LittleEndian.PutUint64(dst[i+8:], binary.LittleEndian.Uint64(b[8:])^hi)
		carry := hi >> 63
		hi = hi<<1 | lo>>63
		lo = lo<<1 ^ carry*0x87
	}
	return dst
}

// sectors does a run of sectors with dm-crypt's plain64 tweaks.
func (r reference) sectors(src []byte, size int, first, offset uint64, block func(dst, src []byte)) []byte {
	var dst []byte
	for i := 0; i < len(src); i += size {
		var iv [16]byte
		sector := first + uint64(i/size)
		binary.LittleEndian.PutUint64(iv[:], sector*uint64(size/512)+offset)
		dst = append(dst, r.unit(src[i:i+size], iv, block)...)
	}
	return dst
}

func (r reference) encrypt(src []byte, size int, first, offset uint64) []byte {
	return r.sectors(src, size, first, offset, r.data.Encrypt)
}

func (r reference) decrypt(src []byte, size int, first, offset uint64) []byte {
	return r.sectors(src, size, first, offset, r.data.Decrypt)
}
