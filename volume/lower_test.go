package volume

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"

	"lockplate/blockdev"
	"lockplate/cipher"
)

// lower is the device below in tests: it insists on whole sectors, as O_DIRECT
// does, notes the calls it gets, and can fail them. Close leaves the memory, so
// that a test can open a volume over it again.
type lower struct {
	blockdev.Device
	align int
	info  func(*blockdev.Info)                           // may change what Info tells
	hook  func(op string, off, n int64) error            // called before each call
	note  func(op string, off, n int64, f blockdev.Flag) // called after each call that succeeded

	mu     sync.Mutex
	closed int
}

func newLower(size int64, align int) *lower {
	return &lower{Device: blockdev.NewMem(size), align: align}
}

func (l *lower) Info() blockdev.Info {
	i := l.Device.Info()
	i.Align = l.align
	if l.info != nil {
		l.info(&i)
	}
	return i
}

func (l *lower) do(op string, off, n int64, f blockdev.Flag, call func() error) error {
	if err := l.Info().Check(off, n); err != nil {
		return err
	}
	if l.hook != nil {
		if err := l.hook(op, off, n); err != nil {
			return err
		}
	}
	err := call()
	if err == nil && l.note != nil {
		l.note(op, off, n, f)
	}
	return err
}

func (l *lower) ReadAt(ctx context.Context, p []byte, off int64) error {
	return l.do("read", off, int64(len(p)), 0, func() error { return l.Device.ReadAt(ctx, p, off) })
}

func (l *lower) WriteAt(ctx context.Context, p []byte, off int64, f blockdev.Flag) error {
	return l.do("write", off, int64(len(p)), f, func() error { return l.Device.WriteAt(ctx, p, off, f) })
}

func (l *lower) Zero(ctx context.Context, off, n int64, f blockdev.Flag) error {
	return l.do("zero", off, n, f, func() error {
		if f&blockdev.FastZero != 0 && !l.Info().CanZero {
			return blockdev.ErrNotFast
		}
		return l.Device.Zero(ctx, off, n, f)
	})
}

func (l *lower) Trim(ctx context.Context, off, n int64, f blockdev.Flag) error {
	return l.do("trim", off, n, f, func() error { return l.Device.Trim(ctx, off, n, f) })
}

func (l *lower) Flush(ctx context.Context) error {
	return l.do("flush", 0, 0, 0, func() error { return l.Device.Flush(ctx) })
}

func (l *lower) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed++
	return nil
}

// testSectors makes a cipher with a fixed key; 0 is plain.
func testSectors(tb testing.TB, sectorSize int) cipher.Sectors {
	tb.Helper()
	if sectorSize == 0 {
		return nil
	}
	x, err := newTestSectors(randomBytes(rand.New(rand.NewPCG(7, 7)), 64), sectorSize)
	if err != nil {
		tb.Fatal(err)
	}
	return x
}

func mustOpen(tb testing.TB, d blockdev.Device, sectorSize int, o Options) *Volume {
	tb.Helper()
	v, err := Open(d, testSectors(tb, sectorSize), o)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func randomBytes(r *rand.Rand, n int) []byte {
	p := make([]byte, n)
	fillRandom(r, p)
	return p
}

func fillRandom(r *rand.Rand, p []byte) {
	for i := 0; i < len(p); i += 8 {
		x := r.Uint64()
		for j := i; j < min(i+8, len(p)); j++ {
			p[j] = byte(x)
			x >>= 8
		}
	}
}
