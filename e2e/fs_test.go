package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// attached is a volume as a block device of this host without nbd.ko: nbdfuse
// makes it a file, a loop device makes the file a disk.
type attached struct {
	t      *testing.T
	dir    string // where nbdfuse is mounted
	device string
	fuse   *process
}

func attach(t *testing.T, uri string) *attached {
	t.Helper()
	needRoot(t)
	need(t, "nbdfuse", "fusermount3", "losetup", "mkfs.ext4", "e2fsck", "mount", "umount")
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		lack(t, "needs /dev/fuse: "+err.Error())
	} else {
		f.Close()
	}
	a := &attached{t: t, dir: filepath.Join(shortDir(t), "fuse")}
	must(t, os.Mkdir(a.dir, 0o700))
	log := a.dir + ".log"
	a.fuse = spawn(t, log, "nbdfuse", filepath.Join(a.dir, "disk"), uri)
	file := filepath.Join(a.dir, "disk")
	eventually(t, "nbdfuse of "+uri, func() bool {
		if !a.fuse.running() {
			b, _ := os.ReadFile(log)
			t.Fatalf("nbdfuse ended: %s", b)
		}
		_, err := os.Stat(file)
		return err == nil
	})
	r := try(t, "losetup", "--find", "--show", file)
	if r.code != 0 {
		a.detach()
		lack(t, "needs a loop device: "+r.err)
	}
	a.device = strings.TrimSpace(r.out)
	t.Cleanup(a.detach)
	return a
}

// detach may be called twice.
func (a *attached) detach() {
	if a.device != "" {
		run(a.t, "losetup", "--detach", a.device)
		a.device = ""
	}
	_ = syscall.Unmount(a.dir, syscall.MNT_DETACH)
	a.fuse.kill()
}

func (a *attached) mkfs() {
	a.t.Helper()
	run(a.t, "mkfs.ext4", "-q", "-b", "4096", a.device)
}

// fsck is clean, or repaired by replaying the journal only (exit code 1).
func (a *attached) fsck(args ...string) {
	a.t.Helper()
	if r := try(a.t, "e2fsck", append(args, a.device)...); r.code > 1 {
		a.t.Errorf("e2fsck: %v", r)
	}
}

// mount gives the folder where the file system is.
func (a *attached) mount() string {
	a.t.Helper()
	dir := shortDir(a.t)
	run(a.t, "mount", "-t", "ext4", a.device, dir)
	a.t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

func unmount(t *testing.T, dir string) {
	t.Helper()
	run(t, "umount", dir)
}

// writeTree fills a folder with files of many sizes, synced, and gives their
// sums in the form of sha256sum.
func writeTree(t *testing.T, dir string, files int) string {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755))
	var names []string
	for i := range files {
		name := filepath.Join([]string{"", "a", "a/b"}[i%3], fmt.Sprintf("file-%03d", i))
		writeSynced(t, filepath.Join(dir, name), randomBytes(int64(i*i*7)))
		names = append(names, name)
	}
	return sums(t, dir, names)
}

func writeSynced(t *testing.T, name string, data []byte) {
	t.Helper()
	f, err := os.Create(name)
	must(t, err)
	_, err = f.Write(data)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
}

func sums(t *testing.T, dir string, names []string) string {
	t.Helper()
	args := []string{"-c", `cd "$0" && exec sha256sum "$@"`, dir}
	return run(t, "sh", append(args, names...)...)
}

// checkTree lets sha256sum compare.
func checkTree(t *testing.T, dir, sums string) {
	t.Helper()
	if r := tryIn(t, sums, "sh", "-c", `cd "$0" && exec sha256sum --check --quiet -`, dir); r.code != 0 {
		t.Errorf("files differ: %v", r)
	}
}

func TestExt4SurvivesRestartAndKill(t *testing.T) {
	g := newGateway(t)
	g.volume("vol", "256MiB", "--discard", "zero")
	a := attach(t, g.uri("vol"))
	a.mkfs()
	dir := a.mount()
	first := writeTree(t, dir, 120)
	run(t, "fstrim", dir)
	unmount(t, dir)
	a.fsck("-fn")
	a.detach()
	g.restart()

	a = attach(t, g.uri("vol"))
	a.fsck("-fn")
	dir = a.mount()
	checkTree(t, dir, first)
	second := writeTree(t, filepath.Join(dir, "second"), 60)
	g.proc.kill() // under the mounted file system
	_ = os.WriteFile(filepath.Join(dir, "lost"), randomBytes(1<<20), 0o600)
	_ = syscall.Unmount(dir, syscall.MNT_DETACH)
	a.detach()
	g.start()

	a = attach(t, g.uri("vol"))
	a.fsck("-fp")
	a.fsck("-fn")
	dir = a.mount()
	checkTree(t, dir, first)
	checkTree(t, filepath.Join(dir, "second"), second)
	unmount(t, dir)
}
