package keymgr

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/google/uuid"

	"lockplate/store"
)

// sealerBox holds the sealer of a Manager, which Reseal replaces.
type sealerBox struct {
	mu sync.RWMutex
	s  Sealer
}

func (b *sealerBox) get() Sealer {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.s
}

// set puts a sealer in the place of the one that it gives back.
func (b *sealerBox) set(s Sealer) Sealer {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, b.s = b.s, s
	return s
}

// shares gives the sealer if it is one of recovery shares.
func (b *sealerBox) shares() (*sharesSealer, bool) {
	s, ok := b.get().(sealer)
	if !ok {
		return nil, false
	}
	sh, ok := s.method.(*sharesSealer)
	return sh, ok
}

// mayKeep says whether a cluster can have the sealer that spec names.
func mayKeep(spec string) error {
	s, err := ParseSealer(spec, SealerOptions{})
	if err == nil && s.Kind() == kindShares.String() {
		err = fmt.Errorf("%w: shares only open what another one sealed", ErrBadSealer)
	}
	return err
}

// held is what a sealer seals, sealed by another one.
type held struct {
	id        string // current master key
	master    []byte // nil if that is external
	trust     []byte // nil without key pair
	trustWas  []byte // record of the key pair
	trustThen *trustRecord
}

// sealHeld seals with s what is in memory, and proves that s opens it. m.sealing
// is held.
func (m *Manager) sealHeld(ctx context.Context, s Sealer) (*held, error) {
	h := &held{}
	err := m.heldMaster(ctx, func(rec *masterRecord, key *Secret) error {
		h.id = rec.ID
		bind, err := m.internal().bind(rec.ID)
		if err == nil {
			h.master, err = sealProven(ctx, s, key, bind)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if h.id == "" {
		cur, err := m.current(ctx)
		if err != nil {
			return nil, err
		}
		h.id = cur.ID
	}
	return h, m.heldTrust(ctx, func(t *trustRecord, bind []byte, key *Secret) (err error) {
		h.trustThen = t
		if h.trustWas, err = marshalRecord(t); err == nil {
			h.trust, err = sealProven(ctx, s, key, bind)
		}
		return err
	})
}

// same fails if a rekey began, or what was sealed was replaced.
func (h *held) same(tx store.Tx) error {
	if err := noJob(tx); err != nil {
		return err
	}
	cur, err := currentMaster(tx)
	if err != nil {
		return err
	}
	t, err := tx.Get(keyTrust)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if cur.ID != h.id || !bytes.Equal(t, h.trustWas) {
		return ErrChanged
	}
	return nil
}

// sealProven seals, opens again and compares.
func sealProven(ctx context.Context, s Sealer, key *Secret, bind []byte) ([]byte, error) {
	blob, err := s.Seal(ctx, key, bind)
	if err != nil {
		return nil, err
	}
	back, err := s.Unseal(ctx, blob, bind)
	if err != nil {
		return nil, err
	}
	defer back.Destroy()
	if !back.Equal(key) {
		return nil, fmt.Errorf("%w (what was sealed comes back different)", ErrIntegrity)
	}
	return blob, nil
}

// heldMaster runs fn with the current master key, if it is an internal one.
func (m *Manager) heldMaster(ctx context.Context, fn func(*masterRecord, *Secret) error) error {
	cur, err := m.current(ctx)
	if err != nil || cur.Type == External {
		return err
	}
	var key *Secret
	err = m.use(func(keys ring) (err error) {
		w := keys[uuid.MustParse(cur.ID)]
		if w == nil {
			return ErrStale
		}
		key, err = copySecret(w.key)
		return err
	})
	if err != nil {
		return err
	}
	defer key.Destroy()
	return fn(cur, key) // may take a TPM a while
}

// heldTrust runs fn with the private key of the key pair, if there is one.
func (m *Manager) heldTrust(ctx context.Context, fn func(t *trustRecord, bind []byte, key *Secret) error) error {
	var t *trustRecord
	err := m.st.View(ctx, func(tx store.Tx) (err error) {
		t, err = getTrust(tx)
		return err
	})
	if errors.Is(err, ErrNoKeyPair) {
		return nil
	}
	if err != nil {
		return err
	}
	s, err := m.keyPair()
	if err != nil {
		return fmt.Errorf("the private key for key servers was not opened: %w", err)
	}
	_, bind, err := m.trustBind(t)
	if err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.key.Len() == 0 {
		return ErrClosed
	}
	return fn(t, bind, s.key)
}

// Reseal has another sealer protect what is kept in the store, in one
// transaction. The keys stay the same and are used throughout; what the old
// sealer sealed is replaced once the new one was seen to open it. next belongs
// to the Manager afterwards, and is closed if Reseal fails. ErrBadSealer,
// *RekeyRunningError, ErrClosed, and the errors of sealers.
func (m *Manager) Reseal(ctx context.Context, spec string, next Sealer) error {
	m.sealing.Lock()
	defer m.sealing.Unlock()
	if err := m.reseal(ctx, spec, next); err != nil {
		return errors.Join(fmt.Errorf("seal anew: %w", err), next.Close())
	}
	old := m.sealer.set(next)
	if cur, err := m.current(ctx); err == nil {
		m.setInfo(cur)
	}
	m.log.Info("keys sealed anew", "sealer", next.Kind(), "old", old.Kind())
	return old.Close()
}

func (m *Manager) reseal(ctx context.Context, spec string, next Sealer) error {
	if err := mayKeep(spec); err != nil {
		return err
	}
	if err := m.st.View(ctx, noJob); err != nil {
		return err // before anybody is asked
	}
	h, err := m.sealHeld(ctx, next)
	if err != nil {
		return err
	}
	rec, err := m.resealRecovery(ctx, next)
	if err != nil {
		return err
	}
	seal, err := marshalRecord(&sealerRecord{Version: recordVersion, Spec: spec})
	if err != nil {
		return fmt.Errorf("encode sealer record: %w", err)
	}
	return m.st.Update(ctx, func(tx store.Tx) error {
		if err := h.same(tx); err != nil {
			return err
		}
		if rec != nil {
			if err := putRecovery(tx, rec); err != nil {
				return err
			}
		}
		return errors.Join(h.put(tx, next.Kind()), tx.Put(keySealer, seal))
	})
}

// put stores what was sealed, in the place of what the old sealer sealed.
func (h *held) put(tx store.Tx, kind string) error {
	if h.master != nil {
		cur, err := getMaster(tx, h.id)
		if err != nil {
			return err
		}
		cur.Sealer = kind
		if err := errors.Join(putMaster(tx, cur), tx.Put(prefixSealed+h.id, h.master)); err != nil {
			return err
		}
	}
	if h.trust == nil {
		return nil
	}
	t := *h.trustThen
	t.Sealed = h.trust
	b, err := marshalRecord(&t)
	if err != nil {
		return err
	}
	return tx.Put(keyTrust, b)
}

// resealRecovery is the record of shares for another sealer, nil without shares.
func (m *Manager) resealRecovery(ctx context.Context, next Sealer) (*recoveryRecord, error) {
	r, err := m.recovery(ctx)
	if err != nil || r == nil {
		return nil, err
	}
	key, err := m.recoveryKey(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("%w; 'lockplate key shares remove' gives the shares up", err)
	}
	defer key.Destroy()
	r.Sealed, err = sealProven(ctx, next, key, m.recoveryBind(r.Set))
	return r, err
}
