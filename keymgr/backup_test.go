package keymgr

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/uuid"

	"lockplate/store"
	"lockplate/store/storetest"
)

var cheap = Argon2{Time: 1, Memory: 64, Threads: 1}

const backupPass = "tell nobody"

func newStore(t testing.TB) store.Store {
	t.Helper()
	st, err := store.OpenBolt(filepath.Join(t.TempDir(), "s.db"), store.BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return storetest.Retrying(st)
}

func backup(t testing.TB, st store.Store) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := sealBackup(context.Background(), &b, st, []byte(backupPass), cheap); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func restore(st store.Store, b []byte, pass string) error {
	return OpenBackup(context.Background(), bytes.NewReader(b), st, []byte(pass))
}

// TestBackupRestores covers an empty store, small ones, and plaintexts that end
// just before, at and after a chunk's end.
func TestBackupRestores(t *testing.T) {
	st := newStore(t)
	base, err := dump(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	overhead := len(base) + 6 + len("pad")
	for _, n := range []int{0, 1, backupChunk - overhead - 1, backupChunk - overhead, backupChunk - overhead + 1, 3*backupChunk - overhead} {
		if n > 0 {
			storetest.Put(t, st, "pad", strings.Repeat("p", n))
		}
		b := backup(t, st)
		to := newStore(t)
		if err := restore(to, b, backupPass); err != nil {
			t.Fatalf("pad of %d: %v", n, err)
		}
		if !maps.Equal(storetest.Dump(t, to), storetest.Dump(t, st)) {
			t.Errorf("pad of %d: restored store differs", n)
		}
		if n > 100 && bytes.Contains(b, []byte("ppppppppp")) {
			t.Error("backup shows what is in it")
		}
	}
}

func TestBackupErrors(t *testing.T) {
	st := newStore(t)
	storetest.Put(t, st, "a", "1", "big", strings.Repeat("b", 2*backupChunk))
	b := backup(t, st)
	to := newStore(t)
	refused := func(what string, b []byte, want ...error) {
		t.Helper()
		err := restore(to, b, backupPass)
		ok := false
		for _, w := range want {
			ok = ok || errors.Is(err, w)
		}
		if !ok {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	if err := restore(to, b, "wrong"); !errors.Is(err, ErrWrongPassphrase) {
		t.Errorf("wrong passphrase: %v", err)
	}
	if err := restore(to, b, ""); !errors.Is(err, ErrWrongPassphrase) {
		t.Errorf("no passphrase: %v", err)
	}
	refused("nothing", nil, ErrNotBackup)
	refused("something else", bytes.Repeat([]byte("text"), 100), ErrNotBackup)
	for n := len(b) - 1; n > 0; n -= 1 + n/40 {
		refused(fmt.Sprintf("cut to %d", n), b[:n], ErrTruncated, ErrNotBackup)
	}
	for i := 0; i <= 2; i++ { // exactly at the ends of chunks
		refused(fmt.Sprintf("%d chunks", i), b[:headerBytes+i*(backupChunk+tagBytes)], ErrTruncated)
	}
	refused("one byte more", append(bytes.Clone(b), 0), ErrIntegrity, ErrTruncated)
	chunk := backupChunk + tagBytes
	swapped := bytes.Clone(b)
	copy(swapped[headerBytes:], b[headerBytes+chunk:headerBytes+2*chunk])
	copy(swapped[headerBytes+chunk:], b[headerBytes:headerBytes+chunk])
	refused("chunks swapped", swapped, ErrIntegrity)
	for i := 0; i < len(b); i += 1 + i/30 {
		bad := bytes.Clone(b)
		bad[i] ^= 0x10
		refused(fmt.Sprintf("byte %d altered", i), bad, ErrIntegrity, ErrNotBackup, ErrFormat, ErrTruncated)
	}
	broken := io.MultiReader(bytes.NewReader(b[:5000]), iotest.ErrReader(io.ErrClosedPipe))
	if err := OpenBackup(t.Context(), broken, to, []byte(backupPass)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("failing reader: %v", err)
	}
	if got := storetest.Dump(t, to); len(got) > 0 {
		t.Errorf("refused backups left %v", got)
	}
	if err := restore(to, b, backupPass); err != nil {
		t.Fatalf("good backup: %v", err)
	}
	if err := restore(to, b, backupPass); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("second restore: %v", err)
	}
}

func TestBackupWipesPassphrase(t *testing.T) {
	st, p := newStore(t), []byte(backupPass)
	var b bytes.Buffer
	if err := SealBackup(t.Context(), &b, st, p); err != nil || !bytes.Equal(p, make([]byte, len(p))) {
		t.Errorf("%v; passphrase is left as %q", err, p)
	}
	p = []byte(backupPass)
	if err := OpenBackup(t.Context(), &b, newStore(t), p); err != nil || !bytes.Equal(p, make([]byte, len(p))) {
		t.Errorf("%v; passphrase is left as %q", err, p)
	}
	if err := SealBackup(t.Context(), &b, st, nil); !errors.Is(err, ErrWrongPassphrase) {
		t.Errorf("backup without passphrase: %v", err)
	}
	if err := SealBackup(t.Context(), &failing{n: 2}, st, []byte(backupPass)); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("failing writer: %v", err)
	}
}

// failing fails at the n-th write.
type failing struct{ n int }

func (f *failing) Write(b []byte) (int, error) {
	if f.n--; f.n <= 0 {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}

// TestBackupNeedsTheSealerToo restores on "another machine": with a copy of the
// key file all keys are there, without it the store is restored but locked.
func TestBackupNeedsTheSealerToo(t *testing.T) {
	dir, here, there := t.TempDir(), newStore(t), newStore(t)
	cluster, volume := uuid.NewString(), uuid.NewString()
	manager := func(st store.Store, how func(context.Context, store.Store, Options) (*Manager, error)) (*Manager, error) {
		s, err := ParseSealer("file:"+dir+"/k", SealerOptions{Create: true})
		if err != nil {
			t.Fatal(err)
		}
		return how(t.Context(), st, Options{Cluster: cluster, Sealer: s})
	}
	m, err := manager(here, func(ctx context.Context, st store.Store, o Options) (*Manager, error) {
		return Create(ctx, st, "file:"+dir+"/k", o)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	k, err := NewSecret([]byte("the data key"))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Destroy()
	if err := here.Update(t.Context(), func(tx store.Tx) error { return m.PutDataKey(tx, volume, k) }); err != nil {
		t.Fatal(err)
	}
	if err := restore(there, backup(t, here), backupPass); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+"/k", dir+"/away"); err != nil {
		t.Fatal(err)
	}
	if _, err := manager(there, Open); !errors.Is(err, ErrSealerMissing) {
		t.Errorf("without the key file: %v", err)
	}
	if err := os.Rename(dir+"/away", dir+"/k"); err != nil {
		t.Fatal(err)
	}
	m2, err := manager(there, Open)
	if err != nil {
		t.Fatal(err)
	}
	defer m2.Close()
	got, err := m2.DataKey(t.Context(), volume)
	if err != nil || !got.Equal(k) {
		t.Errorf("data key after restore: %v", err)
	}
}
