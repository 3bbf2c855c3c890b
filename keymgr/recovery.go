package keymgr

// Recovery shares open what the sealer opens, when that is lost: the internal
// master key and the private key for key servers. A random recovery key seals
// both a second time, and the shares split the recovery key. The recovery key
// is also sealed by the sealer, so that a rekey or a new key pair can be sealed
// for the shares while the people who keep them are not there: shares stay
// valid until they are replaced or removed. It gives nobody more than the
// sealer gives.

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"lockplate/keymgr/shamir"
	"lockplate/store"
)

// SharesInfo describes the recovery shares; it holds no secret.
type SharesInfo struct {
	Set       string // id, 8 hex digits
	Threshold int    // shares that are needed
	Shares    int    // that were made
	Created   time.Time
	Covers    bool // they open all that the sealer opens now
}

// recoveryRecord is the set of shares, JSON.
type recoveryRecord struct {
	Version   int       `json:"version"`
	Set       string    `json:"set"`
	Threshold int       `json:"threshold"`
	Shares    int       `json:"shares"`
	Created   time.Time `json:"created"`
	KCV       string    `json:"kcv"`             // of the recovery key, hex
	Sealed    []byte    `json:"sealed"`          // recovery key, sealed by the sealer
	Trust     []byte    `json:"trust,omitempty"` // private key of the key pair, sealed for the shares
}

func (r *recoveryRecord) info() SharesInfo {
	return SharesInfo{Set: r.Set, Threshold: r.Threshold, Shares: r.Shares, Created: r.Created}
}

// check compares a recovery key with the one that was split.
func (r *recoveryRecord) check(key *Secret) error {
	want, err := hex.DecodeString(r.KCV)
	if err != nil || len(want) != kcvBytes {
		return fmt.Errorf("%s: %w (check value)", keyRecovery, ErrIntegrity)
	}
	return checkKey(key, want)
}

// getRecovery reads the set of shares; ErrNoShares.
func getRecovery(tx store.Tx) (*recoveryRecord, error) {
	b, err := tx.Get(keyRecovery)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrNoShares
	}
	if err != nil {
		return nil, err
	}
	r := &recoveryRecord{}
	if err := parseRecord(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", keyRecovery, err)
	}
	id, err := hex.DecodeString(r.Set)
	if err != nil || len(id) != len(shamir.SetID{}) || r.Threshold < shamir.MinThreshold ||
		r.Shares < r.Threshold || r.Shares > shamir.MaxShares {
		return nil, fmt.Errorf("%s: %w (set %.20q, %d of %d)", keyRecovery, ErrIntegrity, r.Set, r.Threshold, r.Shares)
	}
	return r, nil
}

func putRecovery(tx store.Tx, r *recoveryRecord) error {
	b, err := marshalRecord(r)
	if err != nil {
		return fmt.Errorf("encode %s: %w", keyRecovery, err)
	}
	return tx.Put(keyRecovery, b)
}

// recovery reads the set of shares, nil if there is none.
func (m *Manager) recovery(ctx context.Context) (r *recoveryRecord, err error) {
	err = m.st.View(ctx, func(tx store.Tx) (err error) {
		r, err = getRecovery(tx)
		return err
	})
	if errors.Is(err, ErrNoShares) {
		return nil, nil
	}
	return r, err
}

// recoveryBind is the associated data of the sealed recovery key: label,
// cluster, set.
func (m *Manager) recoveryBind(set string) []byte {
	c := uuid.MustParse(m.cluster)
	return append(append([]byte("lockplate recovery 1"), c[:]...), set...)
}

// expectShares tells a sealer of shares which it needs. ErrNoShares.
func (m *Manager) expectShares(ctx context.Context) error {
	s, ok := m.sealer.shares()
	if !ok {
		return nil
	}
	r, err := m.recovery(ctx)
	if err != nil {
		return err
	}
	if r == nil {
		return fmt.Errorf("open from recovery shares: %w", ErrNoShares)
	}
	s.expect(r.info())
	return nil
}

// recoveryKey gives the key that was split.
func (m *Manager) recoveryKey(ctx context.Context, r *recoveryRecord) (*Secret, error) {
	if s, ok := m.sealer.shares(); ok {
		return s.base(ctx, &header{}, false)
	}
	key, err := m.sealer.get().Unseal(ctx, r.Sealed, m.recoveryBind(r.Set))
	if err == nil {
		if err = r.check(key); err != nil {
			key.Destroy()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("recovery key: %w", err)
	}
	return key, nil
}

// sealMasterForShares seals a new master key for the shares; nil without shares.
// m.sealing is held.
func (m *Manager) sealMasterForShares(ctx context.Context, id string, key *Secret) ([]byte, error) {
	r, err := m.recovery(ctx)
	if err != nil || r == nil {
		return nil, err
	}
	rk, err := m.recoveryKey(ctx, r)
	if err != nil {
		return nil, err
	}
	s := forShares(rk)
	defer s.Close()
	bind, err := m.internal().bind(id)
	if err != nil {
		return nil, err
	}
	blob, err := s.Seal(ctx, key, bind)
	if err == nil && m.hooks.Shared != nil {
		m.hooks.Shared(id, r.Set)
	}
	return blob, err
}

// sealTrustForShares gives the record with a key pair sealed for the shares;
// nil without shares. m.sealing is held.
func (m *Manager) sealTrustForShares(ctx context.Context, t *trustRecord, s *signer) (*recoveryRecord, error) {
	r, err := m.recovery(ctx)
	if err != nil || r == nil {
		return nil, err
	}
	rk, err := m.recoveryKey(ctx, r)
	if err != nil {
		return nil, err
	}
	sh := forShares(rk)
	defer sh.Close()
	_, bind, err := m.trustBind(t)
	if err != nil {
		return nil, err
	}
	r.Trust, err = sh.Seal(ctx, s.key, bind)
	return r, err
}

// sealedTrust is the private key as the present sealer opens it.
func (m *Manager) sealedTrust(ctx context.Context, t *trustRecord) ([]byte, error) {
	if _, ok := m.sealer.shares(); !ok {
		return t.Sealed, nil
	}
	r, err := m.recovery(ctx)
	if err == nil && (r == nil || r.Trust == nil) {
		err = fmt.Errorf("private key for key servers: %w for it", ErrNoShares)
	}
	if err != nil {
		return nil, err
	}
	return r.Trust, nil
}

// CreateShares makes recovery shares, of which threshold open this cluster
// without its sealer. With replace they take the place of the set before, whose
// shares open nothing afterwards but old backups. The caller wipes them; they
// are not kept. ErrExists, ErrReseal, *RekeyRunningError, shamir.ErrInvalid.
func (m *Manager) CreateShares(ctx context.Context, threshold, shares int, replace bool) ([]shamir.Share, error) {
	m.sealing.Lock()
	defer m.sealing.Unlock()
	key, err := RandomSecret(m.rand, keyBytes)
	if err != nil {
		return nil, err
	}
	defer key.Destroy()
	all, err := shamir.Split(m.rand, key.Bytes(), threshold, shares)
	if err == nil {
		if err = m.putShares(ctx, key, all, replace); err != nil {
			wipeShares(all)
		}
	}
	if errors.Is(err, shamir.ErrInvalid) {
		err = fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if err != nil {
		return nil, fmt.Errorf("make recovery shares: %w", err)
	}
	m.log.Info("recovery shares made", "set", all[0].Set.String(), "threshold", threshold, "shares", shares)
	return all, nil
}

func wipeShares(all []shamir.Share) {
	for _, s := range all {
		s.Wipe()
	}
}

// putShares seals what is there with a new recovery key, and records all of it.
func (m *Manager) putShares(ctx context.Context, key *Secret, all []shamir.Share, replace bool) error {
	r := &recoveryRecord{
		Version: recordVersion, Set: all[0].Set.String(), Threshold: all[0].Threshold, Shares: len(all), Created: m.now().UTC(),
	}
	check, err := kcv(key)
	if err != nil {
		return err
	}
	r.KCV = hex.EncodeToString(check[:])
	if r.Sealed, err = m.sealer.get().Seal(ctx, key, m.recoveryBind(r.Set)); err != nil {
		return err
	}
	own, err := copySecret(key)
	if err != nil {
		return err
	}
	s := forShares(own)
	defer s.Close()
	held, err := m.sealHeld(ctx, s)
	if err != nil {
		return err
	}
	r.Trust = held.trust
	return m.st.Update(ctx, func(tx store.Tx) error {
		if _, err := getRecovery(tx); !errors.Is(err, ErrNoShares) && !replace {
			return errors.Join(err, fmt.Errorf("recovery shares: %w: replace or remove them", ErrExists))
		}
		if err := errors.Join(held.same(tx), noRecovery(tx), putRecovery(tx, r)); err != nil || held.master == nil {
			return err
		}
		return tx.Put(prefixRecovery+held.id, held.master)
	})
}

// noRecovery removes all that was sealed for shares.
func noRecovery(tx store.Tx) error {
	var keys []string
	for k := range tx.Scan(prefixRecovery) {
		keys = append(keys, k)
	}
	for _, k := range append(keys, keyRecovery) {
		if err := tx.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// Shares describes the recovery shares; ErrNoShares.
func (m *Manager) Shares(ctx context.Context) (SharesInfo, error) {
	var out SharesInfo
	err := m.st.View(ctx, func(tx store.Tx) error {
		r, err := getRecovery(tx)
		if err != nil {
			return err
		}
		out = r.info()
		cur, err := currentMaster(tx)
		if err != nil {
			return err
		}
		_, noTrust := getTrust(tx)
		_, noMaster := tx.Get(prefixRecovery + cur.ID)
		out.Covers = (noMaster == nil || cur.Type == External) && (r.Trust != nil || errors.Is(noTrust, ErrNoKeyPair))
		return nil
	})
	return out, err
}

// RemoveShares makes the recovery shares worthless, but for backups of the
// store from their time. ErrNoShares; ErrReseal while nothing but they opens
// the cluster.
func (m *Manager) RemoveShares(ctx context.Context) error {
	m.sealing.Lock()
	defer m.sealing.Unlock()
	if _, ok := m.sealer.shares(); ok {
		return fmt.Errorf("remove recovery shares: %w", ErrReseal)
	}
	err := m.st.Update(ctx, func(tx store.Tx) error {
		if _, err := getRecovery(tx); errors.Is(err, ErrNoShares) {
			return err // a damaged record may go
		}
		return noRecovery(tx)
	})
	if err != nil {
		return fmt.Errorf("remove recovery shares: %w", err)
	}
	m.log.Info("recovery shares removed")
	return nil
}

// VerifyShares proves that shares, as many as are needed, open what the sealer
// opens: the keys come out as they are in memory. The caller wipes the set.
// ErrNoShares, ErrWrongKey, ErrIntegrity, shamir.ErrTooFew.
func (m *Manager) VerifyShares(ctx context.Context, set *shamir.Set) error {
	r, err := m.recovery(ctx)
	if err == nil && r == nil {
		err = ErrNoShares
	}
	if err != nil {
		return fmt.Errorf("verify recovery shares: %w", err)
	}
	key, err := combine(set, r.info())
	if err != nil {
		return fmt.Errorf("verify recovery shares: %w", err)
	}
	s := forShares(key)
	defer s.Close()
	if err := r.check(key); err != nil {
		return fmt.Errorf("verify recovery shares: %w", err)
	}
	if err := m.opensHeld(ctx, s, r); err != nil {
		return fmt.Errorf("verify recovery shares: %w", err)
	}
	return nil
}

// opensHeld compares what a sealer of shares opens with what is in memory.
func (m *Manager) opensHeld(ctx context.Context, s sealer, r *recoveryRecord) error {
	src := m.internal()
	src.Sealer = s
	err := m.heldMaster(ctx, func(rec *masterRecord, key *Secret) error {
		back, err := src.Fetch(ctx, Ref{ID: rec.ID})
		if err != nil {
			return err
		}
		defer back.Destroy()
		if !back.Equal(key) {
			return fmt.Errorf("master key %s: %w", rec.ID, ErrWrongKey)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return m.heldTrust(ctx, func(t *trustRecord, bind []byte, key *Secret) error {
		back, err := s.Unseal(ctx, r.Trust, bind)
		if err != nil {
			return fmt.Errorf("private key for key servers: %w", err)
		}
		defer back.Destroy()
		if !bytes.Equal(back.Bytes(), key.Bytes()) {
			return fmt.Errorf("private key for key servers: %w", ErrWrongKey)
		}
		return nil
	})
}

// checkRecovery examines the records of recovery shares.
func (c *checker) checkRecovery(tx store.Tx) {
	r, err := getRecovery(tx)
	if err == nil {
		_, _, err = parseBlob(r.Sealed)
		if r.Trust != nil && err == nil {
			_, _, err = parseBlob(r.Trust)
		}
	}
	if err != nil && !errors.Is(err, ErrNoShares) {
		c.bad(keyRecovery, "%v", err)
	}
	for k, b := range tx.Scan(prefixRecovery) {
		h, _, err := parseBlob(b)
		switch {
		case err != nil:
			c.bad(k, "%v", err)
		case h.kind != kindShares:
			c.bad(k, "sealed by %s, not for recovery shares", h.kind)
		case r == nil:
			c.bad(k, "sealed for recovery shares, of which there is no record")
		case c.masters[k[len(prefixRecovery):]] == nil:
			c.bad(k, "sealed key without a master key record")
		}
	}
}
