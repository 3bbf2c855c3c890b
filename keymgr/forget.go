package keymgr

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"lockplate/keymgr/kmip"
	"lockplate/store"
)

// forgetTime bounds how long one address is waited for that is given up anyway.
const forgetTime = 5 * time.Second

// maxLeft bounds the list of addresses in a record.
const maxLeft = 16

// ForgetKey is DestroyKey for key servers that are lost for good: the key is
// destroyed wherever a server answers, and given up at the rest. left are the
// addresses, or the provider, where it may still exist; the history keeps them.
// The provider is not active for this key any more. DestroyKey may be tried
// again later, should a server come back. Errors are those of DestroyKey that
// are not about key servers.
func (m *Manager) ForgetKey(ctx context.Context, id string) (left []string, err error) {
	var r *masterRecord
	err = m.st.View(ctx, func(tx store.Tx) (err error) {
		r, err = destroyable(tx, id)
		return err
	})
	if err == nil && r.Type == Internal {
		return nil, m.DestroyKey(ctx, id)
	}
	if err == nil && r.Destroyed.IsZero() {
		left, err = m.forgetOld(ctx, r)
	}
	if err != nil {
		return nil, fmt.Errorf("forget master key: %w", err)
	}
	m.log.Warn("old master key forgotten", "key_id", id, "may_exist_at", left)
	return left, nil
}

// forgetOld destroys what can be destroyed and records the rest.
func (m *Manager) forgetOld(ctx context.Context, r *masterRecord) ([]string, error) {
	left := m.destroyWhereItCan(ctx, r)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(left) > maxLeft {
		left = append(left[:maxLeft-1], fmt.Sprintf("and %d more", len(left)-maxLeft+1))
	}
	err := m.settle(ctx, r, func(_ store.Tx, now *masterRecord) error {
		now.forget(left, m.now().UTC())
		return nil
	})
	return left, err
}

// forget notes that nothing more is done about the key, which may still exist
// at some places, or at none.
func (r *masterRecord) forget(left []string, now time.Time) {
	if r.State == StateRetiring {
		r.State = StateDecommissioned
	}
	r.Sweep, r.Forgotten, r.Left = false, now, left
	if len(left) == 0 {
		r.Destroyed, r.Forgotten = now, time.Time{}
	}
}

// destroyWhereItCan asks all addresses at once, and gives those that did not
// destroy the key.
func (m *Manager) destroyWhereItCan(ctx context.Context, r *masterRecord) []string {
	src, err := m.provider(ctx, r.ProviderID)
	if err != nil {
		m.log.Warn("master key cannot be destroyed", "key_id", r.ID, "err", err)
		return []string{fmt.Sprintf("key provider %d", r.ProviderID)}
	}
	each := src.Client.Each()
	left := make([]string, len(each))
	var wg sync.WaitGroup
	for i, one := range each {
		wg.Go(func() {
			if err := m.destroyAllAt(ctx, one, r); err != nil {
				m.log.Warn("master key cannot be destroyed", "key_id", r.ID, "err", err)
				left[i] = one.Addresses()[0]
			}
		})
	}
	wg.Wait()
	return slices.DeleteFunc(left, func(a string) bool { return a == "" })
}

// destroyAllAt destroys, at one address, the key and others of its name.
func (m *Manager) destroyAllAt(ctx context.Context, one *kmip.Client, r *masterRecord) error {
	ctx, cancel := context.WithTimeout(ctx, forgetTime)
	defer cancel()
	err := m.sweepAt(ctx, one, r)
	if err == nil && r.State != StateAbandoned && r.ServerID != "" {
		err = m.destroyAt(ctx, one, r.ServerID)
	}
	return err
}

// lost says that the key is not waited for any more.
func (r *masterRecord) lost() bool { return !r.Forgotten.IsZero() }
