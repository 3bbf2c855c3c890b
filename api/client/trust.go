package client

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
)

// serverURL gives "https://host:port" of what a user wrote.
func serverURL(s string) (string, error) {
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.User != nil {
		return "", fmt.Errorf("server %q: must look like https://host:port", s)
	}
	port := u.Port()
	if port == "" {
		port = defaultPort
	}
	return "https://" + net.JoinHostPort(u.Hostname(), port), nil
}

// trust makes the TLS configuration that the options ask for.
func trust(o Options) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS13}
	switch {
	case o.Fingerprint != "":
		want, err := parseFingerprint(o.Fingerprint)
		if err != nil {
			return nil, err
		}
		cfg.InsecureSkipVerify = true // VerifyConnection does it instead
		cfg.VerifyConnection = func(s tls.ConnectionState) error { return checkPin(s, want) }
	case o.CAFile != "":
		b, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read CA file: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("CA file %s: holds no PEM certificate", o.CAFile)
		}
	case o.LocalCert != "":
		cfg.RootCAs = localRoots(o.LocalCert)
	}
	return cfg, nil
}

// localRoots is the system's roots and the certificate in file, if it can be
// read. nil means the system's roots.
func localRoots(file string) *x509.CertPool {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pool.AppendCertsFromPEM(b)
	return pool
}

// parseFingerprint reads a SHA-256 in hex, with or without colons.
func parseFingerprint(s string) ([]byte, error) {
	s = strings.TrimPrefix(strings.ToLower(s), "sha256:")
	b, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
	if err != nil || len(b) != sha256.Size {
		return nil, errors.New("fingerprint: must be the 64 hex digits of a SHA-256")
	}
	return b, nil
}

// checkPin compares the server's own certificate with the pinned one.
func checkPin(s tls.ConnectionState, want []byte) error {
	got := sha256.Sum256(s.PeerCertificates[0].Raw)
	if subtle.ConstantTimeCompare(got[:], want) != 1 {
		return fmt.Errorf("%w: its fingerprint is %s, not the one given", ErrUntrusted, hex.EncodeToString(got[:]))
	}
	return nil
}
