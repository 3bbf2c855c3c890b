package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"lockplate/blockdev"
	"lockplate/store"
)

// A drive can go away while it is in use: a cable, a mount, a share. What
// follows depends on its role.
//
// A block drive is shown as failed, its open volumes go on for as long as
// their I/O works, and it is taken up again by itself.
//
// A metadata drive is lost: it goes out of service, and so do the volumes with
// their header on it, since nobody knows what a drive that was away comes back
// with. While it is away it is failed, once it can be used it is available,
// and AddDrives takes it up again:
//
//	active ──gone──▶ lost, failed ──back──▶ lost, available
//	   ▲                │                        │
//	   └──AddDrives─────┴────────AddDrives───────┘

// errMissingImages is why a directory that can be read is still not the drive:
// most likely nothing is mounted on it.
var errMissingImages = errors.New("the images that should be on it are not there; is it mounted?")

// probe asks a drive whether it is there and holds what it should, at the cost
// of a look at the file system.
func probe(ctx context.Context, be blockdev.Drive, images []string) error {
	if _, err := be.Info(ctx); err != nil {
		return err
	}
	if len(images) == 0 {
		return nil
	}
	there, err := be.Images(ctx)
	if err != nil {
		return err
	}
	for _, name := range images {
		if slices.Contains(there, name) {
			return nil
		}
	}
	return fmt.Errorf("%s: %w", be.URI(), errMissingImages)
}

// probe asks the drive, which may hang, with a limit.
func (d *liveDrive) probe(ctx context.Context, images []string) error {
	d.mu.Lock()
	be, err := d.be, d.err
	d.mu.Unlock()
	if be == nil || err != nil {
		return err
	}
	_, err = look(ctx, &d.look, lookTime, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, probe(ctx, be, images)
	})
	return err
}

// headersOn lists the header images that should be on a drive.
func (c *Cluster) headersOn(drive int64) []string {
	var out []string
	for _, v := range c.liveVolumes() {
		if r := v.record(); r.HeaderImage != "" && r.HeaderDriveID == drive && r.Phase == phaseLive {
			out = append(out, r.HeaderImage)
		}
	}
	return out
}

// checkDrives looks at every metadata drive, and takes one that is gone out
// of service. Block drives need no look: Drive.Info is asked whenever their
// state is shown. It reports whether something changed.
func (c *Cluster) checkDrives(ctx context.Context) bool {
	changed := false
	for _, d := range c.liveDrives() {
		r := d.record()
		switch {
		case r.Role != RoleMetadata:
		case r.Lost:
			changed = c.lookForLost(ctx, d) || changed
		case r.Active:
			if err := c.probeActive(ctx, d); err != nil {
				changed = c.loseDrive(ctx, d, err) || changed
			}
		}
	}
	return changed
}

// probeActive is nil also for a drive that hangs and may yet answer; its state
// tells that it does.
func (c *Cluster) probeActive(ctx context.Context, d *liveDrive) error {
	err := d.probe(ctx, c.headersOn(d.record().ID))
	if errors.Is(err, errStalled) && d.look.silence() < c.cfg.hangTime {
		return nil
	}
	return err
}

// loseDrive takes a metadata drive out of service, and the volumes that need
// it. It reports whether it did.
func (c *Cluster) loseDrive(ctx context.Context, d *liveDrive, cause error) bool {
	c.admin.Lock()
	defer c.admin.Unlock()
	r := d.record()
	if now, err := c.liveDrive(r.ID); err != nil || now != d || !r.Active || c.probeActive(ctx, d) == nil {
		return false // changed while we waited for our turn
	}
	r.Active, r.Lost = false, true
	err := c.store.Update(ctx, func(tx store.Tx) error {
		return c.putDrive(tx, r, "Metadata drive failed and is out of service")
	})
	if err != nil {
		c.log.Error("loss of a drive cannot be recorded", "drive", r.ID, "err", err)
	}
	d.setRecord(r)
	d.fail(cause)
	c.log.Error("metadata drive failed", "drive", r.ID, "uri", r.URI, "err", cause)
	for _, v := range c.liveVolumes() {
		vr := v.record()
		if vr.HeaderDriveID != r.ID {
			continue
		}
		// Offline it is at once; to close its header may hang as the drive does.
		_, err := look(ctx, &v.closing, lookTime, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, v.deactivate(context.WithoutCancel(ctx))
		})
		if err != nil {
			c.log.Warn("close of a volume without its header failed", "volume", vr.Name, "err", err)
		}
		c.openVolume(ctx, v) // notes why it is offline
	}
	return true
}

// lookForLost sees whether a lost drive can be used again, which makes it
// available. It reports whether that is news.
func (c *Cluster) lookForLost(ctx context.Context, d *liveDrive) bool {
	r := d.record()
	headers := c.headersOn(r.ID)
	_, err := look(ctx, &d.look, lookTime, func(ctx context.Context) (struct{}, error) {
		be, err := blockdev.OpenDrive(ctx, r.URI, c.driveOptions(false))
		if err == nil {
			err = errors.Join(probe(ctx, be, headers), be.Close())
		}
		return struct{}{}, err
	})
	return d.fail(err)
}

// fail notes why the drive cannot be used, nil for that it could be, closes it
// and reports whether that is news.
func (d *liveDrive) fail(err error) bool {
	d.close()
	d.mu.Lock()
	defer d.mu.Unlock()
	news := (err == nil) != (d.err == nil)
	d.err = err
	return news
}
