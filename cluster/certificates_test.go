package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lockplate/keymgr"
	"lockplate/keymgr/kmiptest"
)

// TestCertificateComesToItsEndAndIsRenewed lets the clock run towards the end of
// a client certificate: the fault comes 30 days before, gets worse at 7 and 3
// days, and clears at once when a new certificate is given, without a restart.
// The metric tells the end all the time.
func TestCertificateComesToItsEndAndIsRenewed(t *testing.T) {
	t.Parallel()
	r := withCluster(t)
	r.shutdown()
	reg := prometheus.NewRegistry()
	r.reg = reg
	r.start()
	r.clock.advance(time.Since(r.clock.now()))
	ca, clients := kmiptest.NewCA(t, "servers"), newAuthority(t)
	srv := kmiptest.Start(t, ca, kmiptest.Options{TLS: func(c *tls.Config) {
		c.ClientCAs = x509.NewCertPool()
		c.ClientCAs.AddCert(clients.root)
	}})
	ctx := t.Context()
	r.must(r.CreateKeyPair(ctx, keymgr.Subject{CommonName: "lockplate"}))
	const day = 24 * time.Hour
	end := r.clock.now().Add(100 * day).Truncate(time.Second)
	p, err := r.CreateKeyProvider(ctx, "provider")
	r.must(err)
	s, err := r.CreateKeyServer(ctx, keymgr.KeyServer{
		Name: "server", Hostnames: []string{srv.Address}, CACertificate: string(ca.PEM()), ClientCertificate: r.certificate(clients, end),
	})
	r.must(err)
	r.must(r.AddServerToProvider(ctx, p.ID, s.ID))
	for _, step := range []struct {
		left time.Duration
		want string
	}{
		{31 * day, ""}, {30 * day, sevWarning}, {8 * day, sevWarning}, {7 * day, sevError}, {4 * day, sevError}, {3 * day, sevCritical},
	} {
		r.clock.advance(end.Add(-step.left).Sub(r.clock.now()))
		if got := r.certificateFault(); got != step.want {
			t.Errorf("%v before the end: %q, want %q", step.left, got, step.want)
		}
	}
	if got := endOfCertificate(t, reg); !got.Equal(end) {
		t.Errorf("metric says %v, certificate ends at %v", got, end)
	}
	later := end.Add(200 * day)
	renewed := r.certificate(clients, later)
	_, err = r.ModifyKeyServer(ctx, s.ID, keymgr.KeyServerChange{ClientCertificate: &renewed})
	r.must(err)
	if got := r.certificateFault(); got != "" {
		t.Errorf("after the renewal: %q", got)
	}
	if got := endOfCertificate(t, reg); !got.Equal(later) {
		t.Errorf("metric says %v, new certificate ends at %v", got, later)
	}
	r.clock.advance(later.Add(time.Second).Sub(r.clock.now()))
	if got := r.certificateFault(); got != sevCritical {
		t.Errorf("expired: %q", got)
	}
}

// certificate has the cluster's request signed.
func (r *rig) certificate(a *authority, end time.Time) string {
	r.t.Helper()
	request, err := r.SigningRequest(r.t.Context())
	r.must(err)
	b, _ := pem.Decode([]byte(request))
	csr, err := x509.ParseCertificateRequest(b.Bytes)
	r.must(err)
	return pemOf(a.issue(&x509.Certificate{
		RawSubject: csr.RawSubject, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, csr.PublicKey, end))
}

// certificateFault gives how bad the fault of the client certificate is.
func (r *rig) certificateFault() (severity string) {
	r.t.Helper()
	for _, f := range r.current() {
		if f.Code == faultKmipCertificate && strings.Contains(f.Text, "client certificate") {
			severity += f.Severity
		}
	}
	return severity
}

// endOfCertificate is what the metric says of the client certificate.
func endOfCertificate(t *testing.T, reg *prometheus.Registry) time.Time {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() != "lockplate_key_server_certificate_expiry_timestamp_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetValue() == "client" {
					return time.Unix(int64(m.GetGauge().GetValue()), 0)
				}
			}
		}
	}
	t.Fatal("no such metric")
	return time.Time{}
}
