package luks

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"

	"lockplate/blockdev"
)

// readRange returns n bytes at off, whatever the alignment of dev. A range
// beyond the end is ErrTruncated. The caller has bounded n.
func readRange(ctx context.Context, dev blockdev.Device, off int64, n int) ([]byte, error) {
	size := dev.Info().Size
	if off < 0 || off > size || int64(n) > size-off {
		return nil, fmt.Errorf("%w: bytes %d to %d are beyond its end at %d", ErrTruncated, off, off+int64(n), size)
	}
	lo, hi := widen(dev, off, int64(n))
	buf := make([]byte, hi-lo)
	if err := dev.ReadAt(ctx, buf, lo); err != nil {
		return nil, fmt.Errorf("read %d bytes at %d: %w", len(buf), lo, err)
	}
	return buf[off-lo : off-lo+int64(n)], nil
}

// writeRange writes p at off, whatever the alignment of dev, by reading the
// rest of the outermost sectors first. p is used up.
func writeRange(ctx context.Context, dev blockdev.Device, off int64, p []byte) error {
	lo, hi := widen(dev, off, int64(len(p)))
	buf := p
	if hi-lo != int64(len(p)) {
		var err error
		if buf, err = readRange(ctx, dev, lo, int(hi-lo)); err != nil {
			return err
		}
		copy(buf[off-lo:], p)
	}
	if err := dev.WriteAt(ctx, buf, lo, 0); err != nil {
		return fmt.Errorf("write %d bytes at %d: %w", len(buf), lo, err)
	}
	return nil
}

// widen extends a range to whole sectors of dev, not beyond its end.
func widen(dev blockdev.Device, off, n int64) (lo, hi int64) {
	a := max(int64(dev.Info().Align), 1)
	lo = off - off%a
	hi = min((off+n+a-1)/a*a, dev.Info().Size)
	return lo, max(hi, off+n)
}

// roundUp rounds n up to a multiple of unit.
func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

// randomBytes reads n bytes from r, or from crypto/rand when r is nil.
func randomBytes(r io.Reader, n int) ([]byte, error) {
	if r == nil {
		r = rand.Reader
	}
	p := make([]byte, n)
	if _, err := io.ReadFull(r, p); err != nil {
		return nil, fmt.Errorf("read random bytes: %w", err)
	}
	return p, nil
}
