package kmip_test

import (
	"crypto/tls"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lockplate/keymgr/kmip"
	"lockplate/keymgr/kmiptest"
)

// TestMain fails when a goroutine outlives the tests.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a fake key server with its authority and one client of both.
type rig struct {
	ca     *kmiptest.CA
	cert   *tls.Certificate
	server *kmiptest.Server
}

func newRig(t *testing.T, o kmiptest.Options) *rig {
	ca := kmiptest.NewCA(t, "test CA")
	return &rig{ca: ca, cert: ca.Client("lockplate", time.Now().AddDate(0, 1, 0)), server: kmiptest.Start(t, ca, o)}
}

// config is for the addresses, or the server of the rig when there are none.
func (r *rig) config(addresses ...string) kmip.Config {
	if len(addresses) == 0 {
		addresses = []string{r.server.Address}
	}
	return kmip.Config{
		Addresses: addresses, CACertificates: r.ca.PEM(),
		Certificate: func() (*tls.Certificate, error) { return r.cert, nil },
	}
}

func open(t *testing.T, c kmip.Config) *kmip.Client {
	t.Helper()
	client, err := kmip.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// wantClass fails unless err is of the class, with a hint.
func wantClass(t *testing.T, err error, want kmip.Class) {
	t.Helper()
	if got := kmip.ClassOf(err); got != want {
		t.Fatalf("class is %q, want %q: %v", got, want, err)
	}
	if kmip.HintOf(err) == "" {
		t.Errorf("class %q without a hint", want)
	}
}

// mustCreate gives the id of a new, active key.
func mustCreate(t *testing.T, c *kmip.Client, name string) string {
	t.Helper()
	made, err := c.Create(t.Context(), kmip.Object{Name: name, Group: "group"})
	if err == nil {
		err = c.Activate(t.Context(), made.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	return made.ID
}

// mustGet fetches the key, which must be what the server has.
func mustGet(t *testing.T, c *kmip.Client, id string) []byte {
	t.Helper()
	key, err := c.Get(t.Context(), id, kmip.SymmetricKey)
	if err != nil {
		t.Fatal(err)
	}
	return key.Bytes
}

// mustLook asks about a key, but not for it: the connection is kept.
func mustLook(t *testing.T, c *kmip.Client, id string) {
	t.Helper()
	if _, err := c.GetAttributes(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}
