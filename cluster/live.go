package cluster

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"lockplate/blockdev"
	"lockplate/volume/luks"
)

// stack is an opened volume: the encrypted device and what it stands on. It is
// made by activation and never changes; a volume that is opened anew gets a
// new stack, and handles of the old one fail from then on.
type stack struct {
	dev      blockdev.Device             // what clients see
	header   atomic.Pointer[luks.Header] // nil: not encrypted
	hdr      blockdev.Device             // device with the header; closed with the stack if detached
	detached bool
	sector   int
	keyBits  int
	degraded bool // read-only because its drive is
}

// close flushes, waits for requests in flight and closes.
func (s *stack) close(ctx context.Context) error {
	err := errors.Join(s.dev.Flush(ctx), s.dev.Close())
	if s.detached {
		err = errors.Join(err, s.hdr.Close())
	}
	return err
}

// liveVolume is a volume of this node: its record, and the opened stack while
// it is online.
type liveVolume struct {
	id    int64 // of the record, which keeps it
	mu    sync.Mutex
	rec   volumeRecord
	state VolumeState // online exactly while stack is set
	err   error       // why it is not online

	stack    atomic.Pointer[stack]
	readOnly atomic.Bool
	handles  atomic.Int64
	io       *volumeIO
	limit    atomic.Pointer[limiter] // nil: no limit
	closing  driveLook               // for a stack whose drive may hang
}

func (v *liveVolume) record() volumeRecord {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.rec
}

func (v *liveVolume) setRecord(r volumeRecord) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.rec = r
	v.readOnly.Store(r.Access != AccessReadWrite)
}

// online puts an opened stack into service.
func (v *liveVolume) online(s *stack) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.state, v.err = VolumeOnline, nil
	v.stack.Store(s)
}

// fail notes why the volume cannot be served and reports whether that is news.
func (v *liveVolume) fail(state VolumeState, err error) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	news := v.state != state || v.err == nil || v.err.Error() != err.Error()
	v.state, v.err = state, err
	return news
}

// deactivate takes the volume out of service. Clients' requests in flight are
// finished; later ones fail with ErrClosed.
func (v *liveVolume) deactivate(ctx context.Context) error {
	v.mu.Lock()
	s := v.stack.Swap(nil)
	if s != nil {
		v.state = VolumeOffline
	}
	v.mu.Unlock()
	if s == nil {
		return nil
	}
	v.wakeWaiting()
	return s.close(ctx)
}

// readOnlyDrive is why an online volume takes no writes though it may.
const readOnlyDrive = "its drive is read-only, so it is served for reading only; " +
	"make the drive writable and detach the clients, then it is opened for writing by itself"

// status is what a client is shown of the volume; paths are filled in by the
// caller.
func (v *liveVolume) status() Volume {
	v.mu.Lock()
	r, state, err := v.rec, v.state, v.err
	v.mu.Unlock()
	out := Volume{
		ID: r.ID, UUID: r.UUID, Name: r.Name, AccountID: r.AccountID, Size: r.Size,
		Emulate512: r.Emulate512, Access: r.Access, State: state, Encrypted: r.Encrypted,
		DriveID: r.DriveID, HeaderDriveID: r.HeaderDriveID, Discard: r.Discard, Adopted: r.Adopted,
		Created: r.Created, Deleted: r.Deleted, Purge: r.Purge, Attributes: r.Attributes,
		Connections: int(v.handles.Load()), QoSPolicyID: r.QoSPolicyID,
	}
	if !r.Deleted.IsZero() {
		out.State = VolumeDeleted
	} else if err != nil {
		out.Reason = err.Error()
	}
	if s := v.stack.Load(); s != nil {
		out.SectorSize = s.sector
		if s.degraded {
			out.Reason = readOnlyDrive
		}
		if h := s.header.Load(); h != nil {
			out.Cipher, out.KeyBits, out.RecoveryKeys = h.Cipher, s.keyBits, len(h.Keyslots)
		}
	}
	return out
}

func (c *Cluster) liveVolume(id int64) (*liveVolume, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := c.vol[id]; ok {
		return v, nil
	}
	return nil, notFound("volume", id)
}

// liveVolumes returns all volumes, deleted ones too, by id.
func (c *Cluster) liveVolumes() []*liveVolume {
	c.mu.Lock()
	out := make([]*liveVolume, 0, len(c.vol))
	for _, v := range c.vol {
		out = append(out, v)
	}
	c.mu.Unlock()
	slices.SortFunc(out, func(a, b *liveVolume) int { return cmp.Compare(a.id, b.id) })
	return out
}

// volumeByName finds a volume that is not deleted. Every attach does this, so
// it neither sorts nor copies records.
func (c *Cluster) volumeByName(name string) *liveVolume {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range c.vol {
		if v.isNamed(name) {
			return v
		}
	}
	return nil
}

func (v *liveVolume) isNamed(name string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.rec.Name == name && v.rec.live()
}
