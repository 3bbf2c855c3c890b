package volume

import "context"

// ReadAt fills p with the plaintext at off. Whole sectors are read into p and
// decrypted there; sectors of which only a part is asked for go through a
// pooled buffer. It takes no lock: a read that overlaps a write under way
// returns old or new data, per 16-byte block.
func (v *Volume) ReadAt(ctx context.Context, p []byte, off int64) error {
	n := int64(len(p))
	if err := v.begin(off, n); err != nil {
		return err
	}
	defer v.life.leave()
	if n == 0 {
		return nil
	}
	if v.whole(off, n) {
		return v.readWhole(ctx, p, off)
	}
	if v.up(off+n)-v.down(off) <= largeBuffer {
		return v.readPart(ctx, p, off)
	}
	lo, hi := v.up(off)-off, v.down(off+n)-off
	if err := v.readPart(ctx, p[:lo], off); err != nil {
		return err
	}
	if err := v.readWhole(ctx, p[lo:hi], off+lo); err != nil {
		return err
	}
	return v.readPart(ctx, p[hi:], off+hi)
}

// readWhole reads whole units in place.
func (v *Volume) readWhole(ctx context.Context, p []byte, off int64) error {
	if v.split(len(p)) {
		return v.fanOut(ctx, fanRead, p, off)
	}
	return v.readChunk(ctx, p, off)
}

func (v *Volume) readChunk(ctx context.Context, p []byte, off int64) error {
	if err := v.lower.ReadAt(ctx, p, off); err != nil {
		return err
	}
	v.decrypt(p, off)
	return nil
}

// readPart reads the units around p, at most a large buffer in all, and copies
// what was asked for.
func (v *Volume) readPart(ctx context.Context, p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	lo, hi := v.down(off), v.up(off+int64(len(p)))
	b, err := v.buffer(ctx, hi-lo)
	if err != nil {
		return err
	}
	defer b.release()
	if err := v.readChunk(ctx, b.data, lo); err != nil {
		return err
	}
	copy(p, b.data[off-lo:])
	return nil
}
