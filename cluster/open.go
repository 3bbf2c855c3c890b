package cluster

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"lockplate/blockdev"
	"lockplate/keymgr"
	"lockplate/store"
	"lockplate/volume"
	"lockplate/volume/luks"
)

// Waits of the background loop that tries failed drives and volumes again.
const (
	retryFirst = time.Second
	retryMost  = 30 * time.Second
	checkEvery = time.Second
)

// loadVolumes reads the volume records, ends what a crash cut short, and opens
// every volume that should be online.
func (c *Cluster) loadVolumes(ctx context.Context) error {
	var recs []volumeRecord
	err := c.store.View(ctx, func(tx store.Tx) (err error) {
		recs, err = scanRecords[volumeRecord](tx, prefixVol)
		return err
	})
	if err != nil {
		return fmt.Errorf("load volumes: %w", err)
	}
	for _, r := range recs {
		c.track(r)
	}
	c.settle(ctx)
	c.openVolumes(ctx)
	return nil
}

// track makes a live volume of a record.
func (c *Cluster) track(r volumeRecord) *liveVolume {
	v := &liveVolume{id: r.ID, state: VolumeOffline, io: c.metrics.newVolumeIO(r.Name), err: errNotOpened}
	v.setRecord(r)
	c.mu.Lock()
	c.vol[r.ID] = v
	c.mu.Unlock()
	c.holdTo(v)
	return v
}

// errLocked is why a volume waits for a key server.
var errLocked = fmt.Errorf("%w: it is at a key provider that cannot be used now, see the kmipServerFault", keymgr.ErrLocked)

var errNotOpened = errors.New("not opened yet")

// settle finishes or takes back changes that a crash cut short. What needs a
// drive that is away is left for later.
func (c *Cluster) settle(ctx context.Context) {
	for _, v := range c.liveVolumes() {
		r := v.record()
		if r.Phase == phaseLive {
			continue
		}
		if err := c.dropVolume(ctx, r); err != nil {
			v.fail(VolumeOffline, err)
			c.log.Warn("unfinished volume is kept for now", "volume", r.Name, "phase", string(r.Phase), "err", err)
			continue
		}
		c.log.Info("unfinished volume cleaned up", "volume", r.Name, "phase", string(r.Phase))
	}
}

// openVolumes opens every volume that should be online and is not, on all
// processors, as each header is checked against its key by 1,000 rounds of
// SHA-256. Failures are noted on the volume.
func (c *Cluster) openVolumes(ctx context.Context) {
	todo := make(chan *liveVolume)
	var work sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		work.Go(func() {
			for v := range todo {
				c.openVolume(ctx, v)
			}
		})
	}
	for _, v := range c.liveVolumes() {
		todo <- v
	}
	close(todo)
	work.Wait()
}

// openVolume brings one volume online if it should be, and reports whether it
// is as it should be.
func (c *Cluster) openVolume(ctx context.Context, v *liveVolume) bool {
	r := v.record()
	if !r.live() || v.stack.Load() != nil {
		return true
	}
	if r.Access == AccessLocked {
		v.fail(VolumeLocked, errors.New("access is set to locked: 'lockplate volume modify --access readWrite' opens it"))
		return true
	}
	s, err := c.openStack(ctx, &r)
	if errors.Is(err, keymgr.ErrLocked) {
		err = errLocked // the reason is the same for all volumes, and one fault
	}
	if err != nil {
		if state := failState(err); v.fail(state, err) {
			if state == VolumeLocked {
				c.auditKey(ctx, "unwrap data key", r.Name, err)
			}
			c.log.Error("volume cannot be opened", "volume", r.Name, "err", err)
		}
		return false
	}
	v.online(s)
	c.log.Info("volume online", "volume", r.Name, "size", r.Size, "encrypted", r.Encrypted)
	return true
}

// failState tells a volume whose key is the trouble from one whose disk is.
func failState(err error) VolumeState {
	for _, e := range []error{luks.ErrWrongKey, keymgr.ErrNotFound, keymgr.ErrIntegrity, keymgr.ErrLocked} {
		if errors.Is(err, e) {
			return VolumeLocked
		}
	}
	return VolumeOffline
}

// openStack opens a volume's devices and puts the encryption on top.
func (c *Cluster) openStack(ctx context.Context, r *volumeRecord) (*stack, error) {
	readOnly := r.LUKSVersion == 1
	data, hdr, err := c.openImages(ctx, r, readOnly)
	if !readOnly && errors.Is(err, blockdev.ErrReadOnly) {
		readOnly = true
		data, hdr, err = c.openImages(ctx, r, readOnly)
	}
	if err != nil {
		return nil, err
	}
	s := &stack{hdr: hdr, detached: r.HeaderImage != "", degraded: readOnly && r.LUKSVersion != 1}
	if s.dev, err = c.encrypted(ctx, r, s, data, readOnly); err != nil {
		data.Close()
		if s.detached {
			hdr.Close()
		}
		return nil, err
	}
	return s, nil
}

// openImages opens the data image, and the header's if it is detached; hdr is
// data otherwise.
func (c *Cluster) openImages(ctx context.Context, r *volumeRecord, readOnly bool) (data, hdr blockdev.Device, err error) {
	open := func(drive int64, image string) (blockdev.Device, error) {
		be, err := c.backend(drive)
		if err != nil {
			return nil, err
		}
		dev, err := be.Open(ctx, image, readOnly)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", be.Path(image), err)
		}
		return dev, nil
	}
	if data, err = open(r.DriveID, r.Image); err != nil {
		return nil, nil, err
	}
	if r.HeaderImage == "" {
		return data, data, nil
	}
	if hdr, err = open(r.HeaderDriveID, r.HeaderImage); err != nil {
		data.Close()
		return nil, nil, fmt.Errorf("detached header: %w", err)
	}
	return data, hdr, nil
}

// encrypted builds the device that clients see over the data image.
func (c *Cluster) encrypted(ctx context.Context, r *volumeRecord, s *stack, data blockdev.Device, readOnly bool) (blockdev.Device, error) {
	opt, err := volumeOptions(r, readOnly)
	if err != nil {
		return nil, err
	}
	if !r.Encrypted {
		s.sector = data.Info().LogicalSector
		sub, err := blockdev.Sub(data, 0, r.Size)
		if err != nil {
			return nil, err
		}
		return volume.Open(sub, nil, opt)
	}
	h, err := c.readHeader(ctx, s.hdr, r)
	if err != nil {
		return nil, err
	}
	avail, err := h.DataSize(data.Info().Size)
	if err == nil && avail < r.Size {
		err = fmt.Errorf("%w: it has room for %d bytes of data, the volume has %d", luks.ErrTruncated, avail, r.Size)
	}
	if err != nil {
		return nil, fmt.Errorf("data image: %w", err)
	}
	s.header.Store(h)
	s.sector = h.SectorSize
	return c.decrypting(ctx, r, s, data, opt)
}

// decrypting puts the cipher over the data segment. The data key leaves locked
// memory only as the cipher's key schedule, which is wiped at Close.
func (c *Cluster) decrypting(ctx context.Context, r *volumeRecord, s *stack, data blockdev.Device, opt volume.Options) (blockdev.Device, error) {
	h := s.header.Load()
	key, err := c.keys.DataKey(ctx, r.UUID)
	if err != nil {
		return nil, fmt.Errorf("data key: %w", err)
	}
	defer key.Destroy()
	s.keyBits = key.Len() * 8
	if err := h.VerifyKey(key.Bytes()); err != nil {
		return nil, fmt.Errorf("data key: %w", err)
	}
	c.auditKey(ctx, "unwrap data key", r.Name, nil)
	sub, err := blockdev.Sub(data, h.DataOffset, r.Size)
	if err != nil {
		return nil, err
	}
	sectors, err := h.Sectors(key.Bytes())
	if err != nil {
		return nil, err
	}
	opt.OnClose = sectors.Wipe
	dev, err := volume.Open(sub, sectors, opt)
	if err != nil {
		sectors.Wipe()
		return nil, err
	}
	return dev, nil
}

func volumeOptions(r *volumeRecord, readOnly bool) (volume.Options, error) {
	d, err := volume.ParseDiscard(r.Discard)
	return volume.Options{Discard: d, ReadOnly: readOnly}, err
}

// readHeader reads a volume's LUKS header, mends a damaged copy, and makes
// sure that it is this volume's.
func (c *Cluster) readHeader(ctx context.Context, hdr blockdev.Device, r *volumeRecord) (*luks.Header, error) {
	h, err := luks.Read(ctx, hdr)
	if err != nil {
		return nil, fmt.Errorf("read LUKS header: %w", err)
	}
	if len(h.Warnings) > 0 && !hdr.Info().ReadOnly {
		repaired, err := luks.Repair(ctx, hdr)
		c.log.Warn("LUKS header had a damaged copy", "volume", r.Name, "repaired", repaired, "err", err)
	}
	if h.UUID != r.LUKSUUID {
		return nil, fmt.Errorf("the container there has UUID %s, this volume's is %s: another disk took its place", h.UUID, r.LUKSUUID)
	}
	return h, nil
}

// background looks at the drives and faults every checkEvery, tries again
// what failed, and purges deleted volumes whose time has come, until Close.
func (c *Cluster) background(ctx context.Context) {
	t := time.NewTicker(checkEvery)
	defer t.Stop()
	wait, left := retryFirst, retryFirst
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if c.check(ctx) {
			wait, left = retryFirst, 0
		}
		if left -= checkEvery; left > 0 {
			continue
		}
		if c.heal(ctx) {
			wait = retryFirst
		} else {
			wait = min(2*wait, retryMost)
		}
		left = wait
	}
}

// check is the cheap part of the background work: audit log, drives, faults. It reports whether something
// changed, so that healing need not wait for its turn.
func (c *Cluster) check(ctx context.Context) bool {
	if err := c.audit.flush(); err != nil && c.audit.isNews() {
		c.log.Error("audit log cannot be written", "err", err)
	}
	if !c.Exists() {
		return false
	}
	changed := c.checkDrives(ctx)
	if _, err := c.Faults(ctx); err != nil && ctx.Err() == nil {
		c.log.Error("faults cannot be brought up to date", "err", err)
	}
	return changed
}

// mend takes a volume that is served read-only for its drive's sake out of
// service once the drive can be written again and nobody is attached, so that
// it is opened anew.
func (c *Cluster) mend(ctx context.Context, v *liveVolume) {
	s := v.stack.Load()
	if s == nil || !s.degraded || v.handles.Load() > 0 {
		return
	}
	r := v.record()
	be, err := c.backend(r.DriveID)
	if err != nil {
		return
	}
	if i, err := be.Info(ctx); err != nil || i.ReadOnly {
		return
	}
	if err := v.deactivate(ctx); err != nil {
		c.log.Warn("close of a read-only volume failed", "volume", r.Name, "err", err)
	}
}

// heal is one round of the background work. It reports whether all is well.
func (c *Cluster) heal(ctx context.Context) bool {
	if !c.Exists() {
		return true
	}
	c.admin.Lock()
	defer c.admin.Unlock()
	ok := true
	for _, d := range c.liveDrives() {
		if d.record().Active && !d.healthy() {
			ok = d.open(ctx, lookTime, c.driveOptions(false)) == nil && ok
		}
	}
	c.settle(ctx)
	for _, v := range c.liveVolumes() {
		r := v.record()
		if !r.Deleted.IsZero() && r.Phase == phaseLive && !c.now().Before(r.Purge) {
			if err := c.purge(ctx, v); err != nil {
				c.log.Error("purge failed", "volume", r.Name, "err", err)
				ok = false
			}
			continue
		}
		c.mend(ctx, v)
		ok = c.openVolume(ctx, v) && ok
	}
	return ok
}
