package blockdevtest_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"testing"

	"lockplate/blockdev"
	"lockplate/blockdev/blockdevtest"
)

// brokenEnv names the broken device that a child process puts through the
// suite.
const brokenEnv = "BLOCKDEVTEST_BROKEN"

// broken is a device with one mistake: the functions that are set replace a
// method.
type broken struct {
	*blockdev.Mem
	read    func(p []byte, off int64) error
	write   func(p []byte, off int64) error
	zero    func(off, n int64, f blockdev.Flag) error
	trim    func(off, n int64) error
	extents func(off, n int64) ([]blockdev.Extent, error)
	resize  func(size int64) error
	close   func() error
	info    func(*blockdev.Info)
}

func (b *broken) ReadAt(ctx context.Context, p []byte, off int64) error {
	if b.read != nil {
		return b.read(p, off)
	}
	return b.Mem.ReadAt(ctx, p, off)
}

func (b *broken) WriteAt(ctx context.Context, p []byte, off int64, f blockdev.Flag) error {
	if b.write != nil {
		return b.write(p, off)
	}
	return b.Mem.WriteAt(ctx, p, off, f)
}

func (b *broken) Zero(ctx context.Context, off, n int64, f blockdev.Flag) error {
	if b.zero != nil {
		return b.zero(off, n, f)
	}
	return b.Mem.Zero(ctx, off, n, f)
}

func (b *broken) Trim(ctx context.Context, off, n int64, f blockdev.Flag) error {
	if b.trim != nil {
		return b.trim(off, n)
	}
	return b.Mem.Trim(ctx, off, n, f)
}

func (b *broken) Extents(ctx context.Context, off, n int64) ([]blockdev.Extent, error) {
	if b.extents != nil {
		return b.extents(off, n)
	}
	return b.Mem.Extents(ctx, off, n)
}

func (b *broken) Resize(ctx context.Context, size int64) error {
	if b.resize != nil {
		return b.resize(size)
	}
	return b.Mem.Resize(ctx, size)
}

func (b *broken) Close() error {
	if b.close != nil {
		return b.close()
	}
	return b.Mem.Close()
}

func (b *broken) Info() blockdev.Info {
	i := b.Mem.Info()
	if b.info != nil {
		b.info(&i)
	}
	return i
}

// mistakes are the broken devices, each with the property that must find it.
var mistakes = map[string]struct {
	breakIt func(b *broken, m *blockdev.Mem)
	finder  string
}{
	"loses the last byte": {func(b *broken, m *blockdev.Mem) {
		b.write = func(p []byte, off int64) error { return m.WriteAt(background, p[:max(len(p)-1, 0)], off, 0) }
	}, "HoldsWhatTheModelHolds"},
	"writes later from the caller's buffer": {func(b *broken, m *blockdev.Mem) {
		var late []byte
		var at int64
		b.write = func(p []byte, off int64) error {
			late, at = p, off
			return m.WriteAt(background, bytes.Clone(p), off, 0)
		}
		b.read = func(p []byte, off int64) error {
			_ = m.WriteAt(background, late, at, 0)
			return m.ReadAt(background, p, off)
		}
	}, "BufferIsTheCallersAgain"},
	"reads past its buffer": {func(b *broken, m *blockdev.Mem) {
		b.read = func(p []byte, off int64) error {
			return m.ReadAt(background, p[:min(cap(p), len(p)+32)], off)
		}
	}, "ReadStaysInItsBuffer"},
	"takes requests outside": {func(b *broken, m *blockdev.Mem) {
		b.trim = func(off, n int64) error {
			_ = m.Trim(background, off, n, 0)
			return nil
		}
	}, "RefusesWhatIsOutside"},
	"ignores alignment": {func(b *broken, _ *blockdev.Mem) {
		b.info = func(i *blockdev.Info) { i.Align = 512 }
	}, "RefusesWhatIsUnaligned"},
	"zeroes a block too many": {func(b *broken, m *blockdev.Mem) {
		b.zero = func(off, n int64, f blockdev.Flag) error {
			if n > 0 && off+n < m.Info().Size {
				n++
			}
			return m.Zero(background, off, n, f)
		}
	}, "ZeroReadsZero"},
	"zeroes and says it was not fast": {func(b *broken, m *blockdev.Mem) {
		b.zero = func(off, n int64, f blockdev.Flag) error {
			if err := m.Zero(background, off, n, f); err != nil || f&blockdev.FastZero == 0 {
				return err
			}
			return blockdev.ErrNotFast
		}
	}, "ZeroReadsZero"},
	"does not zero without holes": {func(b *broken, m *blockdev.Mem) {
		b.zero = func(off, n int64, f blockdev.Flag) error {
			if f&blockdev.NoHole != 0 {
				n = 0
			}
			return m.Zero(background, off, n, f)
		}
	}, "ZeroReadsZero"},
	"trims whole blocks": {func(b *broken, m *blockdev.Mem) {
		b.trim = func(off, n int64) error {
			if err := m.Info().Check(off, n); err != nil {
				return err
			}
			end := min((off+n+4095)&^4095, m.Info().Size)
			return m.Trim(background, off&^4095, end-off&^4095, 0)
		}
	}, "TrimSparesNeighbours"},
	"claims zeroes that are not": {func(b *broken, m *blockdev.Mem) {
		b.extents = func(off, n int64) ([]blockdev.Extent, error) {
			if err := m.Info().Check(off, n); err != nil || n == 0 {
				return nil, err
			}
			return []blockdev.Extent{{Len: n, Hole: true, Zero: true}}, nil
		}
	}, "ExtentsAreHonest"},
	"answers more than was asked": {func(b *broken, m *blockdev.Mem) {
		b.extents = func(off, n int64) ([]blockdev.Extent, error) {
			list, err := m.Extents(background, off, n)
			return append(list, blockdev.Extent{Len: 4096}), err
		}
	}, "ExtentsCoverTheRange"},
	"merges without a lock": {func(b *broken, m *blockdev.Mem) {
		b.write = func(p []byte, off int64) error {
			if err := m.Info().Check(off, int64(len(p))); err != nil {
				return err
			}
			from, to := off&^65535, min((off+int64(len(p))+65535)&^65535, m.Info().Size)
			block := make([]byte, to-from)
			if err := m.ReadAt(background, block, from); err != nil {
				return err
			}
			runtime.Gosched()
			copy(block[off-from:], p)
			return m.WriteAt(background, block, from, 0)
		}
	}, "ConcurrentNeighbours"},
	"shrinks": {func(b *broken, m *blockdev.Mem) {
		b.resize = func(int64) error { return nil }
	}, "GrowsAndNeverShrinks"},
	"answers after close": {func(b *broken, m *blockdev.Mem) {
		b.close = func() error { return nil }
	}, "ClosedIsClosed"},
}

// TestBroken is the child: it puts one broken device through the suite.
func TestBroken(t *testing.T) {
	mistake, ok := mistakes[os.Getenv(brokenEnv)]
	if !ok {
		return // not a child
	}
	blockdevtest.TestDevice(t, func(*testing.T) blockdev.Device {
		m := blockdev.NewMem(layerSize)
		b := &broken{Mem: m}
		mistake.breakIt(b, m)
		return b
	})
}

func TestSuiteFindsMistakes(t *testing.T) {
	for name, mistake := range mistakes {
		t.Run(name, func(t *testing.T) {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(self, "-test.run=^TestBroken$/^"+mistake.finder+"$", "-test.timeout=20s")
			cmd.Env = append(os.Environ(), brokenEnv+"="+name)
			out, err := cmd.CombinedOutput()
			found := regexp.MustCompile(`(?m)^ +--- FAIL: TestBroken/` + mistake.finder)
			if err == nil || !found.Match(out) {
				t.Errorf("%s did not find it: %v\n%s", mistake.finder, err, out)
			}
		})
	}
}
