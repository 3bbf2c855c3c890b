package e2e

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// serveAgain runs a second daemon to its end and gives how it ended.
func (g *gateway) serveAgain(args ...string) result {
	g.t.Helper()
	return try(g.t, os.Getenv(envBinary), append([]string{"serve", "--state", g.state, "--api", "none", "--metrics", "none"}, args...)...)
}

// known is a volume with known data in it.
func known(t *testing.T, g *gateway, name string, size int64) []byte {
	t.Helper()
	data := randomBytes(size)
	c := g.dial(name)
	for off := int64(0); off < size; off += 1 << 20 {
		must(t, c.writeAt(data[off:min(off+1<<20, size)], off))
	}
	must(t, c.flush())
	c.close()
	return data
}

// expectData wants the volume to begin with want.
func expectData(t *testing.T, g *gateway, name string, want []byte) {
	t.Helper()
	c := g.dial(name)
	defer c.close()
	got, err := c.readAll()
	must(t, err)
	if len(got) < len(want) || !bytes.Equal(got[:len(want)], want) {
		t.Errorf("volume %s holds other data than was written", name)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	g := newGateway(t)
	g.volume("vol", "4MiB")
	data := known(t, g, "vol", 4<<20)
	r := g.serveAgain("--nbd", "unix:"+filepath.Join(g.dir, "second.sock"))
	expectRefusal(t, r, exitBusy)
	if !strings.Contains(r.err, g.state) {
		t.Errorf("the message does not name the state directory: %v", r)
	}
	expectData(t, g, "vol", data)
}

func TestPortInUse(t *testing.T) {
	g := newGateway(t)
	g.volume("vol", "4MiB")
	data := known(t, g, "vol", 4<<20)
	g.stop()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	r := g.serveAgain("--nbd", "tcp:"+l.Addr().String())
	expectRefusal(t, r, exitBusy)
	if !strings.Contains(r.err, l.Addr().String()) {
		t.Errorf("the message does not name the address: %v", r)
	}
	g.start()
	expectData(t, g, "vol", data)
}

// An existing file that is no socket must not be removed for a socket's sake.
func TestSocketPathTakenByAFile(t *testing.T) {
	g := newGateway(t)
	g.stop()
	file := g.file("precious", "do not delete")
	r := g.serveAgain("--nbd", "unix:"+file)
	if r.code == 0 {
		t.Errorf("serve took the place of a file: %v", r)
	}
	sameFile(t, file, []byte("do not delete"))
}

func TestWrongOrMissingSealKey(t *testing.T) {
	g := newGateway(t)
	g.volume("vol", "4MiB")
	data := known(t, g, "vol", 4<<20)
	g.stop()
	right, err := os.ReadFile(g.sealFile())
	must(t, err)
	other := newCluster(t)
	foreign, err := os.ReadFile(other.sealFile())
	must(t, err)
	for _, tt := range []struct {
		name  string
		spoil func() error
	}{
		{"of another cluster", func() error { return os.WriteFile(g.sealFile(), foreign, 0o600) }},
		{"cut short", func() error { return os.WriteFile(g.sealFile(), right[:5], 0o600) }},
		{"missing", func() error { return os.Remove(g.sealFile()) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			must(t, tt.spoil())
			r := g.serveAgain("--nbd", "unix:"+g.sock)
			expectRefusal(t, r, exitLocked)
			if !strings.Contains(r.err, g.sealFile()) {
				t.Errorf("the message does not name the key file: %v", r)
			}
		})
	}
	must(t, os.WriteFile(g.sealFile(), right, 0o600))
	g.start()
	expectData(t, g, "vol", data)
}

func TestWrongSealPassphrase(t *testing.T) {
	g := newCluster(t)
	must(t, os.RemoveAll(g.state))
	right, wrong := g.file("right", "the right words"), g.file("wrong", "other words")
	g.cli("init", "--seal", "passphrase", "--passphrase-file", right)
	g.extra = []string{"--passphrase-file", right}
	g.start()
	g.cli("drive", "add", "dir:"+g.drive)
	g.volume("vol", "4MiB")
	data := known(t, g, "vol", 4<<20)
	g.stop()
	expectRefusal(t, g.serveAgain("--nbd", "unix:"+g.sock, "--passphrase-file", wrong), exitDenied)
	g.start()
	expectData(t, g, "vol", data)
}

// The state directory is lost; a backup, the seal key and the images bring
// everything back.
func TestRestoreAfterTheStateIsLost(t *testing.T) {
	g := newGateway(t)
	g.volume("vol", "4MiB")
	data := known(t, g, "vol", 4<<20)
	backup, pass := filepath.Join(g.dir, "backup"), g.file("pass", "for the backup only")
	g.cli("backup", backup, "--passphrase-file", pass)
	g.proc.kill()
	must(t, os.RemoveAll(g.state))
	expectRefusal(t, g.try("restore", backup, "--passphrase-file", g.file("wrong", "no")), exitDenied)
	g.cli("restore", backup, "--passphrase-file", pass)
	g.cli("store", "check")
	g.start()
	expectData(t, g, "vol", data)
	g.stop()
	expectRefusal(t, g.try("restore", backup, "--passphrase-file", pass), exitConflict)
}

// A volume whose image was cut short stays offline and says why; the others
// serve, and the volume is back once the image is whole.
func TestTruncatedImage(t *testing.T) {
	g := newGateway(t)
	for _, cut := range []struct {
		name string
		left int64
	}{{"in the data", 18 << 20}, {"in the header", 10 << 10}, {"to nothing", 0}} {
		t.Run(cut.name, func(t *testing.T) {
			bad, good := "bad"+strings.ReplaceAll(cut.name, " ", "-"), "good"+strings.ReplaceAll(cut.name, " ", "-")
			g.volume(bad, "4MiB")
			g.volume(good, "4MiB")
			badData, goodData := known(t, g, bad, 4<<20), known(t, g, good, 4<<20)
			image := g.show(bad).Lockplate.Path
			g.stop()
			whole, err := os.ReadFile(image)
			must(t, err)
			must(t, os.Truncate(image, cut.left))

			g.start()
			info := g.show(bad).Lockplate
			if info.State != "offline" || info.Reason == "" {
				t.Errorf("state %q, reason %q; want offline with a reason", info.State, info.Reason)
			}
			if c, err := dial("unix", g.sock, bad); err == nil {
				c.close()
				t.Error("a truncated volume can be attached")
			}
			expectData(t, g, good, goodData)
			g.stop()
			if st, err := os.Stat(image); err != nil || st.Size() != cut.left {
				t.Errorf("the truncated image was changed: %v %v", st, err)
			}
			must(t, os.WriteFile(image, whole, 0o600))
			g.start()
			expectData(t, g, bad, badData)
		})
	}
}

// mountTmpfs is a small disk that can be filled and made read-only.
func mountTmpfs(t *testing.T, dir, size string) {
	t.Helper()
	needRoot(t)
	need(t, "mount", "umount")
	if r := try(t, "mount", "-t", "tmpfs", "-o", "size="+size, "lockplate-e2e", dir); r.code != 0 {
		lack(t, "cannot mount a tmpfs: "+r.err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
}

// A full disk answers ENOSPC and loses nothing; with space again the same
// connection goes on.
func TestFullDisk(t *testing.T) {
	g := newCluster(t)
	mountTmpfs(t, g.drive, "96m")
	g.start()
	g.cli("drive", "add", "dir:"+g.drive)
	g.volume("vol", "64MiB")
	ballast := filepath.Join(g.drive, "ballast") // somebody else fills the disk
	must(t, os.WriteFile(ballast, make([]byte, 64<<20), 0o600))
	c := g.dial("vol")
	piece := randomBytes(1 << 20)
	var written int64
	var failed error
	for off := int64(0); off < c.size && failed == nil; off += 1 << 20 {
		if failed = c.writeAt(piece, off); failed == nil {
			written++
		}
	}
	var e errno
	if !errors.As(failed, &e) || syscall.Errno(e) != syscall.ENOSPC {
		t.Fatalf("write to a full disk: %v, want ENOSPC", failed)
	}
	must(t, c.flush())
	got := make([]byte, 1<<20)
	for i := range written {
		must(t, c.readAt(got, i<<20))
		if !bytes.Equal(got, piece) {
			t.Fatalf("MiB %d is not what was written", i)
		}
	}
	expectRefusal(t, g.try("volume", "create", "more", "--size", "4MiB"), exitNoSpace)
	if c, err := dial("unix", g.sock, "more"); err == nil {
		c.close()
		t.Error("a volume that could not be created can be attached")
	}
	must(t, os.Remove(ballast))
	must(t, c.writeAt(piece, written<<20))
	must(t, c.flush())
	must(t, c.readAt(got, written<<20))
	if !bytes.Equal(got, piece) {
		t.Error("what was written with space again reads back differently")
	}
	g.volume("more", "4MiB")
	g.restart()
	expectData(t, g, "vol", bytes.Repeat(piece, int(written)))
}

// With its disk read-only a volume can still be read; changes are refused.
func TestReadOnlyDisk(t *testing.T) {
	g := newCluster(t)
	mountTmpfs(t, g.drive, "64m")
	g.start()
	g.cli("drive", "add", "dir:"+g.drive)
	g.volume("vol", "4MiB")
	data := known(t, g, "vol", 4<<20)
	g.stop()
	run(t, "mount", "-o", "remount,ro", g.drive)
	g.start()
	expectRefusal(t, g.try("volume", "create", "more", "--size", "4MiB"), exitReadOnly)
	expectData(t, g, "vol", data)
	if err := g.dial("vol").writeAt([]byte{1}, 0); err == nil {
		t.Error("a volume on a read-only disk was written")
	}
	g.stop()
	run(t, "mount", "-o", "remount,rw", g.drive)
	g.start()
	expectData(t, g, "vol", data)
	must(t, g.dial("vol").writeAt([]byte{1}, 0))
}

// A socket left behind by a killed daemon is no obstacle.
func TestStartsOverTheSocketOfAKilledDaemon(t *testing.T) {
	g := newGateway(t)
	g.proc.kill()
	if _, err := os.Lstat(g.sock); err != nil {
		t.Fatalf("the killed daemon left no socket: %v", err)
	}
	g.start()
	g.stop()
	if _, err := os.Lstat(g.sock); err == nil {
		t.Error("a daemon that was stopped left its socket behind")
	}
}
