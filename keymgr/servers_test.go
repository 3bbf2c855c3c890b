package keymgr_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"lockplate/keymgr"
	"lockplate/keymgr/kmip"
	"lockplate/keymgr/kmiptest"
)

// newTrusted has a manager that knows key servers 1 to n, which are in no
// provider.
func newTrusted(t *testing.T, n int) (*rig, *kms, *keymgr.Manager, []int64) {
	t.Helper()
	r, k := newRig(t, "file"), newKMS(t, n)
	r.kmip = k.adjust
	m := r.create()
	cert := k.clientCert(m)
	var ids []int64
	for i := range n {
		s, err := m.CreateKeyServer(t.Context(), k.keyServer(i+1, cert))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, s.ID)
	}
	return r, k, m, ids
}

func TestKeyServerIsKeptAsGiven(t *testing.T) {
	r, k, m, ids := newTrusted(t, 2)
	if !slices.Equal(ids, []int64{1, 2}) {
		t.Errorf("ids %v", ids)
	}
	if n := k.servers[0].Accepted(); n != 0 {
		t.Errorf("creating a key server contacted it %d times", n)
	}
	want := k.keyServer(1, k.clientCert(m))
	want.Port = 0
	want.CACertificate += "\n" + string(k.ca.PEM()) // several roots
	got, err := m.CreateKeyServer(t.Context(), want)
	if err != nil || got.Port != 5696 || got.ID != 3 || got.CACertificate != want.CACertificate || got.ProviderID != 0 || got.Active {
		t.Errorf("created %+v, %v", got, err)
	}
	m.Close()
	m = r.mustOpen()
	if again, err := m.KeyServer(t.Context(), 3); err != nil || again.Name != want.Name || again.Port != 5696 {
		t.Errorf("after a restart: %+v, %v", again, err)
	}
	if all, err := m.KeyServers(t.Context()); len(all) != 3 || err != nil {
		t.Errorf("list: %v, %v", all, err)
	}
	if err := m.DeleteKeyServer(t.Context(), 3); err != nil {
		t.Error(err)
	}
	if got, err := m.CreateKeyServer(t.Context(), want); got.ID != 4 || err != nil {
		t.Errorf("id %d given after 3 was deleted: %v", got.ID, err)
	}
	wantClean(t, r)
}

func TestKeyServerIsChecked(t *testing.T) {
	_, k, m, _ := newTrusted(t, 1)
	good := k.keyServer(1, k.clientCert(m))
	other := newRig(t, "file").create()
	foreign := k.clientCert(other)
	for name, change := range map[string]func(*keymgr.KeyServer){
		"no host":         func(s *keymgr.KeyServer) { s.Hostnames = nil },
		"empty host":      func(s *keymgr.KeyServer) { s.Hostnames = []string{""} },
		"host twice":      func(s *keymgr.KeyServer) { s.Hostnames = []string{"a", "a"} },
		"port":            func(s *keymgr.KeyServer) { s.Port = 65536 },
		"negative port":   func(s *keymgr.KeyServer) { s.Port = -1 },
		"name":            func(s *keymgr.KeyServer) { s.Name = "" },
		"name with break": func(s *keymgr.KeyServer) { s.Name = "a\nb" },
		"CA":              func(s *keymgr.KeyServer) { s.CACertificate = "certificate" },
		"no CA":           func(s *keymgr.KeyServer) { s.CACertificate = "" },
		"certificate":     func(s *keymgr.KeyServer) { s.ClientCertificate = "-----BEGIN" },
		"foreign":         func(s *keymgr.KeyServer) { s.ClientCertificate = foreign },
		"too large":       func(s *keymgr.KeyServer) { s.CACertificate = strings.Repeat(s.CACertificate, 200) },
	} {
		s := good
		change(&s)
		if _, err := m.CreateKeyServer(t.Context(), s); !errors.Is(err, keymgr.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := other.CreateKeyServer(t.Context(), k.keyServer(1, foreign)); err != nil {
		t.Errorf("%v", err)
	}
	if all, err := m.KeyServers(t.Context()); len(all) != 1 || err != nil {
		t.Errorf("refused key servers are kept: %v, %v", all, err)
	}
	if _, err := newRig(t, "file").create().CreateKeyServer(t.Context(), good); !errors.Is(err, keymgr.ErrNoKeyPair) {
		t.Errorf("without a key pair: %v", err)
	}
}

func TestUnknownIDsAreRefused(t *testing.T) {
	m := newRig(t, "file").create()
	ctx := t.Context()
	for _, id := range []int64{-1, 0, 7} {
		_, e1 := m.KeyServer(ctx, id)
		_, e2 := m.ModifyKeyServer(ctx, id, keymgr.KeyServerChange{})
		for i, err := range []error{e1, e2, m.DeleteKeyServer(ctx, id), m.TestKeyServer(ctx, id), m.RemoveServerFromProvider(ctx, id)} {
			if !errors.Is(err, keymgr.ErrNoKeyServer) {
				t.Errorf("server %d, call %d: %v", id, i, err)
			}
		}
		_, e1 = m.KeyProvider(ctx, id)
		for i, err := range []error{e1, m.DeleteKeyProvider(ctx, id), m.TestKeyProvider(ctx, id), m.AddServerToProvider(ctx, id, 1)} {
			if !errors.Is(err, keymgr.ErrNoKeyProvider) {
				t.Errorf("provider %d, call %d: %v", id, i, err)
			}
		}
	}
}

func TestModifyKeepsNothingThatFails(t *testing.T) {
	_, k, m, ids := newTrusted(t, 2)
	ctx := t.Context()
	if s, err := m.ModifyKeyServer(ctx, ids[0], keymgr.KeyServerChange{}); err != nil || s.Port != 1 {
		t.Errorf("empty change: %+v, %v", s, err)
	}
	if n := k.servers[0].Accepted(); n != 0 {
		t.Errorf("an empty change contacted the server %d times", n)
	}
	two, name, dead := 2, "new name", kmiptest.Dead(t)
	s, err := m.ModifyKeyServer(ctx, ids[0], keymgr.KeyServerChange{Port: &two, Name: &name})
	if err != nil || s.Port != 2 || s.Name != name || k.servers[1].Accepted() == 0 {
		t.Errorf("changed: %+v, %v", s, err)
	}
	_, err = m.ModifyKeyServer(ctx, ids[0], keymgr.KeyServerChange{Hostnames: []string{dead}})
	if kmip.ClassOf(err) != kmip.ClassRefused {
		t.Errorf("dead address: %v", err)
	}
	ca := string(kmiptest.NewCA(t, "other").PEM())
	if _, err = m.ModifyKeyServer(ctx, ids[0], keymgr.KeyServerChange{CACertificate: &ca}); kmip.ClassOf(err) != kmip.ClassTLSServerUntrusted {
		t.Errorf("other CA: %v", err)
	}
	if got, err := m.KeyServer(ctx, ids[0]); err != nil || got.Hostnames[0] != "127.0.0.1" || got.CACertificate == ca {
		t.Errorf("a failed change is kept: %+v, %v", got, err)
	}
}

func TestTestNamesTheStep(t *testing.T) {
	_, k, m, ids := newTrusted(t, 1)
	if err := m.TestKeyServer(t.Context(), ids[0]); err != nil {
		t.Error(err)
	}
	k.servers[0].Inject(kmiptest.Fault{Op: kmiptest.OpQuery, Reason: kmiptest.ReasonGeneralFailure})
	var e *kmip.Error
	if err := m.TestKeyServer(t.Context(), ids[0]); !errors.As(err, &e) || e.Step != kmip.StepResult || e.Address != "127.0.0.1:1" || e.Hint == "" {
		t.Errorf("denied: %v", err)
	}
	k.servers[0].Close()
	if err := m.TestKeyServer(t.Context(), ids[0]); !errors.As(err, &e) || e.Step != kmip.StepConnect {
		t.Errorf("stopped: %v", err)
	}
}

func TestObserverIsTold(t *testing.T) {
	r, k := newRig(t, "file"), newKMS(t, 2)
	seen := make(chan string, 1000)
	r.kmip = k.adjust
	r.observer = keymgr.Observer{
		Request:  func(operation, class string, _ time.Duration) { seen <- operation + " " + class },
		Failover: func(operation, from, to string) { seen <- "failover " + from + " " + to },
	}
	m := r.create()
	k.join(m, 1)
	k.servers[0].Refuse()
	err := m.TestKeyServer(t.Context(), 1)
	if keymgr.Hint(err) == "" || keymgr.ErrorName(err) != "xKmipConnectionFailure" {
		t.Errorf("hint %q, name %q of %v", keymgr.Hint(err), keymgr.ErrorName(err), err)
	}
	m.Close()
	close(seen)
	var all []string
	for s := range seen {
		all = append(all, s)
	}
	if !slices.Contains(all, "Test ok") || !slices.Contains(all, "Test reset") {
		t.Errorf("told %q", all)
	}
}

func TestProviderRules(t *testing.T) {
	r, k, m, ids := newTrusted(t, 6)
	ctx := t.Context()
	p, err := m.CreateKeyProvider(ctx, "one")
	if err != nil || p.ID != 1 || p.Active || len(p.ServerIDs) != 0 || p.ServerIDs == nil || p.Capabilities == "" {
		t.Fatalf("created %+v, %v", p, err)
	}
	if err := m.TestKeyProvider(ctx, 1); !errors.Is(err, keymgr.ErrNoServers) {
		t.Errorf("test without servers: %v", err)
	}
	for range 2 { // again is no error
		if err := m.AddServerToProvider(ctx, 1, ids[0]); err != nil {
			t.Error(err)
		}
	}
	if n := k.servers[0].Requests(kmiptest.OpQuery); n == 0 {
		t.Error("adding did not contact the server")
	}
	q, err := m.CreateKeyProvider(ctx, "one") // names are for display
	if err != nil {
		t.Fatal(err)
	}
	if err := m.AddServerToProvider(ctx, q.ID, ids[0]); !errors.Is(err, keymgr.ErrKeyServerAssigned) {
		t.Errorf("server of another provider: %v", err)
	}
	for i, id := range ids[1:] {
		err := m.AddServerToProvider(ctx, 1, id)
		if full := i >= 3; full != errors.Is(err, keymgr.ErrInvalid) || !full && err != nil {
			t.Errorf("server %d: %v", i+2, err)
		}
	}
	k.servers[5].Refuse()
	if err := m.AddServerToProvider(ctx, q.ID, ids[5]); kmip.ClassOf(err) == "" {
		t.Errorf("server that does not work: %v", err)
	}
	if err := m.TestKeyProvider(ctx, 1); err != nil {
		t.Error(err)
	}
	k.servers[2].Refuse()
	if err := m.TestKeyProvider(ctx, 1); err == nil || !strings.Contains(err.Error(), "key server 3") {
		t.Errorf("test with one dead server: %v", err)
	}
	for range 2 {
		if err := m.RemoveServerFromProvider(ctx, ids[1]); err != nil {
			t.Error(err)
		}
	}
	if got, err := m.KeyProvider(ctx, 1); err != nil || !slices.Equal(got.ServerIDs, []int64{1, 3, 4}) {
		t.Errorf("servers %v, %v", got.ServerIDs, err)
	}
	wantClean(t, r)
	if err := m.DeleteKeyProvider(ctx, 1); err != nil {
		t.Error(err)
	}
	if s, err := m.KeyServer(ctx, ids[0]); err != nil || s.ProviderID != 0 {
		t.Errorf("after its provider was deleted: %+v, %v", s, err)
	}
	if all, err := m.KeyProviders(ctx); len(all) != 1 || all[0].ID != q.ID || err != nil {
		t.Errorf("providers %+v, %v", all, err)
	}
}
