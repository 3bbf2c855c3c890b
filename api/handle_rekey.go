package api

import (
	"context"
	"errors"
	"slices"
	"strings"

	"lockplate/api/wire"
	"lockplate/keymgr"
)

// rekeyMasterKey begins to replace the master key, and gives the handle of the
// job as soon as that is sure to go on.
func (s *Server) rekeyMasterKey(ctx context.Context, _ identity, p *wire.RekeyMasterKeyParams) (wire.AsyncHandleResult, error) {
	t, err := rekeyTarget(p)
	if err != nil {
		return wire.AsyncHandleResult{}, err
	}
	e, err := s.cluster.Encryption(ctx)
	if err == nil && !e.Enabled {
		err = fail(wire.ErrNotEncrypted, "this cluster was made without software encryption at rest: it has no master key")
	}
	if err != nil {
		return wire.AsyncHandleResult{}, err
	}
	h, err := s.cluster.Rekey(ctx, t)
	return wire.AsyncHandleResult{AsyncHandle: h}, err
}

// rekeyTarget reads where the new key is to be.
func rekeyTarget(p *wire.RekeyMasterKeyParams) (keymgr.RekeyTarget, error) {
	var t keymgr.RekeyTarget
	if p.KeyProviderID != nil {
		if t.ProviderID = int64(*p.KeyProviderID); t.ProviderID < 1 {
			return t, fail(wire.ErrInvalidParameter, "keyProviderID: %d is no id", t.ProviderID)
		}
	}
	given := p.KeyProviderID != nil
	switch strings.ToLower(p.KeyManagementType) {
	case "":
		if given {
			return t, fail(wire.ErrInvalidParameter, "keyProviderID: give keyManagementType external with it")
		}
	case wire.KeyInternal:
		t.Type = keymgr.Internal
		if given {
			return t, fail(wire.ErrInvalidParameter, "keyProviderID: internal key management has no provider")
		}
	case wire.KeyExternal:
		t.Type = keymgr.External
		if !given {
			return t, missing("keyProviderID")
		}
	default:
		return t, fail(wire.ErrUnrecognizedEnum, "%s", clip(p.KeyManagementType))
	}
	return t, nil
}

// listMasterKeys lists all master keys there were, newest first.
func (s *Server) listMasterKeys(ctx context.Context, _ identity, _ *wire.Empty) (wire.ListMasterKeysResult, error) {
	out := wire.ListMasterKeysResult{MasterKeys: []wire.MasterKey{}}
	all, err := s.cluster.MasterKeys(ctx)
	for _, k := range slices.Backward(all) {
		out.MasterKeys = append(out.MasterKeys, masterKeyShape(k))
	}
	return out, err
}

// masterKeyShape describes a master key with the state that matters to people.
func masterKeyShape(k keymgr.MasterKey) wire.MasterKey {
	out := wire.MasterKey{
		KeyID: k.ID, KeyManagementType: string(k.Type), KeyCreatedTime: wire.FormatTime(k.Created),
		State: string(k.State), DestroyedTime: wire.FormatTime(k.Destroyed),
	}
	if k.ProviderID != 0 {
		out.KeyProviderID = &k.ProviderID
	}
	switch {
	case !k.Destroyed.IsZero():
		out.State = wire.KeyDestroyed
	case !k.Forgotten.IsZero():
		out.State, out.ForgottenTime, out.MayExistAt = wire.KeyForgotten, wire.FormatTime(k.Forgotten), k.Left
	}
	return out
}

// destroyMasterKey destroys an old master key, at its key servers too, or gives
// it up at those that are lost.
func (s *Server) destroyMasterKey(ctx context.Context, _ identity, p *wire.DestroyMasterKeyParams) (out wire.DestroyMasterKeyResult, err error) {
	if p.Forget {
		out.MayExistAt, err = s.cluster.ForgetKey(ctx, p.KeyID)
	} else {
		err = s.cluster.DestroyKey(ctx, p.KeyID)
	}
	if errors.Is(err, keymgr.ErrNotFound) && !strings.HasPrefix(keymgr.ErrorName(err), "xKmip") {
		err = fail(wire.ErrMasterKeyNotFound, "master key %s does not exist", clip(p.KeyID))
	}
	return out, err
}
