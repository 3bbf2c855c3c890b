package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// guestHost is where a guest of the rigs finds this host.
const guestHost = "10.0.2.2"

// authority signs certificates for one test.
type authority struct {
	t    *testing.T
	dir  string // PEM files under the names that libnbd and qemu look for
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newAuthority makes ca-cert.pem and a server's and a client's certificate.
func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.key = newKey(t)
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, &a.key.PublicKey, a.key)
	must(t, err)
	a.write("ca-cert.pem", "CERTIFICATE", der)
	a.issue("server", x509.ExtKeyUsageServerAuth)
	a.issue("client", x509.ExtKeyUsageClientAuth)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) write(name, kind string, der []byte) {
	a.t.Helper()
	must(a.t, os.WriteFile(a.file(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

func (a *authority) issue(name string, usage x509.ExtKeyUsage) {
	a.t.Helper()
	key := newKey(a.t)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(guestHost)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	must(a.t, err)
	a.write(name+"-cert.pem", "CERTIFICATE", der)
	der, err = x509.MarshalPKCS8PrivateKey(key)
	must(a.t, err)
	a.write(name+"-key.pem", "PRIVATE KEY", der)
}

// serveArgs makes NBD over TCP demand TLS and a client certificate.
func (a *authority) serveArgs() []string {
	return []string{
		withTCP, "--nbd-cert", a.file("server-cert.pem"), "--nbd-key", a.file("server-key.pem"),
		"--nbd-client-ca", a.file("ca-cert.pem"),
	}
}

func (a *authority) uri(g *gateway, name string) string {
	return "nbds://localhost:" + port(a.t, g.tcp) + "/" + name + "?tls-certificates=" + a.dir
}

func TestTLSClients(t *testing.T) {
	need(t, "nbdcopy", "nbdinfo", "qemu-img")
	const size = 16 << 20
	a := newAuthority(t)
	g := newGateway(t, a.serveArgs()...)
	g.volume("vol", strconv.Itoa(size))
	want := randomBytes(size)
	src, dst := filepath.Join(g.dir, "src"), filepath.Join(g.dir, "dst")
	must(t, os.WriteFile(src, want, 0o600))

	if out := run(t, "nbdinfo", a.uri(g, "vol")); !strings.Contains(out, "TLS") {
		t.Errorf("nbdinfo does not speak of TLS:\n%s", out)
	}
	run(t, "nbdcopy", "--flush", src, a.uri(g, "vol"))
	run(t, "nbdcopy", "--connections=4", a.uri(g, "vol"), dst)
	sameFile(t, dst, want)
	r := try(t, "qemu-img", "compare", "--object", "tls-creds-x509,id=tls,endpoint=client,dir="+a.dir, "--image-opts",
		"driver=file,filename="+src, "driver=nbd,host=localhost,port="+port(t, g.tcp)+",export=vol,tls-creds=tls")
	if r.code != 0 {
		t.Errorf("qemu-img compare over TLS: %v", r)
	}
	expectData(t, g, "vol", want) // the Unix socket needs no TLS

	plain := "nbd://localhost:" + port(t, g.tcp) + "/vol"
	if r := try(t, "nbdinfo", plain); r.code == 0 {
		t.Errorf("a plain client was let in: %v", r)
	}
	stranger := newAuthority(t)
	for _, name := range []string{"client-cert.pem", "client-key.pem"} {
		must(t, os.Rename(stranger.file(name), a.file(name)))
	}
	if r := try(t, "nbdinfo", a.uri(g, "vol")); r.code == 0 {
		t.Errorf("a client with a certificate of another authority was let in: %v", r)
	}
}

// A certificate that is replaced on disk serves the next connection, without a
// restart and without a cut for those that are there.
func TestCertificateIsReplacedWhileRunning(t *testing.T) {
	a := newAuthority(t)
	g := newGateway(t, a.serveArgs()...)
	g.volume("vol", "4MiB")
	c := g.dial("vol")
	for range 3 {
		want := a.leaf("server-cert.pem")
		eventually(t, "the new certificate to be served", func() bool { return bytes.Equal(a.served(g), want) })
		a.issue("server", x509.ExtKeyUsageServerAuth)
	}
	must(t, c.readAt(make([]byte, 4096), 0))
	g.stop()
}

// leaf gives the DER of a certificate of this authority's.
func (a *authority) leaf(name string) []byte {
	a.t.Helper()
	b, err := os.ReadFile(a.file(name))
	must(a.t, err)
	block, _ := pem.Decode(b)
	return block.Bytes
}

// served upgrades a connection by STARTTLS and gives the certificate shown.
func (a *authority) served(g *gateway) []byte {
	a.t.Helper()
	conn, err := net.Dial("tcp", g.tcp)
	must(a.t, err)
	defer conn.Close()
	_, err = io.ReadFull(conn, make([]byte, 18))
	must(a.t, err)
	b := binary.BigEndian.AppendUint32(nil, 3)
	b = binary.BigEndian.AppendUint64(b, nbdOptMagic)
	b = binary.BigEndian.AppendUint32(b, optStartTLS)
	b = binary.BigEndian.AppendUint32(b, 0)
	_, err = conn.Write(b)
	must(a.t, err)
	_, err = io.ReadFull(conn, make([]byte, 20))
	must(a.t, err)
	pair, err := tls.LoadX509KeyPair(a.file("client-cert.pem"), a.file("client-key.pem"))
	must(a.t, err)
	roots := x509.NewCertPool()
	roots.AddCert(a.issuer())
	secure := tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: "localhost", Certificates: []tls.Certificate{pair}})
	must(a.t, secure.Handshake())
	return secure.ConnectionState().PeerCertificates[0].Raw
}

func (a *authority) issuer() *x509.Certificate {
	a.t.Helper()
	cert, err := x509.ParseCertificate(a.leaf("ca-cert.pem"))
	must(a.t, err)
	return cert
}
