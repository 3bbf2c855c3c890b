//go:build race

package volume

import (
	"crypto/aes"
	stdcipher "crypto/cipher"
	"encoding/binary"
)

const raceEnabled = true

// quickSectors stands in for XTS under the race detector, which slows the
// portable XTS down by far; what the detector looks for is not in there. Like
// XTS it works on each 16-byte block by itself, under the sector's number.
type quickSectors struct {
	block stdcipher.Block
	size  int
}

func (q quickSectors) SectorSize() int { return q.size }

func (q quickSectors) Encrypt(dst, src []byte, first uint64) {
	for i := 0; i < len(src); i += q.size {
		iv := binary.LittleEndian.AppendUint64(nil, first+uint64(i/q.size))
		s := stdcipher.NewCTR(q.block, append(iv, make([]byte, 8)...))
		s.XORKeyStream(dst[i:i+q.size], src[i:i+q.size])
	}
}

func (q quickSectors) Decrypt(dst, src []byte, first uint64) { q.Encrypt(dst, src, first) }

// newTestSectors makes the cipher that most tests use.
func newTestSectors(key []byte, sectorSize int) (quickSectors, error) {
	b, err := aes.NewCipher(key[:32])
	return quickSectors{b, sectorSize}, err
}
