package luks

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Magics of the primary and the secondary copy.
const (
	magicPrimary   = "LUKS\xba\xbe"
	magicSecondary = "SKUL\xba\xbe"
)

// Byte offsets in the binary header (big endian):
//
//	0    6   magic            104  64  salt, new on every write
//	6    2   version, 2       168  40  uuid, text
//	8    8   header size      208  48  subsystem, text
//	16   8   sequence id      256   8  offset of this copy
//	24  48   label, text      264 184  zeroes
//	72  32   checksum name    448  64  checksum, zero-filled
//	                          512 3584 zeroes, up to the JSON area at 4096
const (
	offVersion   = 6
	offHdrSize   = 8
	offSeq       = 16
	offLabel     = 24
	offAlgorithm = 72
	offSalt      = 104
	offUUID      = 168
	offSubsystem = 208
	offOffset    = 256
	offPad       = 264
	offChecksum  = 448
	checksumSize = 64
)

// binHeader is the binary header of one copy.
type binHeader struct {
	hdrSize   int64
	seq       uint64
	label     string // at most 47 bytes
	algorithm string // checksum hash
	salt      [64]byte
	uuid      string // at most 39 bytes
	subsystem string // at most 47 bytes
	offset    int64
}

// marshal returns the binary header with its checksum still zero.
func (b *binHeader) marshal() []byte {
	p := make([]byte, binSize)
	copy(p, magicPrimary)
	if b.offset != 0 {
		copy(p, magicSecondary)
	}
	binary.BigEndian.PutUint16(p[offVersion:], 2)
	binary.BigEndian.PutUint64(p[offHdrSize:], uint64(b.hdrSize))
	binary.BigEndian.PutUint64(p[offSeq:], b.seq)
	copy(p[offLabel:offAlgorithm-1], b.label)
	copy(p[offAlgorithm:offSalt-1], b.algorithm)
	copy(p[offSalt:offUUID], b.salt[:])
	copy(p[offUUID:offSubsystem-1], b.uuid)
	copy(p[offSubsystem:offOffset-1], b.subsystem)
	binary.BigEndian.PutUint64(p[offOffset:], uint64(b.offset))
	return p
}

// parseBin reads the binary header found at offset off of the device.
func parseBin(p []byte, off int64) (*binHeader, error) {
	magic := magicPrimary
	if off != 0 {
		magic = magicSecondary
	}
	if string(p[:len(magic)]) != magic {
		return nil, ErrNotLUKS
	}
	if v := binary.BigEndian.Uint16(p[offVersion:]); v != 2 {
		return nil, fmt.Errorf("%w: header version %d", ErrUnsupported, v)
	}
	size, own := binary.BigEndian.Uint64(p[offHdrSize:]), binary.BigEndian.Uint64(p[offOffset:])
	if !validHdrSize(size) || own != uint64(off) || off != 0 && size != uint64(off) {
		return nil, fmt.Errorf("%w: header of %d bytes at %d says it is at %d", ErrCorrupt, size, off, own)
	}
	b := &binHeader{
		hdrSize:   int64(size),
		seq:       binary.BigEndian.Uint64(p[offSeq:]),
		label:     text(p[offLabel:offAlgorithm]),
		algorithm: text(p[offAlgorithm:offSalt]),
		uuid:      text(p[offUUID:offSubsystem]),
		subsystem: text(p[offSubsystem:offOffset]),
		offset:    off,
	}
	copy(b.salt[:], p[offSalt:offUUID])
	return b, nil
}

// validHdrSize tells the header sizes of the standard: 16 KiB to 4 MiB, powers of two.
func validHdrSize(n uint64) bool {
	return n >= minHdrSize && n <= maxHdrSize && n&(n-1) == 0
}

// text reads a zero-terminated string from a field.
func text(p []byte) string {
	s, _, _ := bytes.Cut(p, []byte{0})
	return string(s[:min(len(s), len(p)-1)])
}

// checksum hashes a whole copy (binary header and JSON area) with the
// checksum field taken as zero.
func (b *binHeader) checksum(whole []byte) ([]byte, error) {
	newH, err := newHash(b.algorithm)
	if err != nil {
		return nil, err
	}
	h := newH()
	h.Write(whole[:offChecksum])
	h.Write(make([]byte, checksumSize))
	h.Write(whole[offChecksum+checksumSize:])
	return h.Sum(nil), nil
}

// seal puts header and JSON area together with the checksum.
func (b *binHeader) seal(area []byte) ([]byte, error) {
	whole := append(b.marshal(), area...)
	sum, err := b.checksum(whole)
	if err != nil {
		return nil, err
	}
	copy(whole[offChecksum:], sum)
	return whole, nil
}

// verify checks the checksum of a whole copy.
func (b *binHeader) verify(whole []byte) error {
	sum, err := b.checksum(whole)
	if err != nil {
		return err
	}
	if !bytes.Equal(sum, whole[offChecksum:offChecksum+len(sum)]) {
		return fmt.Errorf("%w: checksum does not match", ErrCorrupt)
	}
	return nil
}
