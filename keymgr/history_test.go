package keymgr_test

import (
	"bytes"
	"errors"
	"testing"

	"lockplate/keymgr"
	"lockplate/keymgr/kmip"
	"lockplate/keymgr/kmiptest"
	"lockplate/store"
	"lockplate/store/storetest"
)

// TestActiveProviderIsProtected: its last server cannot go, another server is
// taken only if it has the key, and the key pair stays.
func TestActiveProviderIsProtected(t *testing.T) {
	t.Parallel()
	r := newExternal(t, 1)
	ctx := t.Context()
	p, err := r.m.KeyProvider(ctx, r.p[0])
	if err != nil || !p.Active {
		t.Fatalf("%+v, %v", p, err)
	}
	if err := r.m.RemoveServerFromProvider(ctx, p.ServerIDs[0]); err != nil {
		t.Error(err)
	}
	for what, c := range map[string]struct{ got, want error }{
		"remove last": {r.m.RemoveServerFromProvider(ctx, p.ServerIDs[1]), keymgr.ErrKeyServerInUse},
		"delete last": {r.m.DeleteKeyServer(ctx, p.ServerIDs[1]), keymgr.ErrKeyServerInUse},
		"provider":    {r.m.DeleteKeyProvider(ctx, p.ID), keymgr.ErrProviderActive},
		"key pair":    {r.m.CreateKeyPair(ctx, keymgr.Subject{}), keymgr.ErrKeyPairInUse},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v", what, c.got)
		}
	}
	q, err := r.m.KeyProvider(ctx, r.p[1])
	if err != nil {
		t.Fatal(err)
	}
	other := q.ServerIDs[0]
	if err := r.m.RemoveServerFromProvider(ctx, other); err != nil {
		t.Fatal(err)
	}
	if err := r.m.AddServerToProvider(ctx, p.ID, other); kmip.ClassOf(err) != kmip.ClassKeyNotFound {
		t.Errorf("server without the key: %v", err)
	}
	r.k.servers[0].Inject(kmiptest.Garble())
	if err := r.m.AddServerToProvider(ctx, p.ID, p.ServerIDs[0]); kmip.ClassOf(err) != kmip.ClassKeyMismatch {
		t.Errorf("server with another key: %v", err)
	}
	r.k.servers[0].Heal()
	three := 3
	if _, err := r.m.ModifyKeyServer(ctx, p.ServerIDs[1], keymgr.KeyServerChange{Port: &three}); kmip.ClassOf(err) != kmip.ClassKeyNotFound {
		t.Errorf("modified to a server without the key: %v", err)
	}
	one := 1
	if _, err := r.m.ModifyKeyServer(ctx, p.ServerIDs[1], keymgr.KeyServerChange{Port: &one}); err != nil {
		t.Errorf("modified to another server with the key: %v", err)
	}
	r.reopen()
	r.wantKeys(r.m, r.model)
}

// TestDestroyKey frees a provider, for ever.
func TestDestroyKey(t *testing.T) {
	t.Parallel()
	r := newExternal(t, 1)
	old := r.m.Master().ID
	if err := r.m.DestroyKey(t.Context(), old); !errors.Is(err, keymgr.ErrKeyInUse) {
		t.Errorf("current key: %v", err)
	}
	if err := r.m.DestroyKey(t.Context(), r.p2()); !errors.Is(err, keymgr.ErrNotFound) {
		t.Errorf("unknown key: %v", err)
	}
	r.ended(r.rekey(internal))
	r.clean()
	if err := r.m.DeleteKeyProvider(t.Context(), r.p[0]); !errors.Is(err, keymgr.ErrProviderActive) {
		t.Errorf("provider of a decommissioned key: %v", err)
	}
	for _, s := range r.k.servers[:2] {
		s.Inject(kmiptest.Deny(kmiptest.OpDestroy))
	}
	if err := r.m.DestroyKey(t.Context(), old); kmip.ClassOf(err) != kmip.ClassPermissionDenied {
		t.Errorf("denied: %v", err)
	}
	for _, s := range r.k.servers[:2] {
		s.Heal()
		s.Inject(kmiptest.Fault{Op: kmiptest.OpDestroy, Times: 1, Lose: true})
	}
	for range 2 { // again is no error
		if err := r.m.DestroyKey(t.Context(), old); err != nil {
			t.Error(err)
		}
	}
	if n := r.k.servers[0].Keys.Count(); n != 0 {
		t.Errorf("%d keys left", n)
	}
	r.wantHistory("internal decommissioned gone", "external decommissioned gone", "internal current")
	if err := r.m.DeleteKeyProvider(t.Context(), r.p[0]); err != nil {
		t.Error(err)
	}
	r.wantKeys(r.m, r.model)
}

// p2 is a UUID that no key has.
func (r *rekeyRig) p2() string { return r.cluster }

// TestRestoredBackupUsesTheOldKey: a backup from before a rekey opens with the
// key of its time, which is decommissioned and still there; not once that is
// destroyed.
func TestRestoredBackupUsesTheOldKey(t *testing.T) {
	t.Parallel()
	r := newExternal(t, 3)
	old := r.m.Master().ID
	var backup bytes.Buffer
	if err := keymgr.SealBackup(t.Context(), &backup, r.st, []byte("backup")); err != nil {
		t.Fatal(err)
	}
	r.ended(r.rekey(internal))
	r.clean()
	restored := func() *rig {
		n := newRig(t, "file")
		n.spec, n.opts, n.cluster, n.kmip, n.timing = r.spec, r.opts, r.cluster, r.kmip, r.timing
		if err := keymgr.OpenBackup(t.Context(), bytes.NewReader(backup.Bytes()), n.st, []byte("backup")); err != nil {
			t.Fatal(err)
		}
		return n
	}
	m := restored().mustOpen()
	if m.Master().ID != old || m.Locked() != nil {
		t.Errorf("%+v, %v", m.Master(), m.Locked())
	}
	r.rig.wantKeys(m, r.model)
	m.Close()
	if err := r.m.DestroyKey(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	m = restored().mustOpen()
	if err := m.Locked(); kmip.ClassOf(err) != kmip.ClassKeyNotFound {
		t.Errorf("key destroyed: %v", err)
	}
}

// TestSealersWithExternalKeys: what seals the private key is needed at each
// start, and seals internal keys again after a rekey back.
func TestSealersWithExternalKeys(t *testing.T) {
	t.Parallel()
	for _, spec := range []string{"passphrase", "credential:cred"} {
		r := &rekeyRig{rig: newRig(t, spec), k: newKMS(t, 1), jobs: &jobs{}, model: map[string]string{}}
		r.kmip = r.k.adjust
		r.held = func(int) int { return r.k.servers[0].Keys.Count() }
		r.begin(2)
		r.p[0], _ = r.k.join(r.m, 1)
		r.p[1] = r.p[0]
		r.ended(r.rekey(r.toProvider(0)))
		r.clean()
		r.m.Close()
		right := r.opts
		r.opts.Passphrase, r.opts.CredentialsDir = pass("wrong"), t.TempDir()
		want := keymgr.ErrWrongPassphrase
		if spec != "passphrase" {
			want = keymgr.ErrSealerMissing
		}
		if _, err := r.open(); !errors.Is(err, want) {
			t.Errorf("%s: opened with another one: %v", spec, err)
		}
		r.opts = right
		r.m = r.mustOpen()
		if k := r.m.Master(); !k.Sealed || k.Sealer != "" || k.Warning != "" {
			t.Errorf("%s: external key: %+v", spec, k)
		}
		for _, to := range []keymgr.RekeyTarget{internal, {}} {
			r.ended(r.rekey(to))
			r.clean()
			r.reopen()
		}
		r.wantWhole(t, spec)
	}
}

// TestLockedManagerTakesNoKeys: a volume made while the master key is away
// would have no key after the next start.
func TestLockedManagerTakesNoKeys(t *testing.T) {
	t.Parallel()
	r := newExternal(t, 1)
	for _, s := range r.k.servers {
		s.Refuse()
	}
	r.reopen()
	before := storetest.Dump(t, r.st)
	k := secret(t, "key")
	err := r.st.Update(t.Context(), func(tx store.Tx) error { return r.m.PutDataKey(tx, r.cluster, k) })
	if !errors.Is(err, keymgr.ErrLocked) || len(storetest.Dump(t, r.st)) != len(before) {
		t.Errorf("put while locked: %v", err)
	}
	for v := range r.model { // needs no key
		if err := r.st.Update(t.Context(), func(tx store.Tx) error { return r.m.DeleteDataKey(tx, v) }); err != nil {
			t.Errorf("delete while locked: %v", err)
		}
	}
	if _, err := r.m.Verify(t.Context()); !errors.Is(err, keymgr.ErrLocked) {
		t.Errorf("verify while locked: %v", err)
	}
}
