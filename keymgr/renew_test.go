package keymgr_test

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"

	"lockplate/keymgr"
	"lockplate/keymgr/kmiptest"
)

// TestAuthorityIsReplacedLive moves a key server that holds the current master
// key from one authority to another, as its administrator does: first both are
// trusted, then the server and the client get new certificates, then the old
// authority goes. Nothing is restarted, and a rekey works after each step.
func TestAuthorityIsReplacedLive(t *testing.T) {
	t.Parallel()
	old, next := kmiptest.NewCA(t, "old"), kmiptest.NewCA(t, "new")
	both := func(c *tls.Config) {
		c.ClientCAs = x509.NewCertPool()
		c.ClientCAs.AppendCertsFromPEM(old.PEM())
		c.ClientCAs.AppendCertsFromPEM(next.PEM())
	}
	server := kmiptest.Start(t, old, kmiptest.Options{TLS: both})
	p := &peer{address: server.Address, ca: string(old.PEM()), sign: old.Sign, count: func() int { return server.Keys.Count() }}
	r := newPeerRig(t, func(testing.TB) *peer { return p }, 2)
	r.p[1] = r.p[0]
	change := func(what string, c keymgr.KeyServerChange) {
		t.Helper()
		for _, id := range []int64{1, 2} { // the rig knows the server twice
			if _, err := r.m.ModifyKeyServer(t.Context(), id, c); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
		if text := r.ended(r.rekey(r.toProvider(0))); !strings.Contains(text, "state:Ready") {
			t.Errorf("%s: %s", what, text)
		}
		r.wantWhole(t, what)
	}
	trust := string(old.PEM()) + string(next.PEM())
	change("both are trusted", keymgr.KeyServerChange{CACertificate: &trust})
	server.Close()
	server = kmiptest.Start(t, next, kmiptest.Options{Listen: server.Address, Keys: server.Keys, TLS: both})
	change("the server has a new certificate", keymgr.KeyServerChange{})
	request, err := r.m.SigningRequest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := next.Sign([]byte(request))
	if err != nil {
		t.Fatal(err)
	}
	ours, only := string(cert), string(next.PEM())
	change("the client has a new certificate", keymgr.KeyServerChange{ClientCertificate: &ours})
	change("only the new one is trusted", keymgr.KeyServerChange{CACertificate: &only})
	server.Trust(next)
	change("the server trusts only the new one", keymgr.KeyServerChange{})
	if _, err := r.m.ModifyKeyServer(t.Context(), 1, keymgr.KeyServerChange{CACertificate: &p.ca}); err == nil {
		t.Error("the authority that is gone was taken")
	}
}
