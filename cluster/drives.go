package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"lockplate/blockdev"
	"lockplate/store"
)

// liveDrive is a drive of this node: its record, and the opened back end while
// it is active and healthy.
type liveDrive struct {
	look driveLook // for whatever asks the drive itself

	mu  sync.Mutex
	rec driveRecord
	be  blockdev.Drive // nil unless open
	err error          // why an active drive is not open
}

// backend returns the opened drive, or why there is none.
func (d *liveDrive) backend() (blockdev.Drive, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.be != nil:
		return d.be, nil
	case d.err != nil:
		return nil, fmt.Errorf("drive %d (%s) has failed: %w", d.rec.ID, d.rec.URI, d.err)
	}
	return nil, fmt.Errorf("drive %d (%s): %w: it is not active, add it with 'lockplate drive add'", d.rec.ID, d.rec.URI, ErrState)
}

// open opens the back end if it is not open, and remembers why it could not.
// It is not called twice at once.
func (d *liveDrive) open(ctx context.Context, most time.Duration, o blockdev.DriveOptions) error {
	d.mu.Lock()
	is, uri := d.be, d.rec.URI
	d.mu.Unlock()
	if is != nil {
		return nil
	}
	be, err := look(ctx, &d.look, most, func(ctx context.Context) (blockdev.Drive, error) {
		be, err := blockdev.OpenDrive(ctx, uri, o)
		if err == nil && ctx.Err() != nil { // nobody waits for it any more
			return nil, errors.Join(ctx.Err(), be.Close())
		}
		return be, err
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.be, d.err = be, err
	return err
}

func (d *liveDrive) close() error {
	d.mu.Lock()
	be := d.be
	d.be = nil
	d.mu.Unlock()
	if be == nil {
		return nil
	}
	return d.look.after(be.Close)
}

func (d *liveDrive) record() driveRecord {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rec
}

func (d *liveDrive) setRecord(r driveRecord) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rec = r
}

// status is what a client is shown of the drive.
func (d *liveDrive) status(ctx context.Context) Drive {
	d.mu.Lock()
	r, be, err := d.rec, d.be, d.err
	d.mu.Unlock()
	out := Drive{ID: r.ID, UUID: r.UUID, URI: r.URI, Role: r.Role, Added: r.Added, Status: DriveAvailable}
	if !r.Active && (!r.Lost || err == nil) {
		return out
	}
	if err == nil && be != nil {
		var i blockdev.DriveInfo
		if i, err = look(ctx, &d.look, lookTime, be.Info); err == nil {
			out.Status, out.Capacity, out.Free = DriveActive, i.Capacity, i.Free
			out.Serial, out.Model = i.Serial, i.Model
			return out
		}
	}
	out.Status = DriveFailed
	if err != nil {
		out.Reason = err.Error()
	}
	return out
}

func (c *Cluster) driveOptions(create bool) blockdev.DriveOptions {
	return blockdev.DriveOptions{Create: create, Logger: c.log}
}

// loadDrives opens every active drive. One that fails is shown as failed and
// tried again in the background.
func (c *Cluster) loadDrives(ctx context.Context) error {
	var recs []driveRecord
	err := c.store.View(ctx, func(tx store.Tx) (err error) {
		recs, err = scanRecords[driveRecord](tx, prefixDrive)
		return err
	})
	if err != nil {
		return fmt.Errorf("load drives: %w", err)
	}
	for _, r := range recs {
		d := &liveDrive{rec: r}
		if r.Lost {
			c.lookForLost(ctx, d)
		}
		if r.Active {
			if err := d.open(ctx, openTime, c.driveOptions(false)); err != nil {
				c.log.Error("drive cannot be opened", "drive", r.ID, "uri", r.URI, "err", err)
			}
		}
		c.mu.Lock()
		c.drive[r.ID] = d
		c.mu.Unlock()
	}
	return nil
}

func (c *Cluster) liveDrive(id int64) (*liveDrive, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d, ok := c.drive[id]; ok {
		return d, nil
	}
	return nil, notFound("drive", id)
}

// backend returns the opened drive with an id, or why there is none.
func (c *Cluster) backend(id int64) (blockdev.Drive, error) {
	d, err := c.liveDrive(id)
	if err != nil {
		return nil, err
	}
	return d.backend()
}

// liveDrives returns all drives by id.
func (c *Cluster) liveDrives() []*liveDrive {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]*liveDrive, 0, len(c.drive))
	for _, d := range c.drive {
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b *liveDrive) int { return int(a.record().ID - b.record().ID) })
	return out
}

// Drives lists the drives by id.
func (c *Cluster) Drives(ctx context.Context) ([]Drive, error) {
	if _, err := c.require(); err != nil {
		return nil, err
	}
	var out []Drive
	for _, d := range c.liveDrives() {
		s := d.status(ctx)
		s.Volumes = c.volumesOn(s.ID)
		out = append(out, s)
	}
	return out, nil
}

// volumesOn lists the volumes, deleted ones too, with data or header on a drive.
func (c *Cluster) volumesOn(drive int64) []int64 {
	var ids []int64
	for _, v := range c.liveVolumes() {
		if r := v.record(); r.DriveID == drive || r.HeaderDriveID == drive {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

// AddDrives takes drives into service and returns the handle of its async
// result. What can be known at once (unknown id, bad URI, drive that cannot be
// opened) is an error here and changes nothing.
func (c *Cluster) AddDrives(ctx context.Context, add []AddDrive) (int64, error) {
	if _, err := c.require(); err != nil {
		return 0, err
	}
	c.admin.Lock()
	defer c.admin.Unlock()
	if err := c.mayChange(); err != nil {
		return 0, err
	}
	opened, err := c.openForAdd(ctx, add)
	if err != nil {
		return 0, err
	}
	var handle int64
	err = c.store.Update(ctx, func(tx store.Tx) error {
		ids := make([]any, len(opened))
		for i, d := range opened {
			if d.rec.ID == 0 {
				if d.rec.ID, err = nextID(tx, "drive"); err != nil {
					return err
				}
			}
			ids[i] = map[string]any{"driveID": d.rec.ID}
			if err := c.putDrive(tx, d.rec, "Drive added"); err != nil {
				return err
			}
		}
		handle, err = c.putDone(tx, asyncDriveAdd, map[string]any{"drives": ids})
		return err
	})
	if err != nil {
		for _, d := range opened {
			d.close()
		}
		return 0, fmt.Errorf("record drives: %w", err)
	}
	c.adoptDrives(opened)
	c.openVolumes(ctx)
	return handle, nil
}

// putDrive writes a drive's record and what happened to it.
func (c *Cluster) putDrive(tx store.Tx, r driveRecord, what string) error {
	if err := putRecord(tx, recordKey(prefixDrive, r.ID), r); err != nil {
		return err
	}
	return putEvent(tx, Event{Type: EventDrive, Message: what, DriveID: r.ID, Details: map[string]any{"driveID": r.ID, "uri": r.URI, "role": r.Role}}, c.now())
}

// openForAdd opens every drive of the list; none if one fails. The drives are
// fresh values, so that nothing changes until the store has said yes.
func (c *Cluster) openForAdd(ctx context.Context, add []AddDrive) (opened []*liveDrive, err error) {
	if len(add) == 0 {
		return nil, &InvalidError{"drives", "none given"}
	}
	defer func() {
		if err != nil {
			for _, d := range opened {
				d.close()
			}
		}
	}()
	seen := map[string]bool{}
	for _, a := range add {
		d, err := c.candidate(a)
		if err != nil {
			return opened, err
		}
		headers := c.headersOn(d.rec.ID)
		if err := d.open(ctx, openTime, c.driveOptions(a.URI != "" && len(headers) == 0)); err != nil {
			return opened, fmt.Errorf("add drive %s: %w", d.rec.URI, err)
		}
		opened = append(opened, d)
		if err := d.probe(ctx, headers); err != nil {
			return opened, fmt.Errorf("add drive: %w", err)
		}
		d.rec.URI = d.be.URI()
		if seen[d.rec.URI] || d.rec.ID == 0 && c.driveByURI(d.rec.URI) != nil {
			return opened, &InvalidError{"drives", d.rec.URI + " is a drive of this cluster already: see 'lockplate drive list'"}
		}
		seen[d.rec.URI] = true
	}
	return opened, nil
}

// candidate is the drive that an AddDrive asks for, as it will be once added.
func (c *Cluster) candidate(a AddDrive) (*liveDrive, error) {
	if err := checkRole(a); err != nil {
		return nil, err
	}
	if a.ID == 0 {
		if old := c.driveByURI(a.URI); old != nil && !old.record().Active {
			a.ID = old.record().ID // known and removed: it comes back under its id
		}
	}
	if a.ID != 0 {
		old, err := c.liveDrive(a.ID)
		if err != nil {
			return nil, err
		}
		r := old.record()
		if r.Active && old.healthy() {
			return nil, fmt.Errorf("drive %d: %w: it is active already", a.ID, ErrState)
		}
		if a.Role != "" {
			r.Role = a.Role
		}
		r.Active, r.Lost = true, false
		return &liveDrive{rec: r}, nil
	}
	if a.Role == "" {
		a.Role = RoleBlock
	}
	id, err := newUUID(c.cfg.Rand)
	if err != nil {
		return nil, err
	}
	return &liveDrive{rec: driveRecord{UUID: id, URI: a.URI, Role: a.Role, Active: true, Added: c.now()}}, nil
}

func checkRole(a AddDrive) error {
	switch {
	case a.ID == 0 && a.URI == "":
		return &InvalidError{"drives", "a drive needs a driveID or a uri"}
	case a.Role != "" && a.Role != RoleBlock && a.Role != RoleMetadata:
		return &InvalidError{"type", fmt.Sprintf("%q is not a drive role: block or metadata", a.Role)}
	case a.Role == RoleMetadata && a.URI != "" && !strings.HasPrefix(a.URI, "dir:"):
		return &InvalidError{"type", "a metadata drive must be a directory (dir:PATH)"}
	}
	return nil
}

func (d *liveDrive) healthy() bool {
	_, err := d.backend()
	return err == nil
}

func (c *Cluster) driveByURI(uri string) *liveDrive {
	for _, d := range c.liveDrives() {
		if d.record().URI == uri {
			return d
		}
	}
	return nil
}

// adoptDrives puts newly opened drives in the place of what was known of them.
func (c *Cluster) adoptDrives(opened []*liveDrive) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range opened {
		if old := c.drive[d.rec.ID]; old != nil {
			old.close()
		}
		c.drive[d.rec.ID] = d
		c.log.Info("drive added", "drive", d.rec.ID, "uri", d.rec.URI, "role", string(d.rec.Role))
	}
}

// RemoveDrives takes drives out of service: they become available. A drive
// that still holds volumes, deleted ones included, is refused.
func (c *Cluster) RemoveDrives(ctx context.Context, ids []int64) (int64, error) {
	if _, err := c.require(); err != nil {
		return 0, err
	}
	c.admin.Lock()
	defer c.admin.Unlock()
	if err := c.mayChange(); err != nil {
		return 0, err
	}
	var drives []*liveDrive
	for _, id := range ids {
		d, err := c.liveDrive(id)
		if err != nil {
			return 0, err
		}
		if err := c.unused(id); err != nil {
			return 0, err
		}
		drives = append(drives, d)
	}
	if len(drives) == 0 {
		return 0, &InvalidError{"drives", "none given"}
	}
	var handle int64
	err := c.store.Update(ctx, func(tx store.Tx) (err error) {
		for _, d := range drives {
			r := d.record()
			r.Active, r.Lost = false, false
			if err := c.putDrive(tx, r, "Drive removed"); err != nil {
				return err
			}
		}
		handle, err = c.putDone(tx, asyncDriveRemoval, map[string]any{})
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("remove drives: %w", err)
	}
	for _, d := range drives {
		r := d.record()
		r.Active, r.Lost = false, false
		d.setRecord(r)
		if err := d.close(); err != nil {
			c.log.Warn("close of a removed drive failed", "drive", r.ID, "err", err)
		}
	}
	return handle, nil
}

// unused refuses a drive that volumes are on.
func (c *Cluster) unused(drive int64) error {
	on := c.volumesOn(drive)
	if len(on) == 0 {
		return nil
	}
	return fmt.Errorf("drive %d: %w: volumes %v are on it; delete and purge them first ('lockplate volume delete --purge')", drive, ErrInUse, on)
}

// ForgetDrive drops an available drive from the list. Nothing on it changes.
func (c *Cluster) ForgetDrive(ctx context.Context, id int64) error {
	c.admin.Lock()
	defer c.admin.Unlock()
	if err := c.mayChange(); err != nil {
		return err
	}
	d, err := c.liveDrive(id)
	if err != nil {
		return err
	}
	if d.record().Active {
		return fmt.Errorf("drive %d: %w: remove it first ('lockplate drive remove')", id, ErrState)
	}
	if err := c.unused(id); err != nil {
		return err
	}
	err = c.store.Update(ctx, func(tx store.Tx) error { return tx.Delete(recordKey(prefixDrive, id)) })
	if err != nil {
		return fmt.Errorf("forget drive %d: %w", id, err)
	}
	c.mu.Lock()
	delete(c.drive, id)
	c.mu.Unlock()
	return nil
}
