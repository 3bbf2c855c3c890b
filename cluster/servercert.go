package cluster

import "crypto/x509"

// WatchServerCertificate has the faults tell when the certificate of the API
// nears its end. current gives the one in use, nil if there is none; it may be
// called at any time.
func (c *Cluster) WatchServerCertificate(current func() *x509.Certificate) {
	c.serverCert.Store(&current)
}

// serverCertConditions look at the certificate that the API shows.
func (c *Cluster) serverCertConditions() []condition {
	current := c.serverCert.Load()
	if current == nil {
		return nil
	}
	cert := (*current)()
	if cert == nil {
		return nil
	}
	severity, what := expiry([]*x509.Certificate{cert}, c.now())
	if severity == "" {
		return nil
	}
	return []condition{{code: faultServerCert, severity: severity, args: []any{what}}}
}
