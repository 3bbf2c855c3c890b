package volume

import (
	"context"
	"sync"
	"sync/atomic"
)

const (
	fanMin     = 256 << 10 // requests from here on are split
	fanChunk   = 128 << 10 // fits in the second-level cache with room to spare
	maxHelpers = 7         // goroutines beside the callers, per volume
	spareCores = 2         // with so many or fewer there are no helpers: they have a front end and its client to run
)

type fanKind uint8

const (
	fanRead    fanKind = iota // read below, decrypt
	fanWrite                  // encrypt, write below
	fanEncrypt                // encrypt only
)

// fan is one large request that several goroutines work on, chunk by chunk.
// The caller always works too, so it goes on even when no helper is free.
type fan struct {
	v    *Volume
	help func() // f.runHelper, bound once: a go statement on it allocates nothing

	ctx  context.Context // for the length of fanOut only
	kind fanKind
	p    []byte
	off  int64
	next atomic.Int64 // start of the next chunk nobody has taken
	wg   sync.WaitGroup

	mu    sync.Mutex
	err   error // of the failed chunk with the lowest offset
	errAt int64
}

func newFan(v *Volume) *fan {
	f := &fan{v: v}
	f.help = f.runHelper
	return f
}

// fanOut does kind for p, whole units at off, on this goroutine and on helpers
// that are free. After an error no further chunk is begun. All helpers are
// done when it returns.
func (v *Volume) fanOut(ctx context.Context, kind fanKind, p []byte, off int64) error {
	f := v.fans.Get().(*fan)
	f.ctx, f.kind, f.p, f.off = ctx, kind, p, off
	f.next.Store(0)
	for range min(int64((len(p)-1)/fanChunk), v.maxHelp) {
		if v.helpers.Add(1) > v.maxHelp {
			v.helpers.Add(-1)
			break
		}
		f.wg.Add(1)
		go f.help()
	}
	f.work()
	f.wg.Wait()
	err := f.err
	f.ctx, f.p, f.err = nil, nil, nil
	v.fans.Put(f)
	return err
}

// split says whether to work on n bytes in chunks: where helpers can be had, or
// where the lower device moves data in memory, as its taking any alignment
// tells: a chunk is still in the processor's cache when its second half of the
// work begins. To a disk itself one large request is better than several.
func (v *Volume) split(n int) bool {
	return v.sectors != nil && n >= fanMin && (v.maxHelp > 0 || v.inMemory)
}

func (f *fan) runHelper() {
	f.work()
	f.v.helpers.Add(-1)
	f.wg.Done()
}

// work takes chunks until none is left.
func (f *fan) work() {
	for {
		lo := f.next.Add(fanChunk) - fanChunk
		if lo >= int64(len(f.p)) {
			return
		}
		hi := min(lo+fanChunk, int64(len(f.p)))
		if err := f.chunk(f.p[lo:hi], f.off+lo); err != nil {
			f.fail(err, lo)
		}
	}
}

func (f *fan) chunk(p []byte, off int64) error {
	switch f.kind {
	case fanRead:
		return f.v.readChunk(f.ctx, p, off)
	case fanWrite:
		return f.v.writeChunk(f.ctx, p, off, 0)
	}
	f.v.encrypt(p, off)
	return nil
}

// fail notes an error and stops the handing out of chunks.
func (f *fan) fail(err error, at int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil || at < f.errAt {
		f.err, f.errAt = err, at
	}
	f.next.Store(int64(len(f.p)))
}
