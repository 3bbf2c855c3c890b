package cluster

import (
	"context"
	"fmt"
	"strings"

	"lockplate/keymgr"
)

// This file hands the management of master keys, key servers and key providers
// on to keymgr, whose methods of the same names say what they do and which
// errors they give. Changes are refused while they cannot be audited, and each
// leaves an event.

// keyManager is the key manager of the cluster.
func (c *Cluster) keyManager() (*keymgr.Manager, error) {
	r, err := c.require()
	if err != nil {
		return nil, err
	}
	if !r.SoftwareEncryption {
		return nil, fmt.Errorf("%w: this cluster was made without software encryption, so it has no keys to manage", ErrState)
	}
	return c.keys, nil
}

// lookup answers a question about keys.
func lookup[T any](c *Cluster, ask func(*keymgr.Manager) (T, error)) (T, error) {
	m, err := c.keyManager()
	if err != nil {
		var none T
		return none, err
	}
	return ask(m)
}

// changeKeys changes something about keys, and notes it when that went well.
func (c *Cluster) changeKeys(ctx context.Context, done string, change func(*keymgr.Manager) (map[string]any, error)) error {
	m, err := c.keyManager()
	if err != nil {
		return err
	}
	if err := c.mayChange(); err != nil {
		return err
	}
	details, err := change(m)
	if err == nil {
		c.note(ctx, Event{Type: EventEncryption, Message: done, Details: details})
	}
	return err
}

// CreateKeyPair makes the key pair by which key servers know the cluster.
func (c *Cluster) CreateKeyPair(ctx context.Context, s keymgr.Subject) error {
	return c.changeKeys(ctx, "Public and private key pair created", func(m *keymgr.Manager) (map[string]any, error) {
		err := m.CreateKeyPair(ctx, s)
		c.auditKey(ctx, "make key pair", s.CommonName, err)
		return map[string]any{"commonName": s.CommonName}, err
	})
}

// SigningRequest is the certificate signing request of the key pair, PEM.
func (c *Cluster) SigningRequest(ctx context.Context) (string, error) {
	return lookup(c, func(m *keymgr.Manager) (string, error) {
		pem, err := m.SigningRequest(ctx)
		c.auditKey(ctx, "sign certificate request", "", err)
		return pem, err
	})
}

// CreateKeyServer records a key server; it is not contacted.
func (c *Cluster) CreateKeyServer(ctx context.Context, s keymgr.KeyServer) (out keymgr.KeyServer, err error) {
	err = c.changeKeys(ctx, "Key server created", func(m *keymgr.Manager) (_ map[string]any, err error) {
		out, err = m.CreateKeyServer(ctx, s)
		return serverDetails(out), err
	})
	return out, err
}

// ModifyKeyServer changes a key server, once it was seen to work so.
func (c *Cluster) ModifyKeyServer(ctx context.Context, id int64, ch keymgr.KeyServerChange) (out keymgr.KeyServer, err error) {
	err = c.changeKeys(ctx, "Key server modified", func(m *keymgr.Manager) (_ map[string]any, err error) {
		out, err = m.ModifyKeyServer(ctx, id, ch)
		return serverDetails(out), err
	})
	return out, err
}

func serverDetails(s keymgr.KeyServer) map[string]any {
	return map[string]any{"keyServerID": s.ID, "name": s.Name, "hostnames": s.Hostnames, "port": s.Port}
}

// DeleteKeyServer forgets a key server.
func (c *Cluster) DeleteKeyServer(ctx context.Context, id int64) error {
	return c.changeKeys(ctx, "Key server deleted", func(m *keymgr.Manager) (map[string]any, error) {
		return map[string]any{"keyServerID": id}, m.DeleteKeyServer(ctx, id)
	})
}

// KeyServer describes one key server.
func (c *Cluster) KeyServer(ctx context.Context, id int64) (keymgr.KeyServer, error) {
	return lookup(c, func(m *keymgr.Manager) (keymgr.KeyServer, error) { return m.KeyServer(ctx, id) })
}

// KeyServers lists the key servers by id.
func (c *Cluster) KeyServers(ctx context.Context) ([]keymgr.KeyServer, error) {
	return lookup(c, func(m *keymgr.Manager) ([]keymgr.KeyServer, error) { return m.KeyServers(ctx) })
}

// TestKeyServer proves that a key server can be reached, trusts us and works.
func (c *Cluster) TestKeyServer(ctx context.Context, id int64) error {
	m, err := c.keyManager()
	if err != nil {
		return err
	}
	return m.TestKeyServer(ctx, id)
}

// CreateKeyProvider makes a key provider, inactive and without servers.
func (c *Cluster) CreateKeyProvider(ctx context.Context, name string) (out keymgr.KeyProvider, err error) {
	err = c.changeKeys(ctx, "Key provider created", func(m *keymgr.Manager) (_ map[string]any, err error) {
		out, err = m.CreateKeyProvider(ctx, name)
		return map[string]any{"keyProviderID": out.ID, "name": name}, err
	})
	return out, err
}

// DeleteKeyProvider forgets a key provider that is not active.
func (c *Cluster) DeleteKeyProvider(ctx context.Context, id int64) error {
	return c.changeKeys(ctx, "Key provider deleted", func(m *keymgr.Manager) (map[string]any, error) {
		return map[string]any{"keyProviderID": id}, m.DeleteKeyProvider(ctx, id)
	})
}

// KeyProvider describes one key provider.
func (c *Cluster) KeyProvider(ctx context.Context, id int64) (keymgr.KeyProvider, error) {
	return lookup(c, func(m *keymgr.Manager) (keymgr.KeyProvider, error) { return m.KeyProvider(ctx, id) })
}

// KeyProviders lists the key providers by id.
func (c *Cluster) KeyProviders(ctx context.Context) ([]keymgr.KeyProvider, error) {
	return lookup(c, func(m *keymgr.Manager) ([]keymgr.KeyProvider, error) { return m.KeyProviders(ctx) })
}

// TestKeyProvider tests every server of a key provider.
func (c *Cluster) TestKeyProvider(ctx context.Context, id int64) error {
	m, err := c.keyManager()
	if err != nil {
		return err
	}
	return m.TestKeyProvider(ctx, id)
}

// AddServerToProvider assigns a key server, once it was seen to work.
func (c *Cluster) AddServerToProvider(ctx context.Context, provider, server int64) error {
	return c.changeKeys(ctx, "Key server added to key provider", func(m *keymgr.Manager) (map[string]any, error) {
		return map[string]any{"keyProviderID": provider, "keyServerID": server}, m.AddServerToProvider(ctx, provider, server)
	})
}

// RemoveServerFromProvider takes a key server out of its key provider.
func (c *Cluster) RemoveServerFromProvider(ctx context.Context, server int64) error {
	return c.changeKeys(ctx, "Key server removed from key provider", func(m *keymgr.Manager) (map[string]any, error) {
		return map[string]any{"keyServerID": server}, m.RemoveServerFromProvider(ctx, server)
	})
}

// Rekey begins to replace the master key and gives the handle of the job.
func (c *Cluster) Rekey(ctx context.Context, t keymgr.RekeyTarget) (handle int64, err error) {
	m, err := c.keyManager()
	if err != nil {
		return 0, err
	}
	if err := c.mayChange(); err != nil {
		return 0, err
	}
	c.rekeying.Lock()
	defer c.rekeying.Unlock()
	who := actorOf(ctx)
	c.rekeyBy.Store(&who)
	handle, err = m.Rekey(ctx, t)
	c.auditKey(ctx, "begin rekey", idString(handle), err)
	return handle, err
}

// MasterKeys lists all master keys there ever were, oldest first.
func (c *Cluster) MasterKeys(ctx context.Context) ([]keymgr.MasterKey, error) {
	return lookup(c, func(m *keymgr.Manager) ([]keymgr.MasterKey, error) { return m.History(ctx) })
}

// ForgetKey is DestroyKey where key servers are lost for good: it gives what did
// not answer, and where the key may still exist.
func (c *Cluster) ForgetKey(ctx context.Context, id string) (left []string, err error) {
	err = c.changeKeys(ctx, "Old master key forgotten", func(m *keymgr.Manager) (_ map[string]any, err error) {
		left, err = m.ForgetKey(ctx, id)
		if err != nil || len(left) == 0 {
			c.auditKey(ctx, "destroy master key", id, err)
		} else {
			c.auditKey(ctx, "forget master key", id+" at "+strings.Join(left, ", "), nil)
		}
		return map[string]any{"keyID": id, "mayExistAt": left}, err
	})
	return left, err
}

// DestroyKey destroys an old master key, at its key servers too.
func (c *Cluster) DestroyKey(ctx context.Context, id string) error {
	return c.changeKeys(ctx, "Old master key destroyed", func(m *keymgr.Manager) (map[string]any, error) {
		err := m.DestroyKey(ctx, id)
		c.auditKey(ctx, "destroy master key", id, err)
		return map[string]any{"keyID": id}, err
	})
}
