package blockdev_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"lockplate/blockdev"
	"lockplate/blockdev/blockdevtest"
)

const diskSize = 8 << 20

func openImage(t *testing.T, d blockdev.Drive, readOnly bool) blockdev.Device {
	t.Helper()
	dev, err := d.Open(t.Context(), "a", readOnly)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return dev
}

func TestDiskDevice(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		t.Run(fmt.Sprint(sector), func(t *testing.T) {
			disk, _ := loopDisk(t, diskSize, sector)
			d := openDrive(t, "disk:"+disk, blockdev.DriveOptions{})
			blockdevtest.TestDevice(t, func(t *testing.T) blockdev.Device { return openImage(t, d, false) })
		})
	}
}

func TestReadOnlyDiskDevice(t *testing.T) {
	disk, _ := loopDisk(t, diskSize, 512, "-r")
	if _, err := openDrive(t, "disk:"+disk, blockdev.DriveOptions{}).Open(t.Context(), "", false); !errors.Is(err, blockdev.ErrReadOnly) {
		t.Errorf("open a read-only disk for writing: %v", err)
	} else if !strings.Contains(err.Error(), "read-only") || !strings.Contains(err.Error(), disk) {
		t.Errorf("unhelpful error: %v", err)
	}
	d := openDrive(t, "disk:"+disk, blockdev.DriveOptions{})
	if i, err := d.Info(t.Context()); err != nil || !i.ReadOnly {
		t.Errorf("info of a read-only disk: %+v, %v", i, err)
	}
	if _, err := d.Create(t.Context(), "a", 1<<20); !errors.Is(err, blockdev.ErrReadOnly) {
		t.Errorf("create on a read-only disk: %v", err)
	}
	blockdevtest.TestDevice(t, func(t *testing.T) blockdev.Device { return openImage(t, d, true) })
}

func TestDiskTellsItsShape(t *testing.T) {
	disk, _ := loopDisk(t, diskSize, 4096)
	d := openDrive(t, "disk:"+disk, blockdev.DriveOptions{})
	i, err := d.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if i.Kind != "disk" || i.Capacity != diskSize || i.Free != diskSize || i.Align != 4096 || i.Sector != 4096 || !i.Single {
		t.Errorf("info: %+v", i)
	}
	s := openImage(t, d, false).Info()
	if s.Size != diskSize || s.LogicalSector != 4096 || s.PhysicalSector != 4096 || !s.CanTrim || !s.CanZero || s.CanExtents || !s.Volatile {
		t.Errorf("device info: %+v", s)
	}
	if want := "disk:" + disk; d.URI() != want || d.Path("") != disk {
		t.Errorf("URI %s, path %s", d.URI(), d.Path(""))
	}
}

// TestDiskWritesReachTheFile looks at the file behind the loop device: trimmed
// space is given back, data is where it belongs.
func TestDiskWritesReachTheFile(t *testing.T) {
	disk, file := loopDisk(t, diskSize, 512)
	dev := openImage(t, openDrive(t, "disk:"+disk, blockdev.DriveOptions{}), false)
	ctx := t.Context()
	want := bytes.Repeat([]byte("lockplate"), 512<<10)[:4<<20]
	if err := dev.WriteAt(ctx, bytes.Clone(want), 1<<20, blockdev.FUA); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got[1<<20:5<<20], want) {
		t.Fatalf("the file differs, error %v", err)
	}
	before := allocated(t, file)
	if err := dev.Trim(ctx, 1<<20, 4<<20, blockdev.FUA); err != nil {
		t.Fatal(err)
	}
	if after := allocated(t, file); after > before-3<<20 {
		t.Errorf("trim of 4 MiB left %d of %d bytes allocated", after, before)
	}
	if err := dev.Zero(ctx, 0, 1<<20, blockdev.NoHole|blockdev.FUA); err != nil {
		t.Fatal(err)
	}
	if after := allocated(t, file); after < 1<<20 {
		t.Errorf("zeroed without holes, but only %d bytes are allocated", after)
	}
}

func TestDiskSecondOpenerIsBusy(t *testing.T) {
	disk, _ := loopDisk(t, diskSize, 512)
	d, ctx := openDrive(t, "disk:"+disk, blockdev.DriveOptions{}), t.Context()
	w := openImage(t, d, false)
	for _, readOnly := range []bool{false, true} {
		if _, err := d.Open(ctx, "", readOnly); !errors.Is(err, blockdev.ErrBusy) {
			t.Errorf("second opener, read-only %v: %v", readOnly, err)
		}
	}
	if names, err := d.Images(ctx); err != nil || len(names) != 0 {
		t.Errorf("a disk in use must still be looked at: %v, %v", names, err)
	}
	w.Close()
	openImage(t, d, true)
	openImage(t, d, true) // readers share
	if _, err := d.Open(ctx, "", false); !errors.Is(err, blockdev.ErrBusy) {
		t.Errorf("writer beside readers: %v", err)
	}
}

func TestMountedDiskIsBusy(t *testing.T) {
	disk, _ := loopDisk(t, 32<<20, 512)
	run(t, "mkfs.ext4", "-q", disk)
	mount(t, disk)
	d := openDrive(t, "disk:"+disk, blockdev.DriveOptions{})
	if _, err := d.Open(t.Context(), "", false); !errors.Is(err, blockdev.ErrBusy) {
		t.Errorf("open a mounted disk: %v", err)
	}
}

func TestDiskWithDataIsNotOverwritten(t *testing.T) {
	disk, _ := loopDisk(t, 32<<20, 512)
	d, ctx := openDrive(t, "disk:"+disk, blockdev.DriveOptions{}), t.Context()
	for what, args := range map[string][]string{
		"file system":            {"mkfs.ext4", "-q", disk},
		"RAID mark at the end":   {"dd", "if=/dev/urandom", "of=" + disk, "bs=64k", "count=1", "seek=510", "status=none"},
		"mark in the second 64K": {"dd", "if=/dev/urandom", "of=" + disk, "bs=64k", "count=1", "seek=1", "status=none"},
	} {
		run(t, args[0], args[1:]...)
		if _, err := d.Create(ctx, "a", 1<<20); !errors.Is(err, blockdev.ErrExist) {
			t.Errorf("create over a %s: %v", what, err)
		}
		if names, err := d.Images(ctx); err != nil || len(names) != 1 || names[0] != "data" {
			t.Errorf("images of a disk with a %s: %v, %v", what, names, err)
		}
		if err := d.Remove(ctx, "data"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Create(ctx, "a", 64<<20); !errors.Is(err, blockdev.ErrNoSpace) {
		t.Errorf("create more than there is: %v", err)
	}
	dev, err := d.Create(ctx, "a", 16<<20)
	if err != nil {
		t.Fatal(err)
	}
	dev.Close()
}

func TestDiskGrowsWithTheDiskBelow(t *testing.T) {
	disk, file := loopDisk(t, diskSize, 512)
	dev := openImage(t, openDrive(t, "disk:"+disk, blockdev.DriveOptions{}), false)
	if err := dev.Resize(t.Context(), 2*diskSize); !errors.Is(err, blockdev.ErrNoSpace) {
		t.Errorf("grow beyond the disk: %v", err)
	}
	if err := os.Truncate(file, 2*diskSize); err != nil {
		t.Fatal(err)
	}
	run(t, "losetup", "-c", disk)
	if err := dev.Resize(t.Context(), 2*diskSize); err != nil || dev.Info().Size != 2*diskSize {
		t.Errorf("grow with the disk: %v, size %d", err, dev.Info().Size)
	}
}

func TestPartitionUsesItsParent(t *testing.T) {
	needTool(t, "addpart")
	disk, _ := loopDisk(t, diskSize, 512, "-P")
	run(t, "addpart", disk, "1", "2048", "8192") // a kernel without any partition table reader takes it
	part := disk + "p1"
	if _, err := os.Stat(part); err != nil {
		lack(t, "a kernel that makes loop partitions ("+part+")")
	}
	dev := openImage(t, openDrive(t, "disk:"+part, blockdev.DriveOptions{}), false)
	if i := dev.Info(); i.Size != 8192*512 || !i.CanTrim {
		t.Errorf("info of a partition: %+v", i)
	}
}
