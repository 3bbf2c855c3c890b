package store

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"
	"unsafe"

	bolt "go.etcd.io/bbolt"
)

var crashUpdates = flag.Int("store.crashupdates", 12, "updates in TestEveryCrashStateReopens")

// writeHook replaces the function by which db writes its file. bbolt has it as
// an unexported field for its own tests; there is no other way to see its
// writes, as it insists on an *os.File.
func writeHook(t testing.TB, db *bolt.DB) *func([]byte, int64) (int, error) {
	t.Helper()
	f := reflect.ValueOf(db).Elem().FieldByName("ops").FieldByName("writeAt")
	if !f.IsValid() {
		t.Fatal("bbolt has no field ops.writeAt any more: find the new one")
	}
	return (*func([]byte, int64) (int, error))(unsafe.Pointer(f.UnsafeAddr()))
}

// memoryDir is for thousands of throw-away files, whose syncs prove nothing.
func memoryDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "lockplate-store-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

type diskWrite struct {
	off  int64
	data []byte
}

// recorder keeps what one Update writes. bbolt syncs after the data pages and
// after the meta page (tx.write, tx.writeMeta), so writes before a sync may
// reach the disk in any order, in part, or not.
type recorder struct{ writes []diskWrite }

func (r *recorder) attach(t testing.TB, db *bolt.DB) {
	if db.NoSync || db.NoGrowSync {
		t.Fatal("store does not sync")
	}
	hook := writeHook(t, db)
	real := *hook
	*hook = func(b []byte, off int64) (int, error) {
		r.writes = append(r.writes, diskWrite{off, bytes.Clone(b)})
		return real(b, off)
	}
}

func (w diskWrite) apply(img []byte, n int) []byte {
	if need := int(w.off) + n; need > len(img) {
		img = append(img, make([]byte, need-len(img))...)
	}
	copy(img[w.off:], w.data[:n])
	return img
}

func applyAll(img []byte, ws []diskWrite) []byte {
	img = bytes.Clone(img)
	for _, w := range ws {
		img = w.apply(img, len(w.data))
	}
	return img
}

// crashChecker opens images and compares what is in them.
type crashChecker struct {
	t      *testing.T
	path   string
	states int
}

func (c *crashChecker) want(what string, img []byte, allowed ...map[string]string) {
	c.t.Helper()
	c.states++
	if err := os.WriteFile(c.path, img, 0o600); err != nil {
		c.t.Fatal(err)
	}
	st, err := OpenBolt(c.path, BoltOptions{})
	if err != nil {
		c.t.Fatalf("%s: %v", what, err)
	}
	got := dumpAll(c.t, st)
	ok := false
	for _, a := range allowed {
		ok = ok || maps.Equal(got, a)
	}
	if !ok {
		c.t.Fatalf("%s: contents are neither old nor new", what)
	}
	if err := st.Close(); err != nil {
		c.t.Fatal(err)
	}
	if c.states%8 == 0 { // bbolt's own check of the whole is slow
		if p, err := Check(c.path); err != nil || len(p) > 0 {
			c.t.Fatalf("%s: check: %v, %v", what, p, err)
		}
	}
}

func dumpAll(t testing.TB, st Store) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := st.View(context.Background(), func(tx Tx) error {
		for k, v := range tx.Scan("") {
			out[k] = string(v)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// randomUpdate changes some records, of sizes up to a page of wrapped keys.
func randomUpdate(t *testing.T, st Store, rng *rand.Rand, model map[string]string) map[string]string {
	next := maps.Clone(model)
	err := st.Update(t.Context(), func(tx Tx) error {
		for range 1 + rng.IntN(12) {
			k := fmt.Sprintf("k/%02d", rng.IntN(40))
			if rng.IntN(3) == 0 {
				delete(next, k)
				_ = tx.Delete(k)
				continue
			}
			v := make([]byte, []int{8, 300, 17000}[rng.IntN(3)])
			for i := range v {
				v[i] = byte(rng.Uint32())
			}
			next[k] = string(v)
			_ = tx.Put(k, v)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// TestEveryCrashStateReopens records the writes of updates and opens what a
// power cut may leave: after each write, in the middle of each at every sector,
// and any subset of those between two syncs.
func TestEveryCrashStateReopens(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	dir := t.TempDir()
	path := filepath.Join(dir, "s.db")
	st, err := OpenBolt(path, BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	rec := &recorder{}
	rec.attach(t, st.(*Bolt).db)
	c := &crashChecker{t: t, path: filepath.Join(memoryDir(t), "crashed.db")}
	old := dumpAll(t, st)
	for range *crashUpdates {
		img, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		rec.writes = nil
		next := randomUpdate(t, st, rng, old)
		if len(rec.writes) > 0 {
			c.update(rng, img, rec.writes, old, next)
		}
		old = next
	}
	t.Logf("%d states", c.states)
}

// update checks the states of one update: data pages first, then one meta page.
func (c *crashChecker) update(rng *rand.Rand, img []byte, ws []diskWrite, old, next map[string]string) {
	data, meta := ws[:len(ws)-1], ws[len(ws)-1]
	if meta.off >= 2*pageSize || len(meta.data) != pageSize {
		c.t.Fatalf("last write is at %d, %d bytes, not the meta page", meta.off, len(meta.data))
	}
	for i, w := range data {
		if w.off < 2*pageSize {
			c.t.Fatalf("meta page is written before data write %d", i)
		}
		c.want(fmt.Sprintf("before data write %d", i), applyAll(img, data[:i]), old)
		for n := 512; n < len(w.data); n += 512 {
			if len(w.data) > 4*pageSize && rng.IntN(8) > 0 {
				continue
			}
			c.want(fmt.Sprintf("data write %d torn at %d", i, n), w.apply(applyAll(img, data[:i]), n), old)
		}
	}
	for range 16 {
		c.want("some data writes", applyAll(img, subset(rng, data)), old)
	}
	synced := applyAll(img, data)
	for n := 0; n < len(meta.data); n += 512 {
		c.want(fmt.Sprintf("meta page torn at %d", n), meta.apply(bytes.Clone(synced), n), old, next)
	}
	for n := 1; n < 96; n++ {
		c.want(fmt.Sprintf("meta page torn at %d", n), meta.apply(bytes.Clone(synced), n), old, next)
	}
	c.want("complete", applyAll(synced, []diskWrite{meta}), next)
}

func subset(rng *rand.Rand, ws []diskWrite) []diskWrite {
	var out []diskWrite
	for _, i := range rng.Perm(len(ws)) {
		if rng.IntN(2) == 0 {
			out = append(out, ws[i])
		}
	}
	return out
}

// TestTornCreationIsNoStore leaves every part of a new store under the name it
// is made with; the next open must start afresh.
func TestTornCreationIsNoStore(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole.db")
	st, err := OpenBolt(whole, BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	st.Close()
	img, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s.db")
	for n := 0; n <= 8*pageSize; n += 512 {
		if err := os.WriteFile(path+newSuffix, img[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		st, err := OpenBolt(path, BoltOptions{})
		if err != nil {
			t.Fatalf("after creation cut at %d: %v", n, err)
		}
		if got := dumpAll(t, st); len(got) != 1 || got[KeyFormat] != Format {
			t.Fatalf("after creation cut at %d: %v", n, got)
		}
		st.Close()
		if _, err := os.Stat(path + newSuffix); !os.IsNotExist(err) {
			t.Fatalf("%s is still there: %v", newSuffix, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEveryFailingWrite makes the n-th write of an update fail, for all n.
func TestEveryFailingWrite(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EIO} {
		for n := 0; ; n++ {
			if !failingWrite(t, errno, n) {
				if n < 3 {
					t.Fatalf("update has only %d writes", n)
				}
				break
			}
		}
	}
}

// failingWrite says whether the update had an n-th write.
func failingWrite(t *testing.T, errno syscall.Errno, n int) bool {
	path := filepath.Join(memoryDir(t), "s.db")
	st, err := OpenBolt(path, BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	put := func(v string) error {
		return st.Update(t.Context(), func(tx Tx) error {
			return errors.Join(tx.Put("a", bytes.Repeat([]byte(v), 9000)), tx.Put("b", []byte(v)))
		})
	}
	if err := put("1"); err != nil {
		t.Fatal(err)
	}
	before := dumpAll(t, st)
	hook, left := writeHook(t, st.(*Bolt).db), n
	real := *hook
	*hook = func(b []byte, off int64) (int, error) {
		if left--; left == -1 {
			return 0, errno
		}
		return real(b, off)
	}
	err = put("2")
	*hook = real
	if err == nil {
		return false
	}
	want := ErrIO
	if errno == syscall.ENOSPC {
		want = ErrNoSpace
	}
	if !errors.Is(err, want) || !maps.Equal(dumpAll(t, st), before) {
		t.Errorf("%v at write %d: %v; contents changed: %v", errno, n, err, !maps.Equal(dumpAll(t, st), before))
	}
	again := put("3")
	if errno == syscall.ENOSPC && again != nil {
		t.Errorf("after space returned: %v", again)
	}
	if errno == syscall.EIO && !errors.Is(again, ErrIO) {
		t.Errorf("update after an I/O error: %v, want ErrIO until reopened", again)
	}
	st.Close()
	if p, err := Check(path); err != nil || len(p) > 0 {
		t.Errorf("check: %v, %v", p, err)
	}
	return true
}
