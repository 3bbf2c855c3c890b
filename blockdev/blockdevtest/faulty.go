package blockdevtest

import (
	"context"
	"errors"
	"sync"
	"time"

	"lockplate/blockdev"
)

// Op is a kind of request.
type Op uint8

// Kinds of requests. OpAny stands for all of them, but for OpClose.
const (
	OpAny Op = iota
	OpRead
	OpWrite
	OpZero
	OpTrim
	OpFlush
	OpExtents
	OpResize
	OpClose
	opCount
)

// String names the kind.
func (o Op) String() string {
	return [opCount]string{"any", "read", "write", "zero", "trim", "flush", "extents", "resize", "close"}[o]
}

// hooked runs before on each request; an error from it is the answer. The
// request then has not reached the device below.
type hooked struct {
	blockdev.Device
	before func(ctx context.Context, op Op, off, n int64, p []byte) error
}

func (h *hooked) ReadAt(ctx context.Context, p []byte, off int64) error {
	if err := h.before(ctx, OpRead, off, int64(len(p)), nil); err != nil {
		return err
	}
	return h.Device.ReadAt(ctx, p, off)
}

func (h *hooked) WriteAt(ctx context.Context, p []byte, off int64, f blockdev.Flag) error {
	if err := h.before(ctx, OpWrite, off, int64(len(p)), p); err != nil {
		return err
	}
	return h.Device.WriteAt(ctx, p, off, f)
}

func (h *hooked) Zero(ctx context.Context, off, n int64, f blockdev.Flag) error {
	if err := h.before(ctx, OpZero, off, n, nil); err != nil {
		return err
	}
	return h.Device.Zero(ctx, off, n, f)
}

func (h *hooked) Trim(ctx context.Context, off, n int64, f blockdev.Flag) error {
	if err := h.before(ctx, OpTrim, off, n, nil); err != nil {
		return err
	}
	return h.Device.Trim(ctx, off, n, f)
}

func (h *hooked) Flush(ctx context.Context) error {
	if err := h.before(ctx, OpFlush, 0, 0, nil); err != nil {
		return err
	}
	return h.Device.Flush(ctx)
}

func (h *hooked) Extents(ctx context.Context, off, n int64) ([]blockdev.Extent, error) {
	if err := h.before(ctx, OpExtents, off, n, nil); err != nil {
		return nil, err
	}
	return h.Device.Extents(ctx, off, n)
}

func (h *hooked) Resize(ctx context.Context, size int64) error {
	if err := h.before(ctx, OpResize, size, 0, nil); err != nil {
		return err
	}
	return h.Device.Resize(ctx, size)
}

// Close closes the device below in any case, so that a test leaves nothing
// open, and reports the hook's error first.
func (h *hooked) Close() error {
	hook := h.before(context.Background(), OpClose, 0, 0, nil)
	if err := h.Device.Close(); hook == nil {
		return err
	}
	return hook
}

// ErrInjected is the error of a Fault that names none.
var ErrInjected = errors.New("injected fault")

// Fault says which request fails, and how.
type Fault struct {
	Op   Op
	N    int   // the N-th request of this kind from now, 1 is the next
	Err  error // nil is ErrInjected
	Stay bool  // every request of this kind after it fails as well, as on a dead disk
	Torn bool  // a failing write has written the first half of its 512-byte units
}

// Faulty is a device whose requests fail on demand.
type Faulty struct {
	hooked
	mu    sync.Mutex
	fault Fault
	armed bool
	fired int
	count [opCount]int
}

// NewFaulty returns d with no fault armed.
func NewFaulty(d blockdev.Device) *Faulty {
	f := &Faulty{}
	f.hooked = hooked{Device: d, before: f.before}
	return f
}

// Arm sets the one fault that is to come, instead of an earlier one.
func (f *Faulty) Arm(x Fault) {
	if x.Err == nil {
		x.Err = ErrInjected
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.armed, f.fired = x, true, 0
}

// Disarm lets all requests pass.
func (f *Faulty) Disarm() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = false
}

// Fired tells how many requests have failed since Arm. A test that fails the
// N-th request for every N ends when nothing fired.
func (f *Faulty) Fired() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fired
}

// Count tells how many requests of a kind there were in all, OpAny: of every
// kind but OpClose.
func (f *Faulty) Count(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count[op]
}

func (f *Faulty) before(ctx context.Context, op Op, off, _ int64, p []byte) error {
	x, hit := f.next(op)
	if !hit {
		return nil
	}
	if op == OpWrite && x.Torn {
		unit := max(512, f.Device.Info().Align)
		half := len(p) / unit / 2 * unit
		// The error that counts is the injected one.
		_ = f.Device.WriteAt(ctx, p[:half], off, 0)
	}
	return x.Err
}

// next counts a request and tells whether it is to fail.
func (f *Faulty) next(op Op) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count[op]++
	if op != OpClose {
		f.count[OpAny]++
	}
	if !f.armed || f.fault.Op != op && (f.fault.Op != OpAny || op == OpClose) {
		return Fault{}, false
	}
	f.fault.N--
	if f.fault.N > 0 || f.fault.N < 0 && !f.fault.Stay {
		return Fault{}, false
	}
	f.fired++
	return f.fault, true
}

// Delay returns d with a pause before each request; wait gives its length. A
// context that ends cuts the pause short and is the request's error.
func Delay(d blockdev.Device, wait func(op Op, n int64) time.Duration) blockdev.Device {
	return &hooked{Device: d, before: func(ctx context.Context, op Op, _, n int64, _ []byte) error {
		pause := wait(op, n)
		if pause <= 0 {
			return nil
		}
		t := time.NewTimer(pause)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
			return nil
		}
	}}
}

// Gate is a device that can be stalled: requests of some kinds wait until they
// are let go, so that tests of slow disks need no clock.
type Gate struct {
	hooked
	mu      sync.Mutex
	shut    [opCount]bool
	changed chan struct{} // closed and replaced at each change
	waiting int
}

// NewGate returns d with all requests passing.
func NewGate(d blockdev.Device) *Gate {
	g := &Gate{changed: make(chan struct{})}
	g.hooked = hooked{Device: d, before: g.before}
	return g
}

// Stall makes requests of a kind wait from now on, OpAny those of every kind
// but OpClose.
func (g *Gate) Stall(op Op) { g.update(func() { g.shut[op] = true }) }

// Open lets everything that waits or comes pass.
func (g *Gate) Open() { g.update(func() { g.shut = [opCount]bool{} }) }

// AwaitWaiting returns when at least n requests wait at the gate.
func (g *Gate) AwaitWaiting(ctx context.Context, n int) error {
	return g.await(ctx, func() bool { return g.waiting >= n })
}

func (g *Gate) before(ctx context.Context, op Op, _, _ int64, _ []byte) error {
	open := func() bool { return !g.shut[op] && (!g.shut[OpAny] || op == OpClose) }
	g.mu.Lock()
	passes := open()
	g.mu.Unlock()
	if passes {
		return nil
	}
	g.update(func() { g.waiting++ })
	defer g.update(func() { g.waiting-- })
	return g.await(ctx, open)
}

func (g *Gate) update(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
	close(g.changed)
	g.changed = make(chan struct{})
}

// await waits for a condition on what mu guards.
func (g *Gate) await(ctx context.Context, done func() bool) error {
	for {
		g.mu.Lock()
		ok, changed := done(), g.changed
		g.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}
