package keymgr

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/google/uuid"

	"lockplate/store"
)

// KeySource is where master keys are made and kept: InternalSource, or one key
// provider. Implementations pass keymgrtest.TestSource.
type KeySource interface {
	// Create makes a new key. After an error the key may exist or not.
	Create(ctx context.Context, s Spec) (Ref, error)
	// Fetch returns the key; the caller destroys it. ErrNotFound.
	Fetch(ctx context.Context, r Ref) (*Secret, error)
	// Retire ends the key's use; by the source's policy it can be fetched
	// afterwards or not. One that is gone is no error.
	Retire(ctx context.Context, r Ref) error
	// Check proves reach, trust and function without leaving anything behind;
	// the error names the step that failed.
	Check(ctx context.Context) error
}

// Spec says which key to make.
type Spec struct {
	ID   string // UUID, ours
	Name string // for the source's own listings
}

// Ref is how a key is found again.
type Ref struct {
	ID       string // UUID, ours
	ServerID string // the source's, "" for InternalSource
}

// InternalSource keeps master keys in the store, sealed.
type InternalSource struct {
	Store   store.Store
	Sealer  Sealer
	Cluster string    // UUID, bound into the seal
	Rand    io.Reader // source of keys
}

// bind is the associated data of a sealed master key: label, cluster, key.
func (s *InternalSource) bind(id string) ([]byte, error) {
	c, err := uuid.Parse(s.Cluster)
	if err != nil {
		return nil, fmt.Errorf("cluster id %.40q: %w", s.Cluster, err)
	}
	k, err := uuid.Parse(id)
	if err != nil {
		return nil, fmt.Errorf("master key id %.40q: %w", id, err)
	}
	return append(append([]byte("lockplate master 1"), c[:]...), k[:]...), nil
}

// generate makes a key and its sealed form, and stores neither.
func (s *InternalSource) generate(ctx context.Context, id string) (*Secret, []byte, error) {
	bind, err := s.bind(id)
	if err != nil {
		return nil, nil, err
	}
	key, err := RandomSecret(s.Rand, keyBytes)
	if err != nil {
		return nil, nil, err
	}
	blob, err := s.Sealer.Seal(ctx, key, bind)
	if err != nil {
		key.Destroy()
		return nil, nil, err
	}
	return key, blob, nil
}

// Create implements KeySource. ErrExists if there is a key with this id.
func (s *InternalSource) Create(ctx context.Context, spec Spec) (Ref, error) {
	key, blob, err := s.generate(ctx, spec.ID)
	if err != nil {
		return Ref{}, fmt.Errorf("create master key: %w", err)
	}
	key.Destroy()
	err = s.Store.Update(ctx, func(tx store.Tx) error {
		if _, err := tx.Get(prefixSealed + spec.ID); !errors.Is(err, store.ErrNotFound) {
			return errors.Join(err, fmt.Errorf("master key %s: %w", spec.ID, ErrExists))
		}
		return tx.Put(prefixSealed+spec.ID, blob)
	})
	if err != nil {
		return Ref{}, fmt.Errorf("create master key: %w", err)
	}
	return Ref{ID: spec.ID}, nil
}

// Fetch implements KeySource.
func (s *InternalSource) Fetch(ctx context.Context, r Ref) (*Secret, error) {
	bind, err := s.bind(r.ID)
	if err != nil {
		return nil, err
	}
	var blob []byte
	err = s.Store.View(ctx, func(tx store.Tx) (err error) {
		blob, err = tx.Get(s.prefix() + r.ID)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("fetch master key %s: %w", r.ID, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	key, err := s.Sealer.Unseal(ctx, blob, bind)
	if err != nil {
		return nil, fmt.Errorf("fetch master key %s: %w", r.ID, err)
	}
	if key.Len() != keyBytes {
		key.Destroy()
		return nil, fmt.Errorf("fetch master key %s: %w (length)", r.ID, ErrIntegrity)
	}
	return key, nil
}

// prefix is where keys are that the sealer opens.
func (s *InternalSource) prefix() string {
	if s.Sealer.Kind() == kindShares.String() {
		return prefixRecovery
	}
	return prefixSealed
}

// deleteSealed forgets an internal master key, however it is sealed.
func deleteSealed(tx store.Tx, id string) error {
	return errors.Join(tx.Delete(prefixSealed+id), tx.Delete(prefixRecovery+id))
}

// Retire implements KeySource: the key cannot be fetched any more. The file may keep the sealed bytes in a free
// page until it is used again; they are worth what the sealer is worth.
func (s *InternalSource) Retire(ctx context.Context, r Ref) error {
	return s.Store.Update(ctx, func(tx store.Tx) error { return deleteSealed(tx, r.ID) })
}

// Check implements KeySource: seals and unseals a probe.
func (s *InternalSource) Check(ctx context.Context) error {
	probe, err := RandomSecret(s.Rand, keyBytes)
	if err != nil {
		return fmt.Errorf("check sealer: make probe: %w", err)
	}
	defer probe.Destroy()
	bind := []byte("lockplate probe 1")
	blob, err := s.Sealer.Seal(ctx, probe, bind)
	if err != nil {
		return fmt.Errorf("check sealer: %w", err)
	}
	back, err := s.Sealer.Unseal(ctx, blob, bind)
	if err != nil {
		return fmt.Errorf("check sealer: %w", err)
	}
	defer back.Destroy()
	if !back.Equal(probe) {
		return fmt.Errorf("check sealer: compare: %w", ErrIntegrity)
	}
	return nil
}
