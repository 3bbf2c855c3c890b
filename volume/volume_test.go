package volume

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"unsafe"

	"lockplate/blockdev"
	"lockplate/cipher"
)

// mustDo fails the test on an error of a step that must work.
func mustDo(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func readAll(tb testing.TB, d blockdev.Device) []byte {
	tb.Helper()
	p := make([]byte, d.Info().Size)
	mustDo(tb, d.ReadAt(tb.Context(), p, 0))
	return p
}

// The layout below is dm-crypt's: what cryptsetup reads with plain64 tweaks.
func TestLowerHoldsPlain64Sectors(t *testing.T) {
	for _, c := range []struct{ sector, align int }{{512, 1}, {512, 4096}, {4096, 1}, {4096, 512}} {
		t.Run(fmt.Sprintf("sector%d/align%d", c.sector, c.align), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 1))
			low := newLower(1<<20, c.align)
			v := mustOpen(t, low, c.sector, Options{})
			want := readAll(t, v)
			for range 100 {
				off := rng.Int64N(1 << 20)
				p := randomBytes(rng, 1+rng.IntN(min(300<<10, 1<<20-int(off))))
				copy(want[off:], p)
				mustDo(t, v.WriteAt(t.Context(), p, off, 0))
			}
			got := readAll(t, low)
			x := testSectors(t, c.sector)
			for off := 0; off < len(got); off += c.sector {
				x.Decrypt(got[off:off+c.sector], got[off:off+c.sector], uint64(off/c.sector))
			}
			if i := diff(got, want); i >= 0 {
				t.Errorf("byte %d differs", i)
			}
		})
	}
}

func TestTweakOffsetShowsBelow(t *testing.T) {
	x, err := cipher.NewXTS(randomBytes(rand.New(rand.NewPCG(7, 7)), 64), 4096)
	mustDo(t, err)
	low := newLower(1<<20, 1)
	v, err := Open(low, x.WithTweakOffset(8), Options{})
	mustDo(t, err)
	mustDo(t, v.WriteAt(t.Context(), make([]byte, 4096), 4096, 0))
	got := make([]byte, 4096)
	mustDo(t, low.ReadAt(t.Context(), got, 4096))
	x.Decrypt(got, got, 2) // 8 units of 512 bytes are one sector further
	if !bytes.Equal(got, make([]byte, 4096)) {
		t.Error("sector 1 with offset 8 is not sector 2 without")
	}
}

// spy notes the memory that reaches the device below.
type spy struct {
	blockdev.Device
	mu   sync.Mutex
	seen [][]byte
}

func (s *spy) add(p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, p)
}

func (s *spy) ReadAt(ctx context.Context, p []byte, off int64) error {
	s.add(p)
	return s.Device.ReadAt(ctx, p, off)
}

func (s *spy) WriteAt(ctx context.Context, p []byte, off int64, f blockdev.Flag) error {
	s.add(p)
	return s.Device.WriteAt(ctx, p, off, f)
}

func TestWholeSectorsUseTheCallersBuffer(t *testing.T) {
	for _, n := range []int{4096, 64 << 10, 1 << 20} {
		s := &spy{Device: blockdev.NewMem(4 << 20)}
		v := mustOpen(t, s, 4096, Options{})
		p := make([]byte, n)
		mustDo(t, v.WriteAt(t.Context(), p, 8192, 0))
		mustDo(t, v.ReadAt(t.Context(), p, 8192))
		mustDo(t, v.WriteAt(t.Context(), p, 8192, blockdev.FUA))
		for _, q := range s.seen {
			if !inside(q, p) {
				t.Errorf("request of %d bytes: a buffer of %d bytes is not the caller's", n, len(q))
			}
		}
	}
}

func inside(q, p []byte) bool {
	for i := range p {
		if &p[i] == &q[0] {
			return true
		}
	}
	return false
}

func TestPooledBuffersAreAligned(t *testing.T) {
	s := &spy{Device: blockdev.NewMem(4 << 20)}
	v := mustOpen(t, s, 512, Options{Discard: DiscardZero})
	for _, n := range []int{1, 513, 20_001} {
		p := make([]byte, n)
		mustDo(t, v.WriteAt(t.Context(), p, 77, 0))
		mustDo(t, v.ReadAt(t.Context(), p, 77))
	}
	mustDo(t, v.Zero(t.Context(), 4096, 1<<20, 0))
	for _, q := range s.seen {
		// A tail sector lies further on in its buffer, at a multiple of a sector.
		if at := uintptr(unsafe.Pointer(&q[0])); at%512 != 0 || at%bufferAlign != 0 && len(q) != 512 && len(q) < fanChunk {
			t.Errorf("buffer of %d bytes at %#x", len(q), at)
		}
	}
}

func TestBuffersComeBackClean(t *testing.T) {
	p := newPool(smallBuffer, 1)
	b, err := p.get(t.Context(), 5000)
	mustDo(t, err)
	copy(b.data, bytes.Repeat([]byte("secret"), 1000))
	full := b.full
	b.release()
	if !bytes.Equal(full, make([]byte, smallBuffer)) {
		t.Error("plaintext stays in a released buffer")
	}
}

func TestPoolIsBounded(t *testing.T) {
	p := newPool(smallBuffer, 2)
	a, err := p.get(t.Context(), 1)
	mustDo(t, err)
	_, err = p.get(t.Context(), 1)
	mustDo(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.get(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("third buffer of two: %v", err)
	}
	a.release()
	if _, err := p.get(t.Context(), 1); err != nil {
		t.Error(err)
	}
}

// Two chunks of one request must be below at the same time: the first waits
// there for the second. In a bubble, where waiting in vain is a failure.
func TestLargeRequestsUseSeveralCores(t *testing.T) {
	if runtime.GOMAXPROCS(0) < 2 {
		t.Skip("needs two processors")
	}
	synctest.Test(t, func(t *testing.T) {
		low := newLower(4<<20, 1)
		v := mustOpen(t, low, 4096, Options{})
		v.maxHelp = 1
		p := make([]byte, fanMin)
		for op, do := range map[string]func() error{
			"read":  func() error { return v.ReadAt(t.Context(), p, 0) },
			"write": func() error { return v.WriteAt(t.Context(), p, 0, 0) },
		} {
			var meet sync.WaitGroup
			meet.Add(2)
			low.hook = func(got string, _, n int64) error {
				if got != op || n != fanChunk {
					t.Errorf("%s of %d bytes, want a %s of a chunk", got, n, op)
				}
				meet.Done()
				meet.Wait()
				return nil
			}
			mustDo(t, do())
		}
		if n := v.helpers.Load(); n != 0 {
			t.Errorf("%d helpers are still counted", n)
		}
	})
}

func TestInfo(t *testing.T) {
	for _, c := range []struct {
		name          string
		sector, align int
		o             Options
		want          blockdev.Info
	}{
		{
			"encrypted", 4096, 512,
			Options{Discard: DiscardZero},
			blockdev.Info{Align: 1, LogicalSector: 4096, PhysicalSector: 4096, CanTrim: true, TrimZeroes: true},
		},
		{
			"pass", 512, 1,
			Options{Discard: DiscardPass, ReadOnly: true},
			blockdev.Info{Align: 1, LogicalSector: 512, PhysicalSector: 4096, CanExtents: true, ReadOnly: true},
		},
		{
			"off", 4096, 1,
			Options{},
			blockdev.Info{Align: 1, LogicalSector: 4096, PhysicalSector: 4096},
		},
		{
			"512 on 4096", 512, 4096,
			Options{Discard: DiscardOff},
			blockdev.Info{Align: 1, LogicalSector: 4096, PhysicalSector: 4096},
		},
		{
			"plain", 0, 1,
			Options{Discard: DiscardPass},
			blockdev.Info{Align: 1, LogicalSector: 512, PhysicalSector: 4096, CanTrim: true, TrimZeroes: true, CanZero: true, CanExtents: true},
		},
	} {
		v := mustOpen(t, newLower(1<<20+4095, c.align), c.sector, c.o)
		c.want.Size = (1<<20 + 4095) &^ (v.unit - 1)
		if got := v.Info(); got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, got, c.want)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := Open(newLower(1<<20, 1), nil, Options{Discard: "maybe"}); err == nil {
		t.Error("unknown discard policy accepted")
	}
	for _, align := range []int{520, 3000, 16384} {
		if _, err := Open(newLower(1<<20, align), testSectors(t, 512), Options{}); err == nil {
			t.Errorf("lower sectors of %d bytes accepted", align)
		}
	}
}

func TestParseDiscard(t *testing.T) {
	for in, want := range map[string]Discard{"": DiscardOff, "off": DiscardOff, "zero": DiscardZero, "pass": DiscardPass} {
		if got, err := ParseDiscard(in); got != want || err != nil {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	if _, err := ParseDiscard("Zero"); err == nil {
		t.Error("another case accepted")
	}
}

// calls are the requests a Device takes, to try them all.
func calls(v *Volume, off, n int64) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"read":  func(ctx context.Context) error { return v.ReadAt(ctx, make([]byte, n), off) },
		"write": func(ctx context.Context) error { return v.WriteAt(ctx, make([]byte, n), off, 0) },
		"zero":  func(ctx context.Context) error { return v.Zero(ctx, off, n, 0) },
		"trim":  func(ctx context.Context) error { return v.Trim(ctx, off, n, 0) },
		"extents": func(ctx context.Context) error {
			_, err := v.Extents(ctx, off, n)
			return err
		},
	}
}

func TestRangeIsChecked(t *testing.T) {
	low := newLower(1<<20+100, 1)
	v := mustOpen(t, low, 4096, Options{Discard: DiscardZero})
	low.hook = func(op string, _, _ int64) error { return fmt.Errorf("%s reached the device below", op) }
	for _, r := range [][2]int64{{1 << 20, 1}, {1<<20 - 1, 2}, {-1, 2}, {0, 1<<20 + 1}, {1 << 62, 1}} {
		for name, call := range calls(v, r[0], r[1]) {
			if err := call(t.Context()); !errors.Is(err, blockdev.ErrRange) {
				t.Errorf("%s of %d bytes at %d: %v", name, r[1], r[0], err)
			}
		}
	}
	for name, call := range calls(v, 1<<20, 0) {
		if err := call(t.Context()); err != nil {
			t.Errorf("%s of nothing at the end: %v", name, err)
		}
	}
}

func TestReadOnly(t *testing.T) {
	low := newLower(1<<20, 1)
	v := mustOpen(t, low, 4096, Options{ReadOnly: true, Discard: DiscardZero})
	before := readAll(t, low)
	for name, call := range calls(v, 5, 10_000) {
		err := call(t.Context())
		if reads := name == "read" || name == "extents"; reads && err != nil || !reads && !errors.Is(err, blockdev.ErrReadOnly) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := v.Resize(t.Context(), 2<<20); !errors.Is(err, blockdev.ErrReadOnly) {
		t.Errorf("resize: %v", err)
	}
	if !bytes.Equal(readAll(t, low), before) {
		t.Error("the device below changed")
	}
}

func TestResize(t *testing.T) {
	low := newLower(1<<20, 1)
	v := mustOpen(t, low, 4096, Options{})
	mustDo(t, v.WriteAt(t.Context(), []byte("end"), 1<<20-3, 0))
	if err := v.Resize(t.Context(), 1<<20-4096); !errors.Is(err, blockdev.ErrNotSupported) {
		t.Errorf("shrink: %v", err)
	}
	if err := v.Resize(t.Context(), 1<<20+512); !errors.Is(err, blockdev.ErrAlign) {
		t.Errorf("half a sector: %v", err)
	}
	mustDo(t, v.Resize(t.Context(), 1<<20))
	mustDo(t, v.Resize(t.Context(), 3<<20))
	if v.Info().Size != 3<<20 || low.Info().Size != 3<<20 {
		t.Errorf("sizes %d and %d", v.Info().Size, low.Info().Size)
	}
	mustDo(t, v.WriteAt(t.Context(), []byte("new"), 1<<20, 0))
	got := make([]byte, 6)
	mustDo(t, v.ReadAt(t.Context(), got, 1<<20-3))
	if string(got) != "endnew" {
		t.Errorf("read %q across the old end", got)
	}
}

// Runs in a bubble: synctest.Wait returns when every goroutine is blocked.
func TestCloseWaitsForRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		low := newLower(1<<20, 1)
		v := mustOpen(t, low, 4096, Options{})
		resume := make(chan bool)
		low.hook = func(string, int64, int64) error { <-resume; return nil }
		wrote, closed := make(chan error, 1), make(chan error, 1)
		go func() { wrote <- v.WriteAt(t.Context(), make([]byte, 4096), 0, 0) }()
		synctest.Wait()
		go func() { closed <- v.Close() }()
		synctest.Wait()
		if len(closed) != 0 || low.closed != 0 {
			t.Error("closed under a request")
		}
		if err := v.Flush(t.Context()); !errors.Is(err, blockdev.ErrClosed) {
			t.Errorf("a new request while closing: %v", err)
		}
		resume <- true
		mustDo(t, <-wrote)
		mustDo(t, <-closed)
		if low.closed != 1 {
			t.Errorf("the device below was closed %d times", low.closed)
		}
	})
}

func TestCallsAfterCloseFail(t *testing.T) {
	low := newLower(1<<20, 1)
	v := mustOpen(t, low, 4096, Options{Discard: DiscardZero})
	mustDo(t, v.Close())
	for name, call := range calls(v, 0, 4096) {
		if err := call(t.Context()); !errors.Is(err, blockdev.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"flush": v.Flush(t.Context()), "resize": v.Resize(t.Context(), 2<<20), "close": v.Close(),
	} {
		if !errors.Is(err, blockdev.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if low.closed != 1 {
		t.Errorf("the device below was closed %d times", low.closed)
	}
}
