package luks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"lockplate/blockdev"
)

// hdrCopy is one intact copy of a LUKS2 header.
type hdrCopy struct {
	bin  *binHeader
	area []byte // JSON area, verbatim
	tree object
}

// same tells whether two copies are of one header: all but place and salt.
func (h *hdrCopy) same(o *hdrCopy) bool {
	a, b := *h.bin, *o.bin
	a.offset, a.salt = b.offset, b.salt
	return a == b && bytes.Equal(h.area, o.area)
}

// copies are both copies of a header as found; a bad one is nil, with the
// reason. best is the intact one with the higher sequence id.
type copies struct {
	copy [2]*hdrCopy // primary, secondary
	err  [2]error
	best int
}

// copyName is the word for a copy in messages.
func copyName(i int) string { return [...]string{"primary", "secondary"}[i] }

// readBin reads the binary header at off. The error wraps ErrNotLUKS when
// there is no sign of one.
func readBin(ctx context.Context, dev blockdev.Device, off int64) (*binHeader, error) {
	p, err := readRange(ctx, dev, off, binSize)
	if errors.Is(err, ErrTruncated) {
		return nil, fmt.Errorf("%w: no room for a header at %d", ErrNotLUKS, off)
	}
	if err != nil {
		return nil, err
	}
	return parseBin(p, off)
}

// readCopy reads and checks the copy at off. The binary header comes back even
// if the rest is bad: it may say where the other copy is.
func readCopy(ctx context.Context, dev blockdev.Device, off int64) (*hdrCopy, *binHeader, error) {
	bin, err := readBin(ctx, dev, off)
	if err != nil {
		return nil, nil, err
	}
	whole, err := readRange(ctx, dev, off, int(bin.hdrSize))
	if err != nil {
		return nil, bin, err
	}
	if err := bin.verify(whole); err != nil {
		return nil, bin, err
	}
	tree, err := parseJSON(whole[binSize:])
	if err != nil {
		return nil, bin, err
	}
	return &hdrCopy{bin, whole[binSize:], tree}, bin, nil
}

// readCopies reads both copies. It fails only when neither is intact, or the
// device does.
func readCopies(ctx context.Context, dev blockdev.Device) (*copies, error) {
	c := &copies{}
	var hint *binHeader
	c.copy[0], hint, c.err[0] = readCopy(ctx, dev, 0)
	for _, off := range secondaryOffsets(c.copy[0], hint) {
		found, _, err := readCopy(ctx, dev, off)
		if c.err[1] == nil || err == nil || errors.Is(c.err[1], ErrNotLUKS) {
			c.copy[1], c.err[1] = found, err
		}
		if err == nil {
			break
		}
	}
	switch p, s := c.copy[0], c.copy[1]; {
	case p == nil && s == nil:
		return nil, worst(c.err[0], c.err[1])
	case p == nil, s != nil && s.bin.seq > p.bin.seq:
		c.best = 1
	}
	return c, nil
}

// secondaryOffsets lists where to look for the secondary copy: behind an
// intact primary; else first where a damaged primary points, then at every
// offset of the standard.
func secondaryOffsets(primary *hdrCopy, hint *binHeader) []int64 {
	if primary != nil {
		return []int64{primary.bin.hdrSize}
	}
	var offs []int64
	if hint != nil {
		offs = append(offs, hint.hdrSize)
	}
	for off := int64(minHdrSize); off <= maxHdrSize; off *= 2 {
		offs = append(offs, off)
	}
	return offs
}

// worst picks the error that tells more about two missing copies: anything
// else than "not there", and a failing device before everything.
func worst(a, b error) error {
	switch {
	case !damage(a):
		return a
	case !damage(b), errors.Is(a, ErrNotLUKS):
		return b
	}
	return a
}

// damage tells errors about the bytes of a copy from those of the device, and
// from what is whole but not supported.
func damage(err error) bool {
	return errors.Is(err, ErrNotLUKS) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrTruncated)
}

// current tells whether copy i holds what the best one holds.
func (c *copies) current(i int) bool {
	return c.copy[i] != nil && c.copy[i].same(c.copy[c.best])
}

// warnings says what is wrong with the copy that is not the best.
func (c *copies) warnings() []string {
	i := 1 - c.best
	if c.current(i) {
		return nil
	}
	return []string{fmt.Sprintf("%s header copy %s; it can be repaired from the other", copyName(i), c.fault(i))}
}

// fault says what is wrong with copy i.
func (c *copies) fault(i int) string {
	if c.copy[i] == nil {
		return fmt.Sprintf("is unusable (%v)", c.err[i])
	}
	return fmt.Sprintf("is not up to date (epoch %d, the other has %d)", c.copy[i].bin.seq, c.copy[c.best].bin.seq)
}

// write writes a header to both copies, first to the one that may be lost: the
// primary, unless only the primary is up to date. The flush between them keeps
// one copy intact and durable at any time (TestEveryCrashLeavesAHeader).
func (c *copies) write(ctx context.Context, dev blockdev.Device, bin binHeader, area []byte, rnd io.Reader) error {
	first := 0
	if c.best == 0 && c.copy[0] != nil && !c.current(1) {
		first = 1
	}
	for _, i := range []int{first, 1 - first} {
		if err := writeCopy(ctx, dev, i, bin, area, rnd); err != nil {
			return err
		}
	}
	return nil
}

// writeCopy writes copy i (0 primary, 1 secondary) with a new salt and makes it durable.
func writeCopy(ctx context.Context, dev blockdev.Device, i int, bin binHeader, area []byte, rnd io.Reader) error {
	salt, err := randomBytes(rnd, len(bin.salt))
	if err != nil {
		return err
	}
	copy(bin.salt[:], salt)
	bin.offset = int64(i) * bin.hdrSize
	whole, err := bin.seal(area)
	if err != nil {
		return err
	}
	if err := writeRange(ctx, dev, bin.offset, whole); err != nil {
		return fmt.Errorf("write %s header copy: %w", copyName(i), err)
	}
	if err := dev.Flush(ctx); err != nil {
		return fmt.Errorf("flush %s header copy: %w", copyName(i), err)
	}
	return nil
}

// Repair rewrites the copy of a LUKS2 header that is damaged or out of date
// from the other one. It does nothing (false) when both agree, and fails like
// Read when neither is usable.
func Repair(ctx context.Context, hdr blockdev.Device) (repaired bool, err error) {
	h, err := Read(ctx, hdr)
	if err != nil {
		return false, fmt.Errorf("repair: %w", err)
	}
	if h.Version == 1 {
		return false, nil
	}
	c, err := readCopies(ctx, hdr)
	if err != nil {
		return false, fmt.Errorf("repair: %w", err)
	}
	bad := 1 - c.best
	if c.current(bad) {
		return false, nil
	}
	good := c.copy[c.best]
	return true, writeCopy(ctx, hdr, bad, *good.bin, good.area, nil)
}
