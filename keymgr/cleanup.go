package keymgr

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"lockplate/keymgr/kmip"
	"lockplate/store"
)

// cleanUp does what is left once no job runs: it retires old keys, and removes
// keys that nobody will use from the key servers. What cannot be done now is
// tried again later; it does not stand in the way of another rekey.
func (m *Manager) cleanUp(ctx context.Context) error {
	var todo []masterRecord
	err := m.st.View(ctx, func(tx store.Tx) error {
		todo = nil
		return masters(tx, func(r *masterRecord) error {
			if r.Sweep || r.State == StateRetiring {
				todo = append(todo, *r)
			}
			return nil
		})
	})
	for i := range todo {
		if e := m.cleanKey(ctx, &todo[i]); e != nil && ctx.Err() == nil {
			m.log.Warn("old master key is not cleaned up yet", "key_id", todo[i].ID, "err", e)
			err = errors.Join(err, e)
		}
	}
	return err
}

// cleanKey does for one key what cleanUp is for. A key that never was in use has
// no state to change: the sweep ends it.
func (m *Manager) cleanKey(ctx context.Context, r *masterRecord) error {
	if r.Sweep {
		if err := m.sweep(ctx, r); err != nil {
			return fmt.Errorf("sweep master key %s: %w", r.ID, err)
		}
	}
	if r.State != StateRetiring {
		return nil
	}
	if r.Type == Internal {
		return m.eraseInternal(ctx, r)
	}
	src, err := m.provider(ctx, r.ProviderID)
	if err != nil {
		return err
	}
	err = m.send("Revoke", func() error { return src.Retire(ctx, Ref{ID: r.ID, ServerID: r.ServerID}) })
	if err != nil {
		return err
	}
	return m.settle(ctx, r, func(_ store.Tx, now *masterRecord) error {
		now.State = StateDecommissioned
		return nil
	})
}

// settle changes the record of an old key, unless a job has to do with it.
func (m *Manager) settle(ctx context.Context, r *masterRecord, change func(store.Tx, *masterRecord) error) error {
	return m.st.Update(ctx, func(tx store.Tx) error {
		j, err := getJob(tx)
		if err != nil {
			return err
		}
		if j != nil && (j.New == r.ID || j.Old == r.ID && r.State == StateRetiring) {
			return fmt.Errorf("master key %s: %w", r.ID, ErrKeyInUse)
		}
		now, err := getMaster(tx, r.ID)
		if err != nil {
			return err
		}
		if err := change(tx, now); err != nil {
			return err
		}
		return putMaster(tx, now)
	})
}

// eraseInternal removes the sealed copy of an old key.
func (m *Manager) eraseInternal(ctx context.Context, r *masterRecord) error {
	return m.settle(ctx, r, func(tx store.Tx, now *masterRecord) error {
		now.State, now.Destroyed = StateDecommissioned, m.now().UTC()
		return deleteSealed(tx, r.ID)
	})
}

// sweep destroys, at every address, all keys of r's name but r itself; and r
// too if it was abandoned. All addresses must answer: a key that was made twice
// may be at one only.
func (m *Manager) sweep(ctx context.Context, r *masterRecord) error {
	src, err := m.provider(ctx, r.ProviderID)
	if err != nil {
		return err
	}
	for _, one := range src.Client.Each() {
		if err := m.sweepAt(ctx, one, r); err != nil {
			return err
		}
	}
	return m.settle(ctx, r, func(_ store.Tx, now *masterRecord) error {
		if now.Sweep = false; now.State == StateAbandoned {
			now.forget(nil, m.now().UTC())
		}
		return nil
	})
}

// sweepAt is sweep at one address. An abandoned key goes by its identifier too,
// for servers that do not find it by its name.
func (m *Manager) sweepAt(ctx context.Context, one *kmip.Client, r *masterRecord) error {
	var ids []string
	err := m.send("Locate", func() (err error) {
		ids, err = one.Locate(ctx, kmip.Search{Name: r.Name, Type: kmip.SymmetricKey, Max: -1})
		return err
	})
	if err != nil {
		return err
	}
	if r.State == StateAbandoned && r.ServerID != "" && !slices.Contains(ids, r.ServerID) {
		ids = append(ids, r.ServerID)
	}
	for _, id := range ids {
		if id == r.ServerID && r.State != StateAbandoned {
			continue
		}
		if err := m.destroyAt(ctx, one, id); err != nil {
			return err
		}
	}
	return nil
}

// destroyAt revokes a key, which servers refuse where there is no need, and
// destroys it. One that is gone is no error.
func (m *Manager) destroyAt(ctx context.Context, one *kmip.Client, id string) error {
	err := m.send("Revoke", func() error {
		if err := one.Revoke(ctx, id, kmip.Cessation); err != nil && !sawAnswer(err) {
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	return m.send("Destroy", func() error { return one.Destroy(ctx, id) })
}

// History lists all master keys there ever were, oldest first.
func (m *Manager) History(ctx context.Context) ([]MasterKey, error) {
	var recs []masterRecord
	err := m.st.View(ctx, func(tx store.Tx) error {
		recs = nil
		return masters(tx, func(r *masterRecord) error {
			recs = append(recs, *r)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list master keys: %w", err)
	}
	slices.SortFunc(recs, func(a, b masterRecord) int { return int(a.Generation) - int(b.Generation) })
	out := make([]MasterKey, len(recs))
	for i := range recs {
		out[i] = m.describe(&recs[i])
	}
	return out, nil
}

// DestroyKey destroys an old master key wherever it still exists, on its key
// servers too, which all must answer. Backups of the store from its time cannot
// be used any more. One that is destroyed already is no error. ErrNotFound;
// ErrKeyInUse for the current key and for those of a rekey under way.
func (m *Manager) DestroyKey(ctx context.Context, id string) error {
	var r *masterRecord
	err := m.st.View(ctx, func(tx store.Tx) (err error) {
		r, err = destroyable(tx, id)
		return err
	})
	if err == nil && r.Destroyed.IsZero() {
		err = m.destroyOld(ctx, r)
	}
	if kmip.ClassOf(err) != "" {
		err = fmt.Errorf("%w; %s", err, allMustAnswer)
	}
	if err != nil {
		return fmt.Errorf("destroy master key: %w", err)
	}
	m.log.Info("old master key destroyed", "key_id", id)
	return nil
}

// destroyable gives a key that is not in use and that no job needs.
func destroyable(tx store.Tx, id string) (*masterRecord, error) {
	r, err := getMaster(tx, id)
	if err != nil {
		return nil, err
	}
	j, err := getJob(tx)
	if err != nil {
		return nil, err
	}
	switch r.State {
	case StateRetiring, StateDecommissioned, StateAbandoned:
		if j == nil || j.Old != id && j.New != id {
			return r, nil
		}
	}
	return nil, fmt.Errorf("master key %s is %s: %w", id, r.State, ErrKeyInUse)
}

// destroyOld asks every address, since each may have a copy.
func (m *Manager) destroyOld(ctx context.Context, r *masterRecord) error {
	r.Sweep = r.Sweep || r.lost() // what was left there was not looked for
	if r.Sweep || r.Type == Internal {
		if err := m.cleanKey(ctx, r); err != nil || r.State == StateAbandoned || r.Type == Internal {
			return err
		}
	}
	src, err := m.provider(ctx, r.ProviderID)
	if err != nil {
		return err
	}
	for _, one := range src.Client.Each() {
		if err := m.destroyAt(ctx, one, r.ServerID); err != nil {
			return err
		}
	}
	return m.settle(ctx, r, func(_ store.Tx, now *masterRecord) error {
		now.forget(nil, m.now().UTC())
		return nil
	})
}
