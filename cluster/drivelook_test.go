package cluster

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lockplate/blockdev"
	"lockplate/blockdev/blockdevtest"
)

// hangingDrive is a drive whose questions wait at a gate, whatever their
// context says, as calls to a dead NFS server do.
type hangingDrive struct {
	blockdev.Drive
	gate *blockdevtest.Gate
}

func (d hangingDrive) wait() { d.gate.ReadAt(context.Background(), make([]byte, 512), 0) }

func (d hangingDrive) Info(ctx context.Context) (blockdev.DriveInfo, error) {
	d.wait()
	return d.Drive.Info(ctx)
}

func (d hangingDrive) Images(ctx context.Context) ([]string, error) {
	d.wait()
	return d.Drive.Images(ctx)
}

// hang makes drive id hang until the gate is opened.
func (r *rig) hang(id int64) *blockdevtest.Gate {
	r.t.Helper()
	gate := blockdevtest.NewGate(blockdev.NewMem(mib))
	gate.Stall(blockdevtest.OpAny)
	r.t.Cleanup(gate.Open)
	d, err := r.liveDrive(id)
	r.must(err)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.be = hangingDrive{d.be, gate}
	return gate
}

// A metadata drive that hangs is lost as one that is gone, by the health loop
// itself; meanwhile every question about the cluster is answered, and one
// goroutine waits for the drive.
func TestMetadataDriveThatHangsStopsNobody(t *testing.T) {
	t.Parallel()
	r, v := withMetadata(t)
	ctx := t.Context()
	plain := r.create(CreateVolume{Name: "other", Size: mib})
	gate := r.hang(2)
	r.must(gate.AwaitWaiting(ctx, 1)) // the loop asks every second
	begin := time.Now()
	r.eventually(func() bool { return strings.Contains(codes(r.current()), faultDriveFailed) })
	if got := r.volume(v.ID); got.State != VolumeOnline {
		t.Errorf("volume is %s while its header's drive may yet answer", got.State)
	}
	r.eventually(func() bool { return strings.Contains(codes(r.current()), faultSliceService) })
	if took := time.Since(begin); took < r.cfg.hangTime-time.Second {
		t.Errorf("the drive was lost after %v", took)
	}
	begin = time.Now()
	for range 20 {
		if s := r.driveStatus(2); s != DriveFailed {
			t.Errorf("drive that hangs is %s", s)
		}
	}
	_, err := r.DeleteVolume(ctx, plain.ID) // the lock of changes is free
	r.must(err)
	if took := time.Since(begin); took > lookTime {
		t.Errorf("21 calls took %v", took)
	}
	if got := r.volume(v.ID); got.State != VolumeOffline {
		t.Errorf("volume without its header is %s", got.State)
	}
	gate.Open()
	r.eventually(func() bool { return r.driveStatus(2) == DriveAvailable })
	_, err = r.AddDrives(ctx, []AddDrive{{ID: 2}})
	r.must(err)
	if got := r.volume(v.ID); got.State != VolumeOnline {
		t.Errorf("volume is %s: %s", got.State, got.Reason)
	}
}

// A metadata drive that is silent for a while and comes back is not lost.
func TestMetadataDriveThatPausesStays(t *testing.T) {
	t.Parallel()
	r, v := withMetadata(t)
	gate := r.hang(2)
	r.eventually(func() bool { return strings.Contains(codes(r.current()), faultDriveFailed) })
	gate.Open()
	r.eventually(func() bool { return codes(r.current()) == "" })
	if s := r.driveStatus(2); s != DriveActive {
		t.Errorf("drive is %s", s)
	}
	if got := r.volume(v.ID); got.State != VolumeOnline {
		t.Errorf("volume is %s", got.State)
	}
}

func TestBlockDriveThatHangsIsFailedAndItsVolumesGoOn(t *testing.T) {
	t.Parallel()
	r := withCluster(t)
	r.create(CreateVolume{Name: "v", Size: mib})
	dev := r.attach("v")
	gate := r.hang(1)
	r.eventually(func() bool { return r.driveStatus(1) == DriveFailed })
	data := random(4096)
	r.write(dev, 0, data)
	r.expect(dev, 0, data)
	gate.Open()
	r.eventually(func() bool { return r.driveStatus(1) == DriveActive })
}

func TestLookAsksOneQuestionAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l driveLook
		var asked atomic.Int64
		let := make(chan struct{})
		hang := func(context.Context) (int, error) {
			asked.Add(1)
			<-let
			return 1, nil
		}
		begin := time.Now()
		if _, err := look(t.Context(), &l, lookTime, hang); !errors.Is(err, errStalled) || time.Since(begin) != lookTime {
			t.Errorf("first look: %v after %v", err, time.Since(begin))
		}
		begin = time.Now()
		for range 10 {
			if _, err := look(t.Context(), &l, lookTime, hang); !errors.Is(err, errStalled) {
				t.Errorf("look meanwhile: %v", err)
			}
		}
		if asked.Load() != 1 || time.Since(begin) != 0 {
			t.Errorf("asked %d times, which took %v", asked.Load(), time.Since(begin))
		}
		var closed atomic.Bool
		if err := l.after(func() error { closed.Store(true); return nil }); err != nil || closed.Load() {
			t.Errorf("after: %v, ran beside the question: %v", err, closed.Load())
		}
		close(let)
		synctest.Wait()
		if n, err := look(t.Context(), &l, lookTime, hang); n != 1 || err != nil || !closed.Load() {
			t.Errorf("afterwards: %d, %v, closed %v", n, err, closed.Load())
		}
	})
}
