package keymgr

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"unsafe"

	"github.com/google/uuid"
	bolt "go.etcd.io/bbolt"

	"lockplate/store"
	"lockplate/store/storetest"
)

// diskWrite is one write of the store to its file.
type diskWrite struct {
	off  int64
	data []byte
}

func apply(img []byte, w diskWrite, n int) []byte {
	if need := int(w.off) + n; need > len(img) {
		img = append(img, make([]byte, need-len(img))...)
	}
	copy(img[w.off:], w.data[:n])
	return img
}

// record has every write of st kept. See the crash test of package store: bbolt
// offers no other way.
func record(t *testing.T, st *store.Bolt) *[]diskWrite {
	t.Helper()
	field := reflect.ValueOf(st).Elem().FieldByName("db")
	db := *(**bolt.DB)(unsafe.Pointer(field.UnsafeAddr()))
	ops := reflect.ValueOf(db).Elem().FieldByName("ops").FieldByName("writeAt")
	hook := (*func([]byte, int64) (int, error))(unsafe.Pointer(ops.UnsafeAddr()))
	writes, real := &[]diskWrite{}, *hook
	*hook = func(b []byte, off int64) (int, error) {
		*writes = append(*writes, diskWrite{off, bytes.Clone(b)})
		return real(b, off)
	}
	return writes
}

// TestTornRekeyIsOldOrNew rewraps the keys of 10,000 volumes and makes every
// state that a power cut within the transaction can leave: each prefix of its
// writes, torn ones, and random choices of those that no sync had confirmed.
// What opens is the old set or the new one, never a mixture.
func TestTornRekeyIsOldOrNew(t *testing.T) {
	dir := t.TempDir()
	bolt, err := store.OpenBolt(filepath.Join(dir, "s.db"), store.BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer bolt.Close()
	s, err := ParseSealer("file:"+dir+"/k", SealerOptions{StateDir: dir, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	m, err := Create(t.Context(), &counting{Store: bolt, t: t}, "file:"+dir+"/k", Options{Cluster: uuid.NewString(), Sealer: s})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	fill(t, m, 10000)
	m.worker.stop() // the steps are done here
	j, r := plannedTo(t, m)
	before := storetest.Dump(t, bolt)
	img, err := os.ReadFile(filepath.Join(dir, "s.db"))
	if err != nil {
		t.Fatal(err)
	}
	writes := record(t, bolt.(*store.Bolt))
	if err := m.rewrap(t.Context(), j, r); err != nil {
		t.Fatal(err)
	}
	c := &tornChecker{t: t, path: filepath.Join(dir, "torn.db"), old: before, now: storetest.Dump(t, bolt)}
	if maps.Equal(c.old, c.now) || len(*writes) < 3 {
		t.Fatalf("the commit changed nothing, or in %d writes", len(*writes))
	}
	c.run(img, *writes)
	t.Logf("%d writes, %d states: %d old, %d new", len(*writes), c.nOld+c.nNew, c.nOld, c.nNew)
	if c.nOld == 0 || c.nNew == 0 {
		t.Error("only one outcome was seen")
	}
}

// plannedTo brings a rekey to the state before its commit.
func plannedTo(t *testing.T, m *Manager) (j *jobRecord, r *masterRecord) {
	t.Helper()
	if _, err := m.Rekey(t.Context(), RekeyTarget{Type: Internal}); err != nil {
		t.Fatal(err)
	}
	for {
		err := m.st.View(t.Context(), func(tx store.Tx) (err error) {
			if j, err = getJob(tx); err == nil {
				r, err = getMaster(tx, j.New)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if r.State == StateVerified {
			return j, r
		}
		if err := m.step(t.Context(), j, r); err != nil {
			t.Fatal(err)
		}
	}
}

type tornChecker struct {
	t          *testing.T
	path       string
	old, now   map[string]string
	nOld, nNew int
}

// run makes the states. The last write is the meta page, after a sync.
func (c *tornChecker) run(img []byte, writes []diskWrite) {
	data, meta := writes[:len(writes)-1], writes[len(writes)-1]
	rng := rand.New(rand.NewPCG(rand.Uint64(), 1))
	whole := bytes.Clone(img)
	for _, w := range data {
		c.check(apply(bytes.Clone(whole), w, rng.IntN(len(w.data))))
		whole = apply(whole, w, len(w.data))
		c.check(whole)
	}
	for range 20 {
		some := bytes.Clone(img)
		for _, i := range rng.Perm(len(data)) {
			if rng.IntN(2) == 0 {
				some = apply(some, data[i], len(data[i].data))
			}
		}
		c.check(some)
	}
	for n := 0; n <= len(meta.data); n += 16 {
		c.check(apply(bytes.Clone(whole), meta, min(n, len(meta.data))))
	}
	c.check(apply(whole, meta, len(meta.data)))
}

func (c *tornChecker) check(img []byte) {
	c.t.Helper()
	if err := os.WriteFile(c.path, img, 0o600); err != nil {
		c.t.Fatal(err)
	}
	st, err := store.OpenBolt(c.path, store.BoltOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	defer st.Close()
	switch got := storetest.Dump(c.t, st); {
	case maps.Equal(got, c.old):
		c.nOld++
	case maps.Equal(got, c.now):
		c.nNew++
	default:
		c.t.Fatal("neither the old records nor the new ones")
	}
}
