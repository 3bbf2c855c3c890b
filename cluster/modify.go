package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lockplate/blockdev"
	"lockplate/keymgr"
	"lockplate/store"
	"lockplate/volume"
	"lockplate/volume/luks"
)

// ModifyVolume changes what m names. Attached clients keep the size they were
// told; a volume made read-only or locked stops their writes at once.
func (c *Cluster) ModifyVolume(ctx context.Context, id int64, m ModifyVolume) (Volume, error) {
	c.admin.Lock()
	defer c.admin.Unlock()
	if err := c.mayChange(); err != nil {
		return Volume{}, err
	}
	v, err := c.liveVolume(id)
	if err != nil {
		return Volume{}, err
	}
	old := v.record()
	if !old.live() {
		return Volume{}, fmt.Errorf("volume %d: %w: it is deleted", id, ErrState)
	}
	r, err := c.modified(old, m)
	if err != nil {
		return Volume{}, err
	}
	if r.Discard != old.Discard && v.handles.Load() > 0 {
		return Volume{}, fmt.Errorf("volume %s: %w: detach its clients before changing its discard policy", r.Name, ErrInUse)
	}
	if r.Size != old.Size {
		if err := c.grow(ctx, v, r.Size); err != nil {
			return Volume{}, fmt.Errorf("grow volume %s: %w", r.Name, err)
		}
	}
	if err := c.saveVolume(ctx, v, r, changeEvents(ctx, &old, &r)...); err != nil {
		return Volume{}, err
	}
	if r.Discard != old.Discard || r.Access == AccessLocked {
		if err := v.deactivate(ctx); err != nil {
			return Volume{}, fmt.Errorf("close volume %s: %w", r.Name, err)
		}
	}
	c.openVolume(ctx, v)
	return c.describe(v), nil
}

// modified is the record after m, checked.
func (c *Cluster) modified(r volumeRecord, m ModifyVolume) (volumeRecord, error) {
	if m.Name != nil && *m.Name != r.Name {
		if err := c.checkName(*m.Name); err != nil {
			return r, err
		}
		r.Name = *m.Name
	}
	if m.AccountID != nil && *m.AccountID != defaultAccount {
		return r, notFound("account", *m.AccountID)
	}
	if m.Access != nil {
		if err := checkAccess(*m.Access); err != nil {
			return r, err
		}
		if r.LUKSVersion == 1 && *m.Access == AccessReadWrite {
			return r, &InvalidError{"access", "a LUKS1 container is read-only here: copy it to a new volume to write"}
		}
		r.Access = *m.Access
	}
	if m.Emulate512 != nil {
		r.Emulate512 = *m.Emulate512
	}
	if m.Discard != nil {
		d, err := volume.ParseDiscard(*m.Discard)
		if err != nil {
			return r, &InvalidError{"discard", err.Error()}
		}
		r.Discard = string(d)
	}
	if m.Attributes != nil {
		if err := checkAttributes(*m.Attributes); err != nil {
			return r, err
		}
		r.Attributes = *m.Attributes
	}
	r, err := c.withQoS(r, m.QoS, m.QoSPolicyID)
	if err != nil {
		return r, err
	}
	return newSize(r, m.Size)
}

func newSize(r volumeRecord, size *int64) (volumeRecord, error) {
	if size == nil {
		return r, nil
	}
	n := (*size + sizeUnit - 1) / sizeUnit * sizeUnit
	switch {
	case *size <= 0 || *size > maxVolumeSize:
		return r, &InvalidError{"totalSize", "must be between 1 byte and 1 EiB"}
	case *size == r.Size:
		return r, nil
	case n < r.Size:
		return r, &InvalidError{"totalSize", "a volume can only grow"}
	case r.LUKSVersion == 1:
		return r, &InvalidError{"totalSize", "a LUKS1 container is read-only here"}
	}
	r.Size = n
	return r, nil
}

// grow makes room below, then in the header if its segment has a fixed size.
// The record follows; a crash before it leaves room that is not used yet.
func (c *Cluster) grow(ctx context.Context, v *liveVolume, size int64) error {
	s := v.stack.Load()
	if s == nil {
		return fmt.Errorf("%w: the volume is not online", ErrState)
	}
	if err := c.fits(ctx, v.record(), size); err != nil {
		return err
	}
	if err := s.dev.Resize(ctx, size); err != nil {
		return err
	}
	h := s.header.Load()
	if h == nil || h.SegmentSize == 0 {
		return nil
	}
	h, err := h.SetSegmentSize(ctx, s.hdr, size)
	if err != nil {
		return fmt.Errorf("header: %w", err)
	}
	s.header.Store(h)
	return nil
}

// fits refuses a size that the drive could never hold. A drive with a single
// image knows best itself: a file can grow, a disk cannot.
func (c *Cluster) fits(ctx context.Context, r volumeRecord, size int64) error {
	be, err := c.backend(r.DriveID)
	if err != nil {
		return err
	}
	i, err := be.Info(ctx)
	if err != nil {
		return err
	}
	if !i.Single && size > i.Capacity {
		return fmt.Errorf("%w: drive %d holds %d bytes in all", blockdev.ErrNoSpace, r.DriveID, i.Capacity)
	}
	return nil
}

// DeleteVolume takes a volume out of service. Its data stays for eight hours,
// or until PurgeVolume; RestoreVolume brings it back.
func (c *Cluster) DeleteVolume(ctx context.Context, id int64) (Volume, error) {
	c.admin.Lock()
	defer c.admin.Unlock()
	if err := c.mayChange(); err != nil {
		return Volume{}, err
	}
	v, err := c.liveVolume(id)
	if err != nil {
		return Volume{}, err
	}
	r := v.record()
	if !r.live() {
		return Volume{}, fmt.Errorf("volume %d: %w: it is deleted already", id, ErrState)
	}
	r.Deleted = c.now()
	r.Purge = r.Deleted.Add(purgeAfter)
	if err := c.saveVolume(ctx, v, r, volumeEvent(ctx, &r, "Volume deleted")); err != nil {
		return Volume{}, err
	}
	if err := v.deactivate(ctx); err != nil {
		c.log.Error("close of a deleted volume failed", "volume", r.Name, "err", err)
	}
	return c.describe(v), nil
}

// RestoreVolume brings a deleted volume back that was not purged yet.
func (c *Cluster) RestoreVolume(ctx context.Context, id int64) (Volume, error) {
	c.admin.Lock()
	defer c.admin.Unlock()
	if err := c.mayChange(); err != nil {
		return Volume{}, err
	}
	v, err := c.deletedVolume(id)
	if err != nil {
		return Volume{}, err
	}
	r := v.record()
	if err := c.checkName(r.Name); err != nil {
		return Volume{}, err
	}
	r.Deleted, r.Purge = time.Time{}, time.Time{}
	if err := c.saveVolume(ctx, v, r, volumeEvent(ctx, &r, "Volume restored")); err != nil {
		return Volume{}, err
	}
	c.openVolume(ctx, v)
	return c.describe(v), nil
}

func (c *Cluster) deletedVolume(id int64) (*liveVolume, error) {
	v, err := c.liveVolume(id)
	if err != nil {
		return nil, err
	}
	if v.record().Deleted.IsZero() {
		return nil, fmt.Errorf("volume %d: %w: it is not deleted", id, ErrState)
	}
	return v, nil
}

// PurgeVolume removes a deleted volume for good: its key first, so that the
// data is unreadable from then on, whatever becomes of the image.
func (c *Cluster) PurgeVolume(ctx context.Context, id int64) error {
	c.admin.Lock()
	defer c.admin.Unlock()
	if err := c.mayChange(); err != nil {
		return err
	}
	v, err := c.deletedVolume(id)
	if err != nil {
		return err
	}
	return c.purge(ctx, v)
}

func (c *Cluster) purge(ctx context.Context, v *liveVolume) error {
	r := v.record()
	r.Phase = phasePurging
	err := c.store.Update(ctx, func(tx store.Tx) error {
		if r.Encrypted {
			if err := c.keys.DeleteDataKey(tx, r.UUID); err != nil && !errors.Is(err, keymgr.ErrNotFound) {
				return err
			}
		}
		return c.putVolumeAnd(tx, r, nil, volumeEvent(ctx, &r, "Volume purged"))
	})
	if r.Encrypted {
		c.auditKey(ctx, "destroy data key", r.Name, err)
	}
	if err != nil {
		return fmt.Errorf("purge volume %s: %w", r.Name, err)
	}
	v.setRecord(r)
	if err := c.dropVolume(ctx, r); err != nil {
		c.log.Warn("purged volume's image is still there and will be removed later", "volume", r.Name, "err", err)
	}
	return nil
}

// AdoptVolume takes over a LUKS container that somebody else made, by its
// passphrase. Its data key is put into the store; a LUKS2 header also gets our
// token. Its keyslots stay, so its passphrase still opens it.
func (c *Cluster) AdoptVolume(ctx context.Context, p AdoptVolume) (Volume, error) {
	defer clear(p.Passphrase)
	cl, err := c.require()
	if err != nil {
		return Volume{}, err
	}
	if !cl.SoftwareEncryption {
		return Volume{}, fmt.Errorf("%w: this cluster was made without software encryption", ErrState)
	}
	c.admin.Lock()
	defer c.admin.Unlock()
	if err := c.mayChange(); err != nil {
		return Volume{}, err
	}
	if err := c.checkName(p.Name); err != nil {
		return Volume{}, err
	}
	r, err := c.adoptee(p)
	if err != nil {
		return Volume{}, err
	}
	key, err := c.inspect(ctx, r, p.Passphrase)
	if err != nil {
		return Volume{}, fmt.Errorf("adopt %s: %w", p.Name, err)
	}
	defer key.Destroy()
	err = c.store.Update(ctx, func(tx store.Tx) (err error) {
		if r.ID, err = nextID(tx, "volume"); err != nil {
			return err
		}
		return c.putVolumeAnd(tx, *r, key, volumeEvent(ctx, r, "Volume adopted"))
	})
	c.auditKey(ctx, "take over data key", r.Name, err)
	if err != nil {
		return Volume{}, fmt.Errorf("record volume %s: %w", p.Name, err)
	}
	v := c.track(*r)
	c.openVolume(ctx, v)
	return c.describe(v), nil
}

// adoptee is the record of a container to take over, but for what only its
// header tells.
func (c *Cluster) adoptee(p AdoptVolume) (*volumeRecord, error) {
	if p.Image == "" {
		p.Image = "data"
	}
	for _, v := range c.liveVolumes() {
		if r := v.record(); r.DriveID == p.DriveID && r.Image == p.Image {
			return nil, fmt.Errorf("image %s: %w by volume %d", p.Image, ErrInUse, r.ID)
		}
	}
	id, err := newUUID(c.cfg.Rand)
	if err != nil {
		return nil, err
	}
	return &volumeRecord{
		UUID: id, Name: p.Name, AccountID: defaultAccount, Emulate512: true, Access: AccessReadWrite,
		Encrypted: true, DriveID: p.DriveID, Image: p.Image, HeaderDriveID: p.HeaderDriveID, HeaderImage: p.HeaderImage,
		Discard: string(volume.DiscardZero), Adopted: true, Created: c.now(),
	}, nil
}

// inspect unlocks the container, completes the record from its header and
// leaves our token in it.
func (c *Cluster) inspect(ctx context.Context, r *volumeRecord, passphrase []byte) (*keymgr.Secret, error) {
	data, hdr, err := c.openImages(ctx, r, false)
	if err != nil {
		return nil, err
	}
	defer data.Close()
	if r.HeaderImage != "" {
		defer hdr.Close()
	}
	h, err := luks.Read(ctx, hdr)
	if err != nil {
		return nil, err
	}
	raw, _, err := h.Unlock(ctx, hdr, passphrase)
	if err != nil {
		return nil, err
	}
	key, err := keymgr.NewSecret(raw)
	if err != nil {
		return nil, err
	}
	if err := c.complete(ctx, r, h, hdr, data, key); err != nil {
		key.Destroy()
		return nil, err
	}
	return key, nil
}

func (c *Cluster) complete(ctx context.Context, r *volumeRecord, h *luks.Header, hdr, data blockdev.Device, key *keymgr.Secret) error {
	x, err := h.Sectors(key.Bytes())
	if err != nil {
		return err
	}
	x.Wipe()
	size, err := h.DataSize(data.Info().Size)
	if err != nil {
		return err
	}
	r.Size, r.LUKSVersion, r.LUKSUUID = size, h.Version, h.UUID
	if h.Version == 1 {
		r.Access = AccessReadOnly
		return nil
	}
	_, err = h.SetToken(ctx, hdr, *c.token(r))
	return err
}
