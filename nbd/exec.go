package nbd

import (
	"bytes"
	"context"
	"encoding/binary"

	"lockplate/blockdev"
)

// statusBytes is the longest payload of a status chunk: MaxExtents extended
// descriptors and what precedes them.
const statusBytes = 8 + 16*blockdev.MaxExtents

// execute runs a valid request on the device and leaves the result in r.
func (s *session) execute(ctx context.Context, r *request) error {
	if r.n == 0 && r.typ != cmdFlush {
		return nil // nothing to do, whatever it is
	}
	switch r.typ {
	case cmdRead:
		return s.read(ctx, r)
	case cmdWrite:
		return s.dev.WriteAt(ctx, r.data.b[:r.n], r.off, r.deviceFlags())
	case cmdFlush:
		return s.dev.Flush(ctx)
	case cmdTrim:
		return s.dev.Trim(ctx, r.off, r.n, r.deviceFlags())
	case cmdWriteZeroes:
		return s.dev.Zero(ctx, r.off, r.n, r.deviceFlags())
	case cmdCache:
		return s.cache(ctx, r)
	case cmdBlockStatus:
		return s.status(ctx, r)
	}
	panic("nbd: command passed validation")
}

// read fills r.data, and says in r.segs which parts are sent as holes.
func (s *session) read(ctx context.Context, r *request) error {
	r.data = s.srv.pool.get(r.n)
	if err := s.dev.ReadAt(ctx, r.data.b[:r.n], r.off); err != nil {
		return err
	}
	if s.mode != modeSimple && r.n >= sparseBytes && r.flags&flagDF == 0 && r.findZeroes() {
		r.meta = s.srv.pool.get(maxChunks * maxHeaderBytes)
	}
	return nil
}

// zeroBlock is what a block of zeroes is compared with.
var zeroBlock [holeStepBytes]byte

// findZeroes fills r.segs with the runs of zeroes and of data in r.data;
// false: there is no run worth a hole. The data itself is asked, not the
// device's extents: looking for the end of a run costs some file systems
// milliseconds, and an encrypted volume has zeroes where nothing below knows.
func (r *request) findZeroes() bool {
	p := r.data.b[:r.n]
	n := holeStepBytes - r.off%holeStepBytes // to the device's next block
	for at := int64(0); at < r.n; at, n = at+n, holeStepBytes {
		n = min(n, r.n-at)
		r.addBlock(at, n, bytes.Equal(p[at:at+n], zeroBlock[:n]))
	}
	r.endHole(0)
	if len(r.segs) > 1 || r.segs[0].zero {
		return true
	}
	r.segs = r.segs[:0]
	return false
}

// addBlock adds a block of zeroes or of data to the segments. They alternate,
// and when there are enough of them the rest is data.
func (r *request) addBlock(off, n int64, zero bool) {
	k := len(r.segs) - 1
	zero = zero && (k < maxChunks-2 || r.segs[k].zero)
	switch {
	case k < 0 || (zero && !r.segs[k].zero):
		r.segs = append(r.segs, segment{off, n, zero})
	case zero == r.segs[k].zero:
		r.segs[k].n += n
	case !r.endHole(n):
		r.segs = append(r.segs, segment{off, n, false})
	}
}

// endHole makes data of the last segment if that is a hole too short to be
// worth it, together with n bytes of data that follow; false: it stays.
func (r *request) endHole(n int64) bool {
	k := len(r.segs) - 1
	if !r.segs[k].zero || r.segs[k].n >= minHole {
		return false
	}
	if k > 0 {
		n += r.segs[k].n
		r.segs, k = r.segs[:k], k-1
	}
	r.segs[k].n += n
	r.segs[k].zero = false
	return true
}

// cache reads the range and forgets it, so that what is below has it at hand.
func (s *session) cache(ctx context.Context, r *request) error {
	r.data = s.srv.pool.get(min(r.n, cacheStepBytes))
	end := r.off + min(r.n, maxCacheBytes)
	for off := r.off; off < end; off += cacheStepBytes {
		n := min(cacheStepBytes, end-off)
		if err := s.dev.ReadAt(ctx, r.data.b[:n], off); err != nil {
			return err
		}
	}
	return nil
}

// status asks the device for extents and puts the payload of the status chunk
// into r.data; r.n becomes its length.
func (s *session) status(ctx context.Context, r *request) error {
	extents := []blockdev.Extent{{Len: r.n}}
	if s.info.CanExtents {
		var err error
		if extents, err = s.dev.Extents(ctx, r.off, r.n); err != nil {
			return err
		}
	}
	if r.data == nil {
		r.data = s.srv.pool.get(statusBytes)
	}
	extents = mergeExtents(extents, r.n, s.mode)
	if r.flags&flagReqOne != 0 {
		extents = extents[:1]
	}
	r.n = int64(len(appendStatus(r.data.b[:0], extents, s.mode)))
	return nil
}

// mergeExtents joins neighbours of the same state and cuts at n bytes; in 32
// bits also where a length would not fit. It works in place and never makes
// the list longer.
func mergeExtents(extents []blockdev.Extent, n int64, m replyMode) []blockdev.Extent {
	limit := n
	if m != modeExtended {
		limit = min(n, maxStatusLen32)
	}
	out := extents[:0]
	sum := int64(0)
	for _, e := range extents[:min(len(extents), blockdev.MaxExtents)] {
		e.Len = min(e.Len, limit-sum)
		if e.Len <= 0 {
			break
		}
		sum += e.Len
		if k := len(out) - 1; k >= 0 && out[k].Hole == e.Hole && out[k].Zero == e.Zero {
			out[k].Len += e.Len
			continue
		}
		out = append(out, e)
	}
	if len(out) == 0 { // the device told nothing: data, for all we know
		out = append(out, blockdev.Extent{Len: limit})
	}
	return out
}

// appendStatus is the payload of BLOCK_STATUS or BLOCK_STATUS_EXT.
func appendStatus(p []byte, extents []blockdev.Extent, m replyMode) []byte {
	p = binary.BigEndian.AppendUint32(p, allocationID)
	if m == modeExtended {
		p = binary.BigEndian.AppendUint32(p, uint32(len(extents)))
	}
	for _, e := range extents {
		state := 0
		if e.Hole {
			state |= stateHole
		}
		if e.Zero {
			state |= stateZero
		}
		if m == modeExtended {
			p = binary.BigEndian.AppendUint64(p, uint64(e.Len))
			p = binary.BigEndian.AppendUint64(p, uint64(state))
			continue
		}
		p = binary.BigEndian.AppendUint32(p, uint32(e.Len))
		p = binary.BigEndian.AppendUint32(p, uint32(state))
	}
	return p
}
