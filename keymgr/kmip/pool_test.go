package kmip_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"lockplate/keymgr/kmip"
	"lockplate/keymgr/kmiptest"
)

func TestConnectionsAreReused(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	c := open(t, r.config())
	id := mustCreate(t, c, "k")
	before := r.server.Accepted()
	for range 20 {
		mustLook(t, c, id)
	}
	if n := r.server.Accepted() - before; n != 0 {
		t.Errorf("%d new connections for 20 requests", n)
	}
	for range 5 { // what brought a key has it in its buffers
		mustGet(t, c, id)
		mustLook(t, c, id)
	}
	if n := r.server.Accepted() - before; n != 5 {
		t.Errorf("%d new connections after 5 keys", n)
	}
}

func TestFreshUsesANewConnectionEachTime(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	c := open(t, r.config())
	id := mustCreate(t, c, "k")
	before := r.server.Accepted()
	for range 3 {
		mustGet(t, c.Fresh().Each()[0], id)
	}
	if n := r.server.Accepted() - before; n != 3 {
		t.Errorf("%d new connections for 3 requests", n)
	}
}

// TestConnectionsAreBounded: many requests at once wait for one another.
func TestConnectionsAreBounded(t *testing.T) {
	const most = 8
	r := newRig(t, kmiptest.Options{})
	c := open(t, r.config())
	id := mustCreate(t, c, "k")
	before := r.server.Accepted()
	r.server.Inject(kmiptest.Fault{Op: kmiptest.OpGetAttributes, Delay: 20 * time.Millisecond})
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			if _, err := c.GetAttributes(t.Context(), id); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	// Some waves find no idle connection, for only two are kept; none has more than most.
	if n := r.server.Accepted() - before; n > 40 || n < most-2 {
		t.Errorf("%d connections for 40 requests", n)
	}
	// The server counts one that was closed until it has noticed.
	if n := r.server.MostOpen(); n > 2*most {
		t.Errorf("%d connections at once, limit %d", n, most)
	}
}

func TestClosedClient(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	c := open(t, r.config())
	id := mustCreate(t, c, "k")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), id, kmip.SymmetricKey); !errors.Is(err, kmip.ErrClosed) {
		t.Errorf("Get: %v", err)
	}
	if err := kmip.Failed(c.Test(t.Context())); !errors.Is(err, kmip.ErrClosed) {
		t.Errorf("Test: %v", err)
	}
}

func TestCallersContext(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	c := open(t, r.config())
	id := mustCreate(t, c, "k")
	r.server.Inject(kmiptest.Fault{Op: kmiptest.OpGet, Delay: time.Minute})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.Get(ctx, id, kmip.SymmetricKey)
	wantClass(t, err, kmip.ClassTimeout)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := c.Get(ctx, id, kmip.SymmetricKey); !errors.Is(err, context.Canceled) || kmip.ClassOf(err) != "" {
		t.Errorf("cancelled: %v", err)
	}
}

// TestCertificateIsReloaded: the server trusts another authority from now on.
func TestCertificateIsReloaded(t *testing.T) {
	old, next := kmiptest.NewCA(t, "old CA"), kmiptest.NewCA(t, "new CA")
	server := kmiptest.Start(t, old, kmiptest.Options{})
	var mu sync.Mutex
	cert := old.Client("lockplate", time.Now().AddDate(0, 1, 0))
	show := func(c *tls.Certificate) {
		mu.Lock()
		defer mu.Unlock()
		cert = c
	}
	c := open(t, kmip.Config{
		Addresses: []string{server.Address}, CACertificates: append(next.PEM(), old.PEM()...),
		Certificate: func() (*tls.Certificate, error) {
			mu.Lock()
			defer mu.Unlock()
			return cert, nil
		},
	})
	id := mustCreate(t, c, "k")
	accepted := server.Accepted()
	server.Trust(next)
	mustLook(t, c, id) // over the open connection
	if server.Accepted() != accepted {
		t.Error("the open connection was not used")
	}
	show(next.Client("lockplate", time.Now().AddDate(0, 1, 0)))
	mustLook(t, c, id) // the open connection is with the old certificate
	if server.Accepted() == accepted {
		t.Error("the connection with the old certificate was used")
	}
	show(old.Client("lockplate", time.Now().AddDate(0, 1, 0)))
	_, err := c.Get(t.Context(), id, kmip.SymmetricKey)
	wantClass(t, err, kmip.ClassTLSClientRejected)
}

// TestObserver: every request is told once per address, with its class.
func TestObserver(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	var mu sync.Mutex
	seen := map[string]int{}
	config := r.config()
	config.Observer.Request = func(op string, class kmip.Class, d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		if d <= 0 {
			t.Errorf("%s took %v", op, d)
		}
		seen[op+" "+string(class)]++
	}
	c := open(t, config)
	id := mustCreate(t, c, "k")
	mustGet(t, c, id)
	r.server.Inject(kmiptest.Missing(kmiptest.OpGet))
	_, _ = c.Get(t.Context(), id, kmip.SymmetricKey)
	c.Test(t.Context())
	want := map[string]int{"Create ok": 1, "Activate ok": 1, "GetAttributes ok": 1, "Get ok": 1, "Get keyNotFound": 1, "Test ok": 1}
	if !maps.Equal(seen, want) {
		t.Errorf("seen %v, want %v", seen, want)
	}
}

// TestKeysStayOutOfText: neither logs nor errors nor formatted values have a
// byte of a key, in any usual notation.
func TestKeysStayOutOfText(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	var text bytes.Buffer
	config := r.config(kmiptest.Dead(t), r.server.Address)
	config.Logger = slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c := open(t, config)
	id := mustCreate(t, c, "k")
	key, err := c.Get(t.Context(), id, kmip.SymmetricKey)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&text, "%v %+v %s %v %+v", key, key, key, *key, *key)
	r.server.Inject(kmiptest.EditPayload(kmiptest.OpGet, func(p *kmiptest.Node) { p.Kids[1].Value[3] = 9 }))
	_, err = c.Get(t.Context(), id, kmip.SymmetricKey)
	fmt.Fprintf(&text, "%v %+v %#v", err, err, err)
	secret := bytes.Clone(key.Bytes)
	_, err = c.Register(t.Context(), kmip.Object{Name: strings.Repeat("n", 200)}, secret)
	fmt.Fprintf(&text, "%v", err)
	for _, form := range []string{"%s", "%x", "%X", "%q", "%d"} {
		if strings.Contains(text.String(), fmt.Sprintf(form, secret[:8])) {
			t.Errorf("the key is in the text as %s", form)
		}
	}
	key.Wipe()
	if !bytes.Equal(key.Bytes, make([]byte, kmip.KeyBytes)) {
		t.Error("not wiped")
	}
}
