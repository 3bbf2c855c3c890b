package volume

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"

	"lockplate/blockdev"
	"lockplate/blockdev/blockdevtest"
)

// diskFull is an error as blockdev makes them: a sentinel and an errno.
func diskFull() error {
	return fmt.Errorf("write image: %w: %w", blockdev.ErrNoSpace, syscall.ENOSPC)
}

// The n-th request below fails, for every n: the error comes through, the
// volume lets go of its locks and buffers, and bytes outside the request stay.
func TestNthErrorIsReported(t *testing.T) {
	const size = 2 << 20
	for _, c := range []struct {
		name   string
		off, n int64
		do     func(ctx context.Context, v *Volume, off, n int64) error
	}{
		{"read", 100, 5000, func(ctx context.Context, v *Volume, off, n int64) error {
			return v.ReadAt(ctx, make([]byte, n), off)
		}},
		{"large read", 100, 900_000, func(ctx context.Context, v *Volume, off, n int64) error {
			return v.ReadAt(ctx, make([]byte, n), off)
		}},
		{"write of a part", 5000, 10, write(0)},
		{"write over a border", 8190, 4, write(blockdev.FUA)},
		{"write", 5000, 50_000, write(0)},
		{"large write", 5000, 900_000, write(0)},
		{"large durable write", 5000, 900_000, write(blockdev.FUA)},
		{"zero", 5000, 900_000, func(ctx context.Context, v *Volume, off, n int64) error {
			return v.Zero(ctx, off, n, blockdev.FUA)
		}},
		{"trim", 5000, 900_000, func(ctx context.Context, v *Volume, off, n int64) error {
			return v.Trim(ctx, off, n, 0)
		}},
		{"flush", 0, 0, func(ctx context.Context, v *Volume, _, _ int64) error { return v.Flush(ctx) }},
		{"extents", 0, size, func(ctx context.Context, v *Volume, off, n int64) error {
			_, err := v.Extents(ctx, off, n)
			return err
		}},
		{"resize", 0, size, func(ctx context.Context, v *Volume, _, _ int64) error {
			return v.Resize(ctx, 2*size)
		}},
	} {
		for _, sector := range []int{0, 4096} {
			for _, torn := range []bool{false, true} {
				for n := 1; ; n++ {
					fired := failNth(t, fmt.Sprintf("%s, sector %d, request %d", c.name, sector, n), sector, n, torn, c.off, c.n, c.do)
					if !fired {
						break
					}
				}
			}
		}
	}
}

func write(f blockdev.Flag) func(context.Context, *Volume, int64, int64) error {
	return func(ctx context.Context, v *Volume, off, n int64) error {
		return v.WriteAt(ctx, make([]byte, n), off, f)
	}
}

// failNth runs do on a new volume whose n-th request below fails, and reports
// whether there was one.
func failNth(t *testing.T, name string, sector, n int, torn bool, off, length int64, do func(context.Context, *Volume, int64, int64) error) bool {
	t.Helper()
	const size = 2 << 20
	disk := blockdevtest.NewFaulty(newLower(size, 512))
	v := mustOpen(t, disk, sector, Options{Discard: DiscardPass})
	fill := bytes.Repeat([]byte{0xC3}, size)
	mustDo(t, v.WriteAt(t.Context(), bytes.Clone(fill), 0, 0))
	disk.Arm(blockdevtest.Fault{N: n, Err: diskFull(), Torn: torn})
	err := do(t.Context(), v, off, length)
	fired := disk.Fired() > 0
	disk.Disarm()
	if fired && (!errors.Is(err, blockdev.ErrNoSpace) || !errors.Is(err, syscall.ENOSPC)) {
		t.Errorf("%s: error %v does not tell the cause", name, err)
	}
	if !fired && err != nil {
		t.Errorf("%s: %v without a fault", name, err)
	}
	got := make([]byte, size)
	mustDo(t, v.ReadAt(t.Context(), got, 0))
	if !bytes.Equal(got[:off], fill[:off]) || !bytes.Equal(got[off+length:], fill[off+length:]) {
		t.Errorf("%s: bytes outside the request changed", name)
	}
	assertIdle(t, &v.locks)
	if len(v.small.permits)+len(v.large.permits) != 0 {
		t.Errorf("%s: buffers are still out", name)
	}
	mustDo(t, v.WriteAt(t.Context(), bytes.Clone(fill), 0, 0))
	mustDo(t, v.Close())
	return fired
}

// Of several failing chunks the first in the range is reported.
func TestFirstErrorOfALargeRequestWins(t *testing.T) {
	low := newLower(4<<20, 1)
	v := mustOpen(t, low, 4096, Options{})
	for range 50 {
		var begun atomic.Int64
		low.hook = func(_ string, off, _ int64) error {
			begun.Add(1)
			return fmt.Errorf("at %d", off)
		}
		err := v.ReadAt(t.Context(), make([]byte, 2<<20), 1<<20)
		if err == nil || err.Error() != fmt.Sprintf("at %d", 1<<20) {
			t.Fatalf("error %v, want that of the first chunk", err)
		}
		if n := begun.Load(); n > 1+v.maxHelp {
			t.Fatalf("%d chunks were begun, though each failed", n)
		}
	}
}

// A partial write whose read fails must not write.
func TestFailedReadOfAnEdgeWritesNothing(t *testing.T) {
	disk := blockdevtest.NewFaulty(newLower(1<<20, 1))
	v := mustOpen(t, disk, 4096, Options{})
	disk.Arm(blockdevtest.Fault{Op: blockdevtest.OpRead, N: 1, Stay: true})
	for _, n := range []int64{10, 5000, 300_000} {
		if err := v.WriteAt(t.Context(), make([]byte, n), 4097, 0); !errors.Is(err, blockdevtest.ErrInjected) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if n := disk.Count(blockdevtest.OpWrite); n != 0 {
		t.Errorf("%d writes reached the disk", n)
	}
}

// A slow partial write holds up its own sector only.
func TestPartialWriteBlocksOnlyItsSector(t *testing.T) {
	disk := blockdevtest.NewGate(newLower(1<<20, 1))
	v := mustOpen(t, disk, 4096, Options{})
	disk.Stall(blockdevtest.OpRead)
	slow := make(chan error, 1)
	go func() { slow <- v.WriteAt(t.Context(), []byte("abc"), 5000, 0) }()
	mustDo(t, disk.AwaitWaiting(t.Context(), 1))
	mustDo(t, v.WriteAt(t.Context(), make([]byte, 4096), 0, 0))
	mustDo(t, v.WriteAt(t.Context(), make([]byte, 8192), 8192, 0))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := v.WriteAt(ctx, make([]byte, 8192), 0, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("a write over the sector, with its context at an end: %v", err)
	}
	behind := make(chan error, 1)
	go func() { behind <- v.WriteAt(t.Context(), bytes.Repeat([]byte{7}, 4096), 4096, 0) }()
	disk.Open()
	mustDo(t, <-slow)
	mustDo(t, <-behind)
	assertIdle(t, &v.locks)
}
