package blockdevtest

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"

	"lockplate/blockdev"
)

// testModel runs the exerciser at the beginning and the end of the device.
func testModel(t *testing.T, d blockdev.Device) {
	size := d.Info().Size
	window := min(size, 1<<20)
	e := NewExerciser(d, 0, window, 1)
	must(t, "beginning", e.Run(t.Context(), 1500))
	last := size - MinSize
	must(t, "end", NewExerciser(d, last-last%unit(d), size-(last-last%unit(d)), 2).Run(t.Context(), 500))
}

// testOwnership spoils the buffer as soon as the write has returned.
func testOwnership(t *testing.T, d blockdev.Device) {
	r, u := newRand(3), unit(d)
	want := noise(r, 8*u)
	buf := make([]byte, 16*u+7)
	for skip := int64(0); skip < 8; skip++ {
		for i := range buf {
			buf[i] = 0x5A
		}
		p := buf[skip : skip+8*u]
		copy(p, want)
		must(t, "write", d.WriteAt(t.Context(), p, 4*u, 0))
		if g := bytes.Count(buf[skip+8*u:], []byte{0x5A}); int64(g) != 8*u+7-skip {
			t.Fatal("the device wrote behind the caller's buffer")
		}
		clear(p)
		if !bytes.Equal(read(t, d, 4*u, 8*u), want) {
			t.Fatal("the device went on using the caller's buffer after the write")
		}
	}
}

// framed writes noise over three ranges, runs do on the middle one, and checks
// that the outer two are as before. It returns the middle one.
func framed(t *testing.T, d blockdev.Device, off, n int64, do func()) []byte {
	t.Helper()
	u := unit(d)
	want := noise(newRand(uint64(off+n)), n+2*u)
	write(t, d, want, off-u)
	do()
	got := read(t, d, off-u, n+2*u)
	if !bytes.Equal(got[:u], want[:u]) || !bytes.Equal(got[n+u:], want[n+u:]) {
		t.Errorf("%d bytes at %d: the neighbours changed", n, off)
	}
	return got[u : n+u]
}

// ranges are offsets and lengths on and off the usual borders.
func ranges(d blockdev.Device) [][2]int64 {
	u := unit(d)
	list := [][2]int64{{u, u}, {8 * u, 3 * u}, {4096, 4096}, {64 << 10, 64 << 10}, {3 * u, 100 * u}}
	if d.Info().Align == 1 {
		list = append(list, [2]int64{1000, 1}, [2]int64{1023, 4099}, [2]int64{4095, 2}, [2]int64{70001, 65536})
	}
	kept := list[:0]
	for _, r := range list {
		if r[0]%u == 0 && r[1]%u == 0 || d.Info().Align == 1 {
			kept = append(kept, [2]int64{max(r[0], u), r[1]})
		}
	}
	return kept
}

func testZero(t *testing.T, d blockdev.Device) {
	for _, f := range []blockdev.Flag{
		0, blockdev.FUA, blockdev.NoHole, blockdev.NoHole | blockdev.FUA,
		blockdev.FastZero, blockdev.FastZero | blockdev.NoHole,
	} {
		for _, r := range ranges(d) {
			var err error
			got := framed(t, d, r[0], r[1], func() { err = d.Zero(t.Context(), r[0], r[1], f) })
			if f&blockdev.FastZero != 0 && errors.Is(err, blockdev.ErrNotFast) {
				if bytes.Equal(got, make([]byte, len(got))) {
					t.Errorf("flags %d: ErrNotFast, but it zeroed", f)
				}
				continue
			}
			must(t, "zero", err)
			if !bytes.Equal(got, make([]byte, len(got))) {
				t.Errorf("flags %d: %d bytes at %d do not read as zeroes", f, r[1], r[0])
			}
		}
	}
}

func testTrim(t *testing.T, d blockdev.Device) {
	for _, f := range []blockdev.Flag{0, blockdev.FUA} {
		for _, r := range ranges(d) {
			got := framed(t, d, r[0], r[1], func() {
				must(t, "trim", d.Trim(t.Context(), r[0], r[1], f))
			})
			if d.Info().TrimZeroes && !bytes.Equal(got, make([]byte, len(got))) {
				t.Errorf("%d bytes at %d: trimmed, TrimZeroes, but not zero", r[1], r[0])
			}
		}
	}
}

// testLarge moves as much as one NBD request may.
func testLarge(t *testing.T, d blockdev.Device) {
	n := min(d.Info().Size, 32<<20)
	want := noise(newRand(4), n)
	off := d.Info().Size - n
	write(t, d, want, off)
	if !bytes.Equal(read(t, d, off, n), want) {
		t.Error("a large write does not read back")
	}
	must(t, "zero all", d.Zero(t.Context(), 0, d.Info().Size, 0))
	if !bytes.Equal(read(t, d, off, n), make([]byte, n)) {
		t.Error("a large zero does not read as zeroes")
	}
	must(t, "trim all", d.Trim(t.Context(), 0, d.Info().Size, 0))
}

// Extents walks the whole range and returns all extents; it checks what holds
// for every answer: no gaps, nothing empty, bounded.
func Extents(ctx context.Context, d blockdev.Device, off, n int64) ([]blockdev.Extent, error) {
	var all []blockdev.Extent
	for n > 0 {
		list, err := d.Extents(ctx, off, n)
		if err != nil {
			return nil, err
		}
		if len(list) == 0 || len(list) > blockdev.MaxExtents {
			return nil, errors.New("number of extents out of bounds")
		}
		for _, e := range list {
			if e.Len <= 0 || e.Len > n {
				return nil, errors.New("extent outside the range that was asked for")
			}
			off, n = off+e.Len, n-e.Len
		}
		all = append(all, list...)
	}
	return all, nil
}

func testExtentsCover(t *testing.T, d blockdev.Device) {
	size, u := d.Info().Size, unit(d)
	for _, r := range [][2]int64{{0, size}, {u, size - u}, {size - u, u}, {u, 5 * u}} {
		list, err := Extents(t.Context(), d, r[0], r[1])
		must(t, "extents", err)
		if !d.Info().CanExtents && (len(list) != 1 || list[0].Hole) {
			t.Errorf("CanExtents is false, yet it answers %v", list)
		}
	}
}

// testExtentsHonest reads what is claimed to be zero, after a mix of requests.
func testExtentsHonest(t *testing.T, d blockdev.Device) {
	window := min(d.Info().Size, 4<<20)
	must(t, "trim", d.Trim(t.Context(), 0, d.Info().Size, 0))
	e := NewExerciser(d, 0, window, 5)
	for range 20 {
		must(t, "exercise", e.Run(t.Context(), 15))
		checkZeroClaims(t, d, 0, window)
	}
}

func checkZeroClaims(t *testing.T, d blockdev.Device, off, n int64) {
	t.Helper()
	list, err := Extents(t.Context(), d, off, n)
	must(t, "extents", err)
	for _, x := range list {
		if x.Zero && !isZero(read(t, d, off, x.Len)) {
			t.Fatalf("%d bytes at %d are claimed to be zero and are not", x.Len, off)
		}
		off += x.Len
	}
}

func isZero(p []byte) bool { return len(bytes.TrimLeft(p, "\x00")) == 0 }

// testConcurrentNeighbours lets workers exercise parts that touch each other
// within a sector, if the device allows, and within any larger block.
func testConcurrentNeighbours(t *testing.T, d blockdev.Device) {
	u := unit(d)
	const workers = 8
	part := min(d.Info().Size/workers/u-1, 61) * u
	if d.Info().Align == 1 {
		part += 77
	}
	var wg sync.WaitGroup
	for i := range int64(workers) {
		wg.Go(func() {
			e := NewExerciser(d, i*part, part, uint64(10+i))
			if err := e.Run(t.Context(), 200); err != nil {
				t.Errorf("worker %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

// testConcurrentOverlap lets workers write the same range: each unit then holds
// what one of them wrote.
func testConcurrentOverlap(t *testing.T, d blockdev.Device) {
	u := unit(d)
	const workers, n = 4, 16
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			for range 20 {
				p := bytes.Repeat([]byte{byte(i + 1)}, int(n*u))
				if err := d.WriteAt(t.Context(), p, u, 0); err != nil {
					t.Errorf("write: %v", err)
				}
			}
		})
	}
	wg.Wait()
	got, step := read(t, d, u, n*u), d.Info().Align
	for i := 0; i < len(got); i += step {
		if b := got[i]; b < 1 || b > workers || bytes.Count(got[i:i+step], []byte{b}) != step {
			t.Fatalf("the unit at %d holds what nobody wrote", i)
		}
	}
}

func testFlush(t *testing.T, d blockdev.Device) {
	u := unit(d)
	var wg sync.WaitGroup
	for i := range int64(4) {
		wg.Go(func() {
			for k := range int64(10) {
				p := bytes.Repeat([]byte{byte(k)}, int(u))
				if err := d.WriteAt(t.Context(), p, i*u, blockdev.Flag(k)&blockdev.FUA); err != nil {
					t.Errorf("write: %v", err)
				}
				if err := d.Flush(t.Context()); err != nil {
					t.Errorf("flush: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if got := read(t, d, 0, 4*u); !bytes.Equal(got, bytes.Repeat([]byte{9}, int(4*u))) {
		t.Error("the last writes do not read back")
	}
}

func testResize(t *testing.T, d blockdev.Device) {
	ctx, u := t.Context(), unit(d)
	size := d.Info().Size
	want := noise(newRand(6), u)
	write(t, d, want, size-u)
	wants(t, "shrink", d.Resize(ctx, size-u), blockdev.ErrNotSupported)
	must(t, "resize to the same size", d.Resize(ctx, size))
	bigger := size + 1<<20
	err := d.Resize(ctx, bigger)
	if errors.Is(err, blockdev.ErrNotSupported) || errors.Is(err, blockdev.ErrNoSpace) {
		bigger = size
	} else {
		must(t, "grow", err)
	}
	if got := d.Info().Size; got != bigger {
		t.Fatalf("size is %d, want %d", got, bigger)
	}
	if !bytes.Equal(read(t, d, size-u, u), want) {
		t.Error("growing changed what was there")
	}
	if bigger > size {
		write(t, d, want, bigger-u)
		if !bytes.Equal(read(t, d, bigger-u, u), want) {
			t.Error("the new part does not hold data")
		}
	}
}
