package luks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/google/uuid"

	"lockplate/blockdev"
	"lockplate/cipher"
)

// Options shape a new container.
type Options struct {
	UUID        string    // "" = a random one
	Label       string    // at most 47 bytes
	SectorSize  int       // 512, 1024, 2048 or 4096 bytes; 0 = 4096
	DataOffset  int64     // bytes, multiple of 4096; 0 = 16 MiB attached, 0 detached
	Detached    bool      // the data is on another device
	SegmentSize int64     // bytes, multiple of SectorSize; 0 = dynamic, up to the end of the device
	Token       *Token    // nil = none
	Rand        io.Reader // nil = crypto/rand
}

// normalize fills defaults and checks o against the header device.
func (o *Options) normalize(size int64) error {
	if o.UUID == "" {
		p, err := randomBytes(o.Rand, 16)
		if err != nil {
			return err
		}
		p[6], p[8] = p[6]&0x0f|0x40, p[8]&0x3f|0x80 // version 4, RFC 9562
		o.UUID = uuid.UUID(p).String()
	}
	if o.SectorSize == 0 {
		o.SectorSize = 4096
	}
	if o.DataOffset == 0 && !o.Detached {
		o.DataOffset = headerArea
	}
	switch {
	case !validSectorSize(o.SectorSize):
		return fmt.Errorf("sector size %d: 512, 1024, 2048 or 4096 expected", o.SectorSize)
	case len(o.Label) > 47 || len(o.UUID) > 39:
		return fmt.Errorf("label of at most 47 and UUID of at most 39 bytes expected")
	case o.DataOffset < 0 || o.DataOffset%areaAlign != 0:
		return fmt.Errorf("data offset %d: multiple of %d expected", o.DataOffset, areaAlign)
	case o.SegmentSize < 0 || o.SegmentSize%int64(o.SectorSize) != 0:
		return fmt.Errorf("segment size %d: multiple of the sector size expected", o.SegmentSize)
	case o.headerEnd(size) < 2*minHdrSize+slotAreaBytes:
		return fmt.Errorf("%w: %d bytes for it, %d needed", ErrNoRoom, o.headerEnd(size), 2*minHdrSize+slotAreaBytes)
	case !o.Detached && o.DataOffset+max(o.SegmentSize, int64(o.SectorSize)) > size:
		return fmt.Errorf("%w: data at %d does not fit a device of %d bytes", ErrNoRoom, o.DataOffset, size)
	}
	return nil
}

// slotAreaBytes is the area of one keyslot with a 64-byte key.
const slotAreaBytes = (64*afStripes + areaAlign - 1) / areaAlign * areaAlign

// headerEnd is where the keyslot region ends on a header device of size bytes.
func (o *Options) headerEnd(size int64) int64 {
	end := min(size, headerArea)
	if !o.Detached {
		end = min(end, o.DataOffset)
	}
	return end - end%areaAlign
}

// Format makes a LUKS2 container for a volume key of 64 (AES-256) or 32 bytes
// (AES-128), without keyslots, and returns its header. Everything in the
// header area, an older header too, is zeroed first; the data is not touched.
// After a crash there is the old header, the new one, or none; after Format
// has returned, the new one.
func Format(ctx context.Context, hdr blockdev.Device, key []byte, o Options) (*Header, error) {
	size := hdr.Info().Size
	if err := o.normalize(size); err != nil {
		return nil, fmt.Errorf("format LUKS2: %w", err)
	}
	if _, err := cipher.NewXTS(key, o.SectorSize); err != nil {
		return nil, fmt.Errorf("format LUKS2: volume key: %w", err)
	}
	tree, err := o.tree(key, size)
	if err != nil {
		return nil, fmt.Errorf("format LUKS2: %w", err)
	}
	if err := wipeHeaders(ctx, hdr, o.headerEnd(size)); err != nil {
		return nil, fmt.Errorf("format LUKS2: wipe the header area: %w", err)
	}
	u := &update{
		dev: hdr, copies: &copies{}, tree: tree, rand: o.Rand,
		bin: binHeader{hdrSize: minHdrSize, label: o.Label, algorithm: "sha256", uuid: o.UUID},
	}
	h, err := u.commit(ctx)
	if err != nil {
		return nil, fmt.Errorf("format LUKS2: %w", err)
	}
	return h, nil
}

// tree is the JSON area of a new header.
func (o *Options) tree(key []byte, size int64) (object, error) {
	salt, err := randomBytes(o.Rand, saltBytes)
	if err != nil {
		return nil, err
	}
	d := kdfParams{typ: PBKDF2, hash: "sha256", rounds: digestRounds, salt: salt}
	sum, err := d.derive(key, 32)
	if err != nil {
		return nil, err
	}
	dig := d.marshal()
	dig["digest"], dig["keyslots"], dig["segments"] = sum, []any{}, []any{"0"}
	seg := object{
		"type": "crypt", "offset": decimal(o.DataOffset), "size": "dynamic", "iv_tweak": "0",
		"encryption": "aes-xts-plain64", "sector_size": o.SectorSize,
	}
	if o.SegmentSize != 0 {
		seg["size"] = decimal(o.SegmentSize)
	}
	tree := object{
		"keyslots": object{}, "tokens": object{},
		"segments": object{"0": seg}, "digests": object{"0": dig},
		"config": object{"json_size": decimal(minHdrSize - binSize), "keyslots_size": decimal(o.headerEnd(size) - 2*minHdrSize)},
	}
	if o.Token != nil {
		putToken(tree, *o.Token)
	}
	return tree, nil
}

// wipeHeaders zeroes the header area, and every place beyond it where the
// secondary copy of an older header could be found. The flush of the new
// primary copy makes it durable; until then the old header may still win.
func wipeHeaders(ctx context.Context, dev blockdev.Device, end int64) error {
	if err := dev.Zero(ctx, 0, end, 0); err != nil {
		return err
	}
	for off := int64(minHdrSize); off <= maxHdrSize; off *= 2 {
		if off < end || off > dev.Info().Size-binSize {
			continue
		}
		if err := dev.Zero(ctx, off, binSize, 0); err != nil {
			return err
		}
	}
	return nil
}

// update is one change of a header: begin, edit the tree, commit.
type update struct {
	dev    blockdev.Device
	copies *copies // as on disk before
	bin    binHeader
	tree   object // a copy to edit
	rand   io.Reader
}

// begin starts a change after checking that the disk still holds h.
func (h *Header) begin(ctx context.Context, dev blockdev.Device) (*update, error) {
	if h.Version == 1 {
		return nil, ErrReadOnly
	}
	c, err := readCopies(ctx, dev)
	if err != nil {
		return nil, err
	}
	best := c.copy[c.best]
	if !best.same(&hdrCopy{bin: &h.bin, area: h.area}) {
		return nil, ErrChanged
	}
	return &update{dev: dev, copies: c, bin: *best.bin, tree: cloneTree(h.tree).(object), rand: h.rand}, nil
}

// commit writes the edited tree to both copies under the next sequence id. It
// reads back its own bytes first, so nothing that Read refuses is written.
func (u *update) commit(ctx context.Context) (*Header, error) {
	if u.bin.seq == math.MaxUint64 {
		return nil, fmt.Errorf("%w: sequence id is used up", ErrNoRoom)
	}
	u.bin.seq++
	u.bin.offset = 0
	area, err := marshalJSON(u.tree, int(u.bin.hdrSize)-binSize)
	if err != nil {
		return nil, err
	}
	tree, err := parseJSON(area)
	if err != nil {
		return nil, err
	}
	h, err := newHeader(u.bin, area, tree, u.rand)
	if err != nil {
		return nil, err
	}
	if err := u.copies.write(ctx, u.dev, u.bin, area, u.rand); err != nil {
		return nil, fmt.Errorf("write LUKS header: %w", err)
	}
	return h, nil
}

// SetToken writes our token into the header, in place of an earlier one.
func (h *Header) SetToken(ctx context.Context, hdr blockdev.Device, t Token) (*Header, error) {
	u, err := h.begin(ctx, hdr)
	if err == nil && !putToken(u.tree, t) {
		err = fmt.Errorf("%w: all %d tokens are in use", ErrNoRoom, maxKeyslots)
	}
	if err != nil {
		return nil, fmt.Errorf("set token: %w", err)
	}
	return u.commit(ctx)
}

// SetSegmentSize changes the size of the data segment; 0 makes it dynamic.
// The caller has grown the data device before.
func (h *Header) SetSegmentSize(ctx context.Context, hdr blockdev.Device, size int64) (*Header, error) {
	u, err := h.begin(ctx, hdr)
	if err == nil {
		err = h.usable()
	}
	if err == nil && (size < 0 || size%int64(h.SectorSize) != 0) {
		err = errors.New("multiple of the sector size expected")
	}
	if err != nil {
		return nil, fmt.Errorf("set segment size %d: %w", size, err)
	}
	text := "dynamic"
	if size != 0 {
		text = decimal(size)
	}
	section(section(u.tree, "segments"), decimal(int64(h.Segments[0].ID)))["size"] = text
	return u.commit(ctx)
}
