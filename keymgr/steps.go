package keymgr

// The steps of a rekey. Each begins from what the store says, does one thing at
// a key server or none, and records the next state in one transaction; so after
// a crash the same step is done again, and every step bears that:
//
//	planned   make the key, or find that it was made
//	created   activate it; again is no error
//	active    read it back and record its check value
//	verified  rewrap everything: the commit point
//	current   read everything again
//
// Up to the commit a failure costs nothing but the new key. After it there is
// no way back, and the old key is kept until the new one was seen to work.

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"lockplate/keymgr/kmip"
	"lockplate/store"
)

// createInternal makes the new key and stores it sealed.
func (m *Manager) createInternal(ctx context.Context, r *masterRecord) error {
	m.sealing.Lock()
	defer m.sealing.Unlock()
	key, blob, err := m.internal().generate(ctx, r.ID)
	if err != nil {
		return fmt.Errorf("create master key: %w", err)
	}
	defer key.Destroy() // verify reads it back
	spare, err := m.sealMasterForShares(ctx, r.ID, key)
	if err != nil {
		return fmt.Errorf("create master key: %w", err)
	}
	return m.advance(ctx, r, func(tx store.Tx, now *masterRecord) error {
		now.State = StateCreated
		if spare != nil {
			if err := tx.Put(prefixRecovery+r.ID, spare); err != nil {
				return err
			}
		}
		return tx.Put(prefixSealed+r.ID, blob)
	})
}

// createExternal has the provider make the new key, unless it has done so: then
// the answer did not come, or came to a process that died.
func (m *Manager) createExternal(ctx context.Context, r *masterRecord) error {
	src, err := m.provider(ctx, r.ProviderID)
	if err != nil {
		return err
	}
	id := ""
	if !m.wasUnsent(r.ID) {
		if id, err = m.findCreated(ctx, src, r); err != nil {
			return err
		}
	}
	if id == "" {
		err := m.send("Create", func() error {
			made, err := src.Client.Create(ctx, kmip.Object{Name: r.Name, Group: src.Group})
			id = made.ID
			return err
		})
		if err != nil {
			return fmt.Errorf("create master key: %w", err)
		}
	}
	return m.advance(ctx, r, func(_ store.Tx, now *masterRecord) error {
		now.State, now.ServerID = StateCreated, id
		return nil
	})
}

// findCreated looks for a key that may have been made, and again after a while:
// one server may not have told the others yet. Of several it takes the first
// that works; the others are swept when the job is done.
func (m *Manager) findCreated(ctx context.Context, src *ProviderSource, r *masterRecord) (string, error) {
	ids, err := m.locate(ctx, src, r.Name)
	if err == nil && len(ids) == 0 {
		if err = wait(ctx, m.timing.Grace); err == nil {
			ids, err = m.locate(ctx, src, r.Name)
		}
	}
	if err != nil || len(ids) == 0 {
		return "", err
	}
	m.log.Info("new master key found at the provider", "key_id", r.ID, "keys", len(ids))
	if len(ids) == 1 {
		return ids[0], nil
	}
	for _, id := range ids {
		var key *kmip.Key
		if err = src.Client.Activate(ctx, id); err == nil {
			key, err = src.Client.Get(ctx, id, kmip.SymmetricKey)
		}
		if err == nil {
			key.Wipe()
			return id, nil
		}
	}
	return "", fmt.Errorf("none of %d keys named %s works: %w", len(ids), r.Name, err)
}

// locate asks every address for keys of a name. Addresses that do not answer do
// not count, as long as one does.
func (m *Manager) locate(ctx context.Context, src *ProviderSource, name string) ([]string, error) {
	var all []string
	var errs []error
	each := src.Client.Each()
	for _, one := range each {
		var ids []string
		err := m.send("Locate", func() (err error) {
			ids, err = one.Locate(ctx, kmip.Search{Name: name, Type: kmip.SymmetricKey, Max: -1})
			return err
		})
		if err != nil {
			errs = append(errs, err)
		}
		for _, id := range ids {
			if !slices.Contains(all, id) {
				all = append(all, id)
			}
		}
	}
	if len(errs) == len(each) {
		return nil, fmt.Errorf("look for the new master key: %w", errors.Join(errs...))
	}
	return all, nil
}

// activate makes an external key Active; one that is already is no error.
func (m *Manager) activate(ctx context.Context, r *masterRecord) error {
	if r.Type == External {
		src, err := m.provider(ctx, r.ProviderID)
		if err == nil {
			err = m.send("Activate", func() error { return src.Client.Activate(ctx, r.ServerID) })
		}
		if err != nil {
			return fmt.Errorf("activate master key %s: %w", r.ID, err)
		}
	}
	return m.advance(ctx, r, func(_ store.Tx, now *masterRecord) error {
		now.State = StateActive
		return nil
	})
}

// verify reads the new key back, from every address that can be reached, and
// records its check value.
func (m *Manager) verify(ctx context.Context, j *jobRecord, r *masterRecord) error {
	var check []byte
	var err error
	if r.Type == External {
		check, err = m.checkEverywhere(ctx, r)
	} else {
		check, err = m.checkInternal(ctx, r)
	}
	if err != nil {
		return fmt.Errorf("verify master key %s: %w", r.ID, err)
	}
	return m.advance(ctx, r, func(tx store.Tx, now *masterRecord) error {
		old, err := getMaster(tx, j.Old)
		if err != nil {
			return err
		}
		if bytes.Equal(old.kcv(), check) {
			return fmt.Errorf("%w: it is the same as the old one", errUnsafeKey)
		}
		now.State, now.KCV = StateVerified, hex.EncodeToString(check)
		return nil
	})
}

// checkInternal unseals the new key as it is stored and gives its check value.
func (m *Manager) checkInternal(ctx context.Context, r *masterRecord) ([]byte, error) {
	key, err := m.fetchKey(ctx, r)
	if err != nil {
		return nil, err
	}
	defer key.Destroy()
	v, err := kcv(key)
	return v[:], err
}

// checkEverywhere fetches the key on new connections.
func (m *Manager) checkEverywhere(ctx context.Context, r *masterRecord) ([]byte, error) {
	src, err := m.provider(ctx, r.ProviderID)
	if err != nil {
		return nil, err
	}
	var check []byte
	var away []error
	for _, one := range src.Client.Fresh().Each() {
		v, err := m.checkAt(ctx, one, r.ServerID)
		switch {
		case err != nil && !sawAnswer(err) && kmip.ClassOf(err) != "":
			away = append(away, err)
		case err != nil:
			return nil, err
		case check != nil && !bytes.Equal(v, check):
			return nil, fmt.Errorf("%w: %s has another key than the addresses before it", errUnsafeKey, one.Addresses()[0])
		default:
			check = v
		}
	}
	if check == nil {
		return nil, errors.Join(away...)
	}
	return check, nil
}

// checkAt gives the check value of the key at one address.
func (m *Manager) checkAt(ctx context.Context, one *kmip.Client, id string) ([]byte, error) {
	var v [kcvBytes]byte
	err := m.send("Get", func() error {
		key, err := fetchFrom(ctx, one, id, nil)
		if err != nil {
			return err
		}
		defer key.Destroy()
		v, err = kcv(key)
		return err
	})
	return v[:], err
}

// rewrap puts every data key under the new master key, and makes that the
// current one, in one transaction: the commit point.
func (m *Manager) rewrap(ctx context.Context, j *jobRecord, r *masterRecord) error {
	if err := m.load(ctx, r); err != nil {
		return err
	}
	var cur *masterRecord
	err := m.st.Update(ctx, func(tx store.Tx) error {
		old, err := currentMaster(tx)
		if err != nil {
			return err
		}
		// Read again: another rekey cannot have come between, but this
		// function may run twice.
		if cur, err = getMaster(tx, r.ID); err != nil {
			return err
		}
		if old.ID != j.Old || cur.State != StateVerified {
			return ErrChanged
		}
		old.State, cur.State = StateRetiring, StateCurrent
		if err := errors.Join(putMaster(tx, old), putMaster(tx, cur)); err != nil {
			return err
		}
		// Volumes made meanwhile are in the pages of this transaction, and
		// none can be added to old pages after it.
		return m.use(func(keys ring) error {
			from, to := keys[uuid.MustParse(old.ID)], keys[uuid.MustParse(cur.ID)]
			if from == nil || to == nil {
				return ErrStale
			}
			return pages(tx, func(p page) error { return rewrapPage(tx, p, from, to) })
		})
	})
	if err != nil {
		return fmt.Errorf("rewrap data keys: %w", err)
	}
	m.setInfo(cur)
	m.log.Info("master key replaced", "key_id", cur.ID, "old", j.Old)
	return nil
}

// setInfo makes a key the one that Master describes.
func (m *Manager) setInfo(r *masterRecord) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.info = m.describe(r)
}

// load fetches a key into memory, beside the current one.
func (m *Manager) load(ctx context.Context, r *masterRecord) error {
	id := uuid.MustParse(r.ID)
	have := false
	if err := m.use(func(keys ring) error { have = keys[id] != nil; return nil }); err != nil || have {
		return err
	}
	var key *Secret
	err := m.sendTo(r, "Get", func() (err error) {
		key, err = m.fetchKey(ctx, r)
		return err
	})
	if err != nil {
		key.Destroy()
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ring == nil {
		key.Destroy()
		return ErrClosed
	}
	m.ring[id] = m.wrapper(r, key)
	return nil
}

// sendTo is send for what may be asked of a key server.
func (m *Manager) sendTo(r *masterRecord, what string, do func() error) error {
	if r.Type == Internal {
		return do()
	}
	return m.send(what, do)
}

// rewrapPage moves a page from one master key to another, and reads every new
// record back.
func rewrapPage(tx store.Tx, p page, from, to *wrapper) error {
	if err := from.ours(p); err != nil {
		return fmt.Errorf("%w: %w", ErrIntegrity, err)
	}
	q := newPage(p.number(), to.master, to.generation)
	for i := range p.count() {
		w, err := rewrapRecord(p.rec(i), from, to)
		if err != nil {
			return fmt.Errorf("data key of volume %s: %w", p.rec(i).volume(), err)
		}
		q = q.add(w)
	}
	return tx.Put(pageKey(q.number()), q)
}

// rewrapRecord moves one data key, which is in locked memory meanwhile. It is
// opened again from the new record before that is trusted.
func rewrapRecord(w wrap, from, to *wrapper) (wrap, error) {
	key, err := from.unwrap(w)
	if err != nil {
		return nil, err
	}
	defer key.Destroy()
	out, err := to.wrap(w.volume(), key)
	if err != nil {
		return nil, err
	}
	back, err := to.unwrap(out)
	if err != nil {
		return nil, err
	}
	defer back.Destroy()
	if !back.Equal(key) {
		return nil, fmt.Errorf("%w (rewrapped key differs)", ErrIntegrity)
	}
	return out, nil
}

// confirm reads everything again, with the key as its source gives it now, and
// ends the job.
func (m *Manager) confirm(ctx context.Context, j *jobRecord, r *masterRecord) error {
	var key *Secret
	err := m.sendTo(r, "Get", func() (err error) {
		key, err = m.fetchKey(ctx, r)
		return err
	})
	defer key.Destroy()
	m.setInfo(r) // where the commit was durable and seemed to fail
	if err == nil {
		err = m.opens(ctx, m.wrapper(r, key))
	}
	if err != nil {
		return fmt.Errorf("confirm master key %s: %w", r.ID, err)
	}
	err = m.st.Update(ctx, func(tx store.Tx) error {
		old, err := getMaster(tx, j.Old)
		if err != nil {
			return err
		}
		return m.end(tx, j, result(old, r), nil)
	})
	if err != nil {
		return fmt.Errorf("record the end of the rekey: %w", err)
	}
	m.forget(j.Old) // nothing is wrapped under it any more
	m.log.Info("rekey confirmed", "key_id", r.ID)
	return nil
}

// opens unwraps every data key.
func (m *Manager) opens(ctx context.Context, w *wrapper) error {
	return m.st.View(ctx, func(tx store.Tx) error {
		return pages(tx, func(p page) error {
			if err := w.ours(p); err != nil {
				return fmt.Errorf("%w: %w", ErrIntegrity, err)
			}
			for i := range p.count() {
				k, err := w.unwrap(p.rec(i))
				if err != nil {
					return fmt.Errorf("data key of volume %s: %w", p.rec(i).volume(), err)
				}
				k.Destroy()
			}
			return ctx.Err()
		})
	})
}

// result is what the job's owner shows of it, in Element's shape.
func result(old, now *masterRecord) map[string]any {
	return map[string]any{
		"keyToDecommission": keyInfo(old), "newKey": keyInfo(now), "state": RekeyReady,
		"operation": "Rekeying Master Key. Master Key management being transferred from " +
			management(old) + " to " + management(now),
	}
}

// keyInfo is a key as Element shows it: without provider if it has none.
func keyInfo(r *masterRecord) map[string]any {
	k := map[string]any{"keyID": r.ID, "keyManagementType": string(r.Type)}
	if r.Type == External {
		k["keyProviderID"] = r.ProviderID
	}
	return k
}

// management names where a key is kept, in the words of the result.
func management(r *masterRecord) string {
	if r.Type == External {
		return fmt.Sprintf("External Key Management with keyProviderID=%d", r.ProviderID)
	}
	return "Internal Key Management"
}
