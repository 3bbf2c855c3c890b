package cluster

import (
	"context"
	"fmt"
	"strings"

	"lockplate/blockdev"
)

// SelfEncryptingNone is the encryption that an ordinary drive does by itself,
// with Element's spelling.
const SelfEncryptingNone = "none"

// DriveHardware is a drive and the disk that it is. A directory, a file or
// memory is no disk of its own: then Disk is zero.
type DriveHardware struct {
	Drive
	Device         string // node of the disk, "" if it is none
	Disk           blockdev.Hardware
	SelfEncrypting string // what encryption it does by itself
}

// NoDriveEncryptionError says why drives cannot encrypt by themselves here.
type NoDriveEncryptionError struct{ Why string }

func (e *NoDriveEncryptionError) Error() string { return "Encryption is not supported: " + e.Why }

// DriveHardware tells what the kernel knows of the disks that drives are, by
// the drives' ids.
func (c *Cluster) DriveHardware(ctx context.Context) ([]DriveHardware, error) {
	drives, err := c.Drives(ctx)
	out := make([]DriveHardware, 0, len(drives))
	for _, d := range drives {
		out = append(out, c.hardware(d))
	}
	return out, err
}

// hardware looks at one drive. A disk that is gone has nothing to tell.
func (c *Cluster) hardware(d Drive) DriveHardware {
	h := DriveHardware{Drive: d, SelfEncrypting: SelfEncryptingNone}
	path, isDisk := strings.CutPrefix(d.URI, "disk:")
	if !isDisk {
		return h
	}
	h.Device = path
	disk, err := blockdev.HardwareOf(path)
	if err != nil {
		c.log.Debug("drive hardware cannot be told", "drive", d.ID, "err", err)
		return h
	}
	h.Disk = disk
	return h
}

// EnableDriveEncryption has the drives lock themselves, with keys made at a
// key provider, or with 0 in the cluster. Errors: *NoDriveEncryptionError,
// keymgr.ErrNoKeyProvider.
func (c *Cluster) EnableDriveEncryption(ctx context.Context, provider int64) error {
	if _, err := c.require(); err != nil {
		return err
	}
	if provider != 0 {
		if _, err := c.KeyProvider(ctx, provider); err != nil {
			return fmt.Errorf("enable encryption of drives: %w", err)
		}
	}
	return c.noDriveEncryption(ctx)
}

// DisableDriveEncryption has the drives no longer lock themselves. Software
// encryption is not touched. Errors: *NoDriveEncryptionError.
func (c *Cluster) DisableDriveEncryption(ctx context.Context) error {
	if _, err := c.require(); err != nil {
		return err
	}
	return c.noDriveEncryption(ctx)
}

// noDriveEncryption names the drive that stands in the way, if there is one.
func (c *Cluster) noDriveEncryption(ctx context.Context) error {
	drives, err := c.Drives(ctx)
	if err != nil {
		return err
	}
	why := "there is no self-encrypting drive"
	for _, d := range drives {
		if d.Status != DriveAvailable {
			why = fmt.Sprintf("drive %d (%s) is not self-encrypting", d.ID, d.URI)
			break
		}
	}
	return &NoDriveEncryptionError{why + "; software encryption protects the volumes and is chosen when the cluster is made"}
}

// EraseDrives has available drives forget their own keys, and with them
// everything on them. All of it is refused if one cannot. Errors:
// *NotFoundError, ErrState for a drive in service, *NoDriveEncryptionError.
func (c *Cluster) EraseDrives(ctx context.Context, ids []int64) (handle int64, err error) {
	if len(ids) == 0 {
		return 0, &InvalidError{"drives", "none given"}
	}
	if _, err := c.require(); err != nil {
		return 0, err
	}
	for _, id := range ids {
		d, err := c.liveDrive(id)
		if err != nil {
			return 0, err
		}
		if s := d.status(ctx); s.Status != DriveAvailable {
			return 0, fmt.Errorf("erase drive %d: %w: it is %s, and only an available drive can be erased: remove it first ('lockplate drive remove')", id, ErrState, s.Status)
		}
	}
	d, err := c.liveDrive(ids[0])
	if err != nil {
		return 0, err
	}
	return 0, &NoDriveEncryptionError{fmt.Sprintf("drive %d (%s) is not self-encrypting, so it has no key of its own to forget", ids[0], d.record().URI)}
}
