package blockdev_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"lockplate/blockdev"
	"lockplate/blockdev/blockdevtest"
)

// allocated is the space a file takes.
func allocated(t *testing.T, path string) int64 {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.Sys().(*syscall.Stat_t).Blocks * 512
}

func createImage(t *testing.T, d blockdev.Drive, name string, size int64) blockdev.Device {
	t.Helper()
	dev, err := d.Create(t.Context(), name, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return dev
}

func TestFileOnOtherFileSystems(t *testing.T) {
	for name, dir := range map[string]func(t *testing.T) string{
		"tmpfs": func(t *testing.T) string { return mount(t, "-t", "tmpfs", "-o", "size=96M", "tmpfs") },
		"xfs": func(t *testing.T) string {
			disk, _ := loopDisk(t, 400<<20, 512)
			run(t, "mkfs.xfs", "-q", disk)
			return mount(t, disk)
		},
		"ext2": func(t *testing.T) string { // holes, but no unwritten space
			disk, _ := loopDisk(t, 64<<20, 512)
			run(t, "mkfs.ext2", "-q", disk)
			return mount(t, disk)
		},
		"ramfs": func(t *testing.T) string { return mount(t, "-t", "ramfs", "ramfs") }, // no holes
	} {
		t.Run(name, func(t *testing.T) {
			d := openDrive(t, "dir:"+dir(t), blockdev.DriveOptions{})
			count := 0
			blockdevtest.TestDevice(t, func(t *testing.T) blockdev.Device {
				count++
				name := fmt.Sprint("image", count)
				t.Cleanup(func() {
					if err := d.Remove(context.Background(), name); err != nil {
						t.Error(err)
					}
				})
				return createImage(t, d, name, testSize)
			})
		})
	}
}

func TestReadOnlyFileDevice(t *testing.T) {
	d := openDrive(t, "dir:"+t.TempDir(), blockdev.DriveOptions{})
	createImage(t, d, "a", testSize).Close()
	blockdevtest.TestDevice(t, func(t *testing.T) blockdev.Device {
		dev, err := d.Open(t.Context(), "a", true)
		if err != nil {
			t.Fatal(err)
		}
		return dev
	})
}

func TestFileIsSparse(t *testing.T) {
	d, ctx := openDrive(t, "dir:"+t.TempDir(), blockdev.DriveOptions{}), t.Context()
	dev := createImage(t, d, "a", 1<<30)
	if n := allocated(t, d.Path("a")); n > 64<<10 {
		t.Errorf("a new image takes %d bytes", n)
	}
	if err := dev.WriteAt(ctx, make([]byte, 4<<20), 64<<20, blockdev.FUA); err != nil {
		t.Fatal(err)
	}
	list, err := blockdevtest.Extents(ctx, dev, 0, 1<<30)
	want := []blockdev.Extent{
		{Len: 64 << 20, Hole: true, Zero: true},
		{Len: 4 << 20},
		{Len: 1<<30 - 68<<20, Hole: true, Zero: true},
	}
	if err != nil || fmt.Sprint(list) != fmt.Sprint(want) {
		t.Errorf("extents %v, %v", list, err)
	}
	if err := dev.Trim(ctx, 64<<20, 4<<20, blockdev.FUA); err != nil {
		t.Fatal(err)
	}
	if n := allocated(t, d.Path("a")); n > 64<<10 {
		t.Errorf("after trim the image takes %d bytes", n)
	}
}

func TestFileManyExtentsAreBounded(t *testing.T) {
	d, ctx := openDrive(t, "dir:"+t.TempDir(), blockdev.DriveOptions{}), t.Context()
	const pieces = blockdev.MaxExtents/2 + 100 // pairs of data and hole
	dev := createImage(t, d, "a", pieces*2*4096)
	for i := range int64(pieces) {
		if err := dev.WriteAt(ctx, []byte{1}, i*2*4096, 0); err != nil {
			t.Fatal(err)
		}
	}
	list, err := dev.Extents(ctx, 0, dev.Info().Size)
	if err != nil || len(list) != blockdev.MaxExtents {
		t.Errorf("%d extents at once, %v", len(list), err)
	}
	if all, err := blockdevtest.Extents(ctx, dev, 0, dev.Info().Size); err != nil || len(all) != 2*pieces {
		t.Errorf("%d extents in all, %v", len(all), err)
	}
}

// TestFullFileSystem fills a file system, checks that what was there survived,
// and that the image works again when space returns.
func TestFullFileSystem(t *testing.T) {
	for name, dir := range map[string]func(t *testing.T) string{
		"tmpfs": func(t *testing.T) string { return mount(t, "-t", "tmpfs", "-o", "size=4M", "tmpfs") },
		"ext4": func(t *testing.T) string {
			disk, _ := loopDisk(t, 16<<20, 512)
			run(t, "mkfs.ext4", "-q", "-m", "0", disk)
			return mount(t, disk)
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := dir(t)
			d := openDrive(t, "dir:"+root, blockdev.DriveOptions{})
			dev := createImage(t, d, "a", 64<<20)
			block := func(i int64) []byte { return bytes.Repeat([]byte{byte(i) | 1}, 64<<10) }
			full := fillUp(t, dev, block)
			info, err := d.Info(t.Context())
			if err != nil || info.Free > 64<<10 {
				t.Errorf("full, yet %d bytes are free, %v", info.Free, err)
			}
			for i := range full {
				checkBlock(t, dev, i, block(i))
			}
			ctx := t.Context()
			if err := dev.Trim(ctx, 0, 1<<20, 0); err != nil {
				t.Fatal(err)
			}
			// The drive has room again, so this must go through, and be durable.
			if err := dev.WriteAt(ctx, block(full), full*64<<10, blockdev.FUA); err != nil {
				t.Fatalf("write after space came back: %v", err)
			}
			if err := dev.Flush(ctx); err != nil {
				t.Fatalf("flush after space came back: %v", err)
			}
			checkBlock(t, dev, full, block(full))
			checkBlock(t, dev, full-1, block(full-1))
		})
	}
}

// fillUp writes blocks, one in three with FUA, until one fails, and returns
// its number.
func fillUp(t *testing.T, dev blockdev.Device, block func(int64) []byte) int64 {
	t.Helper()
	for i := range dev.Info().Size / (64 << 10) {
		f := blockdev.Flag(0)
		if i%3 == 0 {
			f = blockdev.FUA
		}
		err := dev.WriteAt(t.Context(), block(i), i*64<<10, f)
		if err == nil {
			continue
		}
		if !errors.Is(err, blockdev.ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("full file system: %v", err)
		}
		return i
	}
	t.Fatal("the file system never filled up")
	return 0
}

func checkBlock(t *testing.T, dev blockdev.Device, i int64, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if err := dev.ReadAt(t.Context(), got, i*int64(len(want))); err != nil || !bytes.Equal(got, want) {
		t.Errorf("block %d differs, error %v", i, err)
	}
}

// TestFailedFlushStaysFailed lets the disk below a file system fail. The kernel
// reports that once and then forgets the pages that it could not write.
func TestFailedFlushStaysFailed(t *testing.T) {
	ctx := context.Background()
	for name, makeDurable := range map[string]func(dev blockdev.Device) error{
		"flush": func(dev blockdev.Device) error { return dev.Flush(ctx) },
		"FUA": func(dev blockdev.Device) error {
			return dev.WriteAt(ctx, make([]byte, 15<<20), 0, blockdev.FUA)
		},
	} {
		t.Run(name, func(t *testing.T) {
			thin := mount(t, "-t", "tmpfs", "-o", "size=8M", "tmpfs")
			disk, _ := loopDiskIn(t, thin, 64<<20, 512) // larger than what is below
			run(t, "mkfs.ext4", "-q", "-O", "^has_journal", disk)
			d := openDrive(t, "dir:"+mount(t, disk), blockdev.DriveOptions{})
			dev := createImage(t, d, "a", 32<<20)
			if err := dev.WriteAt(ctx, bytes.Repeat([]byte{1}, 16<<20), 0, 0); err != nil {
				t.Fatal(err)
			}
			if err := makeDurable(dev); err == nil {
				t.Fatal("a failing disk made data durable")
			}
			run(t, "mount", "-o", "remount,size=80M", thin)
			for what, err := range map[string]error{
				"flush": dev.Flush(ctx),
				"FUA":   dev.WriteAt(ctx, []byte{1}, 0, blockdev.FUA),
			} {
				if err == nil || !strings.Contains(err.Error(), "reopen") {
					t.Errorf("%s after a failure: %v", what, err)
				}
			}
			dev.Close()
			again, err := d.Open(ctx, "a", false)
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			if err := again.Flush(ctx); err != nil {
				t.Errorf("flush after reopening: %v", err)
			}
		})
	}
}

func TestTruncatedFileIsAnError(t *testing.T) {
	d := openDrive(t, "dir:"+t.TempDir(), blockdev.DriveOptions{})
	dev := createImage(t, d, "a", 1<<20)
	if err := os.Truncate(d.Path("a"), 4096); err != nil {
		t.Fatal(err)
	}
	if err := dev.ReadAt(t.Context(), make([]byte, 4096), 2048); err == nil {
		t.Error("read behind the end of a cut file succeeded")
	}
}

func TestNoAllocationPerRequest(t *testing.T) {
	mem := blockdev.NewMem(1 << 20)
	d := openDrive(t, "dir:"+t.TempDir(), blockdev.DriveOptions{})
	devices := map[string]blockdev.Device{"mem": mem, "file": createImage(t, d, "a", 1<<20)}
	if os.Geteuid() == 0 {
		disk, _ := loopDisk(t, diskSize, 512)
		devices["disk"] = openImage(t, openDrive(t, "disk:"+disk, blockdev.DriveOptions{}), false)
	}
	for name, dev := range devices {
		ctx, p := context.Background(), make([]byte, 8192)
		for what, do := range map[string]func() error{
			"write":           func() error { return dev.WriteAt(ctx, p, 4096, 0) },
			"FUA write":       func() error { return dev.WriteAt(ctx, p, 4096, blockdev.FUA) },
			"read":            func() error { return dev.ReadAt(ctx, p, 4096) },
			"unaligned read":  func() error { return dev.ReadAt(ctx, p[1:4097], 4096) },
			"unaligned write": func() error { return dev.WriteAt(ctx, p[1:4097], 4096, 0) },
		} {
			var err error
			if n := testing.AllocsPerRun(100, func() { err = errors.Join(err, do()) }); n != 0 || err != nil {
				t.Errorf("%s of %s: %v allocations, error %v", what, name, n, err)
			}
		}
	}
}

func TestAlignedBuffer(t *testing.T) {
	for _, n := range []int{0, 1, 4095, 4096, 1 << 20} {
		if p := blockdev.Aligned(n); len(p) != n || cap(p) != n {
			t.Errorf("Aligned(%d): length %d, capacity %d", n, len(p), cap(p))
		}
	}
}

func TestDirDriveSurvivesForeignFiles(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	d := openDrive(t, "dir:"+dir, blockdev.DriveOptions{})
	createImage(t, d, "b", 4096)
	createImage(t, d, "a", 4096)
	for _, name := range []string{"notes.txt", ".hidden.img", "bad name.img", ".c.img.new"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("leftover"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/dev/null", filepath.Join(dir, "link.img")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "sub.img"), 0o700); err != nil {
		t.Fatal(err)
	}
	if names, err := d.Images(ctx); err != nil || fmt.Sprint(names) != "[a b]" {
		t.Errorf("images %v, %v", names, err)
	}
	for _, name := range []string{"link", "sub"} {
		if _, err := d.Open(ctx, name, false); err == nil {
			t.Errorf("opened %s", name)
		}
	}
	dev := createImage(t, d, "c", 1<<20) // takes over the leftover
	p := make([]byte, 8)
	if err := dev.ReadAt(ctx, p, 0); err != nil || !bytes.Equal(p, make([]byte, 8)) {
		t.Errorf("an image made over a leftover holds %q, %v", p, err)
	}
}
