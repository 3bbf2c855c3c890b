package blockdev

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// Memory is kept in chunks that come into being when first written. Chunks
// hang in groups, so that a large empty device costs next to nothing.
const (
	chunkBytes  = 64 << 10
	groupChunks = 256
	groupBytes  = chunkBytes * groupChunks
)

// chunk is one piece of memory. A nil data is a hole.
type chunk struct {
	mu     sync.RWMutex
	data   *[chunkBytes]byte
	shared bool // data is also in a clone: copy before writing
}

type group [groupChunks]chunk

// memory is what Mem handles look at. Its table of groups is replaced, never
// shortened, when it grows.
type memory struct {
	size   atomic.Int64
	mu     sync.Mutex // one grower or installer of a group at a time
	groups atomic.Pointer[[]atomic.Pointer[group]]
}

// Mem is a Device in memory: sparse, of any alignment, with holes, for tests,
// benchmarks and mem: drives. Nothing of it outlives the process.
type Mem struct {
	*memory
	closed  atomic.Bool
	onClose func()
}

// NewMem makes a zero-filled device of size bytes. It panics if size is
// negative.
func NewMem(size int64) *Mem {
	if size < 0 {
		panic("blockdev: negative size")
	}
	m := &memory{}
	_ = m.grow(size) // from nothing it cannot fail
	return &Mem{memory: m}
}

// Clone returns an open device with the same contents as m has now; later
// writes to either do not show in the other. Unwritten chunks are shared, so a
// clone is cheap. A closed device can be cloned too, which stands for
// reopening it.
func (m *Mem) Clone() *Mem {
	c := NewMem(m.size.Load())
	from, to := *m.groups.Load(), *c.groups.Load()
	for i := range to {
		if g := from[i].Load(); g != nil {
			to[i].Store(g.clone())
		}
	}
	return &Mem{memory: c.memory}
}

func (g *group) clone() *group {
	n := new(group)
	for i := range g {
		c := &g[i]
		c.mu.Lock()
		c.shared = c.data != nil
		n[i].data, n[i].shared = c.data, c.shared
		c.mu.Unlock()
	}
	return n
}

// grow makes room for size bytes.
func (m *memory) grow(size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := m.size.Load(); size < now {
		return fmt.Errorf("shrink memory of %d bytes to %d: %w", now, size, ErrNotSupported)
	}
	next := make([]atomic.Pointer[group], (size+groupBytes-1)/groupBytes)
	if old := m.groups.Load(); old != nil {
		for i := range *old {
			next[i].Store((*old)[i].Load())
		}
	}
	m.groups.Store(&next)
	m.size.Store(size)
	return nil
}

// at finds the chunk that holds off, and off's place in it. Without alloc it
// returns nil where the whole group is a hole.
func (m *memory) at(off int64, alloc bool) (*chunk, int) {
	table := *m.groups.Load()
	i := off / groupBytes
	g := table[i].Load()
	if g == nil {
		if !alloc {
			return nil, int(off % chunkBytes)
		}
		g = m.install(i)
	}
	return &g[off%groupBytes/chunkBytes], int(off % chunkBytes)
}

func (m *memory) install(i int64) *group {
	m.mu.Lock()
	defer m.mu.Unlock()
	table := *m.groups.Load()
	if g := table[i].Load(); g != nil {
		return g
	}
	g := new(group)
	table[i].Store(g)
	return g
}

func (c *chunk) read(p []byte, at int) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.data == nil {
		clear(p)
		return
	}
	copy(p, c.data[at:])
}

func (c *chunk) write(p []byte, at int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	copy(c.own()[at:], p)
}

// own returns memory that may be written. The caller holds mu.
func (c *chunk) own() *[chunkBytes]byte {
	switch {
	case c.data == nil:
		c.data = new([chunkBytes]byte)
	case c.shared:
		d := *c.data
		c.data = &d
	}
	c.shared = false
	return c.data
}

// zero clears n bytes; a whole chunk becomes a hole.
func (c *chunk) zero(at, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.data == nil:
	case n == chunkBytes:
		c.data, c.shared = nil, false
	default:
		clear(c.own()[at : at+n])
	}
}

// fill clears n bytes and leaves them allocated.
func (c *chunk) fill(at, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.own()[at : at+n])
}

func (c *chunk) hole() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.data == nil
}

// check validates a request.
func (m *Mem) check(off, n int64) error {
	if m.closed.Load() {
		return ErrClosed
	}
	return m.Info().Check(off, n)
}

// ReadAt implements Device.
func (m *Mem) ReadAt(_ context.Context, p []byte, off int64) error {
	if err := m.check(off, int64(len(p))); err != nil {
		return err
	}
	for len(p) > 0 {
		c, at := m.at(off, false)
		n := min(len(p), chunkBytes-at)
		if c == nil {
			clear(p[:n])
		} else {
			c.read(p[:n], at)
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// WriteAt implements Device.
func (m *Mem) WriteAt(_ context.Context, p []byte, off int64, _ Flag) error {
	if err := m.check(off, int64(len(p))); err != nil {
		return err
	}
	for len(p) > 0 {
		c, at := m.at(off, true)
		n := min(len(p), chunkBytes-at)
		c.write(p[:n], at)
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// Zero implements Device.
func (m *Mem) Zero(_ context.Context, off, n int64, f Flag) error {
	if err := m.check(off, n); err != nil {
		return err
	}
	keep := f&NoHole != 0
	for n > 0 {
		c, at := m.at(off, keep)
		k := int(min(n, int64(chunkBytes-at)))
		switch {
		case keep:
			c.fill(at, k)
		case c != nil:
			c.zero(at, k)
		}
		off, n = off+int64(k), n-int64(k)
	}
	return nil
}

// Trim implements Device; the range reads as zeroes.
func (m *Mem) Trim(ctx context.Context, off, n int64, f Flag) error {
	return m.Zero(ctx, off, n, f&^NoHole)
}

// Flush implements Device; there is nothing to do.
func (m *Mem) Flush(context.Context) error {
	if m.closed.Load() {
		return ErrClosed
	}
	return nil
}

// Extents implements Device. Chunks that were never written are holes.
func (m *Mem) Extents(_ context.Context, off, n int64) ([]Extent, error) {
	if err := m.check(off, n); err != nil {
		return nil, err
	}
	var list extentList
	for n > 0 && !list.full() {
		c, at := m.at(off, false)
		k := min(n, int64(chunkBytes-at))
		hole := c == nil || c.hole()
		if c == nil {
			k = min(n, groupBytes-off%groupBytes)
		}
		list.add(Extent{Len: k, Hole: hole, Zero: hole})
		off, n = off+k, n-k
	}
	return list.all, nil
}

// Resize implements Device.
func (m *Mem) Resize(_ context.Context, size int64) error {
	if m.closed.Load() {
		return ErrClosed
	}
	return m.grow(size)
}

// Info implements Device.
func (m *Mem) Info() Info {
	return Info{
		Size: m.size.Load(), Align: 1, LogicalSector: 512, PhysicalSector: 4096,
		CanTrim: true, TrimZeroes: true, CanZero: true, CanExtents: true,
	}
}

// Close implements Device. Memory is given back when no clone or handle is
// left.
func (m *Mem) Close() error {
	if m.closed.Swap(true) {
		return ErrClosed
	}
	if m.onClose != nil {
		m.onClose()
	}
	return nil
}

// extentList gathers extents and merges neighbours in the same state.
type extentList struct{ all []Extent }

func (l *extentList) add(e Extent) {
	if e.Len == 0 {
		return
	}
	if k := len(l.all); k > 0 && l.all[k-1].Hole == e.Hole && l.all[k-1].Zero == e.Zero {
		l.all[k-1].Len += e.Len
		return
	}
	l.all = append(l.all, e)
}

// full says that the next extent might be one too many.
func (l *extentList) full() bool { return len(l.all) >= MaxExtents }
