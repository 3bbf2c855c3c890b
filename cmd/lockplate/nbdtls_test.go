package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// writePair writes a self-signed certificate and its key. at becomes the time
// of both files, so that a change shows whatever the clock's resolution.
func writePair(t *testing.T, cert, key, name string, at time.Time) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"lockplate.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	pk, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	for file, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pk}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
}

// served does a handshake and gives the name in the server's certificate.
func served(t *testing.T, w *certWatch, client *tls.Config) (string, error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	serverErr := make(chan error, 1)
	go func() {
		b, err := ln.Accept()
		if err == nil {
			err = tls.Server(b, w.config()).Handshake()
			defer b.Close()
		}
		serverErr <- err
	}()
	a, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	client.InsecureSkipVerify = true // the test looks at the name itself
	c := tls.Client(a, client)
	err = c.Handshake()
	if serr := <-serverErr; serr != nil {
		return "", serr
	}
	if err != nil {
		return "", err
	}
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}

func TestChangedCertificateIsTakenAndABadOneIsNot(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	at := time.Now().Add(-time.Hour)
	writePair(t, cert, key, "first", at)
	w, err := newCertWatch(&config{NBDCert: cert, NBDKey: key}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	want := func(name string) {
		t.Helper()
		if got, err := served(t, w, &tls.Config{}); got != name || err != nil {
			t.Fatalf("the server showed %q, %v; want %q", got, err, name)
		}
	}
	want("first")
	writePair(t, cert, key, "second", at.Add(time.Minute))
	want("second")
	if err := os.WriteFile(cert, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	want("second")
	if err := w.reload(); exitCode(err) != exitUsage {
		t.Errorf("reload of garbage: %v", err)
	}
	want("second")
	writePair(t, cert, key, "third", at.Add(2*time.Minute))
	if err := w.reload(); err != nil {
		t.Error(err)
	}
	want("third")
}

func TestClientCertificateIsRequiredWithAClientCA(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	writePair(t, cert, key, "both", time.Now())
	w, err := newCertWatch(&config{NBDCert: cert, NBDKey: key, NBDClientCA: cert}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := served(t, w, &tls.Config{}); err == nil {
		t.Error("a client without certificate was let in")
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := served(t, w, &tls.Config{Certificates: []tls.Certificate{pair}}); got != "both" {
		t.Errorf("a client with the certificate was refused: %v", err)
	}
	if _, err := served(t, w, &tls.Config{MaxVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}); err == nil {
		t.Error("TLS 1.2 was taken")
	}
	if w, err = newCertWatch(&config{NBDCert: cert, NBDKey: key, NBDTLSMin: "1.2"}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if got, err := served(t, w, &tls.Config{MaxVersion: tls.VersionTLS12}); got != "both" {
		t.Errorf("TLS 1.2 was refused where it is allowed: %v", err)
	}
	old := []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
	if _, err := served(t, w, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: old}); err == nil {
		t.Error("a CBC cipher was taken")
	}
}

func TestBadTLSFilesStopTheStart(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	writePair(t, cert, key, "x", time.Now())
	for _, c := range []config{
		{NBDCert: cert, NBDKey: filepath.Join(dir, "absent")},
		{NBDCert: key, NBDKey: key},
		{NBDCert: cert, NBDKey: key, NBDClientCA: key},
		{NBDCert: cert, NBDKey: key, NBDClientCA: filepath.Join(dir, "absent")},
	} {
		if _, err := newCertWatch(&c, slog.New(slog.DiscardHandler)); exitCode(err) != exitUsage {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if w, err := newCertWatch(&config{}, nil); w.config() != nil || err != nil {
		t.Errorf("without certificate: %v, %v", w, err)
	}
}
