package cluster

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"lockplate/blockdev"
)

// Numbers of the limiter. What is counted are hundredths of a request of
// 4 KiB, as in Element's curve.
const (
	costUnit     = 100
	costPerMiB   = 15_000
	evenOut      = 20      // a rate may be exceeded for 1/20 s, since timers are not exact
	costStep     = 1 << 20 // bytes; longer runs of zeroes are written, and paid for, in such steps
	leastForMore = 10 * costUnit
)

// costCurve is what requests of a size cost: larger ones less a byte. Between
// two points it is straight.
var costCurve = [...]struct{ size, cost int64 }{
	{4 << 10, 100},
	{8 << 10, 160},
	{16 << 10, 270},
	{32 << 10, 500},
	{64 << 10, 1000},
	{128 << 10, 1950},
	{256 << 10, 3900},
	{512 << 10, 7600},
	{1 << 20, costPerMiB},
}

// requestCost is what a request of n bytes costs.
func requestCost(n int64) int64 {
	if n <= costCurve[0].size {
		return costCurve[0].cost
	}
	for i, to := range costCurve[1:] {
		if n <= to.size {
			from := costCurve[i]
			return from.cost + (to.cost-from.cost)*(n-from.size)/(to.size-from.size)
		}
	}
	return n>>20*costPerMiB + (n&(1<<20-1))*costPerMiB>>20
}

// limiter holds a volume to a QoS by two buckets. The sustained one fills at
// maxIOPS and holds the credit that is left unused; the peak one keeps who
// spends credit to burstIOPS. A limiter begins without credit and never
// changes: a volume whose QoS changes gets another one.
//
// A request waits with its buffer. Front ends bound those, nbd by connection
// and in all, so that what waits for one volume leaves room for the others.
type limiter struct {
	qos       QoS
	sustained *rate.Limiter
	peak      *rate.Limiter // nil: no burst
	piece     int64         // what is taken from the buckets at once, at most
	turn      chan struct{} // held by the one request that takes tokens
	replaced  chan struct{} // closed when the volume has another limiter, or none
}

// newLimiter makes a limiter; nil if there is nothing to limit.
func newLimiter(q *QoS) *limiter {
	if q == nil || q.MaxIOPS >= MostIOPS {
		return nil
	}
	fill := q.MaxIOPS * costUnit
	even := max(fill/evenOut, leastForMore)
	credit := (q.BurstIOPS - q.MaxIOPS) * costUnit * q.BurstTime
	l := &limiter{qos: *q, piece: even, turn: make(chan struct{}, 1), replaced: make(chan struct{})}
	l.sustained = rate.NewLimiter(rate.Limit(fill), int(even+credit))
	l.sustained.AllowN(time.Now(), int(credit))
	if credit > 0 {
		burst := q.BurstIOPS * costUnit
		l.peak = rate.NewLimiter(rate.Limit(burst), int(max(burst/evenOut, leastForMore)))
	}
	return l
}

// credit is how many requests may be made beyond maxIOPS now.
func (l *limiter) credit() int64 {
	if l == nil || l.peak == nil {
		return 0
	}
	return max(int64(l.sustained.Tokens())/costUnit, 0)
}

// pay takes what a request costs from the buckets, piece by piece, so that no
// bucket has to hold all of it. It returns what is left to pay: nothing, or
// more than that when the limiter was replaced or ctx ended. Requests take
// turns in the order in which they came; only the first in line has tokens
// reserved, so that whoever gives up gives all of them back.
func (l *limiter) pay(ctx context.Context, cost int64) (left int64, err error) {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-l.replaced:
		return cost, nil
	case <-ctx.Done():
		return cost, context.Cause(ctx)
	}
	for cost > 0 {
		n := min(cost, l.piece)
		if taken, err := l.take(ctx, n); !taken {
			return cost, err
		}
		cost -= n
	}
	return 0, nil
}

// take waits until the buckets have n; false: it ended before.
func (l *limiter) take(ctx context.Context, n int64) (bool, error) {
	now := time.Now()
	slow := l.sustained.ReserveN(now, int(n))
	wait := slow.DelayFrom(now)
	var fast *rate.Reservation
	if l.peak != nil {
		fast = l.peak.ReserveN(now, int(n))
		wait = max(wait, fast.DelayFrom(now))
	}
	if wait <= 0 {
		return true, nil
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	var err error
	select {
	case <-t.C:
		return true, nil
	case <-l.replaced:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	slow.Cancel()
	if fast != nil {
		fast.Cancel()
	}
	return false, err
}

// admit waits until the volume may do a request of n bytes. Without a limit
// that is a look at a pointer.
func (h *handle) admit(ctx context.Context, n int64) error {
	if h.v.limit.Load() == nil {
		return nil
	}
	return h.wait(ctx, requestCost(n))
}

// admitWrite is admit for a request that changes data: the volume may have been
// made read-only while it waited.
func (h *handle) admitWrite(ctx context.Context, n int64) error {
	if h.v.limit.Load() == nil {
		return nil
	}
	err := h.wait(ctx, requestCost(n))
	if err == nil && h.v.readOnly.Load() {
		return blockdev.ErrReadOnly
	}
	return err
}

// wait pays what a request costs. It ends early, leaving the word to the
// device, when the volume is taken out of service or its limit is lifted.
func (h *handle) wait(ctx context.Context, cost int64) (err error) {
	start := time.Now()
	for cost > 0 {
		l := h.v.limit.Load() // before the stack: see liveVolume.relimit
		if l == nil || h.v.stack.Load() != h.stack {
			break
		}
		if cost, err = l.pay(ctx, cost); err != nil {
			return err
		}
	}
	if d := time.Since(start); d >= throttledFrom {
		h.v.io.throttled.Add(int64(d))
		h.v.io.held.Add(1)
	}
	return nil
}

// throttledFrom is what counts as waiting; taking tokens that are there is
// faster.
const throttledFrom = 50 * time.Microsecond

// rangeOp is Device.Zero or Device.Trim.
type rangeOp func(ctx context.Context, off, n int64, f blockdev.Flag) error

// inSteps does a request that the device writes out, paid for as it goes. One
// that is cheap for the device is paid as the smallest, whatever it covers.
func (h *handle) inSteps(ctx context.Context, do rangeOp, off, n int64, f blockdev.Flag, cheap bool) error {
	if h.v.limit.Load() == nil {
		return do(ctx, off, n, f)
	}
	if cheap {
		if err := h.admitWrite(ctx, 0); err != nil {
			return err
		}
		return do(ctx, off, n, f)
	}
	if err := h.info.Check(off, n); err != nil {
		return err
	}
	for n > 0 {
		step := min(n, costStep-off%costStep)
		if err := h.admitWrite(ctx, step); err != nil {
			return err
		}
		if err := do(ctx, off, step, f); err != nil {
			return err
		}
		off, n = off+step, n-step
	}
	return nil
}

// relimit gives a volume another limiter. Those who wait for the old one see
// it; after a change of the stack they also see that, since it came before.
func (v *liveVolume) relimit(l *limiter) {
	if old := v.limit.Swap(l); old != nil {
		close(old.replaced)
	}
}

// wakeWaiting makes requests that wait look whether the volume is still theirs.
func (v *liveVolume) wakeWaiting() {
	if l := v.limit.Load(); l != nil {
		v.relimit(newLimiter(&l.qos))
	}
}

// holdTo holds a volume to the QoS that it has now. The same values go on with
// the credit that they have.
func (c *Cluster) holdTo(v *liveVolume) {
	r := v.record()
	q, old := c.qosOf(&r), v.limit.Load()
	if old != nil && q != nil && *q == old.qos {
		return
	}
	v.relimit(newLimiter(q))
	if c.unlimited.Load() {
		v.relimit(nil)
	}
}

// LiftLimits lets go every request that waits for its volume's QoS, and holds
// none from then on. It is the first step of shutting down: what clients have
// sent is then finished without delay.
func (c *Cluster) LiftLimits() {
	c.unlimited.Store(true) // before the loop: see holdTo
	for _, v := range c.liveVolumes() {
		v.relimit(nil)
	}
}
