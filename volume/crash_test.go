package volume

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"lockplate/blockdev"
	"lockplate/blockdev/blockdevtest"
)

// After a power cut every 512-byte unit of plaintext is as it was after some
// request: not before the last one known to be durable, not after the one
// under way. With 512-byte sectors, or a medium that writes 4096 bytes in one
// piece, that is the promise "old or new" for the sector; with torn 4096-byte
// sectors it is the weaker one, that no piece is ever anything else.
func TestPowerCutLeavesOldOrNew(t *testing.T) {
	const size = 96 << 10
	for _, c := range []struct{ sector, align, size, ops int }{
		{512, 512, size, 60},
		{4096, 512, size, 60},
		{4096, 4096, size, 60},
		{0, 512, size, 60},
		{512, 1, size, 60},
		{4096, 1, 768 << 10, 12},
	} {
		for _, discard := range []Discard{DiscardZero, DiscardPass} {
			t.Run(fmt.Sprintf("sector%d/align%d/%d/%s", c.sector, c.align, c.size, discard), func(t *testing.T) {
				t.Parallel()
				h := newHistory(t, c.sector, c.align, int64(c.size), discard)
				for range c.ops {
					h.step()
				}
				n := h.checkStates()
				t.Logf("%d states", n)
				if n < c.ops {
					t.Errorf("only %d states", n)
				}
			})
		}
	}
}

const tear = 512

// history is a volume on a crash disk with what it held after each request.
type history struct {
	t       *testing.T
	rng     *rand.Rand
	disk    *blockdevtest.Crash
	v       *Volume
	sector  int
	discard Discard
	after   []moment // [0] is the beginning
}

// moment is the end of a request.
type moment struct {
	content []byte
	pos     int   // records of the disk by then
	fua     bool  // the request was durable by itself
	off, n  int64 // what it changed
	what    string
}

func newHistory(t *testing.T, sector, align int, size int64, discard Discard) *history {
	rng := rand.New(rand.NewPCG(uint64(sector), uint64(align)))
	base := blockdev.NewMem(size)
	mustDo(t, base.WriteAt(t.Context(), randomBytes(rng, int(size)), 0, 0))
	h := &history{t: t, rng: rng, sector: sector, discard: discard}
	h.disk = blockdevtest.CrashOn(base, blockdevtest.CrashOptions{Seed: 3, Tears: 10, Reorders: 24, Align: align})
	h.v = mustOpen(t, h.disk, sector, Options{Discard: discard})
	h.after = []moment{{content: readAll(t, h.v)}}
	return h
}

func (h *history) step() {
	ctx, size := h.t.Context(), h.v.Info().Size
	n := 1 + h.rng.Int64N([]int64{300, 5000, size / 2}[h.rng.IntN(3)])
	off := h.rng.Int64N(size - n)
	m := moment{off: off, n: n}
	var f blockdev.Flag
	if h.rng.IntN(5) == 0 {
		f, m.fua = blockdev.FUA, true
	}
	switch k := h.rng.IntN(20); {
	case k < 12:
		m.what = "write"
		mustDo(h.t, h.v.WriteAt(ctx, randomBytes(h.rng, int(n)), off, f))
	case k < 14:
		m.what = "zero"
		mustDo(h.t, h.v.Zero(ctx, off, n, f))
	case k < 16:
		m.what = "trim"
		mustDo(h.t, h.v.Trim(ctx, off, n, f))
		m.fua = m.fua && h.v.Info().TrimZeroes // parts of sectors are left alone otherwise
	default:
		m = moment{what: "flush"}
		mustDo(h.t, h.v.Flush(ctx))
	}
	m.content, m.pos = readAll(h.t, h.v), h.disk.Pos()
	h.after = append(h.after, m)
}

// checkStates opens the volume on every state of the disk.
func (h *history) checkStates() (states int) {
	h.disk.Points(func(s blockdevtest.State) bool {
		states++
		v := mustOpen(h.t, s.Device, h.sector, Options{Discard: h.discard})
		h.check(s, readAll(h.t, v))
		return !h.t.Failed()
	})
	return states
}

func (h *history) check(s blockdevtest.State, got []byte) {
	first, last := 0, len(h.after)-1
	for i, m := range h.after {
		if m.pos <= s.Flushed {
			first = i
		}
		if m.pos > s.Pos {
			last = i
			break
		}
	}
	for u := int64(0); u < int64(len(got)); u += tear {
		if !h.known(got[u:u+tear], u, h.durable(first, s.Pos, u), last) {
			h.t.Errorf("%s: the 512 bytes at %d are as after none of requests %d to %d (%s)", s.Name, u, first, last, h.after[last].what)
			return
		}
	}
}

// durable is the last request before pos that the unit at u must show: one
// before a flush (first), or a later one with FUA.
func (h *history) durable(first, pos int, u int64) int {
	for i := first + 1; i < len(h.after) && h.after[i].pos <= pos; i++ {
		if m := h.after[i]; m.fua && m.off < u+tear && m.off+m.n > u {
			first = i
		}
	}
	return first
}

func (h *history) known(got []byte, u int64, first, last int) bool {
	for i := first; i <= last; i++ {
		if bytes.Equal(got, h.after[i].content[u:u+tear]) {
			return true
		}
	}
	return false
}
