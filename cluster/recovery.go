package cluster

import (
	"context"
	"fmt"
	"io"

	"github.com/google/uuid"

	"lockplate/volume/luks"
)

func newUUID(r io.Reader) (string, error) {
	id, err := uuid.NewRandomFromReader(r)
	if err != nil {
		return "", fmt.Errorf("make id: %w", err)
	}
	return id.String(), nil
}

func parseKDF(name string) (luks.KDF, error) {
	switch name {
	case "", "argon2id", "pbkdf2":
		if name == "" {
			name = "argon2id"
		}
		return luks.KDF{Type: name}, nil
	}
	return luks.KDF{}, &InvalidError{"kdf", fmt.Sprintf("%q is not argon2id or pbkdf2", name)}
}

// recoverable finds a volume whose header can take keyslots now.
func (c *Cluster) recoverable(id int64) (*liveVolume, *stack, error) {
	v, err := c.liveVolume(id)
	if err != nil {
		return nil, nil, err
	}
	s := v.stack.Load()
	if s == nil {
		return nil, nil, fmt.Errorf("volume %d: %w: it is not online", id, ErrState)
	}
	if s.header.Load() == nil {
		return nil, nil, fmt.Errorf("volume %d: %w: it is not encrypted", id, ErrState)
	}
	return v, s, nil
}

// AddRecoveryKey adds a keyslot with which any Linux host opens the volume by
// passphrase, without lockplate. passphrase is wiped.
func (c *Cluster) AddRecoveryKey(ctx context.Context, id int64, passphrase []byte, kdf string) (int, error) {
	defer clear(passphrase)
	k, err := parseKDF(kdf)
	if err != nil {
		return 0, err
	}
	if len(passphrase) == 0 {
		return 0, &InvalidError{"passphrase", "must not be empty"}
	}
	c.admin.Lock()
	defer c.admin.Unlock()
	if err := c.mayChange(); err != nil {
		return 0, err
	}
	v, s, err := c.recoverable(id)
	if err != nil {
		return 0, err
	}
	r := v.record()
	if r.LUKSVersion == 1 {
		return 0, fmt.Errorf("volume %s: %w: a LUKS1 header is read-only here", r.Name, ErrState)
	}
	key, err := c.keys.DataKey(ctx, r.UUID)
	if err != nil {
		return 0, fmt.Errorf("data key: %w", err)
	}
	defer key.Destroy()
	h, slot, err := s.header.Load().AddKeyslot(ctx, s.hdr, key.Bytes(), passphrase, k)
	c.auditKey(ctx, "add recovery key", r.Name, err)
	if err != nil {
		return 0, fmt.Errorf("add recovery key to volume %s: %w", r.Name, err)
	}
	s.header.Store(h)
	c.log.Info("recovery key added", "volume", r.Name, "slot", slot)
	return slot, nil
}

// RecoveryKeys lists the keyslots that open the volume without lockplate.
func (c *Cluster) RecoveryKeys(_ context.Context, id int64) ([]RecoveryKey, error) {
	_, s, err := c.recoverable(id)
	if err != nil {
		return nil, err
	}
	var out []RecoveryKey
	for _, k := range s.header.Load().Keyslots {
		out = append(out, RecoveryKey{Slot: k.Slot, KDF: k.KDF})
	}
	return out, nil
}

// RemoveRecoveryKey wipes a keyslot. Whoever kept a copy of the old header and
// knows the passphrase can still open the volume with it (docs/THREATS).
func (c *Cluster) RemoveRecoveryKey(ctx context.Context, id int64, slot int) error {
	c.admin.Lock()
	defer c.admin.Unlock()
	if err := c.mayChange(); err != nil {
		return err
	}
	v, s, err := c.recoverable(id)
	if err != nil {
		return err
	}
	found := false
	for _, k := range s.header.Load().Keyslots {
		found = found || k.Slot == slot
	}
	if !found {
		return notFound("slot", int64(slot))
	}
	h, err := s.header.Load().RemoveKeyslot(ctx, s.hdr, slot)
	c.auditKey(ctx, "remove recovery key", v.record().Name, err)
	if err != nil {
		return fmt.Errorf("remove recovery key from volume %s: %w", v.record().Name, err)
	}
	s.header.Store(h)
	c.log.Info("recovery key removed", "volume", v.record().Name, "slot", slot)
	return nil
}
