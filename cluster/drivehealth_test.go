package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lockplate/blockdev"
)

// withMetadata is a cluster whose volume "v" has its header on metadata drive 2.
func withMetadata(t *testing.T) (*rig, Volume) {
	t.Helper()
	r := withCluster(t)
	r.addDrive("meta", RoleMetadata)
	return r, r.create(CreateVolume{Name: "v", Size: mib, Detached: true})
}

// Mission row 12: a metadata drive fails, is shown failed and then available,
// the service fault names the way out, and AddDrives heals it.
func TestMetadataDriveFailsAndIsAddedAgain(t *testing.T) {
	t.Parallel()
	r, v := withMetadata(t)
	ctx := t.Context()
	plain := r.create(CreateVolume{Name: "other", Size: mib})
	data := random(4096)
	h := r.attach("v")
	r.write(h, 0, data)
	mend := r.breakDrive("meta")
	r.check(ctx)
	if s := r.driveStatus(2); s != DriveFailed {
		t.Errorf("drive that is away is %s, want failed", s)
	}
	if got := r.volume(v.ID); got.State != VolumeOffline || got.Reason == "" {
		t.Errorf("volume without its header is %s (%s), want offline", got.State, got.Reason)
	}
	if err := h.ReadAt(ctx, make([]byte, 512), 0); !errors.Is(err, blockdev.ErrClosed) {
		t.Errorf("read by an attached client = %v, want ErrClosed", err)
	}
	if got := r.volume(plain.ID); got.State != VolumeOnline {
		t.Errorf("volume with its own header is %s", got.State)
	}
	if got := codes(r.current()); got != "sliceServiceUnhealthy driveFailed volumesOffline" {
		t.Errorf("faults while away: %q", got)
	}
	if _, err := r.AddDrives(ctx, []AddDrive{{ID: 2}}); err == nil {
		t.Error("a drive that is away was added")
	}
	mend()
	r.check(ctx)
	r.heal(ctx)
	if s := r.driveStatus(2); s != DriveAvailable {
		t.Errorf("drive that is back is %s, want available", s)
	}
	if got := codes(r.current()); got != "sliceServiceUnhealthy volumesOffline driveAvailable" {
		t.Errorf("faults before it is added again: %q", got)
	}
	r.clock.advance(6 * time.Minute)
	if f := r.current()[0]; f.Severity != sevError {
		t.Errorf("after 6 minutes the fault is a %s", f.Severity)
	}
	_, err := r.AddDrives(ctx, []AddDrive{{ID: 2}})
	r.must(err)
	if got := r.current(); len(got) != 0 {
		t.Errorf("faults after AddDrives: %q", codes(got))
	}
	r.expect(r.attach("v"), 0, data)
}

func TestLostMetadataDriveStaysLostAcrossRestart(t *testing.T) {
	r, v := withMetadata(t)
	mend := r.breakDrive("meta")
	r.restart()
	r.check(t.Context())
	if s := r.driveStatus(2); s != DriveFailed {
		t.Errorf("drive missing at start is %s, want failed", s)
	}
	mend()
	r.restart()
	if s := r.driveStatus(2); s != DriveAvailable {
		t.Errorf("drive back at the next start is %s, want available", s)
	}
	if got := r.volume(v.ID); got.State != VolumeOffline {
		t.Errorf("volume is %s before its header's drive was added", got.State)
	}
	_, err := r.AddDrives(t.Context(), []AddDrive{{URI: "dir:" + filepath.Join(r.dir, "meta")}})
	r.must(err)
	if got := r.volume(v.ID); got.State != VolumeOnline {
		t.Errorf("volume is %s: %s", got.State, got.Reason)
	}
}

func TestEmptyDirectoryIsNotTheMetadataDrive(t *testing.T) {
	r, _ := withMetadata(t)
	mend := r.breakDrive("meta")
	meta := filepath.Join(r.dir, "meta")
	r.must(os.Mkdir(meta, 0o700)) // as when the file system on it is not mounted
	r.check(t.Context())
	if s := r.driveStatus(2); s != DriveFailed {
		t.Errorf("drive without its images is %s, want failed", s)
	}
	for _, a := range []AddDrive{{ID: 2}, {URI: "dir:" + meta}} {
		if _, err := r.AddDrives(t.Context(), []AddDrive{a}); !errors.Is(err, errMissingImages) {
			t.Errorf("add of an empty directory = %v, want errMissingImages", err)
		}
	}
	r.must(os.Remove(meta))
	mend()
	r.check(t.Context())
	if s := r.driveStatus(2); s != DriveAvailable {
		t.Errorf("drive with its images back is %s, want available", s)
	}
}

// The background loop does all of this by itself.
func TestLossOfAMetadataDriveIsNoticedWhileRunning(t *testing.T) {
	t.Parallel()
	r, _ := withMetadata(t)
	mend := r.breakDrive("meta")
	r.eventually(func() bool { return strings.Contains(codes(r.current()), faultSliceService) })
	mend()
	r.eventually(func() bool { return r.driveStatus(2) == DriveAvailable })
}

// eventually waits up to 20 s, so that a busy machine passes, for a condition.
func (r *rig) eventually(ok func() bool) {
	r.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 1000 {
		if ok() {
			return
		}
		<-tick.C
	}
	r.t.Fatal("did not happen within 20 s")
}
