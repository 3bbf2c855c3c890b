package keymgr_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"lockplate/keymgr"
	"lockplate/keymgr/kmip"
	"lockplate/store"
	"lockplate/store/storetest"
)

// fast are Argon2 costs for tests.
var fast = keymgr.Argon2{Time: 1, Memory: 64, Threads: 1}

// rig is a store with all that a Manager needs.
type rig struct {
	t        testing.TB
	st       store.Store
	dir      string
	cluster  string
	spec     string
	opts     keymgr.SealerOptions
	kmip     func(*kmip.Config)
	hooks    keymgr.Hooks
	timing   keymgr.Timing
	observer keymgr.Observer
	point    func(string) error
}

// newRig has a store that makes every Update run twice.
func newRig(t testing.TB, spec string) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "lockplate-keymgr-") // thousands of syncs
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	st, err := store.OpenBolt(filepath.Join(dir, "store.db"), store.BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	if spec == "file" {
		spec = "file:" + filepath.Join(dir, "test.key")
	}
	return &rig{
		t: t, st: storetest.Retrying(st), dir: dir, cluster: uuid.NewString(), spec: spec,
		opts: keymgr.SealerOptions{StateDir: dir, CredentialsDir: dir, Create: true, KDF: fast, Passphrase: pass("correct horse")},
	}
}

func pass(p string) func(bool) ([]byte, error) {
	return func(bool) ([]byte, error) { return []byte(p), nil }
}

func (r *rig) sealer() keymgr.Sealer {
	r.t.Helper()
	s, err := keymgr.ParseSealer(r.spec, r.opts)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *rig) options() keymgr.Options {
	return keymgr.WithPoint(keymgr.Options{
		Cluster: r.cluster, Sealer: r.sealer(), KMIP: r.kmip, Hooks: r.hooks, Timing: r.timing, Observer: r.observer,
	}, r.point)
}

func (r *rig) create() *keymgr.Manager {
	r.t.Helper()
	if r.spec == "credential:cred" {
		if err := os.WriteFile(filepath.Join(r.dir, "cred"), []byte("a credential with enough bytes"), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	m, err := keymgr.Create(context.Background(), r.st, r.spec, r.options())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { m.Close() })
	return m
}

func (r *rig) open() (*keymgr.Manager, error) {
	m, err := keymgr.Open(context.Background(), r.st, r.options())
	if err == nil {
		r.t.Cleanup(func() { m.Close() })
	}
	return m, err
}

func (r *rig) mustOpen() *keymgr.Manager {
	r.t.Helper()
	m, err := r.open()
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

func secret(t testing.TB, b string) *keymgr.Secret {
	t.Helper()
	s, err := keymgr.NewSecret([]byte(b))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (r *rig) put(m *keymgr.Manager, volume, key string) {
	r.t.Helper()
	k := secret(r.t, key)
	defer k.Destroy()
	err := r.st.Update(context.Background(), func(tx store.Tx) error { return m.PutDataKey(tx, volume, k) })
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) key(m *keymgr.Manager, volume string) (string, error) {
	k, err := m.DataKey(context.Background(), volume)
	if err != nil {
		return "", err
	}
	defer k.Destroy()
	return string(k.Bytes()), nil
}

func TestDataKeysSurviveReopen(t *testing.T) {
	for _, spec := range []string{"file", "passphrase", "credential:cred"} {
		t.Run(spec, func(t *testing.T) {
			r := newRig(t, spec)
			m := r.create()
			keys := map[string]string{}
			for i := range 5 {
				v := uuid.NewString()
				keys[v] = string(make([]byte, 31+i*8)) + "k" // several lengths, up to 64
				r.put(m, v, keys[v])
			}
			id := m.Master().ID
			m.Close()
			m = r.mustOpen()
			if m.Master().ID != id {
				t.Errorf("master key %s, was %s", m.Master().ID, id)
			}
			for v, want := range keys {
				if got, err := r.key(m, v); got != want || err != nil {
					t.Errorf("key of %s: %d bytes, %v; want %d", v, len(got), err, len(want))
				}
			}
			wantClean(t, r)
		})
	}
}

func wantClean(t *testing.T, r *rig) {
	t.Helper()
	problems, err := keymgr.Check(t.Context(), r.st)
	if err != nil || len(problems) > 0 {
		t.Errorf("check: %v, %v", problems, err)
	}
}

func TestPutNeverOverwrites(t *testing.T) {
	r := newRig(t, "file")
	m := r.create()
	v := uuid.NewString()
	r.put(m, v, "first")
	k := secret(t, "second")
	err := r.st.Update(t.Context(), func(tx store.Tx) error { return m.PutDataKey(tx, v, k) })
	if !errors.Is(err, keymgr.ErrExists) {
		t.Errorf("second put: %v", err)
	}
	if got, err := r.key(m, v); got != "first" || err != nil {
		t.Errorf("key is %q, %v", got, err)
	}
}

func TestPutRefuses(t *testing.T) {
	r := newRig(t, "file")
	m := r.create()
	for name, c := range map[string]struct {
		volume string
		key    string
	}{"id": {"../etc", "k"}, "length": {uuid.NewString(), strings.Repeat("k", 65)}} {
		k := secret(t, c.key)
		err := r.st.Update(t.Context(), func(tx store.Tx) error { return m.PutDataKey(tx, c.volume, k) })
		if err == nil {
			t.Errorf("put with bad %s is accepted", name)
		}
	}
	if _, err := m.DataKey(t.Context(), "x"); err == nil {
		t.Error("data key of a bad id")
	}
	if err := r.st.Update(t.Context(), func(tx store.Tx) error { return m.DeleteDataKey(tx, "x") }); err == nil {
		t.Error("deleted a bad id")
	}
}

func TestCreateTwice(t *testing.T) {
	r := newRig(t, "file")
	m := r.create()
	_, err := keymgr.Create(t.Context(), r.st, r.spec, keymgr.Options{Cluster: r.cluster, Sealer: r.sealer()})
	if !errors.Is(err, keymgr.ErrExists) {
		t.Errorf("second create: %v", err)
	}
	if spec, err := keymgr.SealerSpec(t.Context(), r.st); spec != r.spec || err != nil {
		t.Errorf("sealer spec %q, %v; want %q", spec, err, r.spec)
	}
	m.Close()
	r.mustOpen()
}

func TestOpenBeforeCreate(t *testing.T) {
	r := newRig(t, "file")
	r.wantOpenError(keymgr.ErrNoMaster, "make the cluster first")
	if _, err := keymgr.SealerSpec(t.Context(), r.st); !errors.Is(err, keymgr.ErrNoMaster) {
		t.Errorf("sealer spec: %v", err)
	}
	if _, err := keymgr.Open(t.Context(), r.st, keymgr.Options{Cluster: r.cluster}); !errors.Is(err, keymgr.ErrSealerMissing) {
		t.Errorf("open without sealer: %v", err)
	}
	wantClean(t, r)
}

func TestClosedManagerRefuses(t *testing.T) {
	r := newRig(t, "file")
	m := r.create()
	v := uuid.NewString()
	r.put(m, v, "k")
	if err := errors.Join(m.Close(), m.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.DataKey(t.Context(), v); !errors.Is(err, keymgr.ErrClosed) {
		t.Errorf("data key: %v", err)
	}
	k := secret(t, "k")
	err := r.st.Update(t.Context(), func(tx store.Tx) error { return m.PutDataKey(tx, uuid.NewString(), k) })
	if !errors.Is(err, keymgr.ErrClosed) {
		t.Errorf("put: %v", err)
	}
}

// TestPagesMatchModel adds and deletes keys of about three pages at random; all
// of them must stay readable, in as few pages as there can be.
func TestPagesMatchModel(t *testing.T) {
	r := newRig(t, "file")
	m := r.create()
	rng := rand.New(rand.NewPCG(rand.Uint64(), 4))
	model := map[string]string{}
	var ids []string
	grow := true
	for step := range 60 {
		grow = grow && len(ids) < 350 || len(ids) < 20
		for range 20 {
			if grow || len(ids) == 0 {
				v := uuid.NewString()
				model[v] = strings.Repeat(v, 2)[:1+rng.IntN(64)]
				ids = append(ids, v)
				r.put(m, v, model[v])
				continue
			}
			i := rng.IntN(len(ids))
			v := ids[i]
			ids[i] = ids[len(ids)-1]
			ids = ids[:len(ids)-1]
			delete(model, v)
			if err := r.st.Update(t.Context(), func(tx store.Tx) error { return m.DeleteDataKey(tx, v) }); err != nil {
				t.Fatal(err)
			}
			if _, err := r.key(m, v); !errors.Is(err, keymgr.ErrNotFound) {
				t.Fatalf("deleted key: %v", err)
			}
		}
		if step%10 == 0 || len(ids) < 25 {
			r.wantKeys(m, model)
		}
	}
	m.Close()
	r.wantKeys(r.mustOpen(), model)
}

func (r *rig) wantKeys(m *keymgr.Manager, model map[string]string) {
	r.t.Helper()
	for v, want := range model {
		if got, err := r.key(m, v); got != want || err != nil {
			r.t.Fatalf("key of %s: %q, %v; want %q", v, got, err, want)
		}
	}
	var wrapped []string
	n := 0
	err := r.st.View(context.Background(), func(tx store.Tx) (err error) {
		wrapped, err = keymgr.Wrapped(tx)
		for range tx.Scan("wraps/") {
			n++
		}
		return err
	})
	if err != nil || len(wrapped) != len(model) || n != (len(model)+127)/128 {
		r.t.Fatalf("%d keys in %d pages, want %d; %v", len(wrapped), n, len(model), err)
	}
	p1, err1 := keymgr.Check(context.Background(), r.st)
	p2, err2 := m.Verify(context.Background())
	if len(p1)+len(p2) > 0 || err1 != nil || err2 != nil {
		r.t.Fatalf("check: %v, %v; verify: %v, %v", p1, err1, p2, err2)
	}
}

// TestEveryFlippedBitIsNoticed alters every byte of every record: a manager
// that opens gives the right keys or an error, never others, and what a
// manager refuses without a wrong key or passphrase, Check or Verify reports.
func TestEveryFlippedBitIsNoticed(t *testing.T) {
	r := newRig(t, "file")
	m := r.create()
	want := map[string]string{uuid.NewString(): "key one", uuid.NewString(): strings.Repeat("2", 64)}
	for v, k := range want {
		r.put(m, v, k)
	}
	m.Close()
	for key, val := range storetest.Dump(t, r.st) {
		for i := range val {
			bad := []byte(val)
			bad[i] ^= 1 << (i % 8)
			storetest.Put(t, r.st, key, string(bad))
			r.wantNoticed(fmt.Sprintf("%s byte %d", key, i), want)
		}
		storetest.Put(t, r.st, key, val)
	}
	r.wantKeys(r.mustOpen(), want)
}

func (r *rig) wantNoticed(what string, want map[string]string) {
	r.t.Helper()
	problems, err := keymgr.Check(context.Background(), r.st)
	if err != nil {
		r.t.Fatal(err)
	}
	m, err := r.open()
	if err != nil {
		return
	}
	defer m.Close()
	lost := false
	for v, k := range want {
		got, err := r.key(m, v)
		if err == nil && got != k {
			r.t.Fatalf("%s: wrong key without an error", what)
		}
		lost = lost || err != nil
	}
	found, err := m.Verify(context.Background())
	if lost && len(problems)+len(found) == 0 && err == nil {
		r.t.Errorf("%s: a key is lost, and no check says so", what)
	}
}

func TestCheckFindsEachFault(t *testing.T) {
	build := func() *rig {
		r := newRig(t, "file")
		m := r.create()
		for range 130 {
			r.put(m, uuid.NewString(), "k")
		}
		return r
	}
	find := func(r *rig, prefix string) (string, string) {
		for k, v := range storetest.Dump(t, r.st) {
			if strings.HasPrefix(k, prefix) {
				return k, v
			}
		}
		t.Fatalf("no %s", prefix)
		return "", ""
	}
	del := func(r *rig, key string) {
		if err := r.st.Update(t.Context(), func(tx store.Tx) error { return tx.Delete(key) }); err != nil {
			t.Fatal(err)
		}
	}
	other := uuid.NewString()
	for want, damage := range map[string]func(*rig){
		"no master key is current": func(r *rig) {
			k, v := find(r, "master/")
			storetest.Put(t, r.st, k, strings.Replace(v, `"current"`, `"retiring"`, 1))
		},
		"is current, and so is": func(r *rig) {
			k, v := find(r, "master/")
			storetest.Put(t, r.st, "master/"+other, strings.ReplaceAll(v, k[7:], other))
		},
		"its sealed key is missing":       func(r *rig) { k, _ := find(r, "sealed/"); del(r, k) },
		"sealed key without a master key": func(r *rig) { _, v := find(r, "sealed/"); storetest.Put(t, r.st, "sealed/"+other, v) },
		"sealer: record is missing":       func(r *rig) { del(r, "sealer") },
		"sealer: not a sealer":            func(r *rig) { storetest.Put(t, r.st, "sealer", `{"version":1,"spec":"x"}`) },
		"sealer: record has a version":    func(r *rig) { storetest.Put(t, r.st, "sealer", `{"version":2,"seal":"x"}`) },
		"page 0 is missing":               func(r *rig) { del(r, "wraps/00000000") },
		"not a page of keys":              func(r *rig) { storetest.Put(t, r.st, "wraps/00000001", "?") },
		"wraps/x: record":                 func(r *rig) { storetest.Put(t, r.st, "wraps/x", storetest.Dump(t, r.st)["wraps/00000001"]) },
		"has a key in wraps/00000000 too": func(r *rig) { r.mixPages() },
		"unknown state": func(r *rig) {
			k, v := find(r, "master/")
			storetest.Put(t, r.st, k, strings.Replace(v, `"current"`, `"x"`, 1))
		},
		"forgotten, and internal current": func(r *rig) {
			k, v := find(r, "master/")
			storetest.Put(t, r.st, k, strings.Replace(v, `{`, `{"forgotten":"2026-01-02T03:04:05Z",`, 1))
		},
		"(json: unknown field": func(r *rig) {
			k, v := find(r, "master/")
			storetest.Put(t, r.st, k, strings.Replace(v, `{`, `{"x":1,`, 1))
		},
		"which is not the current one":        func(r *rig) { r.patchPage(16, 1) },
		"generation 257, its master key has":  func(r *rig) { r.patchPage(38, 1) },
		"wraps/00000001: record has a versio": func(r *rig) { r.patchPage(4, 3) },
	} {
		r := build()
		damage(r)
		p, err := keymgr.Check(t.Context(), r.st)
		if err != nil || !strings.Contains(fmt.Sprint(p), want) {
			t.Errorf("check says %v, %v; want %q", p, err, want)
		}
	}
	wantClean(t, build())
}

func (r *rig) patchPage(at int, b byte) {
	v := []byte(storetest.Dump(r.t, r.st)["wraps/00000001"])
	v[at] ^= b
	storetest.Put(r.t, r.st, "wraps/00000001", string(v))
}

// mixPages copies a record of the first page over one of the second.
func (r *rig) mixPages() {
	d := storetest.Dump(r.t, r.st)
	v := []byte(d["wraps/00000001"])
	copy(v[40:172], d["wraps/00000000"][40:])
	storetest.Put(r.t, r.st, "wraps/00000001", string(v))
}
