package keymgr_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"lockplate/keymgr"
	"lockplate/keymgr/kmiptest"
	"lockplate/store/storetest"
)

// lose has the servers of a provider answer nobody any more.
func (r *rekeyRig) lose(provider int) {
	for _, s := range r.k.servers[2*provider:][:2] {
		s.Refuse()
		s.HangUp()
	}
}

// wantSound checks that nothing is left over that names a thing that is gone.
func (r *rekeyRig) wantSound() {
	r.t.Helper()
	if p, err := keymgr.Check(r.t.Context(), r.st); err != nil || len(p) != 0 {
		r.t.Errorf("check says %v, %v", p, err)
	}
}

// TestLostProviderIsLeftBehind: all servers of the current key are lost for
// good while the key is in memory. A rekey elsewhere needs them not, the old key
// is forgotten, and the provider can go.
func TestLostProviderIsLeftBehind(t *testing.T) {
	t.Parallel()
	for name, to := range map[string]func(*rekeyRig) keymgr.RekeyTarget{
		"to internal": func(*rekeyRig) keymgr.RekeyTarget { return internal },
		"to provider": func(r *rekeyRig) keymgr.RekeyTarget { return r.toProvider(1) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newExternal(t, 3)
			ctx := t.Context()
			old := r.m.Master().ID
			r.lose(0)
			if _, err := r.m.ForgetKey(ctx, old); !errors.Is(err, keymgr.ErrKeyInUse) {
				t.Errorf("current key: %v", err)
			}
			if _, err := r.m.Rekey(ctx, keymgr.RekeyTarget{}); keymgr.ErrorName(err) != "xKmipConnectionFailure" {
				t.Errorf("rekey at the lost servers: %v", err)
			}
			if text := r.ended(r.rekey(to(r))); !strings.Contains(text, "state:Ready") {
				t.Fatal(text)
			}
			if err := r.m.DestroyKey(ctx, old); keymgr.ErrorName(err) != "xKmipConnectionFailure" {
				t.Errorf("destroy: %v", err)
			}
			if err := r.m.DestroyKey(ctx, old); err == nil || !strings.Contains(err.Error(), "--forget") {
				t.Errorf("destroy does not say how else: %v", err)
			}
			left, err := r.m.ForgetKey(ctx, old)
			if err != nil || !slices.Equal(left, []string{"127.0.0.1:1", "127.0.0.1:2"}) {
				t.Errorf("forgotten at %v, %v", left, err)
			}
			h, err := r.m.History(ctx)
			if err != nil || h[1].ID != old || h[1].Forgotten.IsZero() || !slices.Equal(h[1].Left, left) || !h[1].Destroyed.IsZero() {
				t.Errorf("history %+v, %v", h, err)
			}
			r.clean()
			if err := r.m.DeleteKeyProvider(ctx, r.p[0]); err != nil {
				t.Error(err)
			}
			r.wantSound()
			r.reopen()
			r.wantKeys(r.m, r.model)
		})
	}
}

// TestForgottenWhereNobodyAnswers: what answers destroys the key all the same,
// and so does the rest when it comes back.
func TestForgottenWhereNobodyAnswers(t *testing.T) {
	t.Parallel()
	r := newExternal(t, 1)
	ctx := t.Context()
	old := r.m.Master().ID
	r.ended(r.rekey(internal))
	r.clean()
	r.k.servers[1].Refuse()
	r.k.servers[1].HangUp()
	left, err := r.m.ForgetKey(ctx, old)
	if err != nil || !slices.Equal(left, []string{"127.0.0.1:2"}) {
		t.Errorf("forgotten at %v, %v", left, err)
	}
	if n := r.held(0); n != 0 {
		t.Errorf("%d keys where the server answered", n)
	}
	if p, err := r.m.KeyProvider(ctx, r.p[0]); err != nil || p.Active {
		t.Errorf("provider %+v, %v", p, err)
	}
	r.k.servers[1].Heal()
	if err := r.m.DestroyKey(ctx, old); err != nil {
		t.Error(err)
	}
	r.wantHistory("internal decommissioned gone", "external decommissioned gone", "internal current")
	if left, err := r.m.ForgetKey(ctx, old); err != nil || left != nil {
		t.Errorf("again: %v, %v", left, err)
	}
	if strings.Contains(storetest.Dump(t, r.st)["master/"+old], "forgotten") {
		t.Error("a key that is destroyed is still called forgotten")
	}
	r.wantSound()
}

// TestForgottenEverywhereIsDestroyed: where all servers answer there is nothing
// to give up. One that is kept in the store never is.
func TestForgottenEverywhereIsDestroyed(t *testing.T) {
	t.Parallel()
	r := newExternal(t, 1)
	ctx := t.Context()
	first := r.m.Master().ID
	r.ended(r.rekey(internal))
	second := r.m.Master().ID
	r.ended(r.rekey(internal))
	r.clean()
	for _, id := range []string{first, second} {
		if left, err := r.m.ForgetKey(ctx, id); err != nil || len(left) != 0 {
			t.Errorf("forgotten at %v, %v", left, err)
		}
	}
	if _, err := r.m.ForgetKey(ctx, r.p2()); !errors.Is(err, keymgr.ErrNotFound) {
		t.Errorf("unknown key: %v", err)
	}
	if n := r.held(0); n != 0 {
		t.Errorf("%d keys left", n)
	}
	r.wantHistory("internal decommissioned gone", "external decommissioned gone", "internal decommissioned gone", "internal current")
}

// TestGivenUpKeyIsForgotten: a rekey that failed when its servers were lost
// leaves a key behind that keeps the provider active.
func TestGivenUpKeyIsForgotten(t *testing.T) {
	t.Parallel()
	r := newRekeyRig(t, 1)
	r.m.Close()
	r.timing.Limit = 1 // fails at its first failure
	r.m = r.mustOpen()
	for _, s := range r.k.servers[:2] {
		s.Inject(kmiptest.Fault{Op: kmiptest.OpCreate, Drop: true})
	}
	text := r.ended(r.rekey(r.toProvider(0)))
	r.lose(0)
	if !strings.Contains(text, "xKmipConnectionFailure") {
		t.Fatal(text)
	}
	all, err := r.m.History(t.Context())
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	if err := r.m.DeleteKeyProvider(t.Context(), r.p[0]); !errors.Is(err, keymgr.ErrProviderActive) {
		t.Errorf("provider of a key that may exist: %v", err)
	}
	if _, err := r.m.ForgetKey(t.Context(), all[1].ID); err != nil {
		t.Error(err)
	}
	r.clean()
	if err := r.m.DeleteKeyProvider(t.Context(), r.p[0]); err != nil {
		t.Error(err)
	}
	r.wantSound()
	r.wantKeys(r.m, r.model)
}

// TestLockedForGood: without the key in memory there is no rekey, and the error
// says what is left.
func TestLockedForGood(t *testing.T) {
	t.Parallel()
	r := newExternal(t, 1)
	r.lose(0)
	r.reopen()
	_, err := r.m.Rekey(t.Context(), internal)
	if !errors.Is(err, keymgr.ErrLocked) {
		t.Fatalf("rekey without the old key: %v", err)
	}
	for _, want := range []string{"recovery key", "LUKS passphrase", "volume adopt", "restore", "kmip Get at 127.0.0.1:1"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

// TestServerWithoutTheKeysIsRefused with what there is to do: keys are not
// copied.
func TestServerWithoutTheKeysIsRefused(t *testing.T) {
	t.Parallel()
	r := newExternal(t, 1)
	q, err := r.m.KeyProvider(t.Context(), r.p[1])
	if err == nil {
		err = r.m.RemoveServerFromProvider(t.Context(), q.ServerIDs[0])
	}
	if err != nil {
		t.Fatal(err)
	}
	err = r.m.AddServerToProvider(t.Context(), r.p[0], q.ServerIDs[0])
	if !errors.Is(err, keymgr.ErrKeysLacking) || keymgr.ErrorName(err) != "xKmipKeyNotFound" || keymgr.Hint(err) == "" {
		t.Errorf("server without the keys: %v (hint %q)", err, keymgr.Hint(err))
	}
	for _, want := range []string{"never copies", "replicate", "rekey"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	if n := r.held(1); n != 0 {
		t.Errorf("the server was given %d keys", n)
	}
	if s, err := r.m.KeyServer(t.Context(), q.ServerIDs[0]); err != nil || s.ProviderID != 0 {
		t.Errorf("the server that was refused: %+v, %v", s, err)
	}
}
