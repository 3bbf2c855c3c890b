package keymgr_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"lockplate/keymgr"
	"lockplate/keymgr/keymgrtest"
	"lockplate/keymgr/kmip"
	"lockplate/keymgr/kmiptest"
	"lockplate/store/storetest"
)

func TestInternalSource(t *testing.T) {
	for _, spec := range []string{"file", "passphrase"} {
		t.Run(spec, func(t *testing.T) {
			keymgrtest.TestSource(t, func(t *testing.T) func() keymgr.KeySource {
				r := newRig(t, spec)
				return func() keymgr.KeySource { return r.source() }
			})
		})
	}
}

// TestProviderSource runs the suite with three key servers that share no code.
func TestProviderSource(t *testing.T) {
	suite := func(t *testing.T, c kmip.Config) {
		keymgrtest.TestSource(t, func(*testing.T) func() keymgr.KeySource {
			return func() keymgr.KeySource {
				client, err := kmip.New(c)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { client.Close() })
				return &keymgr.ProviderSource{Client: client, Group: "lockplate/test"}
			}
		})
	}
	t.Run("fake", func(t *testing.T) {
		k := newKMS(t, 1)
		suite(t, kmip.Config{Addresses: []string{k.servers[0].Address}, CACertificates: k.ca.PEM(), Certificate: k.raw(t)})
	})
	t.Run("ovh", func(t *testing.T) {
		ca := kmiptest.NewCA(t, "test")
		cert := ca.Client("lockplate", time.Now().AddDate(1, 0, 0))
		suite(t, kmip.Config{
			Addresses: []string{kmiptest.StartOVH(t, ca).Address}, CACertificates: ca.PEM(),
			Certificate: func() (*tls.Certificate, error) { return cert, nil },
		})
	})
	t.Run("PyKMIP", func(t *testing.T) {
		p := kmiptest.StartPyKMIP(t)
		suite(t, kmip.Config{Addresses: []string{p.Address}, CACertificates: p.CA(), Certificate: p.Certificate})
	})
}

func (r *rig) source() *keymgr.InternalSource {
	return &keymgr.InternalSource{Store: r.st, Sealer: r.sealer(), Cluster: r.cluster, Rand: rand.Reader}
}

func TestInternalSourceForgetsRetiredKeys(t *testing.T) {
	r := newRig(t, "file")
	s := r.source()
	empty := storetest.Dump(t, r.st)
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	ref, err := s.Create(t.Context(), keymgr.Spec{ID: uuid.NewString()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context(), keymgr.Spec{ID: ref.ID}); !errors.Is(err, keymgr.ErrExists) {
		t.Errorf("second key with one id: %v", err)
	}
	if err := s.Retire(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Fetch(t.Context(), ref); !errors.Is(err, keymgr.ErrNotFound) {
		t.Errorf("fetch of a retired key: %v", err)
	}
	if got := storetest.Dump(t, r.st); len(got) != len(empty) {
		t.Errorf("store keeps %v", got)
	}
}

func TestParseSealer(t *testing.T) {
	for _, bad := range []string{
		"", "file", "file:", "file:relative/path", "passphrase:", "passphrase:x", "credential", "credential:",
		"credential:..", "credential:a/b", "credential:../x", "tpm", "/path", "File:/x",
	} {
		if _, err := keymgr.ParseSealer(bad, keymgr.SealerOptions{}); !errors.Is(err, keymgr.ErrBadSealer) {
			t.Errorf("%q: %v, want ErrBadSealer", bad, err)
		}
	}
	for spec, kind := range map[string]string{"file:/x/y": "file", "passphrase": "passphrase", "credential:a.b-c_1": "credential"} {
		s, err := keymgr.ParseSealer(spec, keymgr.SealerOptions{})
		if err != nil || s.Kind() != kind {
			t.Errorf("%q: %v, %v", spec, s, err)
		}
	}
}

// wantOpenError opens and wants an error that says text.
func (r *rig) wantOpenError(want error, text string) {
	r.t.Helper()
	m, err := r.open()
	if err == nil {
		m.Close()
	}
	if !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
		r.t.Errorf("open: %v; want %q, naming %q", err, want, text)
	}
}

func TestWrongPassphrase(t *testing.T) {
	r := newRig(t, "passphrase")
	r.create().Close()
	r.opts.Passphrase = pass("wrong")
	r.wantOpenError(keymgr.ErrWrongPassphrase, "passphrase")
	r.opts.Passphrase = pass("")
	r.wantOpenError(keymgr.ErrWrongPassphrase, "0 bytes")
	boom := errors.New("no terminal")
	r.opts.Passphrase = func(bool) ([]byte, error) { return nil, boom }
	r.wantOpenError(boom, "ask")
	r.opts.Passphrase = nil
	r.wantOpenError(keymgr.ErrSealerMissing, "file descriptor")
	r.opts.Passphrase = pass("correct horse")
	r.mustOpen()
}

func TestWrongPassphraseIsAskedAgain(t *testing.T) {
	r := newRig(t, "passphrase")
	r.create().Close()
	asked := 0
	r.opts.Passphrase = func(bool) ([]byte, error) {
		asked++
		return []byte([]string{"wrong", "correct horse", "never"}[asked-1]), nil
	}
	src := r.source()
	var id string
	for k := range storetest.Dump(t, r.st) {
		if after, ok := strings.CutPrefix(k, "sealed/"); ok {
			id = after
		}
	}
	if _, err := src.Fetch(t.Context(), keymgr.Ref{ID: id}); !errors.Is(err, keymgr.ErrWrongPassphrase) {
		t.Fatalf("first: %v", err)
	}
	k, err := src.Fetch(t.Context(), keymgr.Ref{ID: id})
	if err != nil {
		t.Fatal(err)
	}
	k.Destroy()
	if err := src.Check(t.Context()); err != nil || asked != 2 {
		t.Errorf("sealing another key: %v, asked %d times", err, asked)
	}
	src.Sealer.Close()
}

func TestPassphraseIsConfirmedAndWiped(t *testing.T) {
	r := newRig(t, "passphrase")
	given, confirms := []byte("correct horse"), []bool{}
	r.opts.Passphrase = func(confirm bool) ([]byte, error) {
		confirms = append(confirms, confirm)
		return given, nil
	}
	r.create().Close()
	if !bytes.Equal(given, make([]byte, len(given))) {
		t.Errorf("passphrase is left as %q", given)
	}
	given = []byte("correct horse")
	r.mustOpen()
	if len(confirms) != 2 || !confirms[0] || confirms[1] {
		t.Errorf("asked with confirm = %v, want once with and once without", confirms)
	}
}

func TestKeyFileErrors(t *testing.T) {
	r := newRig(t, "file")
	path := filepath.Join(r.dir, "test.key")
	r.create().Close()
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o600 || len(good) != 32 {
		t.Errorf("key file: %v, %v, %d bytes", fi.Mode(), err, len(good))
	}
	write := func(b []byte, mode os.FileMode) {
		if err := errors.Join(os.WriteFile(path, b, 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	write(bytes.Repeat([]byte{1}, 32), 0o600)
	r.wantOpenError(keymgr.ErrWrongKey, path)
	write(good[:31], 0o600)
	r.wantOpenError(keymgr.ErrWrongKey, "31")
	write(make([]byte, 32), 0o600)
	r.wantOpenError(keymgr.ErrWrongKey, "zero")
	write(good, 0o640)
	r.wantOpenError(keymgr.ErrPermissions, "chmod 600")
	write(good, 0o604)
	r.wantOpenError(keymgr.ErrPermissions, "0604")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r.wantOpenError(keymgr.ErrSealerMissing, "attach the medium")
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error("opening made a key file")
	}
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	r.wantOpenError(keymgr.ErrWrongKey, path)
	os.Remove(path)
	write(good, 0o400)
	r.mustOpen()
}

func TestKeyFileIsMadeOnlyOnRequest(t *testing.T) {
	r := newRig(t, "file")
	r.opts.Create = false
	_, err := keymgr.Create(t.Context(), r.st, r.spec, keymgr.Options{Cluster: r.cluster, Sealer: r.sealer()})
	if !errors.Is(err, keymgr.ErrSealerMissing) {
		t.Errorf("create: %v", err)
	}
	if got := storetest.Dump(t, r.st); len(got) > 0 {
		t.Errorf("failed create leaves %v", got)
	}
	path := filepath.Join(r.dir, "test.key")
	if err := os.WriteFile(path, bytes.Repeat([]byte{9}, 32), 0o600); err != nil {
		t.Fatal(err)
	}
	r.opts.Create = true
	r.create()
	if b, _ := os.ReadFile(path); !bytes.Equal(b, bytes.Repeat([]byte{9}, 32)) {
		t.Error("an existing key file was overwritten")
	}
}

func TestCredentialErrors(t *testing.T) {
	r := newRig(t, "credential:cred")
	r.create().Close()
	path := filepath.Join(r.dir, "cred")
	write := func(s string) {
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("another one, long enough")
	r.wantOpenError(keymgr.ErrWrongKey, "cred")
	write("short")
	r.wantOpenError(keymgr.ErrWrongKey, "at least 16")
	write(strings.Repeat("long", 2000))
	r.wantOpenError(keymgr.ErrTooLarge, "4096")
	os.Remove(path)
	r.wantOpenError(keymgr.ErrSealerMissing, "LoadCredentialEncrypted=cred")
	r.opts.CredentialsDir = ""
	r.wantOpenError(keymgr.ErrSealerMissing, "CREDENTIALS_DIRECTORY")
}

func TestSealerOfAnotherKind(t *testing.T) {
	r := newRig(t, "passphrase")
	r.create().Close()
	r.spec = "file:" + filepath.Join(r.dir, "k")
	if err := os.WriteFile(filepath.Join(r.dir, "k"), bytes.Repeat([]byte{9}, 32), 0o600); err != nil {
		t.Fatal(err)
	}
	r.wantOpenError(keymgr.ErrWrongKey, "sealed with a passphrase")
}

func TestProtects(t *testing.T) {
	shm, err := os.MkdirTemp("/dev/shm", "lockplate-key-")
	if err != nil {
		t.Skipf("needs /dev/shm: %v", err)
	}
	defer os.RemoveAll(shm)
	dir := t.TempDir()
	for _, c := range []struct {
		spec, state string
		want        bool
	}{
		{"file:" + dir + "/sub/dir/key", dir, false},
		{"file:" + dir + "/../key", dir, false},
		{"file:" + shm + "/key", dir, true},
		{"file:" + shm + "/not/there/yet", filepath.Join(dir, "nor", "this"), true},
		{"passphrase", dir, true},
		{"credential:c", dir, true},
		{"credential:c", shm, false},
	} {
		s, err := keymgr.ParseSealer(c.spec, keymgr.SealerOptions{StateDir: c.state, CredentialsDir: shm})
		if err != nil {
			t.Fatal(err)
		}
		ok, why := s.Protects()
		if ok != c.want || (why == "") != ok {
			t.Errorf("%s with state in %s: protects %v (%s), want %v", c.spec, c.state, ok, why, c.want)
		}
	}
	m := newRig(t, "file").create()
	if k := m.Master(); k.Sealed || k.Warning == "" || k.Sealer != "file" || k.Type != keymgr.Internal || k.Created.IsZero() {
		t.Errorf("master key beside its seal is described as %+v", k)
	}
}

// TestSealedKeyResistsTampering flips every bit of a sealed key: never a key,
// and never an error that sends the user looking for another passphrase.
func TestSealedKeyResistsTampering(t *testing.T) {
	r := newRig(t, "passphrase")
	s := r.sealer()
	k := secret(t, strings.Repeat("k", 32))
	blob, err := s.Seal(context.Background(), k, []byte("bind"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(blob) * 8 {
		b := bytes.Clone(blob)
		b[i/8] ^= 1 << (i % 8)
		if _, err := s.Unseal(t.Context(), b, []byte("bind")); !errors.Is(err, keymgr.ErrIntegrity) && !errors.Is(err, keymgr.ErrFormat) {
			t.Errorf("bit %d flipped: %v", i, err)
		}
	}
	for n := range blob {
		if _, err := s.Unseal(t.Context(), blob[:n], []byte("bind")); !errors.Is(err, keymgr.ErrIntegrity) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	if _, err := s.Unseal(t.Context(), blob, []byte("elsewhere")); !errors.Is(err, keymgr.ErrIntegrity) {
		t.Errorf("bound to something else: %v", err)
	}
	back, err := s.Unseal(t.Context(), blob, []byte("bind"))
	if err != nil || !back.Equal(k) {
		t.Errorf("untouched: %v", err)
	}
}

func TestOtherClusterCannotOpen(t *testing.T) {
	r := newRig(t, "file")
	r.create().Close()
	r.cluster = uuid.NewString()
	r.wantOpenError(keymgr.ErrIntegrity, "another cluster")
	r.cluster = "no uuid"
	if _, err := r.open(); err == nil {
		t.Error("opened with a bad cluster id")
	}
}
