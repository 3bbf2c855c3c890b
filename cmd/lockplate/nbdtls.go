package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"lockplate/nbd"
)

// certWatch gives NBD handshakes the certificate that is in the files now. It
// looks at the files at each handshake, so that nothing runs in between.
type certWatch struct {
	cert, key, clientCA string
	oldest              uint16 // version of TLS
	log                 *slog.Logger

	mu      sync.Mutex
	current *tls.Config
	stamp   [3]fileStamp
}

// fileStamp tells whether a file has changed.
type fileStamp struct {
	time time.Time
	size int64
}

// newCertWatch reads the files for the first time. Without a certificate
// configured it is nil.
func newCertWatch(c *config, log *slog.Logger) (*certWatch, error) {
	if c.NBDCert == "" {
		return nil, nil
	}
	w := &certWatch{cert: c.NBDCert, key: c.NBDKey, clientCA: c.NBDClientCA, oldest: tls.VersionTLS13, log: log}
	if c.NBDTLSMin == "1.2" {
		w.oldest = tls.VersionTLS12
	}
	return w, w.reload()
}

// config is what the NBD server takes; nil without TLS.
func (w *certWatch) config() *tls.Config {
	if w == nil {
		return nil
	}
	return &tls.Config{
		MinVersion:         w.oldest,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return w.latest(), nil },
	}
}

// latest is the configuration for one handshake. Changed files that cannot be
// used are logged once, and the old certificate stays.
func (w *certWatch) latest() *tls.Config {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.stamps(); s != w.stamp {
		if err := w.read(s); err != nil {
			w.log.Error("nbd certificate not replaced, the old one stays", "err", err)
		}
	}
	return w.current
}

// reload reads the files now.
func (w *certWatch) reload() error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.read(w.stamps())
}

// stamps looks at the files; one that is missing has the zero stamp.
func (w *certWatch) stamps() (s [3]fileStamp) {
	for i, name := range []string{w.cert, w.key, w.clientCA} {
		if st, err := os.Stat(name); name != "" && err == nil {
			s[i] = fileStamp{st.ModTime(), st.Size()}
		}
	}
	return s
}

// read makes the configuration from the files. The stamp is kept even if that
// fails: a bad file is tried once. w.mu is held.
func (w *certWatch) read(s [3]fileStamp) error {
	w.stamp = s
	pair, err := tls.LoadX509KeyPair(w.cert, w.key)
	if err != nil {
		return usage(fmt.Errorf("load NBD certificate %s with key %s: %w", w.cert, w.key, err))
	}
	cfg := &tls.Config{MinVersion: w.oldest, Certificates: []tls.Certificate{pair}}
	nbd.Harden(cfg)
	if w.clientCA != "" {
		if cfg.ClientCAs, err = readPool(w.clientCA); err != nil {
			return usage(err)
		}
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	}
	w.current = cfg
	w.log.Info("nbd certificate loaded", "file", w.cert, "expires", pair.Leaf.NotAfter)
	return nil
}

// readPool reads certificates to trust.
func readPool(name string) (*x509.CertPool, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read NBD client CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, errors.New("NBD client CA " + name + ": holds no PEM certificate")
	}
	return pool, nil
}
