package keymgr

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"lockplate/store"
)

// openTimeout is how long Open waits for a key server. A boot goes on without:
// Unlock is called again and again.
const openTimeout = 3 * time.Second

// errNotTried is why a master key is not at hand before the first attempt.
var errNotTried = errors.New("the key servers were not asked yet")

// openExternal opens a store whose current master key is at a key provider. It
// succeeds without the key; only what is needed to ask for it must be there.
func openExternal(ctx context.Context, st store.Store, o Options, rec *masterRecord) (*Manager, error) {
	m := newManager(st, o)
	m.info = m.describe(rec)
	m.locked = lockedError(errNotTried)
	err := m.expectShares(ctx)
	if err == nil {
		err = m.openTrust(ctx)
	}
	if err != nil {
		m.closeKeys()
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := m.Unlock(ctx); err != nil {
		o.Logger.Warn("master key is not at hand", "key_id", rec.ID, "provider", rec.ProviderID, "err", err)
	}
	return m, nil
}

// lockedError is ErrLocked with its reason.
func lockedError(err error) error { return fmt.Errorf("%w: %w", ErrLocked, err) }

// Locked is nil while the current master key is in memory, as an internal one
// always is. Else it is ErrLocked with the reason why the last attempt to fetch
// the key failed: a *kmip.Error, of class keyMismatch when the key there is
// another one; ErrNoServers, ErrNoKeyPair.
func (m *Manager) Locked() error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.locked
}

// Unlock tries to fetch the current master key, if that is not in memory. The
// key is used only if its check value is that of the key that was made. The
// error is what Locked gives afterwards; ErrClosed.
func (m *Manager) Unlock(ctx context.Context) error {
	m.unlocking.Lock() // one attempt at a time
	defer m.unlocking.Unlock()
	if err := m.Locked(); err == nil {
		return m.use(func(ring) error { return nil })
	}
	rec, err := m.current(ctx)
	if err != nil {
		return m.setLocked(err)
	}
	key, err := m.fetchKey(ctx, rec)
	if err != nil {
		return m.setLocked(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ring == nil {
		key.Destroy()
		return ErrClosed
	}
	m.ring[uuid.MustParse(rec.ID)] = m.wrapper(rec, key)
	m.locked = nil
	m.log.Info("master key fetched", "key_id", rec.ID, "provider", rec.ProviderID)
	m.wake()
	return nil
}

// setLocked notes why an attempt to unlock failed.
func (m *Manager) setLocked(err error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ring == nil {
		return ErrClosed
	}
	m.locked = lockedError(err)
	return m.locked
}

// current reads the current master key's record.
func (m *Manager) current(ctx context.Context) (rec *masterRecord, err error) {
	err = m.st.View(ctx, func(tx store.Tx) (err error) {
		rec, err = currentMaster(tx)
		return err
	})
	return rec, err
}

// fetchKey gets a key from where it is kept and compares its check value, if it
// has one yet.
func (m *Manager) fetchKey(ctx context.Context, r *masterRecord) (*Secret, error) {
	ref := Ref{ID: r.ID, ServerID: r.ServerID}
	if r.Type == External {
		src, err := m.provider(ctx, r.ProviderID)
		if err != nil {
			return nil, err
		}
		return src.fetch(ctx, ref, r.kcv())
	}
	key, err := m.internal().Fetch(ctx, ref)
	if err != nil || r.KCV == "" {
		return key, err
	}
	if err := checkKey(key, r.kcv()); err != nil {
		key.Destroy()
		return nil, fmt.Errorf("master key %s: %w; restore the last backup", r.ID, err)
	}
	return key, nil
}

// internal is the source of keys that are kept sealed in the store.
func (m *Manager) internal() *InternalSource {
	return &InternalSource{Store: m.st, Sealer: m.sealer.get(), Cluster: m.cluster, Rand: m.rand}
}
