package cluster

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

// The API's own certificate is a fault from 30 days before its end, and worse
// at 7 and 3 days, until there is another one.
func TestServerCertificateFault(t *testing.T) {
	r := withCluster(t)
	a := newAuthority(t)
	r.clock.advance(time.Since(r.clock.now()))
	end := r.clock.now().AddDate(0, 0, 31)
	cert := a.issue(&x509.Certificate{}, &a.key.PublicKey, end)
	find := func() string {
		for _, f := range r.current() {
			if f.Code == "sslCertificateExpiration" {
				return f.Type + " " + f.Severity + " " + f.Text
			}
		}
		return ""
	}
	if got := find(); got != "" {
		t.Errorf("not watched: %s", got)
	}
	var current *x509.Certificate
	r.WatchServerCertificate(func() *x509.Certificate { return current })
	if got := find(); got != "" {
		t.Errorf("no certificate: %s", got)
	}
	current = cert
	for _, c := range []struct {
		left time.Duration
		want string
	}{{31, ""}, {30, "node warning"}, {8, "node warning"}, {7, "node error"}, {3, "node critical"}, {-1, "node critical"}} {
		r.clock.advance(end.Add(-c.left * 24 * time.Hour).Sub(r.clock.now()))
		if got := find(); c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
			t.Errorf("%d days left: %q, want %q", c.left, got, c.want)
		}
	}
	if got := find(); !strings.Contains(got, "has expired on") {
		t.Errorf("expired: %s", got)
	}
	current = a.issue(&x509.Certificate{}, &a.key.PublicKey, r.clock.now().AddDate(1, 0, 0))
	if got := find(); got != "" {
		t.Errorf("renewed: %s", got)
	}
}
