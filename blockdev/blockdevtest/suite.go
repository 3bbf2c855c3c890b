// Package blockdevtest holds what the tests of every disk and layer need: a
// conformance suite (TestDevice), a random exerciser with a model of what a
// disk must hold (Exerciser), disks that fail or wait on demand (Faulty,
// Delay, Gate), and one that can show every state a power cut may leave
// (Crash).
package blockdevtest

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"lockplate/blockdev"
)

// MinSize is the least size of a device that TestDevice can work on.
const MinSize = 256 << 10

// test is one property; open gives a device that nobody else uses.
type test struct {
	name string
	run  func(t *testing.T, d blockdev.Device)
}

// TestDevice checks that a Device keeps the promises of the interface. open
// returns a new one of at least MinSize bytes at each call, with any contents;
// what it returns is closed by the suite. A device whose Info says ReadOnly is
// held to the promises that remain.
func TestDevice(t *testing.T, open func(t *testing.T) blockdev.Device) {
	tests := writableTests()
	probe := open(t)
	if probe.Info().ReadOnly {
		tests = readOnlyTests()
	}
	if probe.Info().Align > 1 {
		tests = append(tests, test{"RefusesWhatIsUnaligned", testAlign})
	}
	closeQuietly(t, probe)
	for _, c := range append(tests, commonTests()...) {
		t.Run(c.name, func(t *testing.T) {
			d := open(t)
			t.Cleanup(func() { closeQuietly(t, d) })
			if s := d.Info().Size; s < MinSize {
				t.Fatalf("device of %d bytes is too small for the suite", s)
			}
			c.run(t, d)
		})
	}
}

func commonTests() []test {
	return []test{
		{"InfoIsConsistent", testInfo},
		{"RefusesWhatIsOutside", testRange},
		{"EmptyRequestsDoNothing", testEmpty},
		{"ReadStaysInItsBuffer", testReadGuard},
		{"ReadsAreStable", testReadsAreStable},
		{"ExtentsCoverTheRange", testExtentsCover},
		{"ClosedIsClosed", testClosed},
		{"CloseDuringUse", testCloseDuringUse},
	}
}

func writableTests() []test {
	return []test{
		{"HoldsWhatTheModelHolds", testModel},
		{"BufferIsTheCallersAgain", testOwnership},
		{"ZeroReadsZero", testZero},
		{"TrimSparesNeighbours", testTrim},
		{"LargeRequests", testLarge},
		{"ExtentsAreHonest", testExtentsHonest},
		{"ConcurrentNeighbours", testConcurrentNeighbours},
		{"ConcurrentOverlap", testConcurrentOverlap},
		{"FlushDuringWrites", testFlush},
		{"GrowsAndNeverShrinks", testResize},
	}
}

func readOnlyTests() []test {
	return []test{{"RefusesChanges", testRefusesChanges}}
}

// closeQuietly closes a device that a test may have closed already.
func closeQuietly(t *testing.T, d blockdev.Device) {
	t.Helper()
	if err := d.Close(); err != nil && !errors.Is(err, blockdev.ErrClosed) {
		t.Errorf("close: %v", err)
	}
}

// must ends the test on an error.
func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// wants notes an error that is not of the wanted kind.
func wants(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

// unit is the smallest request that suits the device and is worth testing.
func unit(d blockdev.Device) int64 { return max(int64(d.Info().Align), 512) }

// newRand is a source that gives the same numbers in every run.
func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x10c4)) }

// noise fills a buffer with bytes that are never all zero.
func noise(r *rand.Rand, n int64) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(r.Uint32()) | 1
	}
	return p
}

// read returns n bytes at off.
func read(t *testing.T, d blockdev.Device, off, n int64) []byte {
	t.Helper()
	p := bytes.Repeat([]byte{0xEE}, int(n))
	must(t, "read", d.ReadAt(t.Context(), p, off))
	return p
}

// write writes a copy of p, since the device may spoil what it is given.
func write(t *testing.T, d blockdev.Device, p []byte, off int64) {
	t.Helper()
	must(t, "write", d.WriteAt(t.Context(), bytes.Clone(p), off, 0))
}

func testInfo(t *testing.T, d blockdev.Device) {
	i := d.Info()
	power := func(what string, n int) {
		if n < 1 || n&(n-1) != 0 {
			t.Errorf("%s is %d, not a power of two", what, n)
		}
	}
	power("Align", i.Align)
	power("LogicalSector", i.LogicalSector)
	power("PhysicalSector", i.PhysicalSector)
	if i.Size%int64(max(i.Align, 1)) != 0 {
		t.Errorf("size %d is no multiple of Align %d", i.Size, i.Align)
	}
	if i.LogicalSector < i.Align || i.PhysicalSector < i.LogicalSector {
		t.Errorf("want Align %d <= LogicalSector %d <= PhysicalSector %d", i.Align, i.LogicalSector, i.PhysicalSector)
	}
	if i.ReadOnly && (i.CanTrim || i.CanZero) {
		t.Error("a read-only device offers to trim or zero")
	}
	if i != d.Info() {
		t.Error("Info changes by itself")
	}
}

// change is one kind of changing request.
type change struct {
	name string
	do   func(d blockdev.Device, off, n int64) error
}

// changes lists all requests that change a range.
func changes() []change {
	ctx := context.Background()
	return []change{
		{"write", func(d blockdev.Device, off, n int64) error { return d.WriteAt(ctx, make([]byte, n), off, 0) }},
		{"zero", func(d blockdev.Device, off, n int64) error { return d.Zero(ctx, off, n, 0) }},
		{"trim", func(d blockdev.Device, off, n int64) error { return d.Trim(ctx, off, n, 0) }},
	}
}

// requests lists all requests of a range.
func requests() []change {
	ctx := context.Background()
	return append(changes(),
		change{"read", func(d blockdev.Device, off, n int64) error { return d.ReadAt(ctx, make([]byte, n), off) }},
		change{"extents", func(d blockdev.Device, off, n int64) error {
			_, err := d.Extents(ctx, off, n)
			return err
		}})
}

func testRange(t *testing.T, d blockdev.Device) {
	size, u := d.Info().Size, unit(d)
	before := read(t, d, size-u, u)
	for _, r := range [][2]int64{
		{-u, u}, {size, u}, {size - u, 2 * u}, {size + u, u}, {math.MaxInt64 - u, u}, {-u, 2 * u},
	} {
		for _, q := range requests() {
			wants(t, q.name, q.do(d, r[0], r[1]), blockdev.ErrRange)
		}
	}
	for _, q := range requests() {
		if q.name != "read" && q.name != "write" { // these take a length of their own
			wants(t, q.name, q.do(d, 0, -u), blockdev.ErrRange)
			wants(t, q.name, q.do(d, u, math.MaxInt64-u), blockdev.ErrRange)
		}
	}
	if !bytes.Equal(read(t, d, size-u, u), before) {
		t.Error("a refused request changed the device")
	}
}

func testAlign(t *testing.T, d blockdev.Device) {
	a := int64(d.Info().Align)
	before := read(t, d, 0, 4*a)
	for _, r := range [][2]int64{{1, a}, {a / 2, a}, {0, a / 2}, {a, a + 1}, {a - 1, 1}} {
		for _, q := range requests() {
			if q.name == "extents" {
				continue // a question may be answered
			}
			wants(t, q.name, q.do(d, r[0], r[1]), blockdev.ErrAlign)
		}
	}
	if !bytes.Equal(read(t, d, 0, 4*a), before) {
		t.Error("a refused request changed the device")
	}
}

func testEmpty(t *testing.T, d blockdev.Device) {
	size := d.Info().Size
	for _, q := range requests() {
		if d.Info().ReadOnly && q.name != "read" && q.name != "extents" {
			continue
		}
		must(t, "empty "+q.name+" at 0", q.do(d, 0, 0))
		must(t, "empty "+q.name+" at the end", q.do(d, size, 0))
	}
	must(t, "flush", d.Flush(t.Context()))
}

// testReadGuard reads into the middle of a larger buffer, at addresses that
// suit no disk.
func testReadGuard(t *testing.T, d blockdev.Device) {
	u := unit(d)
	for _, skip := range []int64{1, 3, 8, 511, 512} {
		buf := bytes.Repeat([]byte{0x5A}, int(skip+3*u+64))
		must(t, "read", d.ReadAt(t.Context(), buf[skip:skip+3*u], u))
		for i, b := range buf {
			outside := int64(i) < skip || int64(i) >= skip+3*u
			if outside && b != 0x5A {
				t.Fatalf("byte %d beside the buffer was overwritten", int64(i)-skip)
			}
		}
	}
}

func testReadsAreStable(t *testing.T, d blockdev.Device) {
	n := min(d.Info().Size, 1<<20)
	want := read(t, d, 0, n)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			got := make([]byte, n)
			if err := d.ReadAt(t.Context(), got, 0); err != nil || !bytes.Equal(got, want) {
				t.Errorf("a second read differs, error %v", err)
			}
		})
	}
	wg.Wait()
}

func testClosed(t *testing.T, d blockdev.Device) {
	ctx := t.Context()
	must(t, "close", d.Close())
	u := unit(d)
	for _, q := range requests() {
		if d.Info().ReadOnly && q.name != "read" && q.name != "extents" {
			continue // either refusal will do
		}
		wants(t, q.name+" after close", q.do(d, 0, u), blockdev.ErrClosed)
	}
	wants(t, "flush after close", d.Flush(ctx), blockdev.ErrClosed)
	wants(t, "second close", d.Close(), blockdev.ErrClosed)
}

// testCloseDuringUse closes while requests are under way: each is done or
// refused, none panics or reaches somebody else's descriptor.
func testCloseDuringUse(t *testing.T, d blockdev.Device) {
	u := unit(d)
	var wg, started sync.WaitGroup
	for range 4 {
		started.Add(1)
		wg.Go(func() {
			p := make([]byte, u)
			for i := 0; ; i++ {
				err := d.ReadAt(context.Background(), p, 0)
				if i == 0 {
					started.Done()
				}
				if errors.Is(err, blockdev.ErrClosed) {
					return
				}
				if err != nil {
					t.Errorf("read while closing: %v", err)
					return
				}
			}
		})
	}
	started.Wait()
	must(t, "close", d.Close())
	wg.Wait()
}

func testRefusesChanges(t *testing.T, d blockdev.Device) {
	u := unit(d)
	before := read(t, d, 0, u)
	for _, q := range changes() {
		wants(t, q.name, q.do(d, 0, u), blockdev.ErrReadOnly)
	}
	wants(t, "resize", d.Resize(t.Context(), d.Info().Size+u), blockdev.ErrReadOnly)
	must(t, "flush", d.Flush(t.Context()))
	if !bytes.Equal(read(t, d, 0, u), before) {
		t.Error("a refused change changed the device")
	}
}
