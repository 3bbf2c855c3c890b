package nbd

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"lockplate/blockdev"
)

// authority is a certificate authority made for one test.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, next: 2}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	var der []byte
	a.key, der = a.sign(tmpl, tmpl, nil)
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

// sign makes a key and a certificate for it; signer nil: by itself.
func (a *authority) sign(tmpl, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*ecdsa.PrivateKey, []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	return key, der
}

// issue makes a certificate for localhost, valid between two times from now.
func (a *authority) issue(name string, from, to time.Duration) tls.Certificate {
	a.t.Helper()
	a.next++
	key, der := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, a.key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// serverConfig demands client certificates of the authority.
func (a *authority) serverConfig() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{a.issue("server", -time.Hour, time.Hour)},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: a.pool(),
	}
}

func (a *authority) clientConfig(certs ...tls.Certificate) *tls.Config {
	return &tls.Config{RootCAs: a.pool(), Certificates: certs, ServerName: "localhost"}
}

// nbds is the address with TLS.
func (s *testServer) nbds() string { return strings.Replace(s.uri("disk"), "nbd", "nbds", 1) }

func TestTLSMatrix(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	good := ours.issue("client", -time.Hour, time.Hour)
	for _, row := range []struct {
		name   string
		client *tls.Config
		reason string // metric label; "": allowed
	}{
		{"good", ours.clientConfig(good), ""},
		{"no certificate", ours.clientConfig(), "no_certificate"},
		{"expired", ours.clientConfig(ours.issue("client", -2*time.Hour, -time.Hour)), "expired"},
		{"not yet valid", ours.clientConfig(ours.issue("client", time.Hour, 2*time.Hour)), "not_yet_valid"},
		{"wrong authority", ours.clientConfig(others.issue("client", -time.Hour, time.Hour)), "unknown_authority"},
		{"client distrusts server", others.clientConfig(good), "refused_by_client"},
		{"wrong name", &tls.Config{RootCAs: ours.pool(), Certificates: []tls.Certificate{good}, ServerName: "elsewhere"}, "refused_by_client"},
		{"TLS 1.2", &tls.Config{RootCAs: ours.pool(), Certificates: []tls.Certificate{good}, ServerName: "localhost", MaxVersion: tls.VersionTLS12}, "version"},
	} {
		t.Run(row.name, func(t *testing.T) {
			reg := prometheus.NewRegistry()
			config := ours.serverConfig()
			config.GetConfigForClient = nil
			s := startTCP(t, Config{Exports: one(blockdev.NewMem(1 << 20)), TLS: config, RequireTLS: true, Registerer: reg})
			row.client.Certificates = append([]tls.Certificate{}, row.client.Certificates...)
			if len(row.client.Certificates) > 0 { // offer it even if the server did not name its authority
				cert := row.client.Certificates[0]
				row.client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
			}
			c, err := Dial(t.Context(), s.nbds(), DialOptions{TLS: row.client})
			if row.reason == "" {
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				exercise(t, c)
				return
			}
			if err == nil {
				c.Close()
				t.Fatal("allowed")
			}
			s.await(t, func() bool { return testutil.CollectAndCount(s.metrics.tlsFailures) > 0 })
			if got := testutil.ToFloat64(s.metrics.tlsFailures.WithLabelValues(row.reason)); got != 1 {
				all, _ := reg.Gather()
				t.Errorf("no failure %q counted; client: %v; metrics %v", row.reason, err, all)
			}
		})
	}
}

// TestTLS12OnlyWhereAsked allows 1.2 to clients that know no better, never with
// a cipher that is not authenticated, and never 1.1.
func TestTLS12OnlyWhereAsked(t *testing.T) {
	a := newAuthority(t)
	good := a.issue("client", -time.Hour, time.Hour)
	config := a.serverConfig()
	config.GetConfigForClient = nil
	config.MinVersion = tls.VersionTLS12
	s := startTCP(t, Config{Exports: one(blockdev.NewMem(1 << 21)), TLS: config, RequireTLS: true})
	dial := func(change func(*tls.Config)) (*Client, error) {
		c := a.clientConfig(good)
		change(c)
		return Dial(t.Context(), s.nbds(), DialOptions{TLS: c})
	}
	c, err := dial(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	exercise(t, c)
	for name, change := range map[string]func(*tls.Config){
		"TLS 1.1": func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 },
		"CBC": func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		},
	} {
		if c, err := dial(change); err == nil {
			c.Close()
			t.Errorf("%s is allowed", name)
		}
	}
}

// exercise writes and reads back a few sizes.
func exercise(t testing.TB, c *Client) {
	t.Helper()
	for _, n := range []int{512, 65536, 1 << 20} {
		p, got := bytes.Repeat([]byte{byte(n >> 9), 3}, n/2), make([]byte, n)
		if err := c.WriteAt(t.Context(), p, 0, blockdev.FUA); err != nil {
			t.Fatal(err)
		}
		if err := c.ReadAt(t.Context(), got, 0); err != nil || !bytes.Equal(p, got) {
			t.Fatalf("%d bytes differ, err %v", n, err)
		}
	}
}

// TestRequireTLS tries every option in plain text.
func TestRequireTLS(t *testing.T) {
	a := newAuthority(t)
	s := startTCP(t, Config{Exports: one(blockdev.NewMem(1 << 20)), TLS: a.serverConfig(), RequireTLS: true})
	for _, opt := range []uint32{optList, optInfo, optGo, optStructuredReply, optListMeta, optSetMeta, optExtendedHeaders, 99} {
		r := s.greeted(t)
		if got := r.last(opt, goData("disk")); got != repErrTLSReqd {
			t.Errorf("option %d: %#x", opt, got)
		}
	}
	r := s.greeted(t)
	r.send(optionBytes(optExportName, []byte("disk")))
	r.closed()
	r = s.greeted(t)
	if got := r.last(optAbort, nil); got != repAck {
		t.Errorf("abort: %#x", got)
	}
	if _, err := Dial(t.Context(), s.uri("disk"), DialOptions{}); err == nil || !strings.Contains(err.Error(), "requires TLS") {
		t.Errorf("plain client: %v", err)
	}
}

func TestPlainUnixMayBeAllowed(t *testing.T) {
	a := newAuthority(t)
	for allow, want := range map[bool]uint32{true: repAck, false: repErrTLSReqd} {
		s := startServer(t, Config{Exports: one(blockdev.NewMem(1 << 20)), TLS: a.serverConfig(), RequireTLS: true, AllowPlainUnix: allow})
		if got := s.greeted(t).last(optGo, goData("disk")); got != want {
			t.Errorf("allowed %v: %#x", allow, got)
		}
	}
}

// underTLS starts TLS on a raw connection.
func (r *rawPeer) underTLS(config *tls.Config) *rawPeer {
	r.t.Helper()
	if got := r.last(optStartTLS, nil); got != repAck {
		r.t.Fatalf("starttls: %#x", got)
	}
	t := tls.Client(r.Conn, config)
	if err := t.Handshake(); err != nil {
		r.t.Fatal(err)
	}
	return &rawPeer{Conn: t, t: r.t}
}

// TestStartTLSForgets is CVE-2021-3716: what was agreed in plain text does not
// hold under TLS.
func TestStartTLSForgets(t *testing.T) {
	a := newAuthority(t)
	s := startTCP(t, Config{Exports: one(blockdev.NewMem(1 << 20)), TLS: a.serverConfig()})
	config := a.clientConfig(a.issue("client", -time.Hour, time.Hour))
	plain := s.greeted(t)
	plain.last(optStructuredReply, nil)
	plain.last(optSetMeta, metaData("disk", allocationContext))
	r := plain.underTLS(config)
	if got := r.last(optSetMeta, metaData("disk", allocationContext)); got != repErrInvalid {
		t.Errorf("structured replies outlived STARTTLS: %#x", got)
	}
	if got := r.last(optStartTLS, nil); got != repErrInvalid {
		t.Errorf("second starttls: %#x", got)
	}
	if got := r.last(optGo, goData("disk")); got != repAck {
		t.Errorf("go: %#x", got)
	}
	if e, p := r.ask(cmdRead, 0, 0, 512, nil); e != 0 || len(p) != 512 {
		t.Errorf("simple read: %v, %d bytes", e, len(p))
	}
	r.alive()
}

// TestInjectedOptionsAreNotTaken is the other half of CVE-2021-3716: options
// sent in one piece with STARTTLS are not carried out under TLS.
func TestInjectedOptionsAreNotTaken(t *testing.T) {
	a := newAuthority(t)
	s := startTCP(t, Config{Exports: one(blockdev.NewMem(1 << 20)), TLS: a.serverConfig()})
	r := s.greeted(t)
	r.send(cat(optionBytes(optStartTLS, nil), optionBytes(optGo, goData("disk"))))
	if all := r.replies(optStartTLS); all[0].typ != repAck {
		t.Fatal(all)
	}
	rest, _ := io.ReadAll(r) // at most a TLS alert
	if len(rest) > 7 {
		t.Errorf("answered % x", rest)
	}
	s.await(t, func() bool { return testutil.CollectAndCount(s.metrics.tlsFailures) > 0 })
	if got := testutil.ToFloat64(s.metrics.tlsFailures.WithLabelValues("not_tls")); got != 1 {
		t.Errorf("%v failures counted", got)
	}
}

// TestTLSEndsWithoutFarewell closes the socket below TLS in the middle of
// things; the server must end and not spin.
func TestTLSEndsWithoutFarewell(t *testing.T) {
	a := newAuthority(t)
	s := startTCP(t, Config{Exports: one(blockdev.NewMem(1 << 20)), TLS: a.serverConfig()})
	plain := s.greeted(t)
	r := plain.underTLS(a.clientConfig(a.issue("client", -time.Hour, time.Hour)))
	r.last(optGo, goData("disk"))
	r.alive()
	plain.Close()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// pemFiles writes what GnuTLS and libnbd look for in a folder.
func (a *authority) pemFiles(dir string, name string, cert tls.Certificate) {
	a.t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		"ca-cert.pem":      {Type: "CERTIFICATE", Bytes: a.cert.Raw},
		name + "-cert.pem": {Type: "CERTIFICATE", Bytes: cert.Certificate[0]},
		name + "-key.pem":  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
}

// TestCertificatesRotate changes the server's certificate again and again
// while a client works.
func TestCertificatesRotate(t *testing.T) {
	a := newAuthority(t)
	current := a.issue("server", -time.Hour, time.Hour)
	config := a.serverConfig()
	config.Certificates = nil
	config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &current, nil }
	s := startTCP(t, Config{Exports: one(blockdev.NewMem(2 << 20)), TLS: config, RequireTLS: true})
	client := DialOptions{TLS: a.clientConfig(a.issue("client", -time.Hour, time.Hour))}
	working, err := Dial(t.Context(), s.nbds(), client)
	if err != nil {
		t.Fatal(err)
	}
	defer working.Close()
	for range 20 {
		current = a.issue("server", -time.Hour, time.Hour)
		c, err := Dial(t.Context(), s.nbds(), client)
		if err != nil {
			t.Fatal(err)
		}
		exercise(t, c)
		exercise(t, working)
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}
}
