package blockdev_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// lack skips a test for want of something, or fails it where everything is
// required to be there.
func lack(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("LOCKPLATE_REQUIRE_ALL") == "1" {
		t.Fatal("needs " + what)
	}
	t.Skip("needs " + what)
}

// run runs a program that a test needs and returns its output.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	needTool(t, name)
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func needTool(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		lack(t, name)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		lack(t, "root")
	}
}

// loopDisk attaches a new sparse file as a block device with the given sector
// size and returns the device and the file behind it.
func loopDisk(t *testing.T, size int64, sector int, more ...string) (dev, file string) {
	t.Helper()
	return loopDiskIn(t, t.TempDir(), size, sector, more...)
}

// loopDiskIn is loopDisk with the file in a given directory.
func loopDiskIn(t *testing.T, dir string, size int64, sector int, more ...string) (dev, file string) {
	t.Helper()
	needRoot(t)
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		lack(t, "loop devices")
	}
	file = filepath.Join(dir, "disk")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-f", "--show", "-b", strconv.Itoa(sector)}, more...)
	dev = run(t, "losetup", append(args, file)...)
	t.Cleanup(func() { run(t, "losetup", "-d", dev) })
	return dev, file
}

// mount mounts something on a new directory.
func mount(t *testing.T, args ...string) (dir string) {
	t.Helper()
	needRoot(t)
	dir = t.TempDir()
	run(t, "mount", append(args, dir)...)
	t.Cleanup(func() { run(t, "umount", dir) })
	return dir
}
