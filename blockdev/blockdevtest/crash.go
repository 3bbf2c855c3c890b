package blockdevtest

import (
	"context"
	"fmt"
	"sync"

	"lockplate/blockdev"
)

// tearBytes is the unit that a disk writes whole or not at all.
const tearBytes = 512

// CrashOptions bound what States produces. Zero values take the defaults.
type CrashOptions struct {
	Seed uint64
	// Tears is the most states in which one request is cut: all of its 512-byte
	// edges if they are no more than this, else a random choice. Default 1024.
	Tears int
	// Reorders is the most states for each run of requests between two flushes
	// in which some of them are missing: all subsets if they are no more than
	// this, else a random choice, torn ones among it. Default 64.
	Reorders int
	// Align is what the device demands of requests. Default 1.
	Align int
}

// Crash is a disk in memory with a volatile cache. It records every change,
// and can show what a power cut at any moment may have left:
//
//   - what completed before a flush began, or was written with FUA, is there;
//   - of the rest, each 512-byte unit of each request may be there or not, in
//     any combination (a disk writes its cache in any order), newer over older;
//   - a trimmed range holds old bytes, or garbage.
//
// A change of size is durable at once, as it is with every back end. Requests
// are carried out one at a time, in the order recorded.
type Crash struct {
	*blockdev.Mem
	o    CrashOptions
	base *blockdev.Mem // contents when recording began

	mu  sync.Mutex
	log []record
}

// record is one change. A flush makes all before it durable.
type record struct {
	op   Op
	off  int64
	n    int64
	data []byte // of a write, and the garbage of a trim
	fua  bool
}

// NewCrash makes a zeroed crash disk of size bytes.
func NewCrash(size int64, o CrashOptions) *Crash {
	return CrashOn(blockdev.NewMem(size), o)
}

// CrashOn makes a crash disk with the contents of m, which is not changed.
func CrashOn(m *blockdev.Mem, o CrashOptions) *Crash {
	for _, d := range []struct {
		v      *int
		preset int
	}{{&o.Tears, 1024}, {&o.Reorders, 64}, {&o.Align, 1}} {
		if *d.v == 0 {
			*d.v = d.preset
		}
	}
	return &Crash{Mem: m.Clone(), base: m.Clone(), o: o}
}

// Pos is the number of changes and flushes so far: a test notes it when a
// request was acknowledged, and compares it with State.Pos and State.Flushed.
func (c *Crash) Pos() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.log)
}

// Forget begins a new recording: what is on the disk now is durable.
func (c *Crash) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.base, c.log = c.Clone(), nil
}

// Info implements Device: a disk with a cache, whose trim promises nothing.
func (c *Crash) Info() blockdev.Info {
	i := c.Mem.Info()
	i.Align, i.Volatile, i.TrimZeroes, i.CanExtents = c.o.Align, true, false, false
	i.LogicalSector = max(i.LogicalSector, i.Align)
	i.PhysicalSector = max(i.PhysicalSector, i.Align)
	return i
}

// commit carries a change out and records it.
func (c *Crash) commit(r record, f blockdev.Flag, do func() error) error {
	if err := c.Info().Check(r.off, r.n); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := do(); err != nil {
		return err
	}
	r.fua = f&blockdev.FUA != 0
	if r.n > 0 {
		c.log = append(c.log, r)
	}
	return nil
}

// ReadAt implements Device.
func (c *Crash) ReadAt(ctx context.Context, p []byte, off int64) error {
	if err := c.Info().Check(off, int64(len(p))); err != nil {
		return err
	}
	return c.Mem.ReadAt(ctx, p, off)
}

// WriteAt implements Device. The caller's buffer is spoiled afterwards, as the
// contract allows.
func (c *Crash) WriteAt(ctx context.Context, p []byte, off int64, f blockdev.Flag) error {
	data := append([]byte(nil), p...)
	err := c.commit(record{op: OpWrite, off: off, n: int64(len(p)), data: data}, f, func() error {
		return c.Mem.WriteAt(ctx, data, off, 0)
	})
	if err == nil {
		for i := range p {
			p[i] ^= 0xFF
		}
	}
	return err
}

// Zero implements Device.
func (c *Crash) Zero(ctx context.Context, off, n int64, f blockdev.Flag) error {
	return c.commit(record{op: OpZero, off: off, n: n}, f, func() error {
		return c.Mem.Zero(ctx, off, n, 0)
	})
}

// Trim implements Device: the range then reads as garbage.
func (c *Crash) Trim(ctx context.Context, off, n int64, f blockdev.Flag) error {
	if err := c.Info().Check(off, n); err != nil {
		return err
	}
	garbage := make([]byte, n)
	fill(newRand(c.o.Seed^uint64(off)), garbage)
	return c.commit(record{op: OpTrim, off: off, n: n, data: garbage}, f, func() error {
		return c.Mem.WriteAt(ctx, garbage, off, 0)
	})
}

// Flush implements Device.
func (c *Crash) Flush(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.Mem.Flush(ctx); err != nil {
		return err
	}
	c.log = append(c.log, record{op: OpFlush})
	return nil
}

// Extents implements Device: everything is data.
func (c *Crash) Extents(ctx context.Context, off, n int64) ([]blockdev.Extent, error) {
	if _, err := c.Mem.Extents(ctx, off, n); err != nil || n == 0 {
		return nil, err
	}
	return []blockdev.Extent{{Len: n}}, nil
}

// Resize implements Device.
func (c *Crash) Resize(ctx context.Context, size int64) error {
	if size%int64(c.o.Align) != 0 {
		return fmt.Errorf("resize to %d: %w", size, blockdev.ErrAlign)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.Mem.Resize(ctx, size); err != nil {
		return err
	}
	c.log = append(c.log, record{op: OpResize, n: size})
	return nil
}

// apply brings the units of r that keep selects (all if nil) onto m.
func (r record) apply(m *blockdev.Mem, keep func(unit int64) bool) {
	ctx := context.Background()
	switch {
	case r.op == OpFlush:
	case r.op == OpResize:
		check(m.Resize(ctx, r.n))
	case keep == nil:
		check(r.part(ctx, m, 0, r.n))
	default:
		for u := range r.units() {
			if from, to := r.edges(u); keep(u) {
				check(r.part(ctx, m, from, to))
			}
		}
	}
}

// part applies the bytes from..to of the request.
func (r record) part(ctx context.Context, m *blockdev.Mem, from, to int64) error {
	if r.data == nil {
		return m.Zero(ctx, r.off+from, to-from, 0)
	}
	return m.WriteAt(ctx, r.data[from:to], r.off+from, 0)
}

// units is the number of 512-byte units of the disk that r touches.
func (r record) units() int64 {
	return (r.off+r.n+tearBytes-1)/tearBytes - r.off/tearBytes
}

// edges gives the part of the request that lies in its u-th unit.
func (r record) edges(u int64) (from, to int64) {
	start := (r.off/tearBytes + u) * tearBytes
	return max(start-r.off, 0), min(start+tearBytes-r.off, r.n)
}

// lost reports whether a power cut may undo the record as long as no flush
// has come.
func (r record) lost() bool { return !r.fua && r.op != OpFlush && r.op != OpResize }

// check holds what cannot fail: the same request went through when recorded.
func check(err error) {
	if err != nil {
		panic("blockdevtest: replay: " + err.Error())
	}
}
