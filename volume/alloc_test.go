package volume

import (
	"fmt"
	"testing"

	"lockplate/blockdev"
)

func TestRequestsAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	ctx := t.Context()
	for _, sector := range []int{0, 512, 4096} {
		v := mustOpen(t, blockdev.NewMem(8<<20), sector, Options{Discard: DiscardZero})
		mustDo(t, v.WriteAt(ctx, make([]byte, 8<<20), 0, 0)) // memory below exists from here on
		for _, n := range []int{4096, 64 << 10, 1 << 20} {
			p := make([]byte, n)
			for name, do := range map[string]func() error{
				"read":                func() error { return v.ReadAt(ctx, p, 8192) },
				"write":               func() error { return v.WriteAt(ctx, p, 8192, 0) },
				"durable write":       func() error { return v.WriteAt(ctx, p, 8192, blockdev.FUA) },
				"unaligned read":      func() error { return v.ReadAt(ctx, p, 8191) },
				"unaligned write":     func() error { return v.WriteAt(ctx, p, 8191, 0) },
				"zero, the head only": func() error { return v.Zero(ctx, 1, 100, 0) },
				"flush":               func() error { return v.Flush(ctx) },
			} {
				// Steady state: let pools and stacks reach their size first.
				for range 10 {
					mustDo(t, do())
				}
				if got := testing.AllocsPerRun(30, func() { _ = do() }); got != 0 {
					t.Errorf("sector %d: %s of %d bytes: %v allocations", sector, name, n, got)
				}
			}
		}
	}
}

func BenchmarkVolume(b *testing.B) {
	for _, sector := range []int{0, 512, 4096} {
		for _, n := range []int{4096, 64 << 10, 1 << 20} {
			v := mustOpen(b, blockdev.NewMem(64<<20), sector, Options{})
			p := make([]byte, n)
			for name, do := range map[string]func() error{
				"read":  func() error { return v.ReadAt(b.Context(), p, 0) },
				"write": func() error { return v.WriteAt(b.Context(), p, 0, 0) },
			} {
				b.Run(fmt.Sprintf("sector%d/%s/%d", sector, name, n), func(b *testing.B) {
					b.SetBytes(int64(n))
					b.ReportAllocs()
					for b.Loop() {
						mustDo(b, do())
					}
				})
			}
		}
	}
}

// BenchmarkPartialWrite is the cost of a read-modify-write.
func BenchmarkPartialWrite(b *testing.B) {
	v := mustOpen(b, blockdev.NewMem(64<<20), 4096, Options{})
	p := make([]byte, 512)
	b.ReportAllocs()
	for b.Loop() {
		mustDo(b, v.WriteAt(b.Context(), p, 512, 0))
	}
}
