package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Files of the certificate that is made when none is given.
const (
	certFile = "api.crt"
	keyFile  = "api.key"
)

// selfSignedFor is long: whoever pinned the certificate should not have to
// again for no gain in security.
const selfSignedFor = 10 * 365 * 24 * time.Hour

// CertPath is the path of the self-signed certificate in a state directory.
func CertPath(state string) string { return filepath.Join(state, certFile) }

// certificates serves the pair of files at cert and key, and notices when
// they change.
type certificates struct {
	cert, key string
	make      bool // make the pair if there is none
	log       *slog.Logger
	now       func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
	stamp   fileStamp // of the pair tried last
}

// fileStamp tells whether files changed.
type fileStamp struct {
	certTime, keyTime time.Time
	certSize, keySize int64
}

// newCertificates picks the files; nothing is read yet.
func newCertificates(cfg Config) *certificates {
	c := &certificates{cert: cfg.CertFile, key: cfg.KeyFile, log: cfg.Logger, now: cfg.Now}
	if c.cert == "" && c.key == "" {
		c.cert, c.key, c.make = CertPath(cfg.StateDir), filepath.Join(cfg.StateDir, keyFile), true
	}
	return c
}

// reload reads the pair, making it if that is ours to do and there is none.
// If it cannot be used the old one stays.
func (c *certificates) reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.make {
		if err := c.ensure(); err != nil {
			return fmt.Errorf("make certificate: %w", err)
		}
	}
	stamp, err := c.stat()
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	return c.read(stamp)
}

// read loads the pair. The stamp is kept even if that fails, so that a bad
// pair is tried and logged once. c.mu is held.
func (c *certificates) read(stamp fileStamp) error {
	c.stamp = stamp
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("load certificate %s with key %s: %w", c.cert, c.key, err)
	}
	c.current = &pair
	c.log.Info("api certificate loaded", "file", c.cert, "expires", pair.Leaf.NotAfter)
	return nil
}

// stat tells the present state of both files.
func (c *certificates) stat() (fileStamp, error) {
	a, err1 := os.Stat(c.cert)
	b, err2 := os.Stat(c.key)
	if err := errors.Join(err1, err2); err != nil {
		return fileStamp{}, err
	}
	return fileStamp{a.ModTime(), b.ModTime(), a.Size(), b.Size()}, nil
}

// get gives the certificate to a handshake, a new one if the files changed.
func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stamp, err := c.stat()
	if err == nil && stamp != c.stamp {
		if err := c.read(stamp); err != nil {
			c.log.Error("api certificate not replaced, the old one stays", "err", err)
		}
	}
	if c.current == nil {
		return nil, errors.New("no certificate")
	}
	return c.current, nil
}

// leaf is the certificate that clients are shown now, nil if there is none.
func (c *certificates) leaf() *x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil {
		return nil
	}
	return c.current.Leaf
}

// ensure makes a self-signed pair unless both files are there.
func (c *certificates) ensure() error {
	_, err := c.stat()
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	cert, key, err := selfSigned(c.now())
	if err != nil {
		return err
	}
	if err := replaceFile(c.key, key, 0o600); err != nil {
		return err
	}
	return replaceFile(c.cert, cert, 0o644)
}

// replaceFile writes a file so that it is whole or not there.
func replaceFile(path string, data []byte, mode fs.FileMode) error {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// selfSigned makes a P-256 certificate for this host's names, as PEM.
func selfSigned(now time.Time) (cert, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "lockplate"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(selfSignedFor),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if host, err := os.Hostname(); err == nil && host != "" && host != "localhost" {
		t.DNSNames = append(t.DNSNames, host)
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, k.Public(), k)
	if err != nil {
		return nil, nil, err
	}
	kb, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb}), nil
}
