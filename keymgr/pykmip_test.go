package keymgr_test

import (
	"net"
	"strings"
	"testing"

	"lockplate/keymgr"
	"lockplate/keymgr/kmip"
	"lockplate/keymgr/kmiptest"
)

// newPyKMIPRig has one provider, a PyKMIP server, which stands for both.
func newPyKMIPRig(t *testing.T) (*rekeyRig, *kmiptest.PyKMIP) {
	t.Helper()
	p := kmiptest.StartPyKMIP(t)
	r := &rekeyRig{rig: newRig(t, "file"), jobs: &jobs{}, model: map[string]string{}}
	r.held = func(int) (n int) {
		for _, line := range p.Requests() {
			switch {
			case strings.EqualFold(line, "create ok") || strings.EqualFold(line, "create lose"):
				n++
			case strings.EqualFold(line, "destroy ok") || strings.EqualFold(line, "destroy lose"):
				n--
			}
		}
		return n
	}
	r.begin(3)
	ctx := t.Context()
	if err := r.m.CreateKeyPair(ctx, keymgr.Subject{CommonName: "lockplate-test", Organization: "Org"}); err != nil {
		t.Fatal(err)
	}
	request, err := r.m.SigningRequest(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := p.Sign([]byte(request))
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(p.Address)
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.m.CreateKeyServer(ctx, keymgr.KeyServer{
		Name: "PyKMIP", Hostnames: []string{net.JoinHostPort(host, port)},
		CACertificate: string(p.CA()), ClientCertificate: string(cert),
	})
	if err != nil {
		t.Fatal(err)
	}
	provider, err := r.m.CreateKeyProvider(ctx, "PyKMIP")
	if err == nil {
		err = r.m.AddServerToProvider(ctx, provider.ID, s.ID)
	}
	if err == nil {
		err = r.m.TestKeyProvider(ctx, provider.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.p = [2]int64{provider.ID, provider.ID}
	return r, p
}

// TestRekeyWithPyKMIP does what the tests with fake servers do with a real one:
// all directions it can, requests lost and dropped, death at every point of a
// rekey to it, a start without it, and the end of an old key.
func TestRekeyWithPyKMIP(t *testing.T) {
	t.Parallel()
	r, p := newPyKMIPRig(t)
	external := r.toProvider(0)
	for _, to := range []keymgr.RekeyTarget{external, external, internal} {
		if text := r.ended(r.rekey(to)); !strings.Contains(text, "state:Ready") {
			t.Fatal(text)
		}
		r.wantWhole(t, "rekey")
	}
	for _, fault := range []string{"lose Create", "drop Create", "lose Activate", "drop Get", "lose Revoke"} {
		p.Fault(fault, "times 1")
		h := r.rekey(external)
		text := r.ended(h)
		r.clean()
		if !strings.Contains(text, "state:Ready") {
			t.Errorf("%s: %s", fault, text)
		}
		p.Fault()
		r.wantWhole(t, fault)
	}
	n := 0
	for r.survives(t, external, external, n+1) && !t.Failed() {
		n++
	}
	t.Logf("%d points", n)
	p.Stop()
	r.reopen()
	if err := r.m.Locked(); kmip.ClassOf(err) != kmip.ClassRefused {
		t.Errorf("without the server: %v", err)
	}
	p.Start()
	if err := r.m.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
	r.wantWhole(t, "unlocked")
	old := r.m.Master().ID
	r.ended(r.rekey(internal))
	r.clean()
	if err := r.m.DestroyKey(t.Context(), old); err != nil {
		t.Error(err)
	}
	r.wantWhole(t, "destroyed")
}
