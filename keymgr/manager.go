package keymgr

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"lockplate/keymgr/kmip"
	"lockplate/store"
)

// Options is what Create and Open need.
type Options struct {
	Cluster string           // UUID; everything is bound to it
	Sealer  Sealer           // of the internal master key; closed with the Manager, or when Create or Open fails
	Rand    io.Reader        // nil: crypto/rand
	Now     func() time.Time // nil: time.Now
	Logger  *slog.Logger     // nil: none
	Hooks   Hooks

	Timing   Timing // of a rekey
	Observer Observer

	// KMIP changes how key servers are reached, where not nil.
	KMIP func(*kmip.Config)

	point func(string) error // for tests: see Manager.send
}

// Manager holds the current master key and wraps data keys under it. All
// methods may be called concurrently.
type Manager struct {
	st      store.Store
	sealer  sealerBox
	log     *slog.Logger
	rand    io.Reader
	now     func() time.Time
	cluster string
	hooks   Hooks
	timing  Timing
	point   func(string) error
	clients clients
	worker  *worker

	unlocking sync.Mutex
	sealing   sync.Mutex // held to seal something into the store, and to change the sealer

	mu     sync.RWMutex // held to use a key in ring, and exclusively to destroy one
	ring   ring         // nil once closed
	info   MasterKey    // of the current key
	locked error        // why the current key is not in ring
	signer *signer      // nil: no key pair
	unsent string       // see setUnsent
	halted string       // see halt

	hints sync.Map // volume uuid.UUID to the page it was last seen in
}

// ring holds the master keys that are in memory: the current one, and during a
// rekey the other one too, so that whoever meets a page wrapped under either
// can read it.
type ring map[uuid.UUID]*wrapper

// of gives the wrapper of a page; ErrStale.
func (r ring) of(p page) (*wrapper, error) {
	w := r[p.master()]
	if w == nil {
		w = &wrapper{}
	}
	return w, w.ours(p)
}

func (o *Options) fill() error {
	if o.Sealer == nil {
		return fmt.Errorf("%w: no sealer given", ErrSealerMissing)
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Timing.fill()
	if _, err := uuid.Parse(o.Cluster); err != nil {
		return errors.Join(fmt.Errorf("cluster id %.40q: %w", o.Cluster, err), o.Sealer.Close())
	}
	return nil
}

// Create makes the first master key of a cluster, records it and the sealer's
// spec in one transaction, and opens it as Open does. ErrExists if the store
// has a master key.
func Create(ctx context.Context, st store.Store, spec string, o Options) (*Manager, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	err := mayKeep(spec)
	if err == nil {
		err = create(ctx, st, spec, o)
	}
	if err != nil {
		return nil, errors.Join(err, o.Sealer.Close())
	}
	return Open(ctx, st, o) // from what is durable: proves that it can be opened
}

func create(ctx context.Context, st store.Store, spec string, o Options) error {
	if err := st.View(ctx, noMaster); err != nil {
		return err // before the sealer makes a key file or asks
	}
	id, err := uuid.NewRandomFromReader(o.Rand)
	if err != nil {
		return fmt.Errorf("make id: %w", err)
	}
	src := &InternalSource{Store: st, Sealer: o.Sealer, Cluster: o.Cluster, Rand: o.Rand}
	key, blob, err := src.generate(ctx, id.String())
	if err != nil {
		return err
	}
	defer key.Destroy()
	check, err := kcv(key)
	if err != nil {
		return err
	}
	rec, err := marshalRecord(&masterRecord{
		Version: recordVersion, ID: id.String(), Type: Internal, Name: "lockplate/" + o.Cluster + "/mk/" + id.String(),
		State: StateCurrent, KCV: hex.EncodeToString(check[:]), Sealer: o.Sealer.Kind(), Generation: 1, Created: o.Now().UTC(),
	})
	if err != nil {
		return fmt.Errorf("encode master key record: %w", err)
	}
	seal, err := marshalRecord(&sealerRecord{Version: recordVersion, Spec: spec})
	if err != nil {
		return fmt.Errorf("encode sealer record: %w", err)
	}
	err = st.Update(ctx, func(tx store.Tx) error {
		return errors.Join(noMaster(tx), tx.Put(prefixSealed+id.String(), blob),
			tx.Put(prefixMaster+id.String(), rec), tx.Put(keySealer, seal))
	})
	if err != nil {
		return fmt.Errorf("record master key: %w", err)
	}
	return nil
}

// noMaster fails if the store has any master key or wrap.
func noMaster(tx store.Tx) error {
	for _, p := range []string{prefixMaster, prefixWraps} {
		for k := range tx.Scan(p) {
			return fmt.Errorf("%s: %w", k, ErrExists)
		}
	}
	return nil
}

// SealerSpec returns what ParseSealer needs to make the sealer for Open.
// ErrNoMaster before Create.
func SealerSpec(ctx context.Context, st store.Store) (string, error) {
	var r sealerRecord
	err := st.View(ctx, func(tx store.Tx) error {
		b, err := tx.Get(keySealer)
		if errors.Is(err, store.ErrNotFound) {
			return ErrNoMaster
		}
		if err != nil {
			return err
		}
		r = sealerRecord{}
		return parseRecord(b, &r)
	})
	if err != nil {
		return "", fmt.Errorf("read sealer record: %w", err)
	}
	return r.Spec, nil
}

// Open unseals the current master key and compares its check value; one that is
// kept by a key provider it tries to fetch, and succeeds without: see Locked. A
// rekey that was under way goes on. Errors:
// ErrNoMaster, ErrWrongPassphrase, ErrWrongKey, ErrSealerMissing,
// ErrPermissions, ErrIntegrity, ErrFormat, ErrMemlock.
func Open(ctx context.Context, st store.Store, o Options) (*Manager, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	m, err := open(ctx, st, o)
	if err != nil {
		return nil, errors.Join(err, o.Sealer.Close())
	}
	k := m.Master()
	m.log.Info("master key opened", "key_id", k.ID, "type", k.Type, "sealer", k.Sealer, "sealed", k.Sealed)
	m.wake() // a job, or what is left of one
	return m, nil
}

func open(ctx context.Context, st store.Store, o Options) (*Manager, error) {
	var rec *masterRecord
	err := st.View(ctx, func(tx store.Tx) (err error) {
		rec, err = currentMaster(tx)
		return err
	})
	if err != nil {
		return nil, err
	}
	if rec.Type == External {
		return openExternal(ctx, st, o, rec)
	}
	m := newManager(st, o)
	if err := m.expectShares(ctx); err != nil {
		return nil, err
	}
	key, err := m.fetchKey(ctx, rec)
	if err != nil {
		return nil, err
	}
	m.ring[uuid.MustParse(rec.ID)] = m.wrapper(rec, key)
	m.info = m.describe(rec)
	if err := m.openTrust(ctx); err != nil {
		o.Logger.Error("key pair for key servers does not open", "err", err)
	}
	return m, nil
}

func newManager(st store.Store, o Options) *Manager {
	m := &Manager{
		st: st, sealer: sealerBox{s: o.Sealer}, log: o.Logger, rand: o.Rand, now: o.Now, cluster: o.Cluster,
		hooks: o.Hooks, timing: o.Timing, point: o.point, ring: ring{},
	}
	m.worker = newWorker(o.Timing.Retry, m.work)
	m.clients = clients{certificate: m.certificate, adjust: o.KMIP, observer: o.Observer, now: o.Now, log: o.Logger}
	return m
}

func (m *Manager) wrapper(r *masterRecord, key *Secret) *wrapper {
	return &wrapper{
		cluster: uuid.MustParse(m.cluster), master: uuid.MustParse(r.ID), generation: r.Generation,
		key: key, rand: m.rand,
	}
}

// describe tells of a key what others may know.
func (m *Manager) describe(r *masterRecord) MasterKey {
	k := MasterKey{
		ID: r.ID, Type: r.Type, ProviderID: r.ProviderID, Created: r.Created, State: r.State, Destroyed: r.Destroyed,
		Forgotten: r.Forgotten, Left: r.Left,
	}
	if r.Type == External {
		k.Sealed = true // it is not kept here at all
		return k
	}
	k.Sealed, k.Warning = m.sealer.get().Protects()
	k.Sealer = r.Sealer
	return k
}

// Master describes the current master key.
func (m *Manager) Master() MasterKey {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.info
}

// use runs fn with the keys in memory, which stay usable until fn returns.
func (m *Manager) use(fn func(ring) error) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.ring == nil {
		return ErrClosed
	}
	if m.locked != nil {
		return m.locked
	}
	return fn(m.ring)
}

// wake has the worker look for a job, and for what is to be cleaned up.
func (m *Manager) wake() { m.worker.kick() }

// PutDataKey wraps a volume's data key, of at most 64 bytes, and adds it to the
// store as part of tx. ErrExists if the volume has one: a key is never
// overwritten.
func (m *Manager) PutDataKey(tx store.Tx, volume string, key *Secret) error {
	id, err := uuid.Parse(volume)
	if err != nil {
		return fmt.Errorf("volume id %.40q: %w", volume, err)
	}
	return m.use(func(keys ring) error {
		cur, err := currentMaster(tx)
		if err != nil {
			return err
		}
		w := keys[uuid.MustParse(cur.ID)]
		if w == nil {
			return fmt.Errorf("put data key of volume %s: %w", volume, ErrStale)
		}
		rec, err := w.wrap(id, key)
		if err != nil {
			return fmt.Errorf("wrap data key of volume %s: %w", volume, err)
		}
		return w.putWrap(tx, rec)
	})
}

// DataKey returns a volume's data key; the caller destroys it. ErrNotFound,
// ErrIntegrity, ErrLocked.
func (m *Manager) DataKey(ctx context.Context, volume string) (*Secret, error) {
	id, err := uuid.Parse(volume)
	if err != nil {
		return nil, fmt.Errorf("volume id %.40q: %w", volume, err)
	}
	var key *Secret
	err = m.use(func(keys ring) error {
		p, i, err := m.lookup(ctx, id)
		if err != nil {
			return err
		}
		w, err := keys.of(p)
		if err != nil {
			return err
		}
		key, err = w.unwrap(p.rec(i))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("data key of volume %s: %w", volume, err)
	}
	return key, nil
}

// lookup finds the page and place of a volume's record. It looks first where
// the record was last seen: a boot of 10,000 volumes must not read every page
// for each.
func (m *Manager) lookup(ctx context.Context, id uuid.UUID) (p page, at int, err error) {
	err = m.st.View(ctx, func(tx store.Tx) error {
		p, at = nil, -1
		if n, ok := m.hints.Load(id); ok {
			key := pageKey(n.(uint32))
			if b, err := tx.Get(key); err == nil {
				if p, err = parsePage(key, b); err != nil {
					return err
				}
				if at = p.find(id); at >= 0 {
					return nil
				}
			}
		}
		return pages(tx, func(q page) error {
			for i := range q.count() {
				m.hints.Store(q.rec(i).volume(), q.number())
			}
			if i := q.find(id); i >= 0 {
				p, at = q, i
			}
			return nil
		})
	})
	if err == nil && at < 0 {
		err = ErrNotFound
	}
	return p, at, err
}

// DeleteDataKey removes a volume's data key as part of tx: the volume is lost
// for ever, but for backups and recovery passphrases. ErrNotFound.
func (m *Manager) DeleteDataKey(tx store.Tx, volume string) error {
	id, err := uuid.Parse(volume)
	if err != nil {
		return fmt.Errorf("volume id %.40q: %w", volume, err)
	}
	m.hints.Delete(id)
	return deleteWrap(tx, id)
}

// Verify opens every wrap with the master key in memory and lists those that do
// not open. It needs no passphrase and shows no key.
func (m *Manager) Verify(ctx context.Context) (out []store.Problem, err error) {
	err = m.use(func(keys ring) error {
		return m.st.View(ctx, func(tx store.Tx) error {
			out = nil
			return pages(tx, func(p page) error {
				w, err := keys.of(p)
				if err != nil {
					out = append(out, store.Problem{Where: pageKey(p.number()), Text: err.Error()})
					return nil
				}
				for i := range p.count() {
					k, err := w.unwrap(p.rec(i))
					if err != nil {
						out = append(out, store.Problem{Where: "volume " + p.rec(i).volume().String(), Text: err.Error()})
					}
					k.Destroy()
				}
				return ctx.Err()
			})
		})
	})
	return out, err
}

// Close stops a rekey where it is, wipes the master keys and closes the sealer,
// once calls that use them have ended. Data keys handed out stay with their
// owners. The next Open goes on with the rekey.
func (m *Manager) Close() error {
	m.worker.stop()
	if !m.closeKeys() {
		return nil
	}
	return m.sealer.get().Close()
}

// closeKeys wipes what is in memory; false if that was done before.
func (m *Manager) closeKeys() bool {
	m.clients.close()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ring == nil {
		return false
	}
	for _, w := range m.ring {
		w.key.Destroy()
	}
	m.ring = nil
	m.signer.destroy()
	return true
}
