package kmip_test

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"lockplate/keymgr/kmip"
	"lockplate/keymgr/kmiptest"
)

func TestParseCertificates(t *testing.T) {
	one, two := kmiptest.NewCA(t, "one").PEM(), kmiptest.NewCA(t, "two").PEM()
	block, _ := pem.Decode(one)
	bare := base64.StdEncoding.EncodeToString(block.Bytes)
	for _, tt := range []struct {
		name, text string
		want       int // certificates, 0: refused
	}{
		{"one", string(one), 1},
		{"two in a row", string(one) + string(two), 2},
		{"blank lines between", "\n" + string(one) + "\n\n" + string(two) + "\n", 2},
		{"DOS line ends", strings.ReplaceAll(string(one), "\n", "\r\n"), 1},
		{"bare base64", bare, 1},
		{"bare base64 in lines", bare[:64] + "\n" + bare[64:] + "\n", 1},
		{"nothing", "", 0},
		{"blanks", " \n\t", 0},
		{"words", "the certificate", 0},
		{"base64 of something else", "aGVsbG8=", 0},
		{"half a PEM", string(one[:len(one)/2]), 0},
		{"text after it", string(one) + "and more", 0},
		{"backslash n", strings.ReplaceAll(string(one), "\n", `\n`), 0},
		{"private key", "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n", 0},
		{"certificate request", "-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n", 0},
		{"damaged", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", 0},
		{"very many", strings.Repeat(string(one), 65), 0},
	} {
		certs, err := kmip.ParseCertificates([]byte(tt.text))
		if len(certs) != tt.want || (err != nil) != (tt.want == 0) || (err != nil && !errors.Is(err, kmip.ErrConfig)) {
			t.Errorf("%s: %d certificates, %v; want %d", tt.name, len(certs), err, tt.want)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	for name, change := range map[string]func(c *kmip.Config){
		"no address":       func(c *kmip.Config) { c.Addresses = nil },
		"empty address":    func(c *kmip.Config) { c.Addresses = []string{""} },
		"address twice":    func(c *kmip.Config) { c.Addresses = []string{"kms.test", "kms.test:5696"} },
		"17 addresses":     func(c *kmip.Config) { c.Addresses = make([]string, 17) },
		"URL":              func(c *kmip.Config) { c.Addresses = []string{"https://kms.test"} },
		"blank in name":    func(c *kmip.Config) { c.Addresses = []string{"kms test"} },
		"line in name":     func(c *kmip.Config) { c.Addresses = []string{"kms\n"} },
		"port 0":           func(c *kmip.Config) { c.Addresses = []string{"kms:0"} },
		"port 65536":       func(c *kmip.Config) { c.Port = 65536 },
		"port -1":          func(c *kmip.Config) { c.Port = -1 },
		"port by name":     func(c *kmip.Config) { c.Addresses = []string{"kms:kmip"} },
		"no CA":            func(c *kmip.Config) { c.CACertificates = nil },
		"no certificate":   func(c *kmip.Config) { c.Certificate = nil },
		"KMIP 2.0":         func(c *kmip.Config) { c.Versions = []kmip.Version{{2, 0}} },
		"no version":       func(c *kmip.Config) { c.Versions = []kmip.Version{} },
		"negative timeout": func(c *kmip.Config) { c.RequestTimeout = -1 },
	} {
		c := r.config()
		change(&c)
		if _, err := kmip.New(c); !errors.Is(err, kmip.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := r.config("kms.test", "::1", "[::1]:7", "10.0.0.1", "10.0.0.1:1")
	want := []string{"kms.test:5696", "[::1]:5696", "[::1]:7", "10.0.0.1:5696", "10.0.0.1:1"}
	if got := open(t, c).Addresses(); !slices.Equal(got, want) {
		t.Errorf("addresses %q, want %q", got, want)
	}
}

func TestInputIsChecked(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	c := open(t, r.config())
	long := strings.Repeat("n", kmip.NameBytes+1)
	for name, o := range map[string]kmip.Object{
		"no name":      {},
		"long name":    {Name: long},
		"long group":   {Name: "n", Group: long},
		"name in 8859": {Name: "\xe4"},
		"custom name":  {Name: "n", Custom: []kmip.Custom{{Name: "Drive", Value: "1"}}},
		"long custom":  {Name: "n", Custom: []kmip.Custom{{Name: "x-Drive", Value: long}}},
	} {
		if _, err := c.Create(t.Context(), o); !errors.Is(err, kmip.ErrInput) {
			t.Errorf("Create, %s: %v", name, err)
		}
	}
	for _, secret := range [][]byte{nil, make([]byte, 1025)} {
		if _, err := c.Register(t.Context(), kmip.Object{Name: "n"}, secret); !errors.Is(err, kmip.ErrInput) {
			t.Errorf("Register of %d bytes: %v", len(secret), err)
		}
	}
	for _, id := range []string{"", "\xff", strings.Repeat("1", 257)} {
		if _, err := c.Get(t.Context(), id, kmip.SymmetricKey); !errors.Is(err, kmip.ErrInput) {
			t.Errorf("Get %.10q: %v", id, err)
		}
	}
	if n := r.server.Requests(0); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

// TestCustomAttributesAreLeftOut where the server refuses them, and nothing is
// made twice; a Create refused for another reason is not tried again.
func TestCustomAttributesAreLeftOut(t *testing.T) {
	keys := kmiptest.NewKeys()
	keys.RefuseCustom = true
	r := newRig(t, kmiptest.Options{Keys: keys})
	c := open(t, r.config())
	o := kmip.Object{Name: "n", Custom: []kmip.Custom{{Name: "x-SolidFire-KeyID-1", Value: "1"}}}
	made, err := c.Create(t.Context(), o)
	if err != nil || !made.CustomRefused || keys.Count() != 1 {
		t.Errorf("%+v, %v, %d keys", made, err, keys.Count())
	}
	r.server.Inject(kmiptest.Deny(kmiptest.OpCreate))
	before := r.server.Requests(kmiptest.OpCreate)
	_, err = c.Create(t.Context(), o)
	if wantClass(t, err, kmip.ClassPermissionDenied); r.server.Requests(kmiptest.OpCreate) != before+1 {
		t.Error("sent again")
	}
	r.server.Heal()
	r.server.Inject(kmiptest.Fault{Op: kmiptest.OpCreate, Lose: true})
	_, err = c.Create(t.Context(), kmip.Object{Name: "m"})
	wantUnknown(t, err, "m")
}

// TestKeyNamesOfTheLargestSize pass through the server unchanged.
func TestLocateByLongestName(t *testing.T) {
	c := open(t, newRig(t, kmiptest.Options{}).config())
	name := strings.Repeat("ä", kmip.NameBytes/2)
	id := mustCreate(t, c, name)
	ids, err := c.Locate(t.Context(), kmip.Search{Name: name, Max: 1})
	if err != nil || !slices.Equal(ids, []string{id}) {
		t.Errorf("%q, %v", ids, err)
	}
}

func TestLocateTellsOfDuplicates(t *testing.T) {
	c := open(t, newRig(t, kmiptest.Options{}).config())
	want := []string{mustCreate(t, c, "same"), mustCreate(t, c, "same")}
	ids, err := c.Locate(t.Context(), kmip.Search{Name: "same"})
	if slices.Sort(ids); err != nil || !slices.Equal(ids, want) {
		t.Errorf("%q, %v, want %q", ids, err, want)
	}
}

func TestMatchesKey(t *testing.T) {
	ca := kmiptest.NewCA(t, "CA")
	a, b := ca.Client("a", time.Now().AddDate(1, 0, 0)), ca.Client("b", time.Now().AddDate(1, 0, 0))
	mixed := *a
	mixed.PrivateKey = b.PrivateKey
	noLeaf := *a
	noLeaf.Leaf = nil
	keyless := *a
	keyless.PrivateKey = nil
	if !kmip.MatchesKey(a) || !kmip.MatchesKey(&noLeaf) || kmip.MatchesKey(&mixed) || kmip.MatchesKey(nil) || kmip.MatchesKey(&keyless) {
		t.Error("certificate and key are compared wrongly")
	}
	if bytes.Equal(a.Certificate[0], b.Certificate[0]) {
		t.Error("the test's certificates are the same")
	}
}
