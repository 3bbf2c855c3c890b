package keymgr

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"

	"lockplate/keymgr/kmip"
	"lockplate/store"
)

// ProviderSource keeps master keys at the key servers of one provider. A Ref
// names a key by the identifier that the servers gave it.
type ProviderSource struct {
	Client *kmip.Client // of all servers of the provider
	Group  string       // Object Group of new keys
}

// Create implements KeySource: a new AES-256 key, Active.
func (s *ProviderSource) Create(ctx context.Context, spec Spec) (Ref, error) {
	if err := ctx.Err(); err != nil {
		return Ref{}, err
	}
	made, err := s.Client.Create(ctx, kmip.Object{Name: spec.Name, Group: s.Group})
	if err != nil {
		return Ref{}, fmt.Errorf("create master key: %w", err)
	}
	if err := s.Client.Activate(ctx, made.ID); err != nil {
		return Ref{}, fmt.Errorf("create master key: %w", err)
	}
	return Ref{ID: spec.ID, ServerID: made.ID}, nil
}

// Fetch implements KeySource.
func (s *ProviderSource) Fetch(ctx context.Context, r Ref) (*Secret, error) {
	return s.fetch(ctx, r, nil)
}

// fetch gives the key, which must have the check value, if there is one. What
// one server says is not believed when another one has the key.
func (s *ProviderSource) fetch(ctx context.Context, r Ref, check []byte) (*Secret, error) {
	if r.ServerID == "" {
		return nil, fmt.Errorf("fetch master key %s: %w (it has no identifier at a key server)", r.ID, ErrNotFound)
	}
	key, err := fetchFrom(ctx, s.Client, r.ServerID, check)
	if err == nil || !sawAnswer(err) {
		return key, keyError("fetch", r.ID, err)
	}
	for _, one := range s.Client.Each() {
		if key, e := fetchFrom(ctx, one, r.ServerID, check); e == nil {
			return key, nil
		}
	}
	return nil, keyError("fetch", r.ID, err)
}

// keyError adds which key an error is about.
func keyError(what, id string, err error) error {
	if err == nil {
		return nil
	}
	if kmip.ClassOf(err) == kmip.ClassKeyNotFound {
		err = fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return fmt.Errorf("%s master key %s: %w", what, id, err)
}

// sawAnswer says that a server answered, so that another may know better.
func sawAnswer(err error) bool {
	switch kmip.ClassOf(err) {
	case kmip.ClassProtocol, kmip.ClassPermissionDenied, kmip.ClassAuthentication, kmip.ClassKeyNotFound,
		kmip.ClassKeyNotActive, kmip.ClassKeyMismatch, kmip.ClassUnsupported, kmip.ClassServerBusy, kmip.ClassServerError:
		return true
	}
	return false
}

// fetchFrom gets a key into locked memory and compares its check value.
func fetchFrom(ctx context.Context, c *kmip.Client, id string, check []byte) (*Secret, error) {
	got, err := c.Get(ctx, id, kmip.SymmetricKey)
	if err != nil {
		return nil, err
	}
	key, err := NewSecret(got.Bytes) // wipes them
	if err != nil || check == nil {
		return key, err
	}
	if err := checkKey(key, check); err != nil {
		key.Destroy()
		return nil, &kmip.Error{
			Class: kmip.ClassKeyMismatch, Address: c.Addresses()[0], Operation: "Get", Step: kmip.StepResult, Err: err,
			Hint: "the key server has another key in this place: check its backup, its replication, and that it is the right server",
		}
	}
	return key, nil
}

// checkKey compares a key with its check value; ErrWrongKey.
func checkKey(key *Secret, check []byte) error {
	v, err := kcv(key)
	if err == nil && subtle.ConstantTimeCompare(v[:], check) != 1 {
		err = fmt.Errorf("%w: its check value differs", ErrWrongKey)
	}
	return err
}

// Retire implements KeySource: the key is revoked, and can be fetched
// afterwards from most servers.
func (s *ProviderSource) Retire(ctx context.Context, r Ref) error {
	if r.ServerID == "" {
		return ctx.Err()
	}
	err := s.Client.Revoke(ctx, r.ServerID, kmip.Superseded)
	if err == nil || kmip.ClassOf(err) == kmip.ClassKeyNotFound {
		return nil
	}
	return keyError("retire", r.ID, err)
}

// Check implements KeySource.
func (s *ProviderSource) Check(ctx context.Context) error {
	return kmip.Failed(s.Client.Test(ctx))
}

// proveKeys compares the keys in use that a provider holds with what a client
// gives at each of its addresses.
func (m *Manager) proveKeys(ctx context.Context, c *kmip.Client, provider int64) error {
	if provider == 0 {
		return nil
	}
	var keys []masterRecord
	err := m.st.View(ctx, func(tx store.Tx) error {
		keys = nil
		return masters(tx, func(r *masterRecord) error {
			if r.Type == External && r.ProviderID == provider && r.proven() {
				keys = append(keys, *r)
			}
			return nil
		})
	})
	for _, r := range keys {
		for _, one := range c.Each() {
			key, e := fetchFrom(ctx, one, r.ServerID, r.kcv())
			key.Destroy()
			err = errors.Join(err, keyError("compare", r.ID, e))
		}
	}
	switch kmip.ClassOf(err) {
	case kmip.ClassKeyNotFound, kmip.ClassKeyMismatch:
		return fmt.Errorf("%w: %w", ErrKeysLacking, err)
	}
	return err
}

// provider gives the source of a key provider; ErrNoKeyProvider, ErrNoServers.
func (m *Manager) provider(ctx context.Context, id int64) (*ProviderSource, error) {
	all, err := m.providerServers(ctx, id)
	if err != nil {
		return nil, err
	}
	c, err := m.clients.joined(all)
	if err != nil {
		return nil, err
	}
	return &ProviderSource{Client: c, Group: "lockplate/" + m.cluster}, nil
}
