package keymgr_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"lockplate/keymgr"
	"lockplate/store"
	"lockplate/store/storetest"
)

// fast are Argon2 costs for tests.
var fast = keymgr.Argon2{Time: 1, Memory: 64, Threads: 1}

// rig is a store with all that a Manager needs.
type rig struct {
	t       testing.TB
	st      store.Store
	dir     string
	cluster string
	spec    string
	opts    keymgr.SealerOptions
}

// newRig has a store that makes every Update run twice.
func newRig(t testing.TB, spec string) *rig {
	t.Helper()
	dir := t.TempDir()
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

func (r *rig) create() *keymgr.Manager {
	r.t.Helper()
	if r.spec == "credential:cred" {
		if err := os.WriteFile(filepath.Join(r.dir, "cred"), []byte("a credential with enough bytes"), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	m, err := keymgr.Create(context.Background(), r.st, r.spec, keymgr.Options{Cluster: r.cluster, Sealer: r.sealer()})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { m.Close() })
	return m
}

func (r *rig) open() (*keymgr.Manager, error) {
	m, err := keymgr.Open(context.Background(), r.st, keymgr.Options{Cluster: r.cluster, Sealer: r.sealer()})
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
