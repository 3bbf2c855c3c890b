package volume

import (
	"context"
	"fmt"

	"lockplate/blockdev"
)

// Discard says what Trim does. A hole in an encrypted volume decrypts to
// noise, so one cannot both give space back and read zeroes.
type Discard string

const (
	// DiscardZero writes (encrypted) zeroes: trimmed ranges read as zeroes and
	// stay allocated. It costs as much as writing.
	DiscardZero Discard = "zero"
	// DiscardPass trims whole sectors below. Space is given back; what the
	// range reads as is undefined, and which sectors are unused shows below.
	DiscardPass Discard = "pass"
	// DiscardOff does nothing.
	DiscardOff Discard = "off"
)

// ParseDiscard checks the name of a policy; "" is DiscardOff.
func ParseDiscard(s string) (Discard, error) {
	switch d := Discard(s); d {
	case DiscardZero, DiscardPass, DiscardOff:
		return d, nil
	case "":
		return DiscardOff, nil
	}
	return "", fmt.Errorf("discard policy %q: must be zero, pass or off", s)
}

// Zero makes the range read as zeroes: by encrypted zeroes on an encrypted
// volume (FastZero fails with ErrNotFast), by Zero of the lower device on a
// plain one.
func (v *Volume) Zero(ctx context.Context, off, n int64, f blockdev.Flag) error {
	if err := v.beginWrite(off, n); err != nil {
		return err
	}
	defer v.life.leave()
	if v.sectors == nil {
		return v.zeroBelow(ctx, off, n, f)
	}
	if f&blockdev.FastZero != 0 {
		return blockdev.ErrNotFast
	}
	return v.writeZeroes(ctx, off, n, f)
}

// Trim follows the discard policy. Only bytes of the range change.
func (v *Volume) Trim(ctx context.Context, off, n int64, f blockdev.Flag) error {
	if err := v.beginWrite(off, n); err != nil {
		return err
	}
	defer v.life.leave()
	f &= blockdev.FUA
	switch {
	case n == 0 || v.opts.Discard == DiscardOff:
		return nil
	case v.opts.Discard == DiscardPass:
		return v.trimBelow(ctx, off, n, f)
	case v.sectors == nil:
		return v.zeroBelow(ctx, off, n, f)
	}
	return v.writeZeroes(ctx, off, n, f)
}

// middle is the part of a range that covers whole units; lo == hi if none does.
func (v *Volume) middle(off, n int64) (lo, hi int64) {
	lo, hi = v.up(off), v.down(off+n)
	return lo, max(lo, hi)
}

// zeroBelow zeroes whole units by the lower device and patches the edges. The
// middle goes first: a refusal (ErrNotFast) must leave everything as it was.
func (v *Volume) zeroBelow(ctx context.Context, off, n int64, f blockdev.Flag) error {
	lo, hi := v.middle(off, n)
	if lo < hi {
		if err := v.below(ctx, v.lower.Zero, lo, hi, f); err != nil {
			return err
		}
	}
	return v.zeroEdges(ctx, off, n, f&blockdev.FUA)
}

// trimBelow trims whole units by the lower device. Parts of units are left
// alone, unless the volume promises zeroes.
func (v *Volume) trimBelow(ctx context.Context, off, n int64, f blockdev.Flag) error {
	i := v.Info()
	if !i.CanTrim {
		return nil
	}
	lo, hi := v.middle(off, n)
	if lo < hi {
		if err := v.below(ctx, v.lower.Trim, lo, hi, f); err != nil {
			return err
		}
	}
	if !i.TrimZeroes {
		return nil
	}
	return v.zeroEdges(ctx, off, n, f)
}

// below calls op for [lo, hi), whole units, under the range lock.
func (v *Volume) below(ctx context.Context, op func(context.Context, int64, int64, blockdev.Flag) error, lo, hi int64, f blockdev.Flag) error {
	s, err := v.lock(ctx, lo, hi, false, false)
	if err != nil {
		return err
	}
	defer v.locks.unlock(s)
	return op(ctx, lo, hi-lo, f)
}

// zeroEdges zeroes the parts of the range that lie in partly covered units.
func (v *Volume) zeroEdges(ctx context.Context, off, n int64, f blockdev.Flag) error {
	end := off + n
	lo, hi := v.middle(off, n)
	if lo >= end { // within one unit, or across one boundary without a whole unit
		lo, hi = end, end
	}
	if err := v.patch(ctx, nil, off, lo-off, f); err != nil {
		return err
	}
	return v.patch(ctx, nil, hi, end-hi, f)
}

// writeZeroes writes encrypted zeroes in pieces of a large buffer, so that a
// request of any length needs little memory and holds no long lock. FUA is one
// flush at the end: it covers all pieces.
func (v *Volume) writeZeroes(ctx context.Context, off, n int64, f blockdev.Flag) error {
	if err := v.zeroEdges(ctx, off, n, 0); err != nil {
		return err
	}
	lo, hi := v.middle(off, n)
	for lo < hi {
		m := min(hi-lo, largeBuffer)
		if err := v.writeZeroChunk(ctx, lo, m); err != nil {
			return err
		}
		lo += m
	}
	if f&blockdev.FUA != 0 {
		return v.lower.Flush(ctx)
	}
	return nil
}

func (v *Volume) writeZeroChunk(ctx context.Context, off, n int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b, err := v.buffer(ctx, n)
	if err != nil {
		return err
	}
	defer b.release()
	return v.writeWhole(ctx, b.data, off, 0)
}
