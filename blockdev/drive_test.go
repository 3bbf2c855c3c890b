package blockdev_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"lockplate/blockdev"
)

func openDrive(t *testing.T, uri string, o blockdev.DriveOptions) blockdev.Drive {
	t.Helper()
	d, err := blockdev.OpenDrive(t.Context(), uri, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// driveURIs gives one new drive of each kind that needs no privileges.
func driveURIs(t *testing.T) []string {
	dir := t.TempDir()
	return []string{"dir:" + dir, "file:" + filepath.Join(dir, "single"), "mem:8M"}
}

func TestDriveKeepsWhatWasWritten(t *testing.T) {
	for _, uri := range driveURIs(t) {
		t.Run(uri[:4], func(t *testing.T) {
			ctx := context.Background()
			d := openDrive(t, uri, blockdev.DriveOptions{})
			if names, err := d.Images(ctx); err != nil || len(names) != 0 {
				t.Fatalf("new drive has images %v, %v", names, err)
			}
			dev, err := d.Create(ctx, "a", 8<<20)
			if err != nil {
				t.Fatal(err)
			}
			want := bytes.Repeat([]byte("lockplate"), 1000)
			if err := dev.WriteAt(ctx, bytes.Clone(want), 12345, blockdev.FUA); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Open(ctx, "a", false); !errors.Is(err, blockdev.ErrBusy) {
				t.Errorf("second opener got %v, want ErrBusy", err)
			}
			if err := d.Remove(ctx, "a"); !errors.Is(err, blockdev.ErrBusy) {
				t.Errorf("remove of an open image got %v, want ErrBusy", err)
			}
			if err := dev.Close(); err != nil {
				t.Fatal(err)
			}
			dev, err = d.Open(ctx, "a", true)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(want))
			if err := dev.ReadAt(ctx, got, 12345); err != nil || !bytes.Equal(got, want) {
				t.Errorf("read back differs, %v", err)
			}
			if err := dev.WriteAt(ctx, got, 0, 0); !errors.Is(err, blockdev.ErrReadOnly) {
				t.Errorf("write to a read-only image got %v", err)
			}
			dev.Close()
			if _, err := d.Create(ctx, "a", 8<<20); !errors.Is(err, blockdev.ErrExist) {
				t.Errorf("second create got %v, want ErrExist", err)
			}
			if err := d.Remove(ctx, "a"); err != nil {
				t.Fatal(err)
			}
			if names, err := d.Images(ctx); err != nil || len(names) != 0 {
				t.Errorf("images after remove: %v, %v", names, err)
			}
		})
	}
}

func TestBadAddresses(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for uri, want := range map[string]error{
		"":                       blockdev.ErrURI,
		"/dev/sda":               blockdev.ErrURI,
		"dir:":                   blockdev.ErrURI,
		"floppy:a":               blockdev.ErrURI,
		"mem:much":               blockdev.ErrURI,
		"mem:-1":                 blockdev.ErrURI,
		"mem:0":                  blockdev.ErrURI,
		"dir:" + plain:           blockdev.ErrURI,
		"file:" + dir:            nil, // EISDIR or ErrURI
		"disk:" + plain:          blockdev.ErrURI,
		"disk:/dev/null":         blockdev.ErrURI,
		"file:/dev/null":         blockdev.ErrURI,
		"dir:" + dir + "/none":   blockdev.ErrNotExist,
		"disk:" + dir + "/none":  blockdev.ErrNotExist,
		"file:" + dir + "/no/ne": blockdev.ErrNotExist,
	} {
		_, err := blockdev.OpenDrive(t.Context(), uri, blockdev.DriveOptions{})
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("OpenDrive(%q): %v, want %v", uri, err, want)
		}
	}
}

func TestBadImageNames(t *testing.T) {
	d, ctx := openDrive(t, "dir:"+t.TempDir(), blockdev.DriveOptions{}), t.Context()
	for _, name := range []string{"", ".", "..", ".a", "-a", "a/b", "../a", "a b", "a\x00", "ä", strings.Repeat("a", 201)} {
		_, create := d.Create(ctx, name, 4096)
		_, open := d.Open(ctx, name, true)
		for what, err := range map[string]error{"create": create, "open": open, "remove": d.Remove(ctx, name)} {
			if !errors.Is(err, blockdev.ErrName) {
				t.Errorf("%s %q: %v", what, name, err)
			}
		}
		if p := d.Path(name); p != "" {
			t.Errorf("path of %q is %s", name, p)
		}
	}
	createImage(t, d, strings.Repeat("a", 200), 4096)
}

func TestDirDriveMakesItsDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "drive")
	d := openDrive(t, "dir:"+dir, blockdev.DriveOptions{Create: true})
	st, err := os.Stat(dir)
	if err != nil || st.Mode().Perm() != 0o700 {
		t.Fatalf("directory: %v, %v", st, err)
	}
	createImage(t, d, "a", 4096)
	if st, err := os.Stat(d.Path("a")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("image: %v, %v", st.Mode(), err)
	}
	if i, err := d.Info(t.Context()); err != nil || i.Kind != "dir" || i.Single || i.Sector != 4096 || i.Free <= 0 || i.Capacity < i.Free {
		t.Errorf("info %+v, %v", i, err)
	}
}

func TestReadOnlyDrive(t *testing.T) {
	for _, uri := range driveURIs(t) {
		if uri[:3] == "mem" {
			continue // nothing to read on new memory
		}
		ctx := t.Context()
		createImage(t, openDrive(t, uri, blockdev.DriveOptions{}), "a", 1<<20).Close()
		d := openDrive(t, uri, blockdev.DriveOptions{ReadOnly: true})
		_, create := d.Create(ctx, "b", 4096)
		_, open := d.Open(ctx, "a", false)
		for what, err := range map[string]error{"create": create, "open": open, "remove": d.Remove(ctx, "a")} {
			if !errors.Is(err, blockdev.ErrReadOnly) {
				t.Errorf("%s: %s: %v", uri, what, err)
			}
		}
		dev, err := d.Open(ctx, "a", true)
		if err != nil {
			t.Fatal(err)
		}
		dev.Close()
	}
}

func TestReadOnlyFileSystem(t *testing.T) {
	dir := mount(t, "-t", "tmpfs", "-o", "size=4M", "tmpfs")
	ctx := t.Context()
	d := openDrive(t, "dir:"+dir, blockdev.DriveOptions{})
	createImage(t, d, "a", 1<<20).Close()
	run(t, "mount", "-o", "remount,ro", dir)
	_, create := d.Create(ctx, "b", 4096)
	_, open := d.Open(ctx, "a", false)
	for what, err := range map[string]error{"create": create, "open": open, "remove": d.Remove(ctx, "a")} {
		if !errors.Is(err, blockdev.ErrReadOnly) || !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s on a read-only file system: %v", what, err)
		}
	}
	if i, err := d.Info(ctx); err != nil || !i.ReadOnly {
		t.Errorf("info %+v, %v", i, err)
	}
	dev, err := d.Open(ctx, "a", true)
	if err != nil {
		t.Fatal(err)
	}
	dev.Close()
}

func TestClosedDrive(t *testing.T) {
	for _, uri := range driveURIs(t) {
		ctx := t.Context()
		d, err := blockdev.OpenDrive(ctx, uri, blockdev.DriveOptions{})
		if err != nil {
			t.Fatal(err)
		}
		dev := createImage(t, d, "a", 1<<20)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		_, info := d.Info(ctx)
		_, images := d.Images(ctx)
		_, create := d.Create(ctx, "b", 4096)
		_, open := d.Open(ctx, "a", true)
		for what, err := range map[string]error{
			"info": info, "images": images, "create": create, "open": open,
			"remove": d.Remove(ctx, "a"), "close": d.Close(),
		} {
			if !errors.Is(err, blockdev.ErrClosed) {
				t.Errorf("%s: %s after close: %v", uri, what, err)
			}
		}
		if err := dev.WriteAt(ctx, []byte("still open"), 0, blockdev.FUA); err != nil {
			t.Errorf("%s: an open device must outlive its drive: %v", uri, err)
		}
	}
}

func TestMemDriveKeepsOneWriterOrManyReaders(t *testing.T) {
	d, ctx := openDrive(t, "mem:1M", blockdev.DriveOptions{}), t.Context()
	a, b := openImage(t, d, true), openImage(t, d, true)
	if _, err := d.Open(ctx, "", false); !errors.Is(err, blockdev.ErrBusy) {
		t.Errorf("writer beside readers: %v", err)
	}
	a.Close()
	a.Close() // counts once
	if _, err := d.Open(ctx, "", false); !errors.Is(err, blockdev.ErrBusy) {
		t.Errorf("writer beside a reader: %v", err)
	}
	b.Close()
	openImage(t, d, false)
	if d.URI() != "mem:1048576" {
		t.Errorf("URI %s", d.URI())
	}
}

func TestCloneIsIndependent(t *testing.T) {
	ctx := t.Context()
	m := blockdev.NewMem(1 << 20)
	if err := m.WriteAt(ctx, []byte{1}, 70000, 0); err != nil {
		t.Fatal(err)
	}
	c := m.Clone()
	if err := errors.Join(m.WriteAt(ctx, []byte{2}, 70000, 0), c.WriteAt(ctx, []byte{3}, 70001, 0), m.Close()); err != nil {
		t.Fatal(err)
	}
	again := m.Clone() // a closed device, as if reopened
	for _, x := range []struct {
		d    blockdev.Device
		want string
	}{{c, "\x01\x03"}, {again, "\x02\x00"}} {
		p := make([]byte, 2)
		if err := x.d.ReadAt(ctx, p, 70000); err != nil || string(p) != x.want {
			t.Errorf("read %q, %v, want %q", p, err, x.want)
		}
	}
}
