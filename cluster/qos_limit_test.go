package cluster

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lockplate/blockdev"
)

// exported makes a volume in memory, held to q, and its exports.
func exported(t testing.TB, q *QoS) (*Cluster, *liveVolume) {
	t.Helper()
	c := newCluster(Config{})
	v := c.track(volumeRecord{ID: 1, Name: "v", Size: 64 * mib, Emulate512: true, Access: AccessReadWrite, QoS: q})
	v.online(&stack{dev: blockdev.NewMem(64 * mib)})
	return c, v
}

// open attaches the volume of exported.
func open(t testing.TB, c *Cluster) blockdev.Device {
	t.Helper()
	d, err := c.Exports("nbd").Open(t.Context(), "v")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// served counts the requests of n bytes that workers get through in a time.
func served(t *testing.T, d blockdev.Device, n int, workers int, how time.Duration) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), how)
	defer cancel()
	var mu sync.Mutex
	var done int
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			p := make([]byte, n)
			for d.WriteAt(ctx, p, 0, 0) == nil {
				mu.Lock()
				done++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return done
}

// within fails unless got is within 15 % of want.
func within(t *testing.T, what string, got, want int) {
	t.Helper()
	if got*100 < want*85 || got*100 > want*115 {
		t.Errorf("%s: %d, want %d within 15 %%", what, got, want)
	}
}

// Sizes cost as Element has it, and more is never cheaper.
func TestCostFollowsElementsCurve(t *testing.T) {
	for n, want := range map[int64]int64{
		0: 100, 512: 100, 4096: 100, 8192: 160, 16384: 270, 32768: 500, 65536: 1000, 131072: 1950,
		262144: 3900, 524288: 7600, 1 << 20: 15000, 2 << 20: 30000, 32 << 20: 480_000,
		6144: 130, 98304: 1475, 3 << 19: 22_500,
	} {
		if got := requestCost(n); got != want {
			t.Errorf("%d bytes cost %d, want %d", n, got, want)
		}
	}
	last := int64(0)
	for n := int64(0); n <= 3<<20; n += 512 {
		c := requestCost(n)
		if c < last {
			t.Fatalf("%d bytes cost %d, fewer than less", n, c)
		}
		last = c
	}
}

// In the long run a volume does maxIOPS, whatever the size of its requests and
// however many it has at once.
func TestVolumeKeepsToMaxIOPS(t *testing.T) {
	for _, c := range []struct {
		name             string
		iops             int64
		bytes, workers   int
		seconds, inTotal int
	}{
		{"4 KiB", 1000, 4096, 1, 10, 10_000},
		{"4 KiB, many at once", 1000, 4096, 64, 10, 10_000},
		{"64 KiB", 1000, 65536, 8, 10, 1000},
		{"1 MiB, slowest limit", 100, 1 << 20, 4, 60, 40},
		{"fast", 50_000, 4096, 16, 2, 100_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cl, _ := exported(t, &QoS{MinIOPS: 50, MaxIOPS: c.iops, BurstIOPS: c.iops, BurstTime: 60})
				within(t, "requests", served(t, open(t, cl), c.bytes, c.workers, time.Duration(c.seconds)*time.Second), c.inTotal)
			})
		})
	}
}

// What is left unused below maxIOPS is credit, spent at burstIOPS and no
// faster, for burstTime when it is full.
func TestUnusedIOPSAreCreditForABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, v := exported(t, &QoS{MinIOPS: 50, MaxIOPS: 1000, BurstIOPS: 3000, BurstTime: 10})
		d := open(t, c)
		within(t, "without credit", served(t, d, 4096, 8, 5*time.Second), 5000)
		time.Sleep(time.Minute)
		if got := v.limit.Load().credit(); got < 19_000 || got > 21_000 {
			t.Errorf("full credit is %d, want (3000-1000) for 10 s", got)
		}
		within(t, "burst", served(t, d, 4096, 8, 10*time.Second), 30_000)
		within(t, "after the burst", served(t, d, 4096, 8, 10*time.Second), 10_000)
		time.Sleep(5 * time.Second)
		within(t, "a part of the credit", served(t, d, 4096, 8, 10*time.Second), 15_000)
	})
}

// Reading and writing share one limit; flushing is free.
func TestReadsAndWritesShareTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, v := exported(t, &QoS{MinIOPS: 50, MaxIOPS: 100, BurstIOPS: 100, BurstTime: 60})
		d, p, start := open(t, c), make([]byte, 4096), time.Now()
		for range 500 {
			if err := errors.Join(d.ReadAt(t.Context(), p, 0), d.WriteAt(t.Context(), p, 0, 0), d.Flush(t.Context())); err != nil {
				t.Fatal(err)
			}
		}
		within(t, "seconds", int(time.Since(start)/time.Second), 10)
		if v.io.held.Load() == 0 || time.Duration(v.io.throttled.Load()) < 9*time.Second {
			t.Errorf("counted %d requests, %s", v.io.held.Load(), time.Duration(v.io.throttled.Load()))
		}
	})
}

// Zeroes cost what they write: one small request where the device is told,
// the whole range where zeroes are written out.
func TestZeroesCostWhatTheyWrite(t *testing.T) {
	for _, c := range []struct {
		name  string
		cheap bool
		flags blockdev.Flag
		want  time.Duration
	}{{"written", false, 0, 15 * time.Second}, {"told", true, 0, 0}, {"fast or not at all", false, blockdev.FastZero, 0}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cl, _ := exported(t, &QoS{MinIOPS: 50, MaxIOPS: 100, BurstIOPS: 100, BurstTime: 60})
				d := open(t, cl).(*handle)
				d.info.CanZero, d.info.TrimZeroes = c.cheap, true
				start := time.Now()
				if err := d.Zero(t.Context(), 4096, 10*mib, c.flags); err != nil {
					t.Fatal(err)
				}
				within(t, "seconds of zeroing", int(time.Since(start).Seconds()), int(c.want.Seconds()))
				if start = time.Now(); c.flags == 0 {
					if err := d.Trim(t.Context(), 0, 10*mib, 0); err != nil {
						t.Fatal(err)
					}
					within(t, "seconds of trimming", int(time.Since(start).Seconds()), int(c.want.Seconds()))
				}
				if err := d.Zero(t.Context(), 60*mib, 8*mib, 0); !errors.Is(err, blockdev.ErrRange) {
					t.Errorf("beyond the end: %v", err)
				}
			})
		})
	}
}

// A client that leaves, a volume that is locked and a gateway that stops do
// not wait for tokens, and a change holds for those that wait already.
func TestWaitingEnds(t *testing.T) {
	slow := &QoS{MinIOPS: 50, MaxIOPS: 100, BurstIOPS: 100, BurstTime: 60}
	for _, c := range []struct {
		name string
		do   func(*Cluster, *liveVolume, context.CancelFunc)
		want error
	}{
		{"disconnect", func(_ *Cluster, _ *liveVolume, leave context.CancelFunc) { leave() }, context.Canceled},
		{"lock", func(_ *Cluster, v *liveVolume, _ context.CancelFunc) { v.deactivate(context.Background()) }, blockdev.ErrClosed},
		{"shutdown", func(c *Cluster, _ *liveVolume, _ context.CancelFunc) { c.LiftLimits() }, nil},
		{"read-only", func(c *Cluster, v *liveVolume, _ context.CancelFunc) {
			v.setRecord(volumeRecord{ID: 1, Name: "v", Access: AccessReadOnly})
			c.holdTo(v)
		}, blockdev.ErrReadOnly},
		{"limit gone", func(c *Cluster, v *liveVolume, _ context.CancelFunc) {
			v.setRecord(volumeRecord{ID: 1, Name: "v", Access: AccessReadWrite})
			c.holdTo(v)
		}, nil},
		{"higher limit", func(c *Cluster, v *liveVolume, _ context.CancelFunc) {
			v.setRecord(volumeRecord{ID: 1, Name: "v", Access: AccessReadWrite, QoS: &QoS{MinIOPS: 50, MaxIOPS: 100_000, BurstIOPS: 100_000, BurstTime: 60}})
			c.holdTo(v)
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cl, v := exported(t, slow)
				d := open(t, cl)
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				result := make(chan error, 1)
				go func() { result <- d.WriteAt(ctx, make([]byte, 32*mib), 0, 0) }() // 48 s
				time.Sleep(10 * time.Second)
				synctest.Wait()
				select {
				case err := <-result:
					t.Fatalf("did not wait: %v", err)
				default:
				}
				start := time.Now()
				c.do(cl, v, leave)
				if err := <-result; !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				}
				if d := time.Since(start); d > time.Second {
					t.Errorf("went on after %s", d)
				}
			})
		})
	}
}

// What a client gives up is there for others.
func TestTokensNotWaitedForAreGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := exported(t, &QoS{MinIOPS: 50, MaxIOPS: 100, BurstIOPS: 100, BurstTime: 60})
		d := open(t, c)
		ctx, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { d.ReadAt(ctx, make([]byte, mib), 0) })
		}
		synctest.Wait()
		leave()
		wg.Wait()
		start := time.Now()
		if err := d.ReadAt(t.Context(), make([]byte, 4096), 0); err != nil || time.Since(start) > time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

// A volume without a limit pays nothing for there being limits.
func TestNoLimitCostsNoAllocation(t *testing.T) {
	for name, q := range map[string]*QoS{"never set": nil, "set to the most": {50, MostIOPS, MostIOPS, 60}} {
		c, v := exported(t, q)
		if v.limit.Load() != nil {
			t.Errorf("%s: there is a limiter", name)
		}
		d, p, ctx := open(t, c), make([]byte, 4096), t.Context()
		err := d.WriteAt(ctx, p, 0, 0)
		if n := testing.AllocsPerRun(200, func() {
			err = errors.Join(err, d.ReadAt(ctx, p, 0), d.WriteAt(ctx, p, 0, 0), d.Zero(ctx, 0, 4096, 0), d.Trim(ctx, 0, 4096, 0))
		}); n > 0 || err != nil {
			t.Errorf("%s: %g allocations, %v", name, n, err)
		}
	}
}

// A write that waits while its volume is made read-only is refused in the end,
// though nobody takes the limit away.
func TestNoWriteAfterWaitingOnAVolumeMadeReadOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &QoS{MinIOPS: 50, MaxIOPS: 100, BurstIOPS: 100, BurstTime: 60}
		for name, do := range map[string]func(d blockdev.Device) error{
			"write": func(d blockdev.Device) error { return d.WriteAt(t.Context(), make([]byte, 4*mib), 0, 0) },
			"zero":  func(d blockdev.Device) error { return d.Zero(t.Context(), 0, 4*mib, 0) },
		} {
			c, v := exported(t, q)
			d := open(t, c)
			d.(*handle).info.CanZero = false
			result := make(chan error, 1)
			go func() { result <- do(d) }()
			synctest.Wait()
			v.setRecord(volumeRecord{ID: 1, Name: "v", Access: AccessReadOnly, QoS: q})
			c.holdTo(v)
			if err := <-result; !errors.Is(err, blockdev.ErrReadOnly) {
				t.Errorf("%s: %v, want ErrReadOnly", name, err)
			}
		}
	})
}
