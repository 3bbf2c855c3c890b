package keymgr_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"testing"
	"time"

	"lockplate/keymgr"
	"lockplate/keymgr/kmip"
	"lockplate/keymgr/kmiptest"
)

// kms are the key servers of a test. Its authority signs the cluster's request,
// and what the cluster calls 127.0.0.1:N is server N-1.
type kms struct {
	t       testing.TB
	servers []*kmiptest.Server
	ca      *kmiptest.CA // of servers
	key     *ecdsa.PrivateKey
	root    *x509.Certificate // of clients
}

// newKMS starts n key servers that share nothing.
func newKMS(t testing.TB, n int) *kms {
	t.Helper()
	k := &kms{t: t, ca: kmiptest.NewCA(t, "servers")}
	var err error
	if k.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	k.root = k.issue(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clients"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, &k.key.PublicKey)
	for range n {
		k.add(nil)
	}
	return k
}

// add starts one more server; it has keys, or its own if nil.
func (k *kms) add(keys *kmiptest.Keys) *kmiptest.Server {
	s := kmiptest.Start(k.t, k.ca, kmiptest.Options{Keys: keys, TLS: func(c *tls.Config) {
		c.ClientCAs = x509.NewCertPool()
		c.ClientCAs.AddCert(k.root)
	}})
	k.servers = append(k.servers, s)
	return s
}

func (k *kms) issue(c, parent *x509.Certificate, public any) *x509.Certificate {
	k.t.Helper()
	if parent == nil {
		parent = c
	}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0)
	der, err := x509.CreateCertificate(rand.Reader, c, parent, public, k.key)
	if err != nil {
		k.t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		k.t.Fatal(err)
	}
	return out
}

// sign makes a client certificate of a certificate signing request.
func (k *kms) sign(request string) string {
	k.t.Helper()
	b, _ := pem.Decode([]byte(request))
	csr, err := x509.ParseCertificateRequest(b.Bytes)
	if err != nil {
		k.t.Fatal(err)
	}
	c := k.issue(&x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), RawSubject: csr.RawSubject,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, k.root, csr.PublicKey)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// dial is kmip.Config.Dial.
func (k *kms) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var n int
	if _, err := fmt.Sscanf(address, "127.0.0.1:%d", &n); err == nil && n >= 1 && n <= len(k.servers) {
		address = k.servers[n-1].Address
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

func (k *kms) adjust(c *kmip.Config) { c.Dial = k.dial }

// keyServer describes server n, from 1, for the cluster.
func (k *kms) keyServer(n int, cert string) keymgr.KeyServer {
	return keymgr.KeyServer{
		Name: fmt.Sprint("server ", n), Hostnames: []string{"127.0.0.1"}, Port: n,
		CACertificate: string(k.ca.PEM()), ClientCertificate: cert,
	}
}

// clientCert makes a key pair, once, and has it signed.
func (k *kms) clientCert(m *keymgr.Manager) string {
	k.t.Helper()
	request, err := m.SigningRequest(context.Background())
	if err != nil {
		if err = m.CreateKeyPair(context.Background(), keymgr.Subject{CommonName: "lockplate"}); err == nil {
			request, err = m.SigningRequest(context.Background())
		}
	}
	if err != nil {
		k.t.Fatal(err)
	}
	return k.sign(request)
}

// join makes a provider of servers, which are numbered from 1.
func (k *kms) join(m *keymgr.Manager, servers ...int) (provider int64, ids []int64) {
	k.t.Helper()
	ctx := context.Background()
	p, err := m.CreateKeyProvider(ctx, "provider")
	if err != nil {
		k.t.Fatal(err)
	}
	cert := k.clientCert(m)
	for _, n := range servers {
		s, err := m.CreateKeyServer(ctx, k.keyServer(n, cert))
		if err == nil {
			err = m.AddServerToProvider(ctx, p.ID, s.ID)
		}
		if err != nil {
			k.t.Fatal(err)
		}
		ids = append(ids, s.ID)
	}
	return p.ID, ids
}

// raw gives a client certificate that has nothing to do with a cluster.
func (k *kms) raw(t testing.TB) func() (*tls.Certificate, error) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := k.issue(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "raw"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, k.root, &key.PublicKey)
	return func() (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key, Leaf: c}, nil
	}
}
