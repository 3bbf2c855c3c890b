package luks

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"lockplate/blockdev"
)

// Byte offsets in the LUKS1 header (big endian), 592 bytes in all:
//
//	0    6  magic                112 20  digest of the key (PBKDF2)
//	6    2  version, 1           132 32  its salt
//	8   32  cipher, "aes"        164  4  its rounds
//	40  32  mode, "xts-plain64"  168 40  uuid, text
//	72  32  hash                 208     8 keyslots of 48 bytes: state 4,
//	104  4  data offset, sectors         rounds 4, salt 32, area offset
//	108  4  key bytes                    in sectors 4, stripes 4
const (
	off1Cipher  = 8
	off1Mode    = 40
	off1Hash    = 72
	off1Data    = 104
	off1Key     = 108
	off1Digest  = 112
	off1Salt    = 132
	off1Rounds  = 164
	off1UUID    = 168
	off1Slots   = 208
	slot1Size   = 48
	digest1Size = 20
)

// readLUKS1 reads a LUKS1 header; ErrNotLUKS when there is something else.
func readLUKS1(ctx context.Context, dev blockdev.Device) (*Header, error) {
	p, err := readRange(ctx, dev, 0, luks1Size)
	if errors.Is(err, ErrTruncated) {
		return nil, fmt.Errorf("read LUKS header: %w: the device has only %d bytes", ErrNotLUKS, dev.Info().Size)
	}
	if err != nil {
		return nil, fmt.Errorf("read LUKS header: %w", err)
	}
	if string(p[:len(magicPrimary)]) != magicPrimary || binary.BigEndian.Uint16(p[offVersion:]) != 1 {
		return nil, ErrNotLUKS
	}
	h, err := parseLUKS1(p)
	if err != nil {
		return nil, fmt.Errorf("read LUKS1 header: %w", err)
	}
	return h, nil
}

// parseLUKS1 maps a LUKS1 header on the same types that LUKS2 has.
func parseLUKS1(p []byte) (*Header, error) {
	u32 := func(off int) int64 { return int64(binary.BigEndian.Uint32(p[off:])) }
	keySize := u32(off1Key)
	if keySize < 1 || keySize > maxKeyBytes {
		return nil, fmt.Errorf("%w: key of %d bytes", ErrCorrupt, keySize)
	}
	name, hash := text(p[off1Cipher:off1Mode])+"-"+text(p[off1Mode:off1Hash]), text(p[off1Hash:off1Data])
	m := &meta{
		segments: []Segment{{Type: "crypt", Offset: u32(off1Data) * areaSector, Cipher: name, SectorSize: areaSector}},
		digests: []digest{{
			kdf:      kdfParams{typ: PBKDF2, hash: hash, rounds: u32(off1Rounds), salt: p[off1Salt:off1Rounds]},
			sum:      p[off1Digest : off1Digest+digest1Size],
			segments: []int{0},
		}},
	}
	for id := range luks1Slots {
		at := off1Slots + id*slot1Size
		if u32(at) != luks1Active {
			continue
		}
		s := slot{
			id: id, typ: "luks2", keySize: int(keySize), stripes: int(u32(at + 44)), afHash: hash, priority: 1,
			kdf: kdfParams{typ: PBKDF2, hash: hash, rounds: u32(at + 4), salt: p[at+8 : at+40]},
		}
		s.area = area{typ: "raw", off: u32(at+40) * areaSector, encrypt: name, keySize: int(keySize)}
		if s.stripes < 1 || s.splitBytes() > maxAFBytes {
			return nil, fmt.Errorf("%w: keyslot %d has %d stripes", ErrCorrupt, id, s.stripes)
		}
		s.area.size = s.splitBytes()
		m.slots = append(m.slots, s)
		m.digests[0].slots = append(m.digests[0].slots, id)
	}
	h := &Header{Version: 1, UUID: text(p[off1UUID:off1Slots]), KeyBytes: int(keySize)}
	return h, h.setMeta(m)
}
