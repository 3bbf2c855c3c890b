package keymgr

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/uuid"

	"lockplate/store"
)

func addr(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// memoryHas counts the places in this process's writable memory that hold the
// bytes that needle is after XOR with 0x55 (so that needle itself is no hit).
func memoryHas(t *testing.T, needle []byte) int {
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
	hits := 0
	buf := make([]byte, 1<<20)
	defer clear(buf) // what it copied must not be found by the next scan
	for line := range strings.Lines(string(maps)) {
		var lo, hi uintptr
		var perm string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &lo, &hi, &perm); err != nil || !strings.HasPrefix(perm, "rw") {
			continue
		}
		for off := lo; off < hi; off += uintptr(len(buf) - len(needle)) {
			n, _ := mem.ReadAt(buf[:min(len(buf), int(hi-off))], int64(off))
			hits += count(buf[:n], needle)
		}
	}
	return hits
}

// count finds the unmasked needle in b.
func count(b, masked []byte) (n int) {
	for i := 0; i+len(masked) <= len(b); i++ {
		if b[i] != masked[0]^0x55 || b[i+1] != masked[1]^0x55 {
			continue
		}
		same := true
		for j := range masked {
			same = same && b[i+j] == masked[j]^0x55
		}
		if same {
			n++
		}
	}
	return n
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
	var needles [][]byte
	func() { needles = exercise(t, st) }()
	runtime.GC()
	for i, n := range needles {
		if hits := memoryHas(t, n); hits > 0 {
			t.Errorf("key %d is in memory at %d places after everything was destroyed", i, hits)
		}
	}
}

// exercise returns masked parts of all keys it used.
func exercise(t *testing.T, st store.Store) [][]byte {
	dir := t.TempDir()
	s, err := ParseSealer("file:"+dir+"/k", SealerOptions{StateDir: dir, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Cluster: uuid.NewString(), Sealer: s}
	m, err := Create(t.Context(), st, "file:"+dir+"/k", o)
	if err != nil {
		t.Fatal(err)
	}
	needles := [][]byte{mask(m.w.key.Bytes()[:16])}
	if memoryHas(t, needles[0]) == 0 {
		t.Fatal("the scan does not find a key that is there")
	}
	for i := range 20 {
		k, err := RandomSecret(rand.Reader, maxDataKey)
		if err != nil {
			t.Fatal(err)
		}
		needles = append(needles, mask(k.Bytes()[:16]), mask(k.Bytes()[32:48]))
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
	if p, err := m.Verify(t.Context()); err != nil || len(p) > 0 {
		t.Fatal(p, err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return needles
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
