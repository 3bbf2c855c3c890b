package cluster

import (
	"context"

	"lockplate/keymgr"
)

// newSealer makes the sealer of new or resealed keys. A passphrase that is
// given, or PIN, is used instead of asking, once: it is wiped then.
func (c *Cluster) newSealer(spec string, passphrase []byte) (keymgr.Sealer, error) {
	so := c.cfg.Sealer
	so.Create = true
	if ask := so.Passphrase; passphrase != nil {
		so.Passphrase = func(confirm bool) ([]byte, error) {
			if passphrase == nil {
				if ask == nil {
					return nil, keymgr.ErrSealerMissing
				}
				return ask(confirm)
			}
			p := append([]byte(nil), passphrase...)
			passphrase = nil
			return p, nil
		}
	}
	return keymgr.ParseSealer(spec, so)
}

// Reseal has another sealer protect the keys that are kept in the store. The
// keys stay the same. passphrase is for the new sealer, and is wiped; nil asks
// through Config.Sealer.
func (c *Cluster) Reseal(ctx context.Context, spec string, passphrase []byte) error {
	defer clear(passphrase)
	return c.changeKeys(ctx, "Keys sealed anew", func(m *keymgr.Manager) (map[string]any, error) {
		s, err := c.newSealer(spec, passphrase)
		if err == nil {
			err = m.Reseal(ctx, spec, s)
		}
		c.auditKey(ctx, "seal keys anew", spec, err)
		return map[string]any{"sealer": spec}, err
	})
}

// CreateShares makes recovery shares, which the caller hands out and wipes: they
// are not kept.
func (c *Cluster) CreateShares(ctx context.Context, threshold, shares int, replace bool) (texts [][]byte, err error) {
	err = c.changeKeys(ctx, "Recovery shares made", func(m *keymgr.Manager) (map[string]any, error) {
		all, err := m.CreateShares(ctx, threshold, shares, replace)
		set := ""
		for _, s := range all {
			texts, set = append(texts, s.Text()), s.Set.String()
			s.Wipe()
		}
		c.auditKey(ctx, "make recovery shares", set, err)
		return map[string]any{"set": set, "threshold": threshold, "shares": shares}, err
	})
	return texts, err
}

// VerifyShares proves that recovery shares open the cluster; their texts are
// wiped.
func (c *Cluster) VerifyShares(ctx context.Context, texts [][]byte) error {
	m, err := c.keyManager()
	if err == nil {
		err = c.mayChange() // it uses a key
	}
	if err != nil {
		return err
	}
	set, err := keymgr.ParseShares(texts)
	if err == nil {
		defer set.Wipe()
		err = m.VerifyShares(ctx, set)
	}
	c.auditKey(ctx, "verify recovery shares", "", err)
	return err
}

// RemoveShares makes the recovery shares worthless.
func (c *Cluster) RemoveShares(ctx context.Context) error {
	return c.changeKeys(ctx, "Recovery shares removed", func(m *keymgr.Manager) (map[string]any, error) {
		err := m.RemoveShares(ctx)
		c.auditKey(ctx, "remove recovery shares", "", err)
		return nil, err
	})
}
