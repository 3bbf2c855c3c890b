package blockdevtest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"

	"lockplate/blockdev"
)

// Exerciser sends random requests to a range of a device and compares every
// read with a model of what the range must hold. It is for one goroutine;
// several may share a device if their ranges are apart.
type Exerciser struct {
	d     blockdev.Device
	off   int64 // of the range on the device
	align int64
	r     *rand.Rand
	data  []byte // what the range must hold
	known []byte // 1 where data is certain: undefined is what was trimmed or never written
	step  int
	last  string // the latest request, for messages
}

// NewExerciser exercises n bytes at off, both multiples of the device's
// alignment. The same seed gives the same requests.
func NewExerciser(d blockdev.Device, off, n int64, seed uint64) *Exerciser {
	return &Exerciser{
		d: d, off: off, align: int64(d.Info().Align), r: newRand(seed),
		data: make([]byte, n), known: make([]byte, n),
	}
}

// Reopened goes on with another device that must hold the same, such as the
// same image opened again.
func (e *Exerciser) Reopened(d blockdev.Device) { e.d, e.align = d, int64(d.Info().Align) }

// Run sends n requests and then reads all of the range. The error tells which
// request was the last before the device and the model differed.
func (e *Exerciser) Run(ctx context.Context, n int) error {
	for range n {
		e.step++
		if err := e.request(ctx); err != nil {
			return fmt.Errorf("request %d, %s: %w", e.step, e.last, err)
		}
	}
	return e.Verify(ctx)
}

// Verify reads all of the range and compares it with the model.
func (e *Exerciser) Verify(ctx context.Context) error {
	return e.compare(ctx, 0, int64(len(e.data)))
}

// request sends one request: mostly reads and writes, mostly small.
func (e *Exerciser) request(ctx context.Context) error {
	at, n := e.pick()
	f := blockdev.Flag(0)
	if e.r.IntN(16) == 0 {
		f = blockdev.FUA
	}
	switch k := e.r.IntN(100); {
	case k < 35:
		e.last = fmt.Sprintf("read %d at %d", n, at)
		return e.compare(ctx, at, n)
	case k < 75:
		return e.write(ctx, at, n, f)
	case k < 87:
		return e.zero(ctx, at, n, f|blockdev.NoHole&blockdev.Flag(e.r.IntN(256)))
	case k < 97:
		return e.trim(ctx, at, n, f)
	default:
		e.last = "flush"
		return e.d.Flush(ctx)
	}
}

// pick chooses a place and a length: of any alignment if the device allows,
// often whole blocks, now and then large.
func (e *Exerciser) pick() (at, n int64) {
	size := int64(len(e.data))
	n = 1 + e.r.Int64N(16<<10)
	if e.r.IntN(20) == 0 {
		n = 1 + e.r.Int64N(256<<10)
	}
	at = e.r.Int64N(size)
	grain := e.align
	if e.r.IntN(2) == 0 {
		grain = max(grain, []int64{512, 4096}[e.r.IntN(2)])
	}
	at -= at % grain
	n = max(grain, n-n%grain)
	if n > size-at {
		n = size - at
	}
	return at, n
}

// buffer is memory at an odd or an even address, as clients have it.
func (e *Exerciser) buffer(n int64) []byte {
	skip := int64(e.r.IntN(8))
	return make([]byte, n+skip)[skip:]
}

func (e *Exerciser) compare(ctx context.Context, at, n int64) error {
	got := e.buffer(n)
	if err := e.d.ReadAt(ctx, got, e.off+at); err != nil {
		return err
	}
	want, known := e.data[at:at+n], e.known[at:at+n]
	if bytes.Equal(got, want) {
		return nil
	}
	for i := range got {
		if known[i] == 1 && got[i] != want[i] {
			return fmt.Errorf("byte %d is %#02x, want %#02x", e.off+at+int64(i), got[i], want[i])
		}
	}
	return nil
}

func (e *Exerciser) write(ctx context.Context, at, n int64, f blockdev.Flag) error {
	e.last = fmt.Sprintf("write %d at %d, flags %d", n, at, f)
	p := e.buffer(n)
	fill(e.r, p)
	e.learn(at, p)
	return e.d.WriteAt(ctx, p, e.off+at, f)
}

func (e *Exerciser) zero(ctx context.Context, at, n int64, f blockdev.Flag) error {
	e.last = fmt.Sprintf("zero %d at %d, flags %d", n, at, f)
	e.learn(at, make([]byte, n))
	return e.d.Zero(ctx, e.off+at, n, f)
}

func (e *Exerciser) trim(ctx context.Context, at, n int64, f blockdev.Flag) error {
	e.last = fmt.Sprintf("trim %d at %d, flags %d", n, at, f)
	e.learn(at, make([]byte, n))
	if !e.d.Info().TrimZeroes {
		clear(e.known[at : at+n])
	}
	return e.d.Trim(ctx, e.off+at, n, f)
}

// learn notes what a range now holds.
func (e *Exerciser) learn(at int64, p []byte) {
	copy(e.data[at:], p)
	for i := range p {
		e.known[at+int64(i)] = 1
	}
}

// fill puts random bytes into p, eight at a time.
func fill(r *rand.Rand, p []byte) {
	for len(p) >= 8 {
		v := r.Uint64()
		for i := range 8 {
			p[i] = byte(v >> (8 * i))
		}
		p = p[8:]
	}
	for i := range p {
		p[i] = byte(r.Uint32())
	}
}
