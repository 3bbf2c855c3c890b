package keymgr

import (
	"context"
	"crypto/fips140"
	"errors"
	"fmt"
	"runtime"
	"time"

	"lockplate/keymgr/kmip"
	"lockplate/store"
)

// KeyProvider is a set of key servers that hold the same keys.
type KeyProvider struct {
	ID           int64
	Name         string
	Active       bool // keys that were made there are not deleted yet
	ServerIDs    []int64
	Capabilities string // of the client that speaks to it
}

// providerRecord is the durable form of a KeyProvider, JSON. Its servers are
// those whose records name it.
type providerRecord struct {
	Version int       `json:"version"`
	ID      int64     `json:"id"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
}

// capabilities is for display: protocol, library, FIPS mode, TLS.
func capabilities() string {
	mode := "off"
	if fips140.Enabled() {
		mode = "on"
	}
	return fmt.Sprintf("KMIP 1.0-1.4, FIPS 140-3 mode %s, TLS 1.2-1.3 (%s crypto/tls)", mode, runtime.Version())
}

// describe gives the record as callers see it, with the servers that name it.
func (r *providerRecord) describe(tx store.Tx, active map[int64]bool) (KeyProvider, error) {
	p := KeyProvider{ID: r.ID, Name: r.Name, Active: active[r.ID], ServerIDs: []int64{}, Capabilities: capabilities()}
	all, err := servers(tx, &r.ID)
	for _, s := range all {
		p.ServerIDs = append(p.ServerIDs, s.ID)
	}
	return p, err
}

// activeProviders gives the providers that hold a key, or may.
func activeProviders(tx store.Tx) (map[int64]bool, error) {
	out := map[int64]bool{}
	err := masters(tx, func(r *masterRecord) error {
		if r.Type == External && (r.Destroyed.IsZero() && !r.lost() || r.Sweep) {
			out[r.ProviderID] = true
		}
		return nil
	})
	return out, err
}

// CreateKeyProvider records a provider: inactive, without servers. ErrInvalid.
func (m *Manager) CreateKeyProvider(ctx context.Context, name string) (out KeyProvider, err error) {
	if err := checkName("key provider", name); err != nil {
		return out, fmt.Errorf("create key provider: %w", err)
	}
	err = m.st.Update(ctx, func(tx store.Tx) error {
		r := providerRecord{Version: recordVersion, Name: name, Created: m.now().UTC()}
		var err error
		if r.ID, err = nextID(tx, "keyprovider"); err != nil {
			return err
		}
		if out, err = r.describe(tx, nil); err != nil {
			return err
		}
		return putBig(tx, idKey(prefixProviders, r.ID), &r)
	})
	if err != nil {
		return out, fmt.Errorf("create key provider: %w", err)
	}
	return out, nil
}

// KeyProvider gives one; ErrNoKeyProvider.
func (m *Manager) KeyProvider(ctx context.Context, id int64) (out KeyProvider, err error) {
	err = m.st.View(ctx, func(tx store.Tx) error {
		r, err := getProvider(tx, id)
		if err != nil {
			return err
		}
		active, err := activeProviders(tx)
		if err != nil {
			return err
		}
		out, err = r.describe(tx, active)
		return err
	})
	return out, err
}

// KeyProviders lists all by id.
func (m *Manager) KeyProviders(ctx context.Context) (out []KeyProvider, err error) {
	err = m.st.View(ctx, func(tx store.Tx) error {
		out = nil
		active, err := activeProviders(tx)
		if err != nil {
			return err
		}
		for key, b := range tx.Scan(prefixProviders) {
			r, err := parseProvider(key, b)
			if err != nil {
				return err
			}
			p, err := r.describe(tx, active)
			if err != nil {
				return err
			}
			out = append(out, p)
		}
		return nil
	})
	return out, err
}

// DeleteKeyProvider forgets a provider; its servers stay, unassigned.
// ErrNoKeyProvider, ErrProviderActive.
func (m *Manager) DeleteKeyProvider(ctx context.Context, id int64) error {
	err := m.st.Update(ctx, func(tx store.Tx) error {
		if _, err := getProvider(tx, id); err != nil {
			return err
		}
		active, err := activeProviders(tx)
		if err != nil {
			return err
		}
		if active[id] {
			return fmt.Errorf("key provider %d: %w", id, ErrProviderActive)
		}
		all, err := servers(tx, &id)
		for i := range all {
			all[i].ProviderID = 0
			err = errors.Join(err, putBig(tx, idKey(prefixServers, all[i].ID), &all[i]))
		}
		return errors.Join(err, tx.Delete(idKey(prefixProviders, id)))
	})
	if err != nil {
		return fmt.Errorf("delete key provider: %w", err)
	}
	return nil
}

// AddServerToProvider assigns a key server, once it was seen to work, and to
// have the same master keys as the provider's other servers; one that is there
// already is no error. Errors: ErrNoKeyServer, ErrNoKeyProvider,
// ErrKeyServerAssigned, ErrInvalid when the provider is full, *kmip.Error,
// ErrWrongKey.
func (m *Manager) AddServerToProvider(ctx context.Context, provider, server int64) error {
	var r *serverRecord
	err := m.st.View(ctx, func(tx store.Tx) (err error) {
		r, err = assignable(tx, provider, server)
		return err
	})
	if err != nil {
		return fmt.Errorf("add key server to provider: %w", err)
	}
	if r.ProviderID == provider {
		return nil
	}
	if err := m.proveServer(ctx, r, provider); err != nil {
		return fmt.Errorf("add key server %d to provider %d: %w", server, provider, err)
	}
	err = m.st.Update(ctx, func(tx store.Tx) error {
		now, err := assignable(tx, provider, server)
		if err != nil {
			return err
		}
		if !now.sameWay(r) {
			return ErrChanged
		}
		now.ProviderID = provider
		return putBig(tx, idKey(prefixServers, server), now)
	})
	if err != nil {
		return fmt.Errorf("add key server to provider: %w", err)
	}
	return nil
}

// assignable gives the server if it may be, or is, in the provider.
func assignable(tx store.Tx, provider, server int64) (*serverRecord, error) {
	if _, err := getProvider(tx, provider); err != nil {
		return nil, err
	}
	r, err := getServer(tx, server)
	if err != nil || r.ProviderID == provider {
		return r, err
	}
	if r.ProviderID != 0 {
		return nil, fmt.Errorf("key server %d, key provider %d: %w", server, r.ProviderID, ErrKeyServerAssigned)
	}
	all, err := servers(tx, &provider)
	if err == nil && len(all) >= kmip.MaxServers {
		err = fmt.Errorf("%w: key provider %d has %d key servers, which is the most", ErrInvalid, provider, len(all))
	}
	return r, err
}

// RemoveServerFromProvider unassigns a key server; one that is in no provider
// is no error. ErrNoKeyServer; ErrKeyServerInUse for the last one of an active
// provider.
func (m *Manager) RemoveServerFromProvider(ctx context.Context, server int64) error {
	err := m.st.Update(ctx, func(tx store.Tx) error {
		r, err := getServer(tx, server)
		if err == nil {
			err = dispensable(tx, r)
		}
		if err != nil || r.ProviderID == 0 {
			return err
		}
		r.ProviderID = 0
		return putBig(tx, idKey(prefixServers, server), r)
	})
	if err != nil {
		return fmt.Errorf("remove key server from its provider: %w", err)
	}
	return nil
}

// TestKeyProvider tests every server of a provider as TestKeyServer does, and
// that it has the provider's master keys. ErrNoKeyProvider, ErrNoServers.
func (m *Manager) TestKeyProvider(ctx context.Context, id int64) error {
	all, err := m.providerServers(ctx, id)
	var errs []error
	for i := range all {
		if e := m.proveServer(ctx, &all[i], id); e != nil {
			errs = append(errs, fmt.Errorf("key server %d: %w", all[i].ID, e))
		}
	}
	if err = errors.Join(append(errs, err)...); err != nil {
		return fmt.Errorf("test key provider %d: %w", id, err)
	}
	return nil
}

// providerServers lists the servers of a provider; ErrNoKeyProvider,
// ErrNoServers.
func (m *Manager) providerServers(ctx context.Context, id int64) (all []serverRecord, err error) {
	err = m.st.View(ctx, func(tx store.Tx) error {
		if _, err := getProvider(tx, id); err != nil {
			return err
		}
		all, err = servers(tx, &id)
		if err == nil && len(all) == 0 {
			err = fmt.Errorf("key provider %d: %w", id, ErrNoServers)
		}
		return err
	})
	return all, err
}

// getProvider reads one record; ErrNoKeyProvider.
func getProvider(tx store.Tx, id int64) (*providerRecord, error) {
	key := idKey(prefixProviders, id)
	b, err := tx.Get(key)
	if errors.Is(err, store.ErrNotFound) || id < 1 {
		return nil, fmt.Errorf("key provider %d: %w", id, ErrNoKeyProvider)
	}
	if err != nil {
		return nil, err
	}
	return parseProvider(key, b)
}

// parseProvider reads the record at key, which must be the one its id says.
func parseProvider(key string, b []byte) (*providerRecord, error) {
	r := &providerRecord{}
	err := parseBig(b, r)
	if err == nil && (r.ID < 1 || idKey(prefixProviders, r.ID) != key) {
		err = fmt.Errorf("%w (id does not fit its key)", ErrIntegrity)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return r, nil
}
