package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sys/unix"

	"lockplate/blockdev"
)

func TestDriveLifeCycle(t *testing.T) {
	r := withCluster(t)
	ctx := t.Context()
	v := r.create(CreateVolume{Name: "v", Size: mib})
	if _, err := r.RemoveDrives(ctx, []int64{1}); !errors.Is(err, ErrInUse) {
		t.Errorf("remove of a used drive = %v, want ErrInUse", err)
	}
	_, err := r.DeleteVolume(ctx, v.ID)
	r.must(err)
	if _, err := r.RemoveDrives(ctx, []int64{1}); !errors.Is(err, ErrInUse) {
		t.Errorf("remove of a drive with a deleted volume = %v, want ErrInUse", err)
	}
	r.must(r.PurgeVolume(ctx, v.ID))
	if err := r.ForgetDrive(ctx, 1); !errors.Is(err, ErrState) {
		t.Errorf("forget of an active drive = %v, want ErrState", err)
	}
	_, err = r.RemoveDrives(ctx, []int64{1})
	r.must(err)
	r.restart()
	if s := r.driveStatus(1); s != DriveAvailable {
		t.Errorf("removed drive is %s, want available", s)
	}
	_, err = r.AddDrives(ctx, []AddDrive{{ID: 1}})
	r.must(err)
	if s := r.driveStatus(1); s != DriveActive {
		t.Errorf("drive added again is %s, want active", s)
	}
	_, err = r.RemoveDrives(ctx, []int64{1})
	r.must(err)
	r.must(r.ForgetDrive(ctx, 1))
	r.addDrive("d2", RoleBlock)
	if s := r.driveStatus(2); s != DriveActive {
		t.Errorf("ids must not be used twice: drive 2 is %s", s)
	}
}

func (r *rig) driveStatus(id int64) DriveStatus {
	r.t.Helper()
	drives, err := r.Drives(r.t.Context())
	r.must(err)
	for _, d := range drives {
		if d.ID == id {
			return d.Status
		}
	}
	return ""
}

func TestAddDriveRefusals(t *testing.T) {
	r := withCluster(t)
	var invalid *InvalidError
	var missing *NotFoundError
	uri := "dir:" + filepath.Join(r.dir, "d1")
	for name, tc := range map[string]struct {
		add  []AddDrive
		want any
	}{
		"none":             {nil, &invalid},
		"no id, no uri":    {[]AddDrive{{}}, &invalid},
		"known uri":        {[]AddDrive{{URI: uri}}, &invalid},
		"twice in a call":  {[]AddDrive{{URI: "mem:1M"}, {URI: "mem:1M"}}, &invalid},
		"unknown id":       {[]AddDrive{{ID: 5}}, &missing},
		"active already":   {[]AddDrive{{ID: 1}}, ErrState},
		"bad role":         {[]AddDrive{{URI: "mem:1M", Role: "x"}}, &invalid},
		"metadata not dir": {[]AddDrive{{URI: "mem:1M", Role: RoleMetadata}}, &invalid},
	} {
		_, err := r.AddDrives(t.Context(), tc.add)
		if w, is := tc.want.(error); is && errors.Is(err, w) {
			continue
		} else if !is && errors.As(err, tc.want) {
			continue
		}
		t.Errorf("%s: error %v (%T)", name, err, err)
	}
	if d, err := r.Drives(t.Context()); err != nil || len(d) != 1 {
		t.Errorf("drives after refusals: %v, %v", d, err)
	}
}

func TestAsyncResultIsHandedOutOnce(t *testing.T) {
	r := withCluster(t)
	ctx := t.Context()
	h, err := r.AddDrives(ctx, []AddDrive{{URI: "mem:8M"}})
	r.must(err)
	r.restart()
	a, err := r.Async(ctx, h, true)
	r.must(err)
	if !a.Done || a.Type != "DriveAdd" || a.ErrName != "" {
		t.Errorf("async %+v", a)
	}
	if all, err := r.Asyncs(ctx); err != nil || len(all) != 2 {
		t.Errorf("%d results, %v; want 2", len(all), err)
	}
	_, err = r.Async(ctx, h, false)
	r.must(err)
	var missing *NotFoundError
	if _, err := r.Async(ctx, h, false); !errors.As(err, &missing) {
		t.Errorf("second time = %v, want NotFoundError", err)
	}
}

func TestMissingDriveHealsByItself(t *testing.T) {
	r := withCluster(t)
	v := r.create(CreateVolume{Name: "v", Size: mib})
	data := random(4096)
	r.write(r.attach("v"), 0, data)
	r.shutdown()
	d1, away := filepath.Join(r.dir, "d1"), filepath.Join(r.dir, "away")
	r.must(os.Rename(d1, away))
	r.start()
	if s := r.driveStatus(1); s != DriveFailed {
		t.Errorf("missing drive is %s, want failed", s)
	}
	if got := r.volume(v.ID); got.State != VolumeOffline || got.Reason == "" {
		t.Errorf("its volume is %s (%s), want offline with a reason", got.State, got.Reason)
	}
	codes := func() string {
		f, err := r.Faults(t.Context())
		r.must(err)
		var s []string
		for _, f := range f {
			s = append(s, f.Code)
		}
		return strings.Join(s, " ")
	}
	if got := codes(); got != "driveFailed volumesOffline" {
		t.Errorf("faults %q", got)
	}
	r.must(os.Rename(away, d1))
	if !r.heal(t.Context()) {
		t.Error("heal says that not all is well")
	}
	if got := codes(); got != "" {
		t.Errorf("faults after healing %q", got)
	}
	r.expect(r.attach("v"), 0, data)
}

func TestBrokenImagesStayOfflineWithTheReason(t *testing.T) {
	r := withCluster(t)
	a := r.create(CreateVolume{Name: "a", Size: mib})
	b := r.create(CreateVolume{Name: "b", Size: mib})
	c := r.create(CreateVolume{Name: "c", Size: mib})
	r.shutdown()
	r.must(os.Truncate(a.Path, a.Size+headerRoom-4096))
	img, err := os.ReadFile(c.Path)
	r.must(err)
	r.must(os.WriteFile(b.Path, img, 0o600))
	r.must(os.Truncate(c.Path, 0))
	r.start()
	for id, want := range map[int64]string{a.ID: "room for", b.ID: "another disk", c.ID: "header"} {
		if got := r.volume(id); got.State != VolumeOffline || !strings.Contains(got.Reason, want) {
			t.Errorf("volume %s: %s, %q; want offline with %q", got.Name, got.State, got.Reason, want)
		}
	}
}

func TestSingleDriveHoldsOneVolume(t *testing.T) {
	r := newRig(t)
	r.must(r.Create(t.Context(), r.params()))
	path := filepath.Join(r.dir, "disk.img")
	r.must(os.WriteFile(path, nil, 0o600))
	r.must(os.Truncate(path, 64*mib))
	_, err := r.AddDrives(t.Context(), []AddDrive{{URI: "file:" + path}})
	r.must(err)
	v := r.create(CreateVolume{Name: "v", Size: 20 * mib})
	data := random(4096)
	r.write(r.attach("v"), 0, data)
	if _, err := r.CreateVolume(t.Context(), CreateVolume{Name: "w", Size: mib, DriveID: 1}); !errors.Is(err, ErrInUse) {
		t.Errorf("second volume = %v, want ErrInUse", err)
	}
	size := int64(40 * mib)
	_, err = r.ModifyVolume(t.Context(), v.ID, ModifyVolume{Size: &size})
	r.must(err)
	r.restart()
	d := r.attach("v")
	r.expect(d, 0, data)
	r.write(d, size-512, random(512))
	_, err = r.DeleteVolume(t.Context(), v.ID)
	r.must(err)
	r.must(r.PurgeVolume(t.Context(), v.ID))
	if w := r.create(CreateVolume{Name: "w", DriveID: 1}); w.Size != 48*mib {
		t.Errorf("volume of the whole disk has %d bytes, want %d", w.Size, 48*mib)
	}
}

// A disk that already holds something is not taken for a new volume.
func TestForeignDiskIsNotOverwritten(t *testing.T) {
	r := newRig(t)
	r.must(r.Create(t.Context(), r.params()))
	path := filepath.Join(r.dir, "disk.img")
	r.must(os.WriteFile(path, []byte("somebody's data"), 0o600))
	r.must(os.Truncate(path, 64*mib))
	_, err := r.AddDrives(t.Context(), []AddDrive{{URI: "file:" + path}})
	r.must(err)
	if _, err := r.CreateVolume(t.Context(), CreateVolume{Name: "v", Size: mib}); !errors.Is(err, blockdev.ErrExist) {
		t.Errorf("create = %v, want ErrExist", err)
	}
	r.restart()
	b, err := os.ReadFile(path)
	r.must(err)
	if !strings.HasPrefix(string(b), "somebody's data") {
		t.Error("the disk was overwritten")
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	r := &rig{t: t, dir: t.TempDir(), clock: &clock{}}
	cfg := r.config()
	cfg.Registerer = reg
	c, err := Open(t.Context(), cfg)
	r.must(err)
	r.Cluster = c
	t.Cleanup(r.shutdown)
	r.must(r.Create(t.Context(), r.params()))
	r.addDrive("d1", RoleBlock)
	r.create(CreateVolume{Name: "v", Size: mib})
	d := r.attach("v")
	r.write(d, 0, random(8192))
	r.expect(d, 1<<19, make([]byte, 0))
	if err := d.ReadAt(t.Context(), make([]byte, 1), 1<<40); err == nil {
		t.Error("read past the end")
	}
	want := `
# HELP lockplate_volume_written_bytes_total Bytes written by clients.
# TYPE lockplate_volume_written_bytes_total counter
lockplate_volume_written_bytes_total{frontend="nbd",volume="v"} 8192
# HELP lockplate_volume_io_errors_total Requests answered with an error.
# TYPE lockplate_volume_io_errors_total counter
lockplate_volume_io_errors_total{op="flush",volume="v"} 0
lockplate_volume_io_errors_total{op="read",volume="v"} 1
lockplate_volume_io_errors_total{op="trim",volume="v"} 0
lockplate_volume_io_errors_total{op="write",volume="v"} 0
lockplate_volume_io_errors_total{op="zero",volume="v"} 0
# HELP lockplate_volume_state 1 for the present state of the volume.
# TYPE lockplate_volume_state gauge
lockplate_volume_state{state="locked",volume="v"} 0
lockplate_volume_state{state="offline",volume="v"} 0
lockplate_volume_state{state="online",volume="v"} 1
`
	names := []string{"lockplate_volume_written_bytes_total", "lockplate_volume_io_errors_total", "lockplate_volume_state"}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	if p, err := testutil.GatherAndLint(reg); err != nil || len(p) > 0 {
		t.Errorf("lint: %v, %v", p, err)
	}
	if n := testutil.CollectAndCount(r.metrics.duration); n == 0 {
		t.Error("no latency histogram")
	}
}

// A disk that turns read-only (as ext4 does on an error) keeps its volumes
// readable, says so, and is written again once it can be.
func TestReadOnlyDriveServesReads(t *testing.T) {
	r := newRig(t)
	r.must(r.Create(t.Context(), r.params()))
	dir := filepath.Join(r.dir, "mnt")
	r.must(os.Mkdir(dir, 0o700))
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("needs the right to mount: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	remount := func(flags uintptr) { r.must(unix.Mount("", dir, "", unix.MS_REMOUNT|flags, "size=64m")) }
	_, err := r.AddDrives(t.Context(), []AddDrive{{URI: "dir:" + dir}})
	r.must(err)
	v := r.create(CreateVolume{Name: "v", Size: mib})
	data := random(8192)
	r.write(r.attach("v"), 0, data)
	r.shutdown()
	remount(unix.MS_RDONLY)
	r.start()
	got := r.volume(v.ID)
	if got.State != VolumeOnline || got.Reason != readOnlyDrive {
		t.Fatalf("volume on a read-only drive: %s, %q", got.State, got.Reason)
	}
	f, err := r.Faults(t.Context())
	r.must(err)
	if len(f) != 1 || f[0].Code != "volumesDegraded" {
		t.Errorf("faults %+v", f)
	}
	h := r.attach("v")
	r.expect(h, 0, data)
	if err := h.WriteAt(t.Context(), make([]byte, 512), 0, 0); !errors.Is(err, blockdev.ErrReadOnly) || !h.Info().ReadOnly {
		t.Errorf("write = %v, read-only %v", err, h.Info().ReadOnly)
	}
	if _, err := r.CreateVolume(t.Context(), CreateVolume{Name: "w", Size: mib}); !errors.Is(err, blockdev.ErrReadOnly) {
		t.Errorf("create on a read-only drive = %v, want ErrReadOnly", err)
	}
	remount(0)
	r.heal(t.Context())
	if r.volume(v.ID).Reason == "" {
		t.Error("reopened under an attached client")
	}
	r.must(h.Close())
	r.heal(t.Context())
	d := r.attach("v")
	r.expect(d, 0, data)
	r.write(d, 0, random(512))
	r.must(d.Close())
	r.shutdown()
}
