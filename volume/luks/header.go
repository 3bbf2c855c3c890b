package luks

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"slices"

	"lockplate/blockdev"
	"lockplate/cipher"
)

// Header is a LUKS header as it was read or written: a snapshot, safe for
// concurrent use. Methods that change the disk return a new one.
type Header struct {
	Version   int // 2 or 1
	UUID      string
	Label     string // LUKS2 only
	Subsystem string // LUKS2 only
	Epoch     uint64 // sequence id of the LUKS2 header, grows with every change
	Flags     []string

	// The data segment: the only one, or the first of several (then Sectors
	// and DataSize refuse).
	Cipher      string // "aes-xts-plain64", or another that Sectors refuses
	KeyBytes    int    // of the volume key; 0 when no keyslot tells
	SectorSize  int
	DataOffset  int64 // bytes; 0 where the header is detached
	SegmentSize int64 // bytes; 0 = up to the end of the data device
	IVTweak     uint64
	Segments    []Segment

	Keyslots []Keyslot // that hold the volume key, by number
	Token    *Token    // nil: none of ours
	Warnings []string  // about the header copies; the header is usable

	hdrSize int64
	bin     binHeader
	area    []byte
	tree    object // LUKS2
	meta    *meta
	rand    io.Reader
}

// Keyslot is one way to open the container with a passphrase.
type Keyslot struct {
	Slot int
	KDF  string // argon2id, argon2i or pbkdf2
}

// Segment is one run of the data device (LUKS2 specification, section 3.3).
type Segment struct {
	ID         int
	Type       string // "crypt" or "linear"
	Offset     int64  // bytes
	Size       int64  // bytes, 0 = dynamic
	Cipher     string
	SectorSize int
	IVTweak    uint64
	Integrity  bool // needs dm-integrity
	Flags      []string
}

// Read parses the header of a container: LUKS2 from the newest intact copy,
// or LUKS1. It does not write; what is wrong with a copy is in Warnings.
// Errors: ErrNotLUKS, ErrCorrupt, ErrTruncated, ErrUnsupported, or the
// device's.
func Read(ctx context.Context, hdr blockdev.Device) (*Header, error) {
	h, err := readLUKS1(ctx, hdr)
	if err == nil || !errors.Is(err, ErrNotLUKS) {
		return h, err
	}
	c, err := readCopies(ctx, hdr)
	if err != nil {
		return nil, fmt.Errorf("read LUKS header: %w", err)
	}
	best := c.copy[c.best]
	if h, err = newHeader(*best.bin, best.area, best.tree, nil); err != nil {
		return nil, fmt.Errorf("read LUKS header: %w", err)
	}
	if end := 2*h.hdrSize + h.meta.areaSize; end > hdr.Info().Size {
		return nil, fmt.Errorf("%w: the header needs %d bytes, the device has %d", ErrTruncated, end, hdr.Info().Size)
	}
	h.Warnings = c.warnings()
	return h, nil
}

// newHeader checks the metadata of a LUKS2 header and makes the snapshot.
func newHeader(bin binHeader, area []byte, tree object, rnd io.Reader) (*Header, error) {
	m, err := parseMeta(tree, bin.hdrSize)
	if err != nil {
		return nil, err
	}
	h := &Header{
		Version: 2, UUID: bin.uuid, Label: bin.label, Subsystem: bin.subsystem, Epoch: bin.seq, Flags: m.flags,
		Token: m.token, hdrSize: bin.hdrSize, bin: bin, area: area, tree: tree, rand: rnd,
	}
	return h, h.setMeta(m)
}

// setMeta fills the exported view from the metadata of either version.
func (h *Header) setMeta(m *meta) error {
	if len(m.segments) == 0 {
		return fmt.Errorf("%w: no data segment", ErrCorrupt)
	}
	s := m.segments[0]
	h.meta, h.Segments = m, m.segments
	h.Cipher, h.SectorSize, h.DataOffset, h.SegmentSize, h.IVTweak = s.Cipher, s.SectorSize, s.Offset, s.Size, s.IVTweak
	d := h.digest()
	if d == nil {
		return nil
	}
	for _, s := range m.slots {
		if s.typ == "luks2" && slices.Contains(d.slots, s.id) {
			h.Keyslots = append(h.Keyslots, Keyslot{s.id, s.kdf.typ})
			h.KeyBytes = s.keySize
		}
	}
	return nil
}

// digest finds the digest of the data segment's key.
func (h *Header) digest() *digest {
	for i, d := range h.meta.digests {
		if slices.Contains(d.segments, h.Segments[0].ID) {
			return &h.meta.digests[i]
		}
	}
	return nil
}

// VerifyKey tells whether key is the volume key: nil, or ErrWrongKey.
func (h *Header) VerifyKey(key []byte) error {
	d := h.digest()
	if d == nil {
		return fmt.Errorf("%w: the data segment has no digest", ErrUnsupported)
	}
	if len(key) == 0 || len(key) > maxKeyBytes || h.KeyBytes != 0 && len(key) != h.KeyBytes {
		return ErrWrongKey
	}
	sum, err := d.kdf.derive(key, len(d.sum))
	if err != nil {
		return fmt.Errorf("verify volume key: %w", err)
	}
	if subtle.ConstantTimeCompare(sum, d.sum) != 1 {
		return ErrWrongKey
	}
	return nil
}

// Sectors returns the cipher of the data segment. It does not check the key
// against the header: see VerifyKey. Ciphers other than aes-xts-plain64 (in
// LUKS1 also aes-xts-plain) are ErrUnsupported.
func (h *Header) Sectors(key []byte) (*cipher.XTS, error) {
	if err := h.usable(); err != nil {
		return nil, err
	}
	x, err := cipher.NewXTS(key, h.SectorSize)
	if err != nil {
		return nil, fmt.Errorf("volume key: %w", err)
	}
	return x.WithTweakOffset(h.IVTweak), nil
}

// usable refuses data segments that cannot be read or written here.
func (h *Header) usable() error {
	s := h.Segments[0]
	switch {
	case len(h.Segments) > 1:
		return fmt.Errorf("%w: %d data segments (a re-encryption in progress?)", ErrUnsupported, len(h.Segments))
	case s.Type != "crypt":
		return fmt.Errorf("%w: data segment of type %q", ErrUnsupported, s.Type)
	case s.Integrity:
		return fmt.Errorf("%w: authenticated encryption (dm-integrity)", ErrUnsupported)
	case s.Cipher != "aes-xts-plain64" && (h.Version != 1 || s.Cipher != "aes-xts-plain"):
		return fmt.Errorf("%w: cipher %q, only aes-xts-plain64 is", ErrUnsupported, s.Cipher)
	}
	return nil
}

// DataSize returns the bytes of the data segment on a data device of the
// given size; a dynamic one ends with the last whole sector. ErrTruncated when
// the device ends before the segment does, or before it begins.
func (h *Header) DataSize(dataDevSize int64) (int64, error) {
	if err := h.usable(); err != nil {
		return 0, err
	}
	size, room := h.SegmentSize, dataDevSize-h.DataOffset
	if size == 0 {
		size = room - room%int64(h.SectorSize)
	}
	if size > room || size <= 0 {
		return 0, fmt.Errorf("%w: %d bytes of data at %d expected, the device has %d in all",
			ErrTruncated, max(size, int64(h.SectorSize)), h.DataOffset, dataDevSize)
	}
	if h.Cipher == "aes-xts-plain" && size > plainLimit {
		return 0, fmt.Errorf("%w: aes-xts-plain repeats its tweaks beyond 2 TiB", ErrUnsupported)
	}
	return size, nil
}
