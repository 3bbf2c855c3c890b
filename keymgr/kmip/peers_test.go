package kmip_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"slices"
	"testing"
	"time"

	"lockplate/keymgr/kmip"
	"lockplate/keymgr/kmiptest"
)

// Every version is spoken with three servers that share no code.

func TestPyKMIPAtEveryVersion(t *testing.T) {
	t.Parallel()
	p := kmiptest.StartPyKMIP(t)
	everyVersion(t, kmip.Config{Addresses: []string{p.Address}, CACertificates: p.CA(), Certificate: p.Certificate}, true)
}

func TestOVHAtEveryVersion(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	everyVersion(t, r.config(kmiptest.StartOVH(t, r.ca).Address), false)
}

func TestFakeAtEveryVersion(t *testing.T) {
	everyVersion(t, newRig(t, kmiptest.Options{}).config(), false)
}

func everyVersion(t *testing.T, c kmip.Config, refusesCustom bool) {
	for _, v := range kmip.AllVersions() {
		t.Run(v.String(), func(t *testing.T) {
			c.Versions = []kmip.Version{v}
			client := open(t, c)
			symmetricKeyLife(t, client)
			secretLife(t, client, refusesCustom)
			for _, r := range client.Test(t.Context()) {
				if r.Err != nil || r.Version != v || r.Info.Vendor == "" || r.Certificate == nil || r.TLS == "" {
					t.Errorf("Test: %+v", r)
				}
			}
		})
	}
	t.Run("negotiated", func(t *testing.T) {
		c.Versions = nil
		client := open(t, c)
		symmetricKeyLife(t, client)
		if r := client.Test(t.Context())[0]; r.Err != nil || r.Version.String() != "1.4" {
			t.Errorf("Test: %+v", r)
		}
	})
}

// symmetricKeyLife does all that happens to a master key.
func symmetricKeyLife(t *testing.T, c *kmip.Client) {
	ctx := t.Context()
	name := "lockplate/test/mk/" + t.Name()
	made, err := c.Create(ctx, kmip.Object{Name: name, Group: "lockplate/test"})
	if err != nil {
		t.Fatal(err)
	}
	if made.ID == "" || made.Address != c.Addresses()[0] || made.CustomRefused {
		t.Errorf("Create: %+v", made)
	}
	ids, err := c.Locate(ctx, kmip.Search{Name: name, Type: kmip.SymmetricKey})
	if err != nil || !slices.Equal(ids, []string{made.ID}) {
		t.Fatalf("Locate: %q, %v, want %q", ids, err, made.ID)
	}
	if ids, err := c.Locate(ctx, kmip.Search{Name: name, Type: kmip.SecretData}); err != nil || len(ids) != 0 {
		t.Fatalf("Locate of a secret: %q, %v, want none", ids, err)
	}
	wantState(t, c, made.ID, name, kmip.PreActive)
	for range 2 { // the second time it is active already
		if err := c.Activate(ctx, made.ID); err != nil {
			t.Fatal(err)
		}
	}
	wantState(t, c, made.ID, name, kmip.Active)
	key := mustGet(t, c, made.ID)
	if again := mustGet(t, c, made.ID); !bytes.Equal(again, key) {
		t.Fatal("the second Get differs")
	}
	if err := c.Destroy(ctx, made.ID); err == nil {
		t.Fatal("an active key was destroyed")
	}
	for range 2 {
		if err := c.Revoke(ctx, made.ID, kmip.Cessation); err != nil {
			t.Fatal(err)
		}
	}
	wantState(t, c, made.ID, name, kmip.Deactivated)
	for range 2 {
		if err := c.Destroy(ctx, made.ID); err != nil {
			t.Fatal(err)
		}
	}
	_, err = c.Get(ctx, made.ID, kmip.SymmetricKey)
	wantClass(t, err, kmip.ClassKeyNotFound)
}

func wantState(t *testing.T, c *kmip.Client, id, name string, want kmip.State) {
	t.Helper()
	a, err := c.GetAttributes(t.Context(), id)
	if err != nil || a.State != want || !slices.Equal(a.Names, []string{name}) {
		t.Fatalf("GetAttributes: %+v, %v, want state %v and name %q", a, err, want, name)
	}
}

// secretLife does all that happens to an authentication key of a drive that
// we made ourselves.
func secretLife(t *testing.T, c *kmip.Client, refusesCustom bool) {
	ctx := t.Context()
	secret := bytes.Repeat([]byte{0xa7}, kmip.KeyBytes)
	o := kmip.Object{Name: "ak/" + t.Name(), Group: "group/" + t.Name(), Custom: []kmip.Custom{{Name: "x-Drive", Value: "SN 1"}}}
	made, err := c.Register(ctx, o, secret)
	if err != nil {
		t.Fatal(err)
	}
	if made.CustomRefused != refusesCustom {
		t.Errorf("custom attributes refused: %v", made.CustomRefused)
	}
	ids, err := c.Locate(ctx, kmip.Search{Group: o.Group, Type: kmip.SecretData})
	if err != nil || !slices.Equal(ids, []string{made.ID}) {
		t.Fatalf("Locate: %q, %v, want %q", ids, err, made.ID)
	}
	if !refusesCustom {
		a, err := c.GetAttributes(ctx, made.ID, "x-Drive", "Object Group")
		if err != nil || !slices.Equal(a.Custom, o.Custom) || !slices.Equal(a.Groups, []string{o.Group}) {
			t.Errorf("GetAttributes: %+v, %v", a, err)
		}
	}
	key, err := c.Get(ctx, made.ID, kmip.SecretData)
	if err != nil || !bytes.Equal(key.Bytes, secret) {
		t.Fatalf("Get: %v, want the secret", err)
	}
	_, err = c.Get(ctx, made.ID, kmip.SymmetricKey)
	wantClass(t, err, kmip.ClassKeyMismatch)
	if err := c.Destroy(ctx, made.ID); err != nil {
		t.Fatal(err)
	}
}

func TestPyKMIPFaults(t *testing.T) {
	t.Parallel()
	p := kmiptest.StartPyKMIP(t)
	c := open(t, kmip.Config{
		Addresses: []string{p.Address}, CACertificates: p.CA(), Certificate: p.Certificate, RequestTimeout: 2 * time.Second,
	})
	id := mustCreate(t, c, "mk")
	key := mustGet(t, c, id)
	for _, f := range []struct {
		line string
		want kmip.Class
	}{
		{"deny Get", kmip.ClassPermissionDenied},
		{"missing Get", kmip.ClassKeyNotFound},
		{"delay Get 3", kmip.ClassTimeout},
		{"drop Get", kmip.ClassReset},
		{"lose Get", kmip.ClassReset},
	} {
		p.Fault(f.line)
		_, err := c.Get(t.Context(), id, kmip.SymmetricKey)
		if got := kmip.ClassOf(err); got != f.want {
			t.Errorf("%s: class %q, want %q: %v", f.line, got, f.want, err)
		}
	}
	p.Fault("drop Get", "times 1")
	if !bytes.Equal(mustGet(t, c, id), key) {
		t.Error("another key")
	}
	p.Fault("garble Get")
	if bytes.Equal(mustGet(t, c, id), key) {
		t.Error("PyKMIP did not garble")
	}
	p.Fault()
	lostCreate(t, p, c)
	p.Kill()
	p.Start()
	if !bytes.Equal(mustGet(t, c, id), key) {
		t.Error("another key after a crash of the server")
	}
}

func lostCreate(t *testing.T, p *kmiptest.PyKMIP, c *kmip.Client) {
	for _, f := range []struct {
		fault string
		exist int
	}{{"lose Create", 1}, {"drop Create", 0}} {
		p.Fault(f.fault)
		before := len(p.Requests())
		_, err := c.Create(t.Context(), kmip.Object{Name: f.fault})
		wantUnknown(t, err, f.fault)
		n := 0
		for _, r := range p.Requests()[before:] {
			if r == "create lose" || r == "create drop" {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s: sent %d times", f.fault, n)
		}
		p.Fault()
		ids, err := c.Locate(t.Context(), kmip.Search{Name: f.fault})
		if err != nil || len(ids) != f.exist {
			t.Errorf("%s: Locate gives %q, %v; want %d", f.fault, ids, err, f.exist)
		}
	}
}

// TestPyKMIPRefusesOthers: a certificate of another authority.
func TestPyKMIPRefusesOthers(t *testing.T) {
	t.Parallel()
	p := kmiptest.StartPyKMIP(t)
	c := open(t, kmip.Config{Addresses: []string{p.Address}, CACertificates: p.CA(), Certificate: p.Certificate})
	other := newRig(t, kmiptest.Options{})
	stranger := other.config(p.Address)
	stranger.CACertificates = p.CA()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	results := open(t, stranger).Test(ctx)
	wantClass(t, kmip.Failed(results), kmip.ClassTLSClientRejected)
	if err := kmip.Failed(c.Test(ctx)); err != nil {
		t.Error(err)
	}
}

func TestPyKMIPWithRSACertificate(t *testing.T) {
	t.Parallel()
	p := kmiptest.StartPyKMIP(t, "KMIP_SERVER_KEY=rsa")
	c := open(t, kmip.Config{Addresses: []string{p.Address}, CACertificates: p.CA(), Certificate: p.Certificate})
	wantClass(t, kmip.Failed(c.Test(t.Context())), kmip.ClassTLSVersion)
}

// signed makes a client of a PyKMIP server with a certificate for the name,
// signed by the server's authority as an administrator would.
func signed(t *testing.T, p *kmiptest.PyKMIP, name string) *kmip.Client {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name, Organization: []string{"test"}}}, key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := p.Sign(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	certs, err := kmip.ParseCertificates(text)
	if err != nil {
		t.Fatal(err)
	}
	cert := &tls.Certificate{Certificate: [][]byte{certs[0].Raw}, PrivateKey: key}
	return open(t, kmip.Config{
		Addresses: []string{p.Address}, CACertificates: p.CA(),
		Certificate: func() (*tls.Certificate, error) { return cert, nil },
	})
}

func TestPyKMIPKeepsKeysOfUsersApart(t *testing.T) {
	t.Parallel()
	p := kmiptest.StartPyKMIP(t)
	owner, other, nobody := signed(t, p, "owner"), signed(t, p, "other"), signed(t, p, "")
	id := mustCreate(t, owner, "k")
	mustGet(t, owner, id)
	_, err := other.Get(t.Context(), id, kmip.SymmetricKey)
	wantClass(t, err, kmip.ClassPermissionDenied)
	if err := kmip.Failed(other.Test(t.Context())); err != nil {
		t.Error(err)
	}
	err = kmip.Failed(nobody.Test(t.Context()))
	t.Log(err)
	wantClass(t, err, kmip.ClassAuthentication)
}
