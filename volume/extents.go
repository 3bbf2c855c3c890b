package volume

import (
	"context"

	"lockplate/blockdev"
)

// Extents describes the range. A plain volume says what the lower device says.
// On an encrypted one a hole reads as noise, so nothing is ever Zero, and
// holes are told only with DiscardPass, where the client made them.
func (v *Volume) Extents(ctx context.Context, off, n int64) ([]blockdev.Extent, error) {
	if err := v.begin(off, n); err != nil {
		return nil, err
	}
	defer v.life.leave()
	if n == 0 || v.sectors != nil && v.opts.Discard != DiscardPass {
		return []blockdev.Extent{{Len: n}}, nil
	}
	lo := v.down(off)
	below, err := v.lower.Extents(ctx, lo, v.up(off+n)-lo)
	if err != nil {
		return nil, err
	}
	var l extentList
	pos := lo
	for _, e := range below {
		if v.sectors == nil {
			l.add(e)
		} else {
			v.addBlurred(&l, pos, e)
		}
		pos += e.Len
	}
	return l.clip(off-lo, n), nil
}

// addBlurred adds extent e at pos as an encrypted volume may tell it: a hole
// shrinks to whole units, and nothing reads as zeroes.
func (v *Volume) addBlurred(l *extentList, pos int64, e blockdev.Extent) {
	lo, hi := v.middle(pos, e.Len)
	if !e.Hole || lo == hi {
		l.add(blockdev.Extent{Len: e.Len})
		return
	}
	l.add(blockdev.Extent{Len: lo - pos})
	l.add(blockdev.Extent{Len: hi - lo, Hole: true})
	l.add(blockdev.Extent{Len: pos + e.Len - hi})
}

// extentList collects extents and joins neighbours in one state.
type extentList []blockdev.Extent

func (l *extentList) add(e blockdev.Extent) {
	if e.Len == 0 {
		return
	}
	if i := len(*l) - 1; i >= 0 && (*l)[i].Hole == e.Hole && (*l)[i].Zero == e.Zero {
		(*l)[i].Len += e.Len
		return
	}
	*l = append(*l, e)
}

// clip drops the first skip bytes and what lies beyond n bytes after them, and
// keeps to blockdev.MaxExtents.
func (l extentList) clip(skip, n int64) []blockdev.Extent {
	out := l[:0]
	for _, e := range l {
		cut := min(skip, e.Len)
		skip -= cut
		e.Len = min(e.Len-cut, n)
		n -= e.Len
		if e.Len > 0 && len(out) < blockdev.MaxExtents {
			out = append(out, e)
		}
	}
	return out
}
