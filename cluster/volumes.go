package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"lockplate/blockdev"
	"lockplate/keymgr"
	"lockplate/store"
	"lockplate/volume"
	"lockplate/volume/luks"
)

// Limits and defaults of volumes.
const (
	sizeUnit       = 1 << 20 // volume sizes are whole MiB, as in Element
	maxVolumeSize  = 1 << 60 // bytes
	maxAttributes  = 1000    // bytes of JSON, as in Element
	purgeAfter     = 8 * time.Hour
	defaultAccount = 1
	dataKeyBytes   = 64       // AES-256-XTS
	headerRoom     = 16 << 20 // LUKS2 header and keyslots before the data
)

var volumeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Volumes lists all volumes by id, deleted ones too.
func (c *Cluster) Volumes(context.Context) ([]Volume, error) {
	if _, err := c.require(); err != nil {
		return nil, err
	}
	var out []Volume
	for _, v := range c.liveVolumes() {
		if v.record().Phase == phaseLive {
			out = append(out, c.describe(v))
		}
	}
	return out, nil
}

// Volume describes one volume.
func (c *Cluster) Volume(_ context.Context, id int64) (Volume, error) {
	if _, err := c.require(); err != nil {
		return Volume{}, err
	}
	v, err := c.liveVolume(id)
	if err != nil {
		return Volume{}, err
	}
	return c.describe(v), nil
}

// describe fills in what the volume itself does not know: where it lies.
func (c *Cluster) describe(v *liveVolume) Volume {
	out, r := v.status(), v.record()
	path := func(drive int64, image string) string {
		be, err := c.backend(drive)
		if err != nil {
			return ""
		}
		return be.Path(image)
	}
	out.Path = path(r.DriveID, r.Image)
	out.QoS = NoQoS()
	if q := c.qosOf(&r); q != nil {
		out.QoS = *q
	}
	if r.HeaderImage != "" {
		out.HeaderPath = path(r.HeaderDriveID, r.HeaderImage)
	}
	return out
}

// CreateVolume makes a volume and brings it online. If the process dies on the
// way, the next boot takes back what was done.
func (c *Cluster) CreateVolume(ctx context.Context, p CreateVolume) (Volume, error) {
	defer clear(p.Passphrase)
	cl, err := c.require()
	if err != nil {
		return Volume{}, err
	}
	c.admin.Lock()
	defer c.admin.Unlock()
	if err := c.mayChange(); err != nil {
		return Volume{}, err
	}
	plan, err := c.planVolume(ctx, cl, p)
	if err != nil {
		return Volume{}, err
	}
	key, err := c.recordNew(ctx, plan)
	if err != nil {
		return Volume{}, fmt.Errorf("create volume %s: %w", p.Name, err)
	}
	if key != nil {
		defer key.Destroy()
	}
	v := c.track(plan.rec)
	if err := c.finishCreate(ctx, plan, key, p); err != nil {
		if undo := c.dropVolume(context.WithoutCancel(ctx), plan.rec); undo != nil {
			c.log.Error("failed volume could not be taken back", "volume", p.Name, "err", undo)
		}
		return Volume{}, fmt.Errorf("create volume %s: %w", p.Name, err)
	}
	v.setRecord(plan.rec)
	c.openVolume(ctx, v)
	return c.describe(v), nil
}

// volumePlan is a volume about to be made: its record and where it goes.
type volumePlan struct {
	rec         volumeRecord
	be          blockdev.Drive
	header      blockdev.Drive // drive of a detached header, or nil
	info        blockdev.DriveInfo
	image       int64 // bytes of the data image
	sector      int
	segmentSize int64 // of the LUKS segment; 0 = to the end of the image
}

// planVolume checks the parameters and chooses drives; it changes nothing.
func (c *Cluster) planVolume(ctx context.Context, cl *clusterRecord, p CreateVolume) (*volumePlan, error) {
	if err := c.checkNew(&p, cl); err != nil {
		return nil, err
	}
	id, err := newUUID(c.cfg.Rand)
	if err != nil {
		return nil, err
	}
	plan := &volumePlan{rec: volumeRecord{
		UUID: id, Name: p.Name, Phase: phaseCreating, AccountID: defaultAccount,
		Emulate512: p.Emulate512, Access: p.Access, Encrypted: cl.SoftwareEncryption,
		Discard: p.Discard, Image: id, Created: c.now(), Attributes: p.Attributes,
	}}
	if plan.rec.Encrypted {
		plan.rec.LUKSVersion, plan.rec.LUKSUUID = 2, plan.rec.UUID
	}
	if plan.rec, err = c.withQoS(plan.rec, p.QoS, &p.QoSPolicyID); err != nil {
		return nil, err
	}
	if err := c.placeData(ctx, plan, p); err != nil {
		return nil, err
	}
	return plan, c.placeHeader(plan, p)
}

// checkNew validates and completes the parameters of a new volume.
func (c *Cluster) checkNew(p *CreateVolume, cl *clusterRecord) error {
	if err := c.checkName(p.Name); err != nil {
		return err
	}
	if p.AccountID != 0 && p.AccountID != defaultAccount {
		return notFound("account", p.AccountID)
	}
	if p.Size < 0 || p.Size > maxVolumeSize {
		return &InvalidError{"totalSize", "must be between 1 byte and 1 EiB"}
	}
	p.Size = (p.Size + sizeUnit - 1) / sizeUnit * sizeUnit
	if p.Access == "" {
		p.Access = AccessReadWrite
	}
	if err := checkAccess(p.Access); err != nil {
		return err
	}
	d, err := volume.ParseDiscard(p.Discard)
	if err != nil {
		return &InvalidError{"discard", err.Error()}
	}
	p.Discard = string(d)
	if p.SectorSize != 0 && p.SectorSize != 512 && p.SectorSize != 4096 {
		return &InvalidError{"sectorSize", "must be 512 or 4096"}
	}
	if !cl.SoftwareEncryption && (p.Detached || p.Passphrase != nil) {
		return &InvalidError{"recoveryPassphrase", "this cluster was made without software encryption: there is no header and no key"}
	}
	return checkAttributes(p.Attributes)
}

func (c *Cluster) checkName(name string) error {
	if !volumeName.MatchString(name) {
		return &InvalidError{"name", "use 1-64 letters, digits, '.', '_' or '-', not starting with '.', '_' or '-'"}
	}
	if v := c.volumeByName(name); v != nil {
		return fmt.Errorf("volume %q: %w", name, blockdev.ErrExist)
	}
	return nil
}

func checkAccess(a Access) error {
	switch a {
	case AccessReadWrite, AccessReadOnly, AccessLocked:
		return nil
	}
	return &InvalidError{"access", fmt.Sprintf("%q is not readWrite, readOnly or locked", a)}
}

func checkAttributes(a map[string]any) error {
	b, err := json.Marshal(a)
	if err != nil {
		return &InvalidError{"attributes", err.Error()}
	}
	if len(b) > maxAttributes {
		return &InvalidError{"attributes", fmt.Sprintf("%d bytes of JSON, at most %d", len(b), maxAttributes)}
	}
	return nil
}

// placeData chooses the drive of the data and the size of its image.
func (c *Cluster) placeData(ctx context.Context, plan *volumePlan, p CreateVolume) error {
	d, err := c.chooseDrive(ctx, p.DriveID, p.Size)
	if err != nil {
		return err
	}
	plan.rec.DriveID = d.record().ID
	if plan.be, err = d.backend(); err != nil {
		return err
	}
	if plan.info, err = plan.be.Info(ctx); err != nil {
		return fmt.Errorf("drive %d: %w", plan.rec.DriveID, err)
	}
	var over int64
	if plan.rec.Encrypted && !p.Detached {
		over = headerRoom
	}
	room := (plan.info.Capacity - over) / sizeUnit * sizeUnit
	if p.Size == 0 {
		if !plan.info.Single {
			return &InvalidError{"totalSize", "say how large the volume is to be"}
		}
		p.Size = room
	}
	if p.Size > room || room <= 0 {
		return fmt.Errorf("%w: drive %d has room for a volume of %d bytes at most", blockdev.ErrNoSpace, plan.rec.DriveID, max(room, 0))
	}
	if plan.info.Single && p.Size < room {
		plan.segmentSize = p.Size
	}
	plan.rec.Size, plan.image = p.Size, p.Size+over
	plan.sector = plan.info.Sector
	if p.SectorSize != 0 {
		plan.sector = p.SectorSize
	}
	return nil
}

// chooseDrive is the drive asked for, or the active one with the most space.
func (c *Cluster) chooseDrive(ctx context.Context, id, size int64) (*liveDrive, error) {
	if id != 0 {
		d, err := c.liveDrive(id)
		if err != nil {
			return nil, err
		}
		if d.record().Role != RoleBlock {
			return nil, &InvalidError{"driveID", "that is a metadata drive: it holds no data"}
		}
		return d, c.roomFor(ctx, d)
	}
	var best *liveDrive
	var free int64 = -1
	for _, d := range c.liveDrives() {
		s := d.status(ctx)
		if s.Role == RoleBlock && s.Status == DriveActive && s.Free > free && c.roomFor(ctx, d) == nil {
			best, free = d, s.Free
		}
	}
	if best == nil {
		return nil, fmt.Errorf("%w: no active drive has room for a volume: add one with 'lockplate drive add dir:PATH'", ErrState)
	}
	return best, nil
}

// roomFor refuses a single drive that has its volume already.
func (c *Cluster) roomFor(ctx context.Context, d *liveDrive) error {
	be, err := d.backend()
	if err != nil {
		return err
	}
	i, err := be.Info(ctx)
	if err != nil || !i.Single {
		return err
	}
	if on := c.volumesOn(d.record().ID); len(on) > 0 {
		return fmt.Errorf("drive %d: %w: it holds one volume, and volume %d is on it", d.record().ID, ErrInUse, on[0])
	}
	return nil
}

// placeHeader chooses the metadata drive of a detached header.
func (c *Cluster) placeHeader(plan *volumePlan, p CreateVolume) error {
	if !p.Detached {
		return nil
	}
	for _, d := range c.liveDrives() {
		r := d.record()
		if be, err := d.backend(); err == nil && r.Role == RoleMetadata {
			plan.header, plan.rec.HeaderDriveID = be, r.ID
			plan.rec.HeaderImage = plan.rec.UUID + "-header"
			return nil
		}
	}
	return fmt.Errorf("%w: a detached header needs an active metadata drive: 'lockplate drive add dir:PATH --role metadata'", ErrState)
}

// recordNew gives the volume its id and data key, durable before anything is
// written to a drive. The key is nil for a volume that is not encrypted.
func (c *Cluster) recordNew(ctx context.Context, plan *volumePlan) (key *keymgr.Secret, err error) {
	if plan.rec.Encrypted {
		if key, err = keymgr.RandomSecret(c.cfg.Rand, dataKeyBytes); err != nil {
			return nil, err
		}
	}
	err = c.store.Update(ctx, func(tx store.Tx) error {
		id, err := nextID(tx, "volume")
		if err != nil {
			return err
		}
		plan.rec.ID = id
		return c.putVolume(tx, plan.rec, key)
	})
	if key != nil {
		c.auditKey(ctx, "make data key", plan.rec.Name, err)
	}
	if err != nil && key != nil {
		key.Destroy()
		key = nil
	}
	return key, err
}

// putVolume writes a volume's record, and its data key if there is one.
func (c *Cluster) putVolume(tx store.Tx, r volumeRecord, key *keymgr.Secret) error {
	if key != nil {
		if err := c.keys.PutDataKey(tx, r.UUID, key); err != nil {
			return err
		}
	}
	return putRecord(tx, recordKey(prefixVol, r.ID), r)
}

// putVolumeAnd is putVolume with the events that tell of it.
func (c *Cluster) putVolumeAnd(tx store.Tx, r volumeRecord, key *keymgr.Secret, tell ...Event) error {
	for _, e := range tell {
		if err := putEvent(tx, e, c.now()); err != nil {
			return err
		}
	}
	return c.putVolume(tx, r, key)
}

// saveVolume writes a changed record with its events and, once durable, shows it.
func (c *Cluster) saveVolume(ctx context.Context, v *liveVolume, r volumeRecord, tell ...Event) error {
	err := c.store.Update(ctx, func(tx store.Tx) error { return c.putVolumeAnd(tx, r, nil, tell...) })
	if err != nil {
		return fmt.Errorf("record volume %s: %w", r.Name, err)
	}
	v.setRecord(r)
	c.holdTo(v)
	return nil
}

// finishCreate makes the images and the header, then marks the volume whole.
func (c *Cluster) finishCreate(ctx context.Context, plan *volumePlan, key *keymgr.Secret, p CreateVolume) error {
	data, err := plan.be.Create(ctx, plan.rec.Image, plan.image)
	if err != nil {
		return err
	}
	defer data.Close()
	hdr := data
	if plan.header != nil {
		if hdr, err = plan.header.Create(ctx, plan.rec.HeaderImage, headerRoom); err != nil {
			return fmt.Errorf("detached header: %w", err)
		}
		defer hdr.Close()
	}
	if key != nil {
		if err := c.format(ctx, hdr, plan, key, p); err != nil {
			return err
		}
	}
	plan.rec.Phase = phaseLive
	made := volumeEvent(ctx, &plan.rec, "Volume created")
	return c.store.Update(ctx, func(tx store.Tx) error { return c.putVolumeAnd(tx, plan.rec, nil, made) })
}

func (c *Cluster) format(ctx context.Context, hdr blockdev.Device, plan *volumePlan, key *keymgr.Secret, p CreateVolume) error {
	h, err := luks.Format(ctx, hdr, key.Bytes(), luks.Options{
		UUID: plan.rec.LUKSUUID, Label: plan.rec.Name, SectorSize: plan.sector, Detached: plan.header != nil,
		SegmentSize: plan.segmentSize, Token: c.token(&plan.rec), Rand: c.cfg.Rand,
	})
	if err != nil {
		return fmt.Errorf("write LUKS2 header: %w", err)
	}
	if p.Passphrase != nil {
		kdf, err := parseKDF(p.PassphraseKDF)
		if err != nil {
			return err
		}
		if _, _, err = h.AddKeyslot(ctx, hdr, key.Bytes(), p.Passphrase, kdf); err != nil {
			return fmt.Errorf("add recovery passphrase: %w", err)
		}
	}
	return hdr.Flush(ctx)
}

func (c *Cluster) token(r *volumeRecord) *luks.Token {
	t := &luks.Token{Cluster: c.record().UUID, Volume: r.UUID}
	if d, err := c.liveDrive(r.DriveID); err == nil {
		t.Drive = d.record().UUID
	}
	return t
}

// dropVolume removes a volume whose record says creating or purging: images,
// then key and record in one transaction.
func (c *Cluster) dropVolume(ctx context.Context, r volumeRecord) error {
	if err := c.removeImages(ctx, r); err != nil {
		return err
	}
	err := c.store.Update(ctx, func(tx store.Tx) error {
		if r.Encrypted {
			if err := c.keys.DeleteDataKey(tx, r.UUID); err != nil && !errors.Is(err, keymgr.ErrNotFound) {
				return err
			}
		}
		return tx.Delete(recordKey(prefixVol, r.ID))
	})
	if err != nil {
		return fmt.Errorf("remove volume %s: %w", r.Name, err)
	}
	c.mu.Lock()
	delete(c.vol, r.ID)
	c.mu.Unlock()
	if c.volumeByName(r.Name) == nil {
		c.metrics.forget(r.Name)
	}
	return nil
}

func (c *Cluster) removeImages(ctx context.Context, r volumeRecord) error {
	remove := func(drive int64, image string) error {
		be, err := c.backend(drive)
		if err != nil {
			return err
		}
		if ours, err := c.ownImage(ctx, be, &r, image); err != nil || !ours {
			return err
		}
		return be.Remove(ctx, image)
	}
	if r.HeaderImage != "" {
		if err := remove(r.HeaderDriveID, r.HeaderImage); err != nil {
			return err
		}
	}
	return remove(r.DriveID, r.Image)
}

// ownImage guards a disk that holds a single image, and so has no name of ours
// on it, when a creation is taken back: only our own header is removed.
func (c *Cluster) ownImage(ctx context.Context, be blockdev.Drive, r *volumeRecord, image string) (bool, error) {
	i, err := be.Info(ctx)
	if err != nil {
		return false, err
	}
	if !i.Single || r.Phase == phasePurging {
		return true, nil
	}
	dev, err := be.Open(ctx, image, true)
	if errors.Is(err, blockdev.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer dev.Close()
	h, err := luks.Read(ctx, dev)
	if err != nil {
		c.log.Warn("disk of an unfinished volume is left as it is", "volume", r.Name, "path", be.Path(image), "err", err)
		return false, nil
	}
	return h.UUID == r.LUKSUUID, nil
}
