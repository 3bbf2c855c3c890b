package kmip

import (
	"bytes"
	"crypto/tls"
	"slices"
	"testing"
	"time"

	"github.com/gemalto/kmip-go/kmip14"

	"lockplate/keymgr/kmiptest"
)

// TestReceivedBytesAreZeroed keeps hold of every array that crypto/tls read
// into, with both versions of TLS, and looks into them while the connection is
// open and after the key was given out.
func TestReceivedBytesAreZeroed(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			c, keys := overTLS(t, version)
			made, err := c.Create(t.Context(), Object{Name: "k"})
			if err != nil {
				t.Fatal(err)
			}
			p := c.addresses[0]
			q, err := about(kmip14.OperationGet, made.ID, nil)
			if err != nil {
				t.Fatal(err)
			}
			s := mustOpen(t, p)
			a, _, err := s.exchange(t.Context(), q, s.version)
			if err != nil {
				t.Fatal(err)
			}
			a.wipe()
			arrays := slices.Clone(s.raw.read)
			key := keys.Material(made.ID)
			if n := holding(arrays, key); n != 1 {
				t.Errorf("the key is in %d of %d arrays before they are zeroed, want 1", n, len(arrays))
			}
			s.end(true)
			s = mustOpen(t, p) // the same connection again
			got, err := once(t.Context(), s, q, func(i item) (*Key, error) { return readKey(i, SymmetricKey) })
			if err != nil || !bytes.Equal(got.Bytes, key) || len(p.idle) != 0 {
				t.Errorf("Get: %v, %d idle connections", err, len(p.idle))
			}
			for i, a := range arrays {
				if n := len(a) - bytes.Count(a, []byte{0}); n != 0 {
					t.Errorf("%d of %d bytes of array %d are not zero", n, len(a), i)
				}
			}
		})
	}
}

func mustOpen(t *testing.T, p *endpoint) *session {
	t.Helper()
	s, err := p.open(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func holding(arrays [][]byte, key []byte) (n int) {
	for _, a := range arrays {
		if bytes.Contains(a, key) {
			n++
		}
	}
	return n
}

// overTLS has a client of a fake server that speaks one version of TLS.
func overTLS(t *testing.T, version uint16) (*Client, *kmiptest.Keys) {
	t.Helper()
	ca := kmiptest.NewCA(t, "test CA")
	server := kmiptest.Start(t, ca, kmiptest.Options{TLS: func(c *tls.Config) { c.MinVersion, c.MaxVersion = version, version }})
	cert := ca.Client("lockplate", time.Now().AddDate(0, 1, 0))
	c, err := New(Config{
		Addresses: []string{server.Address}, CACertificates: ca.PEM(),
		Certificate: func() (*tls.Certificate, error) { return cert, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, server.Keys
}
