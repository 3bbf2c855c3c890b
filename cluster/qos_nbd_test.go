package cluster

import (
	"errors"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lockplate/blockdev"
	"lockplate/nbd"
)

// overNBD serves the volumes of c on a socket and gives a way to attach them.
func overNBD(t *testing.T, c *Cluster, l nbd.Limits) func(export string) *nbd.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := nbd.NewServer(nbd.Config{Exports: c.Exports("nbd"), Limits: l})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { srv.Serve(t.Context(), ln) })
	t.Cleanup(serving.Wait)
	return func(export string) *nbd.Client {
		t.Helper()
		nc, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		d, err := nbd.NewClient(t.Context(), nc, export, nbd.DialOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d
	}
}

// A client with many requests at once is never faster than maxIOPS. That it is
// no slower is shown where the clock is not shared with other programs.
func TestNBDClientKeepsToMaxIOPS(t *testing.T) {
	c, _ := exported(t, &QoS{MinIOPS: 50, MaxIOPS: 2000, BurstIOPS: 2000, BurstTime: 60})
	d := overNBD(t, c, nbd.Limits{})("v")
	const requests, workers = 800, 32
	var wg sync.WaitGroup
	start := time.Now()
	for range workers {
		wg.Go(func() {
			for range requests / workers {
				if err := d.WriteAt(t.Context(), make([]byte, 4096), 0, 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if took, least := time.Since(start), time.Second*(requests-2000/evenOut)/2000; took < least {
		t.Errorf("%d requests took %s, want %s at least", requests, took, least)
	}
}

// A volume far over its limit, with as much in flight as it may have, holds up
// no other that shares the server's memory; and a gateway that stops does not
// wait for it.
func TestThrottledClientHoldsUpNobody(t *testing.T) {
	c, v := exported(t, &QoS{MinIOPS: 50, MaxIOPS: 100, BurstIOPS: 100, BurstTime: 60})
	free := c.track(volumeRecord{ID: 2, Name: "free", Size: mib, Emulate512: true, Access: AccessReadWrite})
	free.online(&stack{dev: blockdev.NewMem(mib)})
	attach := overNBD(t, c, nbd.Limits{TotalBytes: 64 * mib})
	held, other := attach("v"), attach("free")
	var wg sync.WaitGroup
	var done atomic.Int64
	for range 64 { // 96 s at 100 IOPS
		wg.Go(func() {
			if err := held.WriteAt(t.Context(), make([]byte, mib), 0, 0); err != nil {
				t.Error(err)
			}
			done.Add(1)
		})
	}
	for v.io.inFlight() == 0 {
		if err := other.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	p, err := make([]byte, 65536), error(nil)
	for range 200 {
		err = errors.Join(err, other.WriteAt(t.Context(), p, 0, 0))
	}
	if n := done.Load(); n > 32 || err != nil {
		t.Errorf("the other volume waited for %d writes of the throttled one: %v", n, err)
	}
	c.LiftLimits()
	wg.Wait()
}
