package volume

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"lockplate/blockdev"
)

// journal notes what reaches the device below.
func journal(low *lower) *[]string {
	var calls []string
	low.note = func(op string, off, n int64, f blockdev.Flag) {
		calls = append(calls, fmt.Sprintf("%s %d+%d f%d", op, off, n, f))
	}
	return &calls
}

func wantCalls(t *testing.T, what string, got *[]string, want ...string) {
	t.Helper()
	if !slices.Equal(*got, want) {
		t.Errorf("%s: below came %q, want %q", what, *got, want)
	}
	*got = nil
}

const fua, noHole, fast = blockdev.FUA, blockdev.NoHole, blockdev.FastZero

func TestWhatReachesTheDeviceBelow(t *testing.T) {
	const k, all = 1 << 10, 256 << 10
	type call struct {
		op     string
		off, n int64
		f      blockdev.Flag
		want   []string
	}
	for _, c := range []struct {
		name          string
		sector, align int
		discard       Discard
		calls         []call
	}{
		{"encrypted", 4096, 512, DiscardZero, []call{
			{"write", 4 * k, 8 * k, 0, []string{"write 4096+8192 f0"}},
			{"write", 4 * k, 8 * k, fua, []string{"write 4096+8192 f1"}},
			{"write", 4*k + 1, 10, fua, []string{"read 4096+4096 f0", "write 4096+4096 f1"}},
			{"write", 4*k + 1, 4 * k, 0, []string{"read 4096+8192 f0", "write 4096+8192 f0"}},
			{"write", 4*k + 1, 11 * k, 0, []string{"read 4096+4096 f0", "read 12288+4096 f0", "write 4096+12288 f0"}},
			{"write", 4 * k, 9 * k, fua, []string{"read 12288+4096 f0", "write 4096+12288 f1"}},
			{"write", 0, all, fua, []string{"write 0+262144 f1"}},
			{"write", 512, all, fua, []string{
				"read 0+4096 f0", "write 0+4096 f1", "write 4096+258048 f1", "read 262144+4096 f0", "write 262144+4096 f1",
			}},
			{"read", 4*k + 1, 10, 0, []string{"read 4096+4096 f0"}},
			{"read", 100, 100 * k, 0, []string{"read 0+106496 f0"}},
			{"trim", 4 * k, 4 * k, 0, []string{"write 4096+4096 f0"}},
			{"zero", 4 * k, 4 * k, noHole, []string{"write 4096+4096 f0"}},
			{"zero", 4 * k, 4 * k, fua, []string{"write 4096+4096 f0", "flush 0+0 f0"}},
			{"zero", 5 * k, 1 * k, 0, []string{"read 4096+4096 f0", "write 4096+4096 f0"}},
			{"trim", 0, 0, fua, nil},
		}},
		{"encrypted, pass", 4096, 1, DiscardPass, []call{
			{"trim", 4 * k, 8 * k, fua, []string{"trim 4096+8192 f1"}},
			{"trim", 4*k - 1, 8 * k, 0, []string{"trim 4096+4096 f0"}},
			{"trim", 4*k + 1, 4 * k, 0, nil},
			{"zero", 4 * k, 4 * k, 0, []string{"write 4096+4096 f0"}},
		}},
		{"encrypted, off", 512, 1, DiscardOff, []call{
			{"trim", 0, all, 0, nil},
			{"zero", 0, 512, 0, []string{"write 0+512 f0"}},
		}},
		{"plain, any alignment", 0, 1, DiscardPass, []call{
			{"write", 1, 2, fua, []string{"write 1+2 f1"}},
			{"write", 1, all, 0, []string{"write 1+262144 f0"}},
			{"trim", 7, 3, fua, []string{"trim 7+3 f1"}},
			{"zero", 7, 3, fua | noHole, []string{"zero 7+3 f3"}},
			{"zero", 7, 3, fast, []string{"zero 7+3 f4"}},
		}},
		{"plain, zero", 0, 512, DiscardZero, []call{
			{"trim", 512, 1024, fua, []string{"zero 512+1024 f1"}},
			{"trim", 511, 514, 0, []string{
				"zero 512+512 f0", "read 0+512 f0", "write 0+512 f0", "read 1024+512 f0", "write 1024+512 f0",
			}},
		}},
	} {
		low := newLower(1<<20, c.align)
		v := mustOpen(t, low, c.sector, Options{Discard: c.discard})
		got := journal(low)
		for _, x := range c.calls {
			var err error
			switch x.op {
			case "read":
				err = v.ReadAt(t.Context(), make([]byte, x.n), x.off)
			case "write":
				err = v.WriteAt(t.Context(), make([]byte, x.n), x.off, x.f)
			case "zero":
				err = v.Zero(t.Context(), x.off, x.n, x.f)
			case "trim":
				err = v.Trim(t.Context(), x.off, x.n, x.f)
			}
			mustDo(t, err)
			wantCalls(t, fmt.Sprintf("%s: %s %d+%d f%d", c.name, x.op, x.off, x.n, x.f), got, x.want...)
		}
	}
}

func TestFastZero(t *testing.T) {
	for _, c := range []struct {
		name   string
		sector int
		can    bool
		want   error
	}{{"encrypted", 4096, true, blockdev.ErrNotFast}, {"plain", 0, true, nil}, {"plain on a slow disk", 0, false, blockdev.ErrNotFast}} {
		low := newLower(1<<20, 512)
		low.info = func(i *blockdev.Info) { i.CanZero = c.can }
		v := mustOpen(t, low, c.sector, Options{})
		mustDo(t, v.WriteAt(t.Context(), bytes.Repeat([]byte{1}, 1<<20), 0, 0))
		if err := v.Zero(t.Context(), 100, 10_000, fast); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		got := readAll(t, v)
		if n := bytes.Count(got, []byte{0}); c.want == nil && n != 10_000 || c.want != nil && n != 0 {
			t.Errorf("%s: %d bytes are zero", c.name, n)
		}
	}
}

func TestZeroNeedsLittleMemoryAndStops(t *testing.T) {
	low := newLower(1<<40, 1)
	v := mustOpen(t, low, 4096, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	written := int64(0)
	low.note = func(_ string, _, n int64, _ blockdev.Flag) {
		low.mu.Lock()
		defer low.mu.Unlock()
		if written += n; written > 4<<20 {
			cancel()
		}
		if n > largeBuffer {
			t.Errorf("%d bytes in one piece", n)
		}
	}
	if err := v.Zero(ctx, 0, 1<<40, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled zero of 1 TiB: %v", err)
	}
	if written > 6<<20 {
		t.Errorf("went on for %d bytes", written)
	}
}

// Encrypted zeroes must differ from sector to sector: no all-zero ciphertext.
func TestZeroesAreEncrypted(t *testing.T) {
	low := newLower(1<<20, 1)
	v := mustOpen(t, low, 512, Options{Discard: DiscardZero})
	mustDo(t, v.Zero(t.Context(), 0, 1<<19, 0))
	mustDo(t, v.Trim(t.Context(), 1<<19, 1<<19, 0))
	raw := readAll(t, low)
	seen := map[[16]byte]bool{}
	for i := 0; i < len(raw); i += 16 {
		b := [16]byte(raw[i:])
		if seen[b] {
			t.Fatalf("the block at %d is there twice", i)
		}
		seen[b] = true
	}
	if !bytes.Equal(readAll(t, v), make([]byte, 1<<20)) {
		t.Error("does not read as zeroes")
	}
}

func TestExtents(t *testing.T) {
	const chunk = 64 << 10 // the granularity of holes in memory
	type list = []blockdev.Extent
	hole := func(n int64, zero bool) blockdev.Extent { return blockdev.Extent{Len: n, Hole: true, Zero: zero} }
	data := func(n int64) blockdev.Extent { return blockdev.Extent{Len: n} }
	for _, c := range []struct {
		name    string
		sector  int
		discard Discard
		off, n  int64
		want    list
	}{
		{"plain", 0, DiscardOff, 0, 4 * chunk, list{hole(chunk, true), data(chunk), hole(2*chunk, true)}},
		{"plain, odd range", 0, DiscardOff, 1, chunk, list{hole(chunk-1, true), data(1)}},
		{"pass", 4096, DiscardPass, 0, 4 * chunk, list{hole(chunk, false), data(chunk), hole(2*chunk, false)}},
		{"pass, odd range", 4096, DiscardPass, chunk - 10, 20, list{hole(10, false), data(10)}},
		{"zero", 4096, DiscardZero, 5, 3 * chunk, list{data(3 * chunk)}},
		{"off", 512, DiscardOff, 0, 3 * chunk, list{data(3 * chunk)}},
	} {
		low := newLower(1<<20, 1)
		v := mustOpen(t, low, c.sector, Options{Discard: c.discard})
		mustDo(t, v.WriteAt(t.Context(), make([]byte, 4096), chunk+4096, 0))
		got, err := v.Extents(t.Context(), c.off, c.n)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v, want %v", c.name, got, err, c.want)
		}
	}
}

// pieces is a device whose extents are given.
type pieces struct {
	blockdev.Device
	list []blockdev.Extent
}

func (p pieces) Extents(context.Context, int64, int64) ([]blockdev.Extent, error) { return p.list, nil }

// A sector is a hole only if all of it is one below, in one piece.
func TestHolesShrinkToSectors(t *testing.T) {
	low := pieces{blockdev.NewMem(1 << 20), []blockdev.Extent{
		{Len: 5000, Hole: true, Zero: true}, {Len: 3192}, {Len: 3000, Hole: true}, {Len: 1096}, {Len: 100, Hole: true}, {Len: 16384, Hole: true, Zero: true},
	}}
	v := mustOpen(t, low, 4096, Options{Discard: DiscardPass})
	got, err := v.Extents(t.Context(), 0, 28772)
	want := []blockdev.Extent{{Len: 4096, Hole: true}, {Len: 12288}, {Len: 12288, Hole: true}, {Len: 100}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}

func TestExtentsAreBounded(t *testing.T) {
	var many []blockdev.Extent
	for range blockdev.MaxExtents / 2 { // unaligned holes: each turns into up to three
		many = append(many, blockdev.Extent{Len: 8191, Hole: true}, blockdev.Extent{Len: 1}, blockdev.Extent{Len: 12288, Hole: true})
	}
	v := mustOpen(t, pieces{blockdev.NewMem(1 << 30), many}, 4096, Options{Discard: DiscardPass})
	got, err := v.Extents(t.Context(), 0, 1<<30)
	mustDo(t, err)
	if len(got) == 0 || len(got) > blockdev.MaxExtents {
		t.Errorf("%d extents", len(got))
	}
}

// Overlapping writers of odd ranges: each byte is what one of them wrote, and
// what nobody wrote is as before.
func TestOverlappingWriters(t *testing.T) {
	const size, writers, untouched = 64 << 10, 6, 0xAA
	for _, sector := range []int{512, 4096} {
		v := mustOpen(t, newLower(size, 512), sector, Options{Discard: DiscardZero})
		mustDo(t, v.WriteAt(t.Context(), bytes.Repeat([]byte{untouched}, size), 0, 0))
		done := make(chan error, writers)
		for w := range byte(writers) {
			rng := rand.New(rand.NewPCG(11, uint64(w)))
			go func() {
				var err error
				for range 400 {
					off := 1000 + rng.Int64N(20_000)
					p := bytes.Repeat([]byte{w + 1}, 1+rng.IntN(9000))
					err = errors.Join(err, v.WriteAt(t.Context(), p, off, 0))
				}
				done <- err
			}()
		}
		for range writers {
			mustDo(t, <-done)
		}
		for i, b := range readAll(t, v) {
			if b != untouched && (b < 1 || b > writers || i < 1000 || i >= 30_000) {
				t.Fatalf("sector size %d: byte %d is %#x", sector, i, b)
			}
		}
	}
}
