//go:build !race

package volume

import "lockplate/cipher"

const raceEnabled = false

// newTestSectors makes the cipher that most tests use.
func newTestSectors(key []byte, sectorSize int) (*cipher.XTS, error) {
	return cipher.NewXTS(key, sectorSize)
}
