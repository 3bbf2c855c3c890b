package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"lockplate/store"
	"lockplate/store/storetest"
)

// childEnv makes the test binary write to the store at its value until killed.
const childEnv = "LOCKPLATE_STORE_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		fmt.Println(child(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// child writes the same number to two records, over and over, and prints it
// once it is durable.
func child(path string) error {
	st, err := store.OpenBolt(path, store.BoltOptions{})
	if err != nil {
		return err
	}
	for n := 1; ; n++ {
		v := []byte(strings.Repeat(fmt.Sprintf("%08d", n), 1000))
		err := st.Update(context.Background(), func(tx store.Tx) error {
			return errors.Join(tx.Put("a", v), tx.Put("b", v[:8]), tx.Put(fmt.Sprintf("c/%d", n%7), v), tx.Delete(fmt.Sprintf("c/%d", (n+3)%7)))
		})
		if err != nil {
			return err
		}
		fmt.Println(n)
	}
}

func startChild(t *testing.T, path string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd, bufio.NewScanner(out)
}

func TestKilledWriterLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	for round := range 20 {
		cmd, lines := startChild(t, path)
		acked := ""
		for range 3 + round*5%17 {
			if !lines.Scan() {
				t.Fatal("child ended")
			}
			acked = lines.Text()
		}
		cmd.Process.Kill()
		for lines.Scan() && !strings.Contains(lines.Text(), "store") {
			acked = lines.Text()
		}
		cmd.Wait()
		st := openBolt(t, path)
		got := storetest.Dump(t, st)
		if got["b"] < fmt.Sprintf("%08s", acked) || got["a"] != strings.Repeat(got["b"], 1000) {
			t.Fatalf("round %d: acknowledged %s, store has %s and %.8s", round, acked, got["b"], got["a"])
		}
		st.Close()
		wantSound(t, path)
	}
}

func wantSound(t *testing.T, path string) {
	t.Helper()
	if p, err := store.Check(path); err != nil || len(p) > 0 {
		t.Errorf("check %s: %v, %v", path, p, err)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	_, lines := startChild(t, path)
	if !lines.Scan() {
		t.Fatal("child ended")
	}
	_, err := store.OpenBolt(path, store.BoltOptions{})
	wantErr(t, err, store.ErrLocked, "stop the other lockplate")
	_, err = store.OpenBolt(path, store.BoltOptions{ReadOnly: true})
	wantErr(t, err, store.ErrLocked, path)
	_, err = store.Check(path)
	wantErr(t, err, store.ErrLocked, path)
}

func wantErr(t *testing.T, err, want error, text string) {
	t.Helper()
	if !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v; want %q, naming %q", err, want, text)
	}
}

// tmpfs mounts a small file system, if the test may.
func tmpfs(t *testing.T, opts string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, opts); err != nil {
		if os.Getenv("LOCKPLATE_REQUIRE_ALL") == "1" {
			t.Fatal(err)
		}
		t.Skipf("needs to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func TestFullDiskLosesNothing(t *testing.T) {
	path := filepath.Join(tmpfs(t, "size=1m"), "s.db")
	st := openBolt(t, path)
	storetest.Put(t, st, "first", "kept")
	var err error
	n := 0
	for ; err == nil; n++ {
		err = st.Update(t.Context(), func(tx store.Tx) error { return tx.Put(fmt.Sprintf("fill/%03d", n), make([]byte, 20000)) })
	}
	wantErr(t, err, store.ErrNoSpace, "free some space")
	if got := storetest.Dump(t, st); got["first"] != "kept" || len(got) != n {
		t.Fatalf("%d records, want %d; first is %q", len(got), n, got["first"])
	}
	if err := unix.Mount("tmpfs", filepath.Dir(path), "tmpfs", unix.MS_REMOUNT, "size=4m"); err != nil {
		t.Fatal(err)
	}
	storetest.Put(t, st, "last", "works again")
	st.Close()
	wantSound(t, path)
	if got := storetest.Dump(t, openBolt(t, path)); got["last"] != "works again" || len(got) != n+1 {
		t.Errorf("reopened: %d records", len(got))
	}
}

func TestNoSpaceToMakeStore(t *testing.T) {
	dir := tmpfs(t, "size=64k")
	if err := os.WriteFile(filepath.Join(dir, "filler"), make([]byte, 60<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s.db")
	_, err := store.OpenBolt(path, store.BoltOptions{})
	wantErr(t, err, store.ErrNoSpace, path)
	if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
		t.Fatal(err)
	}
	openBolt(t, path)
}

func TestReadOnlyFileSystem(t *testing.T) {
	dir := tmpfs(t, "size=1m")
	path := filepath.Join(dir, "s.db")
	openBolt(t, path).Close()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, filepath.Join(dir, "other.db")} {
		_, err := store.OpenBolt(p, store.BoltOptions{})
		wantErr(t, err, store.ErrReadOnly, p)
	}
	wantSound(t, path)
}

func TestReadOnlyOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	if _, err := store.OpenBolt(path, store.BoltOptions{ReadOnly: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing store: %v", err)
	}
	st := openBolt(t, path)
	storetest.Put(t, st, "k", "v")
	st.Close()
	for range 2 { // readers share it
		st, err := store.OpenBolt(path, store.BoltOptions{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		if got := storetest.Dump(t, st); got["k"] != "v" {
			t.Errorf("read-only store has %v", got)
		}
		err = st.Update(t.Context(), func(tx store.Tx) error { return tx.Put("k", nil) })
		if !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("update: %v", err)
		}
	}
}

func TestForeignFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	other := filepath.Join(dir, "other-bolt")
	db, err := bolt.Open(other, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	newer := filepath.Join(dir, "newer")
	st := openBolt(t, newer)
	storetest.Put(t, st, store.KeyFormat, "lockplate-store-2")
	st.Close()
	for path, want := range map[string]error{
		write("empty", nil):                    store.ErrCorrupt,
		write("text", []byte("hello")):         store.ErrCorrupt,
		write("zeroes", make([]byte, 128<<10)): store.ErrCorrupt,
		other:                                  store.ErrFormat,
		newer:                                  store.ErrFormat,
	} {
		_, err := store.OpenBolt(path, store.BoltOptions{})
		wantErr(t, err, want, path)
		if p, err := store.Check(path); err != nil || len(p) == 0 {
			t.Errorf("check %s: %v, %v, want a problem", path, p, err)
		}
	}
	if _, err := store.OpenBolt(dir, store.BoltOptions{}); err == nil {
		t.Error("a directory opened as a store")
	}
	if _, err := store.Check(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("check of nothing: %v", err)
	}
}

// TestFileCutShortWhileOpen would end the process if the fault were not caught.
func TestFileCutShortWhileOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	st := openBolt(t, path)
	storetest.Put(t, st, "k", strings.Repeat("v", 100000))
	if err := os.Truncate(path, 8192); err != nil {
		t.Fatal(err)
	}
	read := func(tx store.Tx) error { _, err := tx.Get("k"); return err }
	wantErr(t, st.View(t.Context(), read), store.ErrIO, "disk")
	wantErr(t, st.Update(t.Context(), read), store.ErrIO, "disk")
	st.Close()
	_, err := store.OpenBolt(path, store.BoltOptions{})
	wantErr(t, err, store.ErrCorrupt, "restore the last backup")
}
