package volume

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"lockplate/blockdev"
)

// The model test does random operations of any alignment on a volume and on a
// plain array of bytes, and compares. LOCKPLATE_MODEL_OPS sets the number of
// operations over all cases, LOCKPLATE_MODEL_SEED another sequence.

const (
	modelOps     = 60_000
	modelSize    = 3 << 20
	modelWorkers = 4
	opsPerOpen   = 700 // the volume is closed and opened again so often
)

type modelCase struct {
	sector, align int
	discard       Discard
}

func modelCases() []modelCase {
	return []modelCase{
		{4096, 1, DiscardZero},
		{4096, 512, DiscardPass},
		{4096, 4096, DiscardOff},
		{512, 1, DiscardPass},
		{512, 512, DiscardZero},
		{512, 4096, DiscardOff},
		{0, 1, DiscardZero},
		{0, 4096, DiscardPass},
		{0, 512, DiscardZero},
	}
}

func envInt(t *testing.T, name string, def int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return def
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func TestModel(t *testing.T) {
	cases := modelCases()
	ops := envInt(t, "LOCKPLATE_MODEL_OPS", modelOps)
	seed := uint64(envInt(t, "LOCKPLATE_MODEL_SEED", 1))
	for i, c := range cases {
		share := ops / len(cases)
		if i == 0 {
			share += ops % len(cases)
		}
		name := fmt.Sprintf("sector%d/align%d/%s", c.sector, c.align, c.discard)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			m := newModel(t, c, rand.New(rand.NewPCG(seed, uint64(i))))
			m.run(share)
			t.Logf("seed %d: %d operations, %d bytes, in %v", seed, share, m.bytes, time.Since(start).Round(time.Millisecond))
		})
	}
}

// model is one volume with the array it must equal.
type model struct {
	t     *testing.T
	c     modelCase
	rng   *rand.Rand
	low   *lower
	v     *Volume
	want  []byte
	bytes int64
}

func newModel(t *testing.T, c modelCase, rng *rand.Rand) *model {
	m := &model{t: t, c: c, rng: rng, low: newLower(modelSize, c.align)}
	m.reopen()
	m.want = make([]byte, modelSize)
	if err := m.v.ReadAt(t.Context(), m.want, 0); err != nil { // noise, if encrypted
		t.Fatal(err)
	}
	return m
}

func (m *model) reopen() {
	if m.v != nil {
		if err := m.v.Close(); err != nil {
			m.t.Fatal(err)
		}
	}
	m.v = mustOpen(m.t, m.low, m.c.sector, Options{Discard: m.c.discard})
}

// run does ops operations, alternately in sequence and concurrently.
func (m *model) run(ops int) {
	for concurrent := false; ops > 0; concurrent = !concurrent {
		n := min(ops, opsPerOpen)
		if concurrent {
			m.concurrent(n)
		} else {
			a := m.actor(0, modelSize)
			a.run(n)
			m.bytes += a.bytes
		}
		ops -= n
		if m.t.Failed() {
			return
		}
		m.reopen()
		m.compare()
	}
}

// concurrent lets workers loose on interleaved regions whose borders lie
// within sectors, so that neighbours change the same sectors all the time.
func (m *model) concurrent(ops int) {
	actors := make([][]*actor, modelWorkers)
	for lo, i := int64(0), 0; lo < modelSize; i++ {
		hi := min(modelSize, lo+1+m.rng.Int64N(64<<10))
		if m.rng.IntN(40) == 0 { // room for requests that are split
			hi = min(modelSize, lo+700<<10)
		}
		actors[i%modelWorkers] = append(actors[i%modelWorkers], m.actor(lo, hi))
		lo = hi
	}
	var wg sync.WaitGroup
	for w, own := range actors {
		rng := rand.New(rand.NewPCG(m.rng.Uint64(), uint64(w)))
		wg.Go(func() {
			for range ops / modelWorkers {
				own[rng.IntN(len(own))].run(1)
			}
		})
	}
	wg.Wait()
	for _, own := range actors {
		for _, a := range own {
			m.bytes += a.bytes
		}
	}
}

func (m *model) compare() {
	got := make([]byte, modelSize)
	if err := m.v.ReadAt(m.t.Context(), got, 0); err != nil {
		m.t.Fatal(err)
	}
	if i := diff(got, m.want); i >= 0 {
		m.t.Fatalf("byte %d is %#x, want %#x", i, got[i], m.want[i])
	}
}

func diff(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return len(a)
}

// actor works on one region of the volume that nobody else touches.
type actor struct {
	m      *model
	rng    *rand.Rand
	lo, hi int64
	buf    []byte
	bytes  int64
}

func (m *model) actor(lo, hi int64) *actor {
	return &actor{m: m, rng: rand.New(rand.NewPCG(m.rng.Uint64(), uint64(lo))), lo: lo, hi: hi}
}

// span picks a range: mostly small, any alignment, now and then whole sectors.
func (a *actor) span() (off, n int64) {
	size := a.hi - a.lo
	switch k := a.rng.IntN(1000); {
	case k < 850:
		n = a.rng.Int64N(4097)
	case k < 970:
		n = a.rng.Int64N(16 << 10)
	case k < 997:
		n = a.rng.Int64N(64 << 10)
	default:
		n = a.rng.Int64N(700 << 10)
	}
	n = min(n, size)
	off = a.lo + a.rng.Int64N(size-n+1)
	if a.rng.IntN(3) == 0 {
		align := int64(512) << a.rng.IntN(4)
		o, e := (off+align-1)&^(align-1), (off+n)&^(align-1)
		if o <= e {
			off, n = o, e-o
		}
	}
	return off, n
}

func (a *actor) run(ops int) {
	for range ops {
		if err := a.step(); err != nil {
			a.m.t.Errorf("sector %d, align %d, discard %s: %v", a.m.c.sector, a.m.c.align, a.m.c.discard, err)
			return
		}
	}
}

func (a *actor) step() error {
	ctx := a.m.t.Context()
	off, n := a.span()
	var f blockdev.Flag
	if a.rng.IntN(8) == 0 {
		f = blockdev.FUA
	}
	a.bytes += n
	want := a.m.want[off : off+n]
	switch k := a.rng.IntN(100); {
	case k < 45:
		return a.read(ctx, want, off)
	case k < 88:
		fillRandom(a.rng, want)
		return a.m.v.WriteAt(ctx, append(a.room(0), want...), off, f)
	case k < 92:
		clear(want)
		if a.rng.IntN(2) == 0 {
			f |= blockdev.NoHole
		}
		return a.m.v.Zero(ctx, off, n, f)
	case k < 97:
		return a.trim(ctx, want, off, f)
	default:
		return a.m.v.Flush(ctx)
	}
}

// room is a's buffer with n bytes of it in use.
func (a *actor) room(n int64) []byte {
	if a.buf == nil {
		a.buf = make([]byte, 0, 700<<10)
	}
	return a.buf[:n]
}

func (a *actor) read(ctx context.Context, want []byte, off int64) error {
	got := a.room(int64(len(want)))
	if err := a.m.v.ReadAt(ctx, got, off); err != nil {
		return err
	}
	if i := diff(got, want); i >= 0 {
		return fmt.Errorf("read %d bytes at %d: byte %d is %#x, want %#x", len(want), off, i, got[i], want[i])
	}
	return nil
}

// trim expects zeroes where the volume promises them; else it takes over what
// the trimmed sectors read as, which must not change from then on.
func (a *actor) trim(ctx context.Context, want []byte, off int64, f blockdev.Flag) error {
	if err := a.m.v.Trim(ctx, off, int64(len(want)), f); err != nil {
		return err
	}
	if a.m.v.Info().TrimZeroes {
		clear(want)
		return a.read(ctx, want, off)
	}
	if a.m.v.opts.Discard == DiscardPass {
		if lo, hi := a.m.v.middle(off, int64(len(want))); lo < hi {
			return a.m.v.ReadAt(ctx, want[lo-off:hi-off], lo)
		}
	}
	return a.read(ctx, want, off)
}
