package keymgr_test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lockplate/keymgr"
	"lockplate/store"
	"lockplate/store/storetest"
)

func TestSigningRequestHasElementsShape(t *testing.T) {
	r := newRig(t, "file")
	m := r.create()
	if _, err := m.SigningRequest(t.Context()); !errors.Is(err, keymgr.ErrNoKeyPair) {
		t.Errorf("request before a key pair: %v", err)
	}
	err := m.CreateKeyPair(t.Context(), keymgr.Subject{
		CommonName: "cluster ü", Country: "DE", EmailAddress: "a@b.example", Locality: "Ort", Organization: "Org",
		OrganizationalUnit: "Unit", State: "Land",
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := m.SigningRequest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, rest := pem.Decode([]byte(text))
	if b == nil || len(rest) > 0 || strings.Contains(text, "\r") {
		t.Fatalf("not one PEM block: %q", text)
	}
	csr, err := x509.ParseCertificateRequest(b.Bytes)
	if err != nil || csr.CheckSignature() != nil || csr.SignatureAlgorithm != x509.SHA256WithRSA || csr.Version != 0 {
		t.Fatalf("request: %v, %v, version %d", err, csr.SignatureAlgorithm, csr.Version)
	}
	if k, ok := csr.PublicKey.(*rsa.PublicKey); !ok || k.N.BitLen() != 2048 || k.E != 65537 {
		t.Errorf("public key is %T", csr.PublicKey)
	}
	var order []string
	for _, n := range csr.Subject.Names {
		order = append(order, n.Type.String()+"="+n.Value.(string))
	}
	want := "2.5.4.3=cluster ü 2.5.4.10=Org 2.5.4.11=Unit 2.5.4.7=Ort 2.5.4.8=Land 2.5.4.6=DE 1.2.840.113549.1.9.1=a@b.example"
	if got := strings.Join(order, " "); got != want {
		t.Errorf("subject %s, want %s", got, want)
	}
	wantExtensions(t, csr)
	if again, err := m.SigningRequest(t.Context()); again != text || err != nil {
		t.Errorf("second request differs: %v", err)
	}
	opensslReads(t, text)
}

func wantExtensions(t *testing.T, csr *x509.CertificateRequest) {
	t.Helper()
	for _, e := range csr.Extensions {
		switch e.Id.String() {
		case "2.5.29.15":
			var bits asn1.BitString
			if _, err := asn1.Unmarshal(e.Value, &bits); err != nil || !e.Critical || bits.BitLength != 3 || bits.Bytes[0] != 0xa0 {
				t.Errorf("key usage %v %v: %v", bits, e.Critical, err)
			}
		case "2.5.29.37":
			var uses []asn1.ObjectIdentifier
			if _, err := asn1.Unmarshal(e.Value, &uses); err != nil || len(uses) != 1 || uses[0].String() != "1.3.6.1.5.5.7.3.2" {
				t.Errorf("extended key usage %v: %v", uses, err)
			}
		default:
			t.Errorf("extension %v", e.Id)
		}
	}
	if len(csr.Extensions) != 2 {
		t.Errorf("%d extensions, want 2", len(csr.Extensions))
	}
}

// opensslReads shows the request to a program that did not make it.
func opensslReads(t *testing.T, text string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "csr.pem")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Logf("not compared: %v", err)
		return
	}
	out, err := exec.Command("openssl", "req", "-in", path, "-noout", "-verify", "-text").CombinedOutput()
	for _, want := range []string{"Digital Signature, Key Encipherment", "X509v3 Key Usage: critical", "TLS Web Client Authentication"} {
		if err != nil || !strings.Contains(string(out), want) {
			t.Fatalf("openssl: %v, without %q: %s", err, want, out)
		}
	}
}

func TestSubjectIsChecked(t *testing.T) {
	m := newRig(t, "file").create()
	for name, s := range map[string]keymgr.Subject{
		"country of three letters": {Country: "DEU"},
		"country of digits":        {Country: "12"},
		"long name":                {CommonName: strings.Repeat("x", 65)},
		"line break":               {Locality: "a\nb"},
		"not UTF-8":                {State: "\xff"},
	} {
		if err := m.CreateKeyPair(t.Context(), s); !errors.Is(err, keymgr.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := m.SigningRequest(t.Context()); !errors.Is(err, keymgr.ErrNoKeyPair) {
		t.Errorf("a refused subject left a key pair: %v", err)
	}
}

// TestKeyPairIsSealed looks for the private key in every record, and that it
// works after a restart.
func TestKeyPairIsSealed(t *testing.T) {
	for _, spec := range []string{"file", "passphrase"} {
		r := newRig(t, spec)
		m := r.create()
		k := newKMS(t, 1)
		r.kmip = k.adjust
		m.Close()
		m = r.mustOpen()
		_, ids := k.join(m, 1)
		m.Close()
		for key, v := range storetest.Dump(t, r.st) {
			if strings.Contains(v, "PRIVATE") {
				t.Errorf("%s has a private key", key)
			}
		}
		wantClean(t, r)
		m = r.mustOpen()
		if err := m.TestKeyServer(t.Context(), ids[0]); err != nil {
			t.Errorf("after a restart: %v", err)
		}
		m.Close()
		if err := m.TestKeyServer(t.Context(), ids[0]); err == nil {
			t.Error("a closed manager speaks to key servers")
		}
	}
}

// TestDamagedKeyPair must not keep an internal master key from its work.
func TestDamagedKeyPair(t *testing.T) {
	r := newRig(t, "file")
	m := r.create()
	k := newKMS(t, 1)
	r.kmip = k.adjust
	_ = k.clientCert(m)
	m.Close()
	other := newRig(t, "file")
	om := other.create()
	_ = k.clientCert(om)
	storetest.Put(t, r.st, "trust", storetest.Dump(t, other.st)["trust"]) // of another cluster
	m = r.mustOpen()
	if _, err := m.CreateKeyServer(t.Context(), k.keyServer(1, k.clientCert(om))); !errors.Is(err, keymgr.ErrNoKeyPair) {
		t.Errorf("key pair of another cluster is used: %v", err)
	}
	if err := m.CreateKeyPair(t.Context(), keymgr.Subject{}); err != nil {
		t.Errorf("a damaged key pair cannot be replaced: %v", err)
	}
	err := r.st.Update(t.Context(), func(tx store.Tx) error { return tx.Put("trust", []byte("{")) })
	if err != nil {
		t.Fatal(err)
	}
	if p, err := keymgr.Check(t.Context(), r.st); err != nil || len(p) != 1 {
		t.Errorf("check of a damaged key pair: %v, %v", p, err)
	}
}
