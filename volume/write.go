package volume

import (
	"context"
	"fmt"

	"lockplate/blockdev"
)

// WriteAt writes p at off. Whole sectors are encrypted in p and written from
// there, so p holds ciphertext or anything else afterwards. Edge sectors of
// which p covers only a part are read, changed and written while no other
// write touches them. With FUA every part is durable when it returns.
func (v *Volume) WriteAt(ctx context.Context, p []byte, off int64, f blockdev.Flag) error {
	n := int64(len(p))
	if err := v.beginWrite(off, n); err != nil {
		return err
	}
	defer v.life.leave()
	if n == 0 {
		return nil
	}
	if v.whole(off, n) {
		return v.writeWhole(ctx, p, off, f)
	}
	if v.up(off+n)-v.down(off) <= largeBuffer {
		return v.patch(ctx, p, off, n, f)
	}
	lo, hi := v.up(off)-off, v.down(off+n)-off
	if err := v.patch(ctx, p, off, lo, f); err != nil {
		return err
	}
	if err := v.writeWhole(ctx, p[lo:hi], off+lo, f); err != nil {
		return err
	}
	return v.patch(ctx, p[hi:], off+hi, n-hi, f)
}

// writeWhole encrypts whole units in place and writes them. A large run is
// split so that both the cipher and the lower device work in parallel; with
// FUA only the cipher is, since one durable write costs less than several.
func (v *Volume) writeWhole(ctx context.Context, p []byte, off int64, f blockdev.Flag) error {
	s, err := v.lock(ctx, off, off+int64(len(p)), false, false)
	if err != nil {
		return err
	}
	defer v.locks.unlock(s)
	if !v.split(len(p)) {
		return v.writeChunk(ctx, p, off, f)
	}
	if f&blockdev.FUA == 0 {
		return v.fanOut(ctx, fanWrite, p, off)
	}
	if err := v.fanOut(ctx, fanEncrypt, p, off); err != nil {
		return err
	}
	return v.lower.WriteAt(ctx, p, off, f)
}

func (v *Volume) writeChunk(ctx context.Context, p []byte, off int64, f blockdev.Flag) error {
	v.encrypt(p, off)
	return v.lower.WriteAt(ctx, p, off, f)
}

// patch puts n bytes of p (zeroes if p is nil) into the units around them, at
// most a large buffer in all, and writes the units in one piece.
func (v *Volume) patch(ctx context.Context, p []byte, off, n int64, f blockdev.Flag) error {
	if n == 0 {
		return nil
	}
	lo, hi := v.down(off), v.up(off+n)
	b, err := v.buffer(ctx, hi-lo)
	if err != nil {
		return err
	}
	defer b.release()
	head, tail := off > lo, off+n < hi
	s, err := v.lock(ctx, lo, hi, head, tail)
	if err != nil {
		return err
	}
	defer v.locks.unlock(s)
	if err := v.readEdges(ctx, b.data, lo, head, tail); err != nil {
		return fmt.Errorf("read sector for a partial write: %w", err)
	}
	if p == nil {
		clear(b.data[off-lo : off-lo+n])
	} else {
		copy(b.data[off-lo:], p[:n])
	}
	return v.writeChunk(ctx, b.data, lo, f)
}

// readEdges fills the first unit of p (head) and the last (tail), which hold
// bytes that the write does not cover. Neighbours are read in one piece.
func (v *Volume) readEdges(ctx context.Context, p []byte, off int64, head, tail bool) error {
	n := int64(len(p))
	if n == v.unit || n == 2*v.unit && head && tail {
		return v.readChunk(ctx, p, off)
	}
	if head {
		if err := v.readChunk(ctx, p[:v.unit], off); err != nil {
			return err
		}
	}
	if tail {
		return v.readChunk(ctx, p[n-v.unit:], off+n-v.unit)
	}
	return nil
}
