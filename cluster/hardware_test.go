package cluster

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lockplate/keymgr"
)

// Without a drive that encrypts by itself nothing can be switched on or off,
// and the refusal says which drive it is.
func TestDriveEncryptionNeedsDrivesThatCan(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	if err := r.EnableDriveEncryption(ctx, 0); !errors.Is(err, ErrNoCluster) {
		t.Errorf("without a cluster: %v", err)
	}
	r.must(r.Create(ctx, r.params()))
	refused := func(what string, err error, why string) {
		t.Helper()
		var no *NoDriveEncryptionError
		if !errors.As(err, &no) || !strings.HasPrefix(err.Error(), "Encryption is not supported") || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want it to say %q", what, err, why)
		}
	}
	refused("no drive", r.EnableDriveEncryption(ctx, 0), "no self-encrypting drive")
	r.addDrive("d1", RoleBlock)
	refused("enable", r.EnableDriveEncryption(ctx, 0), "drive 1 (dir:")
	refused("disable", r.DisableDriveEncryption(ctx), "drive 1 (dir:")
	if err := r.EnableDriveEncryption(ctx, 7); !errors.Is(err, keymgr.ErrNoKeyProvider) {
		t.Errorf("unknown provider: %v", err)
	}
	p, err := r.CreateKeyProvider(ctx, "vault")
	r.must(err)
	refused("enable with a provider", r.EnableDriveEncryption(ctx, p.ID), "drive 1")
	if got, err := r.KeyProvider(ctx, p.ID); err != nil || got.Active {
		t.Errorf("the provider must not have become active: %+v, %v", got, err)
	}
}

func TestEraseIsForAvailableDrives(t *testing.T) {
	r := withCluster(t)
	ctx := t.Context()
	var missing *NotFoundError
	if _, err := r.EraseDrives(ctx, []int64{9}); !errors.As(err, &missing) || missing.Kind != "drive" {
		t.Errorf("unknown: %v", err)
	}
	var bad *InvalidError
	if _, err := r.EraseDrives(ctx, nil); !errors.As(err, &bad) {
		t.Errorf("none: %v", err)
	}
	if _, err := r.EraseDrives(ctx, []int64{1}); !errors.Is(err, ErrState) || !strings.Contains(err.Error(), "active") {
		t.Errorf("in service: %v", err)
	}
	_, err := r.RemoveDrives(ctx, []int64{1})
	r.must(err)
	keep := filepath.Join(r.dir, "d1", "keep")
	r.must(os.WriteFile(keep, []byte("x"), 0o600))
	var no *NoDriveEncryptionError
	if _, err := r.EraseDrives(ctx, []int64{1}); !errors.As(err, &no) {
		t.Errorf("not self-encrypting: %v", err)
	}
	if _, err := os.Stat(keep); err != nil || r.driveStatus(1) != DriveAvailable {
		t.Errorf("a refused erasure changed something: %v", err)
	}
}

// A directory is no disk, and its hardware is not made up.
func TestHardwareOfADirectory(t *testing.T) {
	r := withCluster(t)
	all, err := r.DriveHardware(t.Context())
	r.must(err)
	if len(all) != 1 || all[0].Device != "" || all[0].Disk.Product != "" || all[0].SelfEncrypting != SelfEncryptingNone || all[0].Capacity == 0 {
		t.Errorf("%+v", all)
	}
}

// What a volume takes on its drive is what was written and its header, and
// never more than its size.
func TestAllocatedGrowsWithWrites(t *testing.T) {
	r := withCluster(t)
	r.create(CreateVolume{Name: "v", Size: 64 * mib})
	allocated := func() int64 {
		s, err := r.VolumeStats(t.Context())
		r.must(err)
		return s[0].Allocated
	}
	before := allocated()
	if before > 32*mib {
		t.Skipf("the file system here allocates holes: %d bytes of a new volume", before)
	}
	d := r.attach("v")
	r.write(d, 0, bytes.Repeat([]byte{1}, 8*mib))
	r.must(d.Flush(t.Context()))
	if after := allocated(); after < before+8*mib || after > 64*mib {
		t.Errorf("%d bytes before and %d after 8 MiB were written", before, after)
	}
}
