package cluster

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lockplate/blockdev"
	"lockplate/store"
)

func TestCreateVolumeRefusals(t *testing.T) {
	r := withCluster(t)
	r.create(CreateVolume{Name: "taken", Size: mib})
	var invalid *InvalidError
	var missing *NotFoundError
	for _, tc := range []struct {
		name string
		p    CreateVolume
		want any
	}{
		{"name taken", CreateVolume{Name: "taken", Size: mib}, blockdev.ErrExist},
		{"empty name", CreateVolume{Size: mib}, &invalid},
		{"slash in name", CreateVolume{Name: "a/b", Size: mib}, &invalid},
		{"long name", CreateVolume{Name: strings.Repeat("a", 65), Size: mib}, &invalid},
		{"no size", CreateVolume{Name: "v"}, &invalid},
		{"negative size", CreateVolume{Name: "v", Size: -1}, &invalid},
		{"more than the drive", CreateVolume{Name: "v", Size: 1 << 59}, blockdev.ErrNoSpace},
		{"unknown drive", CreateVolume{Name: "v", Size: mib, DriveID: 99}, &missing},
		{"unknown account", CreateVolume{Name: "v", Size: mib, AccountID: 2}, &missing},
		{"bad access", CreateVolume{Name: "v", Size: mib, Access: "rw"}, &invalid},
		{"bad discard", CreateVolume{Name: "v", Size: mib, Discard: "maybe"}, &invalid},
		{"bad sector size", CreateVolume{Name: "v", Size: mib, SectorSize: 1000}, &invalid},
		{"large attributes", CreateVolume{Name: "v", Size: mib, Attributes: map[string]any{"a": strings.Repeat("x", 1000)}}, &invalid},
		{"no metadata drive", CreateVolume{Name: "v", Size: mib, Detached: true}, ErrState},
	} {
		_, err := r.CreateVolume(t.Context(), tc.p)
		ok := false
		switch w := tc.want.(type) {
		case error:
			ok = errors.Is(err, w)
		default:
			ok = errors.As(err, w)
		}
		if !ok {
			t.Errorf("%s: error %v (%T)", tc.name, err, err)
		}
	}
	vols, err := r.Volumes(t.Context())
	r.must(err)
	if len(vols) != 1 {
		t.Errorf("%d volumes after refusals, want 1", len(vols))
	}
}

func TestSizeIsRoundedUpToMiB(t *testing.T) {
	r := withCluster(t)
	if v := r.create(CreateVolume{Name: "v", Size: 1_000_000_000}); v.Size != 1_000_341_504 {
		t.Errorf("size %d, want 1000341504", v.Size)
	}
}

func TestGrowShowsToNewHandlesOnly(t *testing.T) {
	r := withCluster(t)
	v := r.create(CreateVolume{Name: "v", Size: mib})
	old := r.attach("v")
	data := random(mib)
	r.write(old, 0, data)
	size := int64(3 * mib)
	got, err := r.ModifyVolume(t.Context(), v.ID, ModifyVolume{Size: &size})
	r.must(err)
	if got.Size != size || old.Info().Size != mib {
		t.Errorf("volume %d, old handle %d", got.Size, old.Info().Size)
	}
	tail := random(4096)
	r.write(r.attach("v"), size-4096, tail)
	r.restart()
	d := r.attach("v")
	r.expect(d, 0, data)
	r.expect(d, size-4096, tail)
	small := int64(mib)
	var invalid *InvalidError
	if _, err := r.ModifyVolume(t.Context(), v.ID, ModifyVolume{Size: &small}); !errors.As(err, &invalid) {
		t.Errorf("shrinking = %v, want InvalidError", err)
	}
}

func TestDeleteRestorePurge(t *testing.T) {
	r := withCluster(t)
	v := r.create(CreateVolume{Name: "v", Size: mib})
	data := random(8192)
	h := r.attach("v")
	r.write(h, 0, data)
	del, err := r.DeleteVolume(t.Context(), v.ID)
	r.must(err)
	if del.State != VolumeDeleted || del.Purge.Sub(del.Deleted) != purgeAfter {
		t.Errorf("deleted volume: %+v", del)
	}
	if err := h.ReadAt(t.Context(), make([]byte, 512), 0); !errors.Is(err, blockdev.ErrClosed) {
		t.Errorf("read through an old handle = %v, want ErrClosed", err)
	}
	if _, err := r.Exports("nbd").Open(t.Context(), "v"); !errors.Is(err, blockdev.ErrNotExist) {
		t.Errorf("open of a deleted volume = %v, want ErrNotExist", err)
	}
	r.restart()
	_, err = r.RestoreVolume(t.Context(), v.ID)
	r.must(err)
	r.expect(r.attach("v"), 0, data)
	if err := r.PurgeVolume(t.Context(), v.ID); !errors.Is(err, ErrState) {
		t.Errorf("purge of a live volume = %v, want ErrState", err)
	}
	_, err = r.DeleteVolume(t.Context(), v.ID)
	r.must(err)
	r.must(r.PurgeVolume(t.Context(), v.ID))
	r.gone(v)
}

// gone checks that nothing of a purged volume is left.
func (r *rig) gone(v Volume) {
	r.t.Helper()
	var missing *NotFoundError
	if _, err := r.Volume(r.t.Context(), v.ID); !errors.As(err, &missing) {
		r.t.Errorf("volume after purge: %v", err)
	}
	if _, err := os.Stat(v.Path); !errors.Is(err, os.ErrNotExist) {
		r.t.Errorf("image after purge: %v", err)
	}
	r.must(r.store.View(r.t.Context(), func(tx store.Tx) error {
		for k, b := range tx.Scan("") {
			if bytes.Contains(b, []byte(v.UUID)) {
				r.t.Errorf("record %s still names the volume", k)
			}
		}
		return nil
	}))
}

func TestDeletedVolumeIsPurgedWhenItsTimeComes(t *testing.T) {
	r := withCluster(t)
	v := r.create(CreateVolume{Name: "v", Size: mib})
	_, err := r.DeleteVolume(t.Context(), v.ID)
	r.must(err)
	r.heal(t.Context())
	if r.volume(v.ID).State != VolumeDeleted {
		t.Fatal("purged too early")
	}
	r.clock.advance(purgeAfter + time.Second)
	r.heal(t.Context())
	r.gone(v)
}

func TestPurgeWithDriveAwayIsFinishedLater(t *testing.T) {
	r := withCluster(t)
	v := r.create(CreateVolume{Name: "v", Size: mib})
	_, err := r.DeleteVolume(t.Context(), v.ID)
	r.must(err)
	r.shutdown()
	d1, away := filepath.Join(r.dir, "d1"), filepath.Join(r.dir, "away")
	r.must(os.Rename(d1, away))
	r.start()
	r.must(r.PurgeVolume(t.Context(), v.ID))
	r.must(os.Rename(away, d1))
	r.heal(t.Context())
	r.gone(v)
}

func TestAccessModes(t *testing.T) {
	r := withCluster(t)
	v := r.create(CreateVolume{Name: "v", Size: mib})
	h := r.attach("v")
	set := func(a Access) {
		t.Helper()
		_, err := r.ModifyVolume(t.Context(), v.ID, ModifyVolume{Access: &a})
		r.must(err)
	}
	set(AccessReadOnly)
	if err := h.WriteAt(t.Context(), make([]byte, 512), 0, 0); !errors.Is(err, blockdev.ErrReadOnly) {
		t.Errorf("write through an old handle = %v, want ErrReadOnly", err)
	}
	if !r.attach("v").Info().ReadOnly {
		t.Error("new handle does not say that it is read-only")
	}
	set(AccessLocked)
	if err := h.ReadAt(t.Context(), make([]byte, 512), 0); !errors.Is(err, blockdev.ErrClosed) {
		t.Errorf("read of a locked volume = %v, want ErrClosed", err)
	}
	if _, err := r.Exports("nbd").Open(t.Context(), "v"); err == nil {
		t.Error("a locked volume was opened")
	}
	if got := r.volume(v.ID).State; got != VolumeLocked {
		t.Errorf("state %s, want locked", got)
	}
	if f, err := r.Faults(t.Context()); err != nil || len(f) != 0 {
		t.Errorf("faults %v, %v: locking by hand is not a fault", f, err)
	}
	set(AccessReadWrite)
	r.write(r.attach("v"), 0, random(512))
}

// A creation cut short at any durable step is taken back at the next boot.
func TestUnfinishedCreationIsTakenBack(t *testing.T) {
	for _, step := range []string{"recorded", "image made", "header written"} {
		t.Run(step, func(t *testing.T) {
			r := withCluster(t)
			v := r.create(CreateVolume{Name: "v", Size: mib})
			lv, err := r.liveVolume(v.ID)
			r.must(err)
			rec := lv.record()
			rec.Phase = phaseCreating
			r.must(r.store.Update(t.Context(), func(tx store.Tx) error { return putRecord(tx, recordKey(prefixVol, v.ID), rec) }))
			r.shutdown()
			switch step {
			case "recorded":
				r.must(os.Remove(v.Path))
			case "image made":
				r.must(os.Truncate(v.Path, 0))
				r.must(os.Truncate(v.Path, v.Size))
			}
			r.start()
			r.gone(v)
			r.create(CreateVolume{Name: "v", Size: mib})
		})
	}
}

func TestFailedCreationLeavesNothing(t *testing.T) {
	r := withCluster(t)
	before := r.files()
	if _, err := r.CreateVolume(t.Context(), CreateVolume{Name: "v", Size: mib, Passphrase: []byte("x"), PassphraseKDF: "md5"}); err == nil {
		t.Fatal("an unknown KDF was accepted")
	}
	if after := r.files(); after != before {
		t.Errorf("files on the drive before %s, after %s", before, after)
	}
	if p, err := r.CheckStore(t.Context()); err != nil || len(p) > 0 {
		t.Errorf("store check: %q, %v", p, err)
	}
	r.create(CreateVolume{Name: "v", Size: mib})
}

func (r *rig) files() string {
	names, err := filepath.Glob(filepath.Join(r.dir, "d1", "*"))
	r.must(err)
	return strings.Join(names, " ")
}

func TestDetachedHeaderLivesOnTheMetadataDrive(t *testing.T) {
	r := withCluster(t)
	meta := r.addDrive("meta", RoleMetadata)
	v := r.create(CreateVolume{Name: "v", Size: mib, Detached: true})
	if filepath.Dir(v.HeaderPath) != meta {
		t.Errorf("header at %s, want in %s", v.HeaderPath, meta)
	}
	if st, err := os.Stat(v.Path); err != nil || st.Size() != v.Size {
		t.Errorf("data image: %v, %v; want %d bytes", st, err, v.Size)
	}
	data := random(9000)
	r.write(r.attach("v"), 77, data)
	r.restart()
	r.expect(r.attach("v"), 77, data)
	r.shutdown()
	r.must(os.Rename(meta, meta+"-away"))
	r.start()
	if got := r.volume(v.ID); got.State != VolumeOffline {
		t.Errorf("without its header the volume is %s", got.State)
	}
	r.must(os.Rename(meta+"-away", meta))
	r.heal(t.Context())
	r.expect(r.attach("v"), 77, data)
}

func TestRecoveryKeys(t *testing.T) {
	r := withCluster(t)
	v := r.create(CreateVolume{Name: "v", Size: mib, Passphrase: []byte("first"), PassphraseKDF: "pbkdf2"})
	if v.RecoveryKeys != 1 {
		t.Errorf("%d recovery keys, want 1", v.RecoveryKeys)
	}
	slot, err := r.AddRecoveryKey(t.Context(), v.ID, []byte("second"), "pbkdf2")
	r.must(err)
	data := random(4096)
	r.write(r.attach("v"), 0, data)
	keys, err := r.RecoveryKeys(t.Context(), v.ID)
	r.must(err)
	if len(keys) != 2 || keys[1].Slot != slot || keys[1].KDF != "pbkdf2" {
		t.Errorf("keys %+v, new slot %d", keys, slot)
	}
	r.must(r.RemoveRecoveryKey(t.Context(), v.ID, keys[0].Slot))
	var missing *NotFoundError
	if err := r.RemoveRecoveryKey(t.Context(), v.ID, keys[0].Slot); !errors.As(err, &missing) {
		t.Errorf("removing twice = %v, want NotFoundError", err)
	}
	r.restart()
	r.expect(r.attach("v"), 0, data)
	if got := r.volume(v.ID).RecoveryKeys; got != 1 {
		t.Errorf("%d recovery keys after restart, want 1", got)
	}
}
