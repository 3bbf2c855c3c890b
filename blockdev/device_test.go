package blockdev_test

import (
	"testing"

	"lockplate/blockdev"
	"lockplate/blockdev/blockdevtest"
)

const testSize = 4<<20 + 4096

func TestMemDevice(t *testing.T) {
	blockdevtest.TestDevice(t, func(*testing.T) blockdev.Device { return blockdev.NewMem(testSize) })
}

func TestFileDevice(t *testing.T) {
	blockdevtest.TestDevice(t, func(t *testing.T) blockdev.Device {
		d := openDrive(t, "dir:"+t.TempDir(), blockdev.DriveOptions{})
		dev, err := d.Create(t.Context(), "a", testSize)
		if err != nil {
			t.Fatal(err)
		}
		return dev
	})
}

func TestSub(t *testing.T) {
	blockdevtest.TestDevice(t, func(t *testing.T) blockdev.Device {
		d, err := blockdev.Sub(blockdev.NewMem(testSize), 12345, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
}

func TestReadOnly(t *testing.T) {
	blockdevtest.TestDevice(t, func(*testing.T) blockdev.Device {
		return blockdev.ReadOnly(blockdev.NewMem(testSize))
	})
}
