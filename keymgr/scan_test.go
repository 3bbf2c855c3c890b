package keymgr

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/uuid"

	"lockplate/keymgr/kmip"
	"lockplate/keymgr/kmiptest"
	"lockplate/store"
)

func addr(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// needles are key parts to look for, XORed with 0x55 so that they are no hits
// themselves.
type needles struct {
	masked [][]byte
	start  [1 << 16]bool // first two bytes of any, unmasked
}

const needleBytes = 16

func (n *needles) add(b []byte) {
	n.masked = append(n.masked, mask(b[:needleBytes]))
	n.start[int(b[0])<<8|int(b[1])] = true
}

// find counts the places in this process's writable memory that hold a needle.
func (n *needles) find(t *testing.T) (hits int) {
	t.Helper()
	if raceEnabled {
		t.Skip("needs a build without the race detector, whose shadow memory is too much to scan")
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Skipf("needs /proc/self/maps: %v", err)
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Skipf("needs /proc/self/mem: %v", err)
	}
	defer mem.Close()
	buf := make([]byte, 1<<20)
	defer clear(buf) // what it copied must not be found by the next scan
	for line := range strings.Lines(string(maps)) {
		var lo, hi uintptr
		var perm string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &lo, &hi, &perm); err != nil || !strings.HasPrefix(perm, "rw") {
			continue
		}
		for off := lo; off < hi; off += uintptr(len(buf) - needleBytes + 1) {
			got, _ := mem.ReadAt(buf[:min(len(buf), int(hi-off))], int64(off))
			hits += n.count(buf[:got])
		}
	}
	return hits
}

func (n *needles) count(b []byte) (hits int) {
	for i := 0; i+needleBytes <= len(b); i++ {
		if !n.start[int(b[i])<<8|int(b[i+1])] {
			continue
		}
		for _, m := range n.masked {
			if bytes.Equal(mask(b[i:i+needleBytes]), m) {
				hits++
			}
		}
	}
	return hits
}

func mask(b []byte) []byte {
	m := bytes.Clone(b)
	for i := range m {
		m[i] ^= 0x55
	}
	return m
}

// TestNoKeyBytesLeftInMemory uses a master key and data keys in every way there
// is, destroys and closes everything, and then looks for their bytes in all
// writable memory of the process: heap, stacks, locked pages. What it cannot
// see are registers and pages already given back. The first 16 bytes of each
// key are looked for, so that half a key counts as one.
func TestNoKeyBytesLeftInMemory(t *testing.T) {
	st, err := store.OpenBolt(t.TempDir()+"/s.db", store.BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	n := &needles{}
	exercise(t, st, n)
	runtime.GC()
	if hits := n.find(t); hits > 0 {
		t.Errorf("keys are in memory at %d places after everything was destroyed", hits)
	}
}

// exercise adds parts of all keys it uses to n.
func exercise(t *testing.T, st store.Store, n *needles) {
	dir := t.TempDir()
	s, err := ParseSealer("file:"+dir+"/k", SealerOptions{StateDir: dir, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{}, 1)
	o := Options{Cluster: uuid.NewString(), Sealer: s, Hooks: Hooks{
		End: func(store.Tx, int64, map[string]any, string, string) error { ended <- struct{}{}; return nil },
	}}
	m, err := Create(t.Context(), st, "file:"+dir+"/k", o)
	if err != nil {
		t.Fatal(err)
	}
	addMaster(n, m)
	if n.find(t) == 0 {
		t.Fatal("the scan does not find a key that is there")
	}
	for i := range 20 {
		k, err := RandomSecret(rand.Reader, maxDataKey)
		if err != nil {
			t.Fatal(err)
		}
		n.add(k.Bytes())
		n.add(k.Bytes()[32:])
		v := uuid.NewString()
		if err := st.Update(t.Context(), func(tx store.Tx) error { return m.PutDataKey(tx, v, k) }); err != nil {
			t.Fatal(err)
		}
		back, err := m.DataKey(t.Context(), v)
		if err != nil || !back.Equal(k) {
			t.Fatalf("data key %d: %v", i, err)
		}
		k.Destroy()
		back.Destroy()
	}
	if _, err := m.Rekey(t.Context(), RekeyTarget{Type: Internal}); err != nil {
		t.Fatal(err)
	}
	<-ended
	addMaster(n, m)
	if p, err := m.Verify(t.Context()); err != nil || len(p) > 0 {
		t.Fatal(p, err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

// addMaster looks for the current master key too.
func addMaster(n *needles, m *Manager) {
	id := m.Master().ID
	m.mu.RLock()
	defer m.mu.RUnlock()
	n.add(m.ring[uuid.MustParse(id)].key.Bytes())
}

// scanEnv is the folder that tells a child of TestExternalKeyIsOnlyInLockedMemory
// of its key server.
const scanEnv = "LOCKPLATE_KEYMGR_SCAN"

// TestExternalKeyIsOnlyInLockedMemory fetches a master key from key servers that
// are other processes, one that speaks TLS 1.2 and one that speaks 1.3. After
// that it is in memory once, in the secret; not where crypto/tls decrypted it,
// nor where the answer was read. After the secret is destroyed it is nowhere.
func TestExternalKeyIsOnlyInLockedMemory(t *testing.T) {
	if dir := os.Getenv(scanEnv); dir != "" {
		onlyInLockedMemory(t, scanConfig(t, dir))
		return
	}
	t.Run("PyKMIP, TLS 1.2", func(t *testing.T) {
		p := kmiptest.StartPyKMIP(t)
		onlyInLockedMemory(t, kmip.Config{Addresses: []string{p.Address}, CACertificates: p.CA(), Certificate: p.Certificate})
	})
	t.Run("ovh, TLS 1.3", func(t *testing.T) {
		dir, ca := t.TempDir(), kmiptest.NewCA(t, "test")
		cert := ca.Client("lockplate", time.Now().AddDate(1, 0, 0))
		key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string][]byte{
			"ca": ca.PEM(), "cert": cert.Certificate[0], "key": key, "address": []byte(kmiptest.StartOVH(t, ca).Address),
		} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command(os.Args[0], "-test.run=^"+strings.Split(t.Name(), "/")[0]+"$", "-test.v")
		cmd.Env = append(os.Environ(), scanEnv+"="+dir)
		out, err := cmd.CombinedOutput()
		if t.Logf("%s", out); err != nil {
			t.Error(err)
		}
	})
}

func scanConfig(t *testing.T, dir string) kmip.Config {
	t.Helper()
	file := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	key, err := x509.ParsePKCS8PrivateKey(file("key"))
	if err != nil {
		t.Fatal(err)
	}
	cert := &tls.Certificate{Certificate: [][]byte{file("cert")}, PrivateKey: key}
	return kmip.Config{
		Addresses: []string{string(file("address"))}, CACertificates: file("ca"),
		Certificate: func() (*tls.Certificate, error) { return cert, nil },
	}
}

func onlyInLockedMemory(t *testing.T, config kmip.Config) {
	c, err := kmip.New(config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	src := &ProviderSource{Client: c}
	r, err := src.Create(t.Context(), Spec{ID: uuid.NewString(), Name: "lockplate/test/mk/scan"})
	if err != nil {
		t.Fatal(err)
	}
	key, err := src.Fetch(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	n := &needles{}
	n.add(key.Bytes())
	for range 3 {
		again, err := src.Fetch(t.Context(), r)
		if err != nil || !again.Equal(key) {
			t.Fatal(err)
		}
		again.Destroy()
	}
	hits := n.find(t)
	t.Logf("fetched 4 times, in memory at %d place", hits)
	if hits != 1 {
		t.Errorf("the key is in memory at %d places, want only the secret", hits)
	}
	if key.Destroy(); n.find(t) != 0 {
		t.Error("the key is in memory after it was destroyed")
	}
}

// TestKeySchedulesAreWiped fails when a new Go hides pointers in them, which
// would make wipe do nothing.
func TestKeySchedulesAreWiped(t *testing.T) {
	k, err := RandomSecret(rand.Reader, keyBytes)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Destroy()
	if err := checkWiped(k); err != nil {
		t.Error(err)
	}
}
