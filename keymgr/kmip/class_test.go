package kmip_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"lockplate/keymgr/kmip"
	"lockplate/keymgr/kmiptest"
)

// troubled makes a client in trouble, out of a healthy rig.
type troubled struct {
	name    string
	options func(*kmiptest.Options, *kmiptest.CA)
	config  func(*testing.T, *rig, *kmip.Config)
	class   kmip.Class
	step    kmip.Step
}

func serverCert(notAfter time.Time, names ...string) func(*kmiptest.Options, *kmiptest.CA) {
	return func(o *kmiptest.Options, ca *kmiptest.CA) {
		o.TLS = func(c *tls.Config) { c.Certificates = []tls.Certificate{*ca.Server(notAfter, names...)} }
	}
}

func tlsVersions(least, most uint16) func(*kmiptest.Options, *kmiptest.CA) {
	return func(o *kmiptest.Options, _ *kmiptest.CA) {
		o.TLS = func(c *tls.Config) { c.MinVersion, c.MaxVersion = least, most }
	}
}

func foreignClient(t *testing.T, r *rig, _ *kmip.Config) {
	r.cert = kmiptest.NewCA(t, "other CA").Client("lockplate", time.Now().AddDate(0, 1, 0))
}

func troubles() []troubled {
	year := time.Now().AddDate(1, 0, 0)
	tls12 := tlsVersions(tls.VersionTLS12, tls.VersionTLS12)
	return []troubled{
		{"no such name", nil, func(_ *testing.T, _ *rig, c *kmip.Config) {
			c.Addresses = []string{"kms.test"}
			c.Resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
				return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
			}
		}, kmip.ClassDNS, kmip.StepName},
		{"name without address", nil, func(_ *testing.T, _ *rig, c *kmip.Config) {
			c.Addresses = []string{"kms.test"}
			c.Resolve = func(context.Context, string) ([]netip.Addr, error) { return nil, nil }
		}, kmip.ClassDNS, kmip.StepName},
		{"nobody listens", nil, func(t *testing.T, _ *rig, c *kmip.Config) {
			c.Addresses = []string{kmiptest.Dead(t)}
		}, kmip.ClassRefused, kmip.StepConnect},
		{"black hole", nil, func(t *testing.T, _ *rig, c *kmip.Config) {
			c.Addresses, c.ConnectTimeout = []string{kmiptest.BlackHole(t)}, time.Second
		}, kmip.ClassTimeout, kmip.StepConnect},
		{"says nothing", nil, func(t *testing.T, _ *rig, c *kmip.Config) {
			c.Addresses, c.ConnectTimeout = []string{kmiptest.Silent(t)}, time.Second
		}, kmip.ClassTimeout, kmip.StepTLS},
		{"closes before TLS", nil, func(_ *testing.T, r *rig, _ *kmip.Config) { r.server.Refuse() }, kmip.ClassReset, kmip.StepTLS},
		{"closes at the request", nil, func(_ *testing.T, r *rig, _ *kmip.Config) {
			r.server.Inject(kmiptest.Fault{Drop: true})
		}, kmip.ClassReset, kmip.StepResult},
		{"TLS too old", tlsVersions(tls.VersionTLS10, tls.VersionTLS11), nil, kmip.ClassTLSVersion, kmip.StepTLS},
		{"another CA", nil, func(t *testing.T, _ *rig, c *kmip.Config) {
			c.CACertificates = kmiptest.NewCA(t, "other CA").PEM()
		}, kmip.ClassTLSServerUntrusted, kmip.StepCertificate},
		{"another name", serverCert(year, "other.test"), nil, kmip.ClassTLSServerName, kmip.StepCertificate},
		{"server certificate expired", serverCert(time.Now().Add(-time.Hour), "127.0.0.1"), nil, kmip.ClassTLSServerExpired, kmip.StepCertificate},
		{"client not trusted, TLS 1.3", nil, foreignClient, kmip.ClassTLSClientRejected, kmip.StepCertificate},
		{"client not trusted, TLS 1.2", tls12, foreignClient, kmip.ClassTLSClientRejected, kmip.StepCertificate},
		{"client certificate expired", nil, func(_ *testing.T, r *rig, _ *kmip.Config) {
			r.cert = r.ca.Client("lockplate", time.Now().Add(-time.Minute))
		}, kmip.ClassClientCertExpired, kmip.StepCertificate},
		{"client certificate of another key", nil, func(_ *testing.T, r *rig, _ *kmip.Config) {
			mixed := *r.cert
			mixed.PrivateKey = r.ca.Client("other", time.Now().AddDate(0, 1, 0)).PrivateKey
			r.cert = &mixed
		}, kmip.ClassClientCertKeyMismatch, kmip.StepCertificate},
		{"no client certificate", nil, func(_ *testing.T, _ *rig, c *kmip.Config) {
			c.Certificate = func() (*tls.Certificate, error) { return nil, errors.New("the store is closed") }
		}, kmip.ClassClientCertKeyMismatch, kmip.StepCertificate},
		{"no common version", func(o *kmiptest.Options, _ *kmiptest.CA) { o.Minors = []uint32{9} }, nil, kmip.ClassNoCommonVersion, kmip.StepResult},
		{"only versions that are not allowed", func(o *kmiptest.Options, _ *kmiptest.CA) { o.Minors = []uint32{1} }, func(_ *testing.T, _ *rig, c *kmip.Config) {
			c.Versions = kmip.AllVersions()[:2]
		}, kmip.ClassNoCommonVersion, kmip.StepResult},
		{"not authenticated", nil, failAll(kmiptest.ReasonAuthentication), kmip.ClassAuthentication, kmip.StepAuthentication},
		{"denied", nil, failAll(kmiptest.ReasonPermissionDenied), kmip.ClassPermissionDenied, kmip.StepAuthentication},
		{"Locate denied", nil, func(_ *testing.T, r *rig, _ *kmip.Config) {
			r.server.Inject(kmiptest.Deny(kmiptest.OpLocate))
		}, kmip.ClassPermissionDenied, kmip.StepAuthentication},
		{"busy", nil, failAll(kmiptest.ReasonCancelled), kmip.ClassServerBusy, kmip.StepResult},
		{"not KMIP", nil, func(_ *testing.T, r *rig, _ *kmip.Config) {
			r.server.Inject(kmiptest.Replace(0, []byte("HTTP/1.1 400 Bad Request\r\n\r\n")))
		}, kmip.ClassNoCommonVersion, kmip.StepResult},
	}
}

func failAll(reason uint32) func(*testing.T, *rig, *kmip.Config) {
	return func(_ *testing.T, r *rig, _ *kmip.Config) {
		r.server.Inject(kmiptest.Fault{Reason: reason, Message: "as told"})
	}
}

// TestFailingStepIsNamed: for every trouble on the way to a server, Test names
// class and step, and any operation the class.
func TestFailingStepIsNamed(t *testing.T) {
	for _, tt := range troubles() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ca := kmiptest.NewCA(t, "test CA")
			var o kmiptest.Options
			if tt.options != nil {
				tt.options(&o, ca)
			}
			r := &rig{ca: ca, cert: ca.Client("lockplate", time.Now().AddDate(0, 1, 0)), server: kmiptest.Start(t, ca, o)}
			config := r.config()
			if tt.config != nil {
				tt.config(t, r, &config)
			}
			c := open(t, config)
			err := kmip.Failed(c.Test(t.Context()))
			wantClass(t, err, tt.class)
			var e *kmip.Error
			if errors.As(err, &e); e.Step != tt.step || e.Operation != "Test" || e.Address != c.Addresses()[0] {
				t.Errorf("step %q of %q at %q, want %q of Test: %v", e.Step, e.Operation, e.Address, tt.step, err)
			}
			if _, err := c.Locate(t.Context(), kmip.Search{Name: "k"}); kmip.ClassOf(err) != tt.class {
				t.Errorf("Locate: %v", err)
			}
			if !errors.Is(err, &kmip.Error{Class: tt.class}) || errors.Is(err, &kmip.Error{Class: "other"}) {
				t.Error("errors.Is does not compare classes")
			}
		})
	}
}

// TestResultClasses: what a server says about one key.
func TestResultClasses(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	c := open(t, r.config())
	id := mustCreate(t, c, "k")
	for reason, want := range map[uint32]kmip.Class{
		kmiptest.ReasonItemNotFound:     kmip.ClassKeyNotFound,
		kmiptest.ReasonAuthentication:   kmip.ClassAuthentication,
		kmiptest.ReasonPermissionDenied: kmip.ClassPermissionDenied,
		kmiptest.ReasonIllegalOperation: kmip.ClassKeyNotActive,
		kmiptest.ReasonNotSupported:     kmip.ClassUnsupported,
		kmiptest.ReasonInvalidField:     kmip.ClassUnsupported,
		kmiptest.ReasonInvalidMessage:   kmip.ClassUnsupported,
		kmiptest.ReasonCancelled:        kmip.ClassServerBusy,
		kmiptest.ReasonGeneralFailure:   kmip.ClassServerError,
		kmiptest.ReasonUnknown:          kmip.ClassServerError,
	} {
		r.server.Inject(kmiptest.Fault{Op: kmiptest.OpGet, Reason: reason})
		_, err := c.Get(t.Context(), id, kmip.SymmetricKey)
		wantClass(t, err, want)
		r.server.Heal()
	}
}

func TestGetNeedsAnActiveKeyWhereTheServerSaysSo(t *testing.T) {
	keys := kmiptest.NewKeys()
	keys.NeedActive = true
	c := open(t, newRig(t, kmiptest.Options{Keys: keys}).config())
	made, err := c.Create(t.Context(), kmip.Object{Name: "k"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Get(t.Context(), made.ID, kmip.SymmetricKey)
	wantClass(t, err, kmip.ClassKeyNotActive)
}

// TestActivateChecksTheState: a server may say yes and do nothing.
func TestActivateChecksTheState(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	c := open(t, r.config())
	made, err := c.Create(t.Context(), kmip.Object{Name: "k"})
	if err != nil {
		t.Fatal(err)
	}
	r.server.Inject(kmiptest.EditPayload(kmiptest.OpGetAttributes, func(p *kmiptest.Node) {
		p.Find(kmiptest.TagAttribute, kmiptest.TagAttributeValue).Value[3] = 1
	}))
	wantClass(t, c.Activate(t.Context(), made.ID), kmip.ClassKeyNotActive)
	r.server.Heal()
	if made, err = c.Create(t.Context(), kmip.Object{Name: "k"}); err != nil {
		t.Fatal(err)
	}
	r.server.Inject(kmiptest.EditPayload(kmiptest.OpGetAttributes, func(p *kmiptest.Node) { p.Kids = p.Kids[:1] }))
	if err := c.Activate(t.Context(), made.ID); err != nil {
		t.Errorf("a server that tells no state: %v", err)
	}
}

// TestServerTextIsQuotedAndCapped: messages of a server cannot break a log.
func TestServerTextIsQuotedAndCapped(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	c := open(t, r.config())
	id := mustCreate(t, c, "k")
	evil := "ok\nlevel=ERROR msg=\"all is lost\" \x1b[31m\xff" + strings.Repeat("A", 10_000)
	r.server.Inject(kmiptest.Fault{Op: kmiptest.OpGet, Reason: kmiptest.ReasonPermissionDenied, Message: evil})
	_, err := c.Get(t.Context(), id, kmip.SymmetricKey)
	wantClass(t, err, kmip.ClassPermissionDenied)
	if text := err.Error(); strings.ContainsAny(text, "\n\x1b") || strings.Contains(text, "\xff") || len(text) > 1024 {
		t.Errorf("%d bytes: %q", len(text), text)
	}
	if !strings.Contains(err.Error(), `"ok\nlevel=`) {
		t.Errorf("the message is missing: %v", err)
	}
}
