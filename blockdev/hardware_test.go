package blockdev

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestHardwareFromSysfs reads the layouts of different kinds of disks, as
// their drivers in Linux 6.1 make them.
func TestHardwareFromSysfs(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  Hardware
	}{
		"nvme0n1": {
			map[string]string{
				"size": "2048\n", "queue/rotational": "0\n", "device/serial": "S4EW\n", "device/model": "Samsung SSD 970\n",
				"device/vendor": "0x144d\n", "device/firmware_rev": "2B2Q\n", "device/state": "live\n", "device/address": "0000:01:00.0\n",
			},
			Hardware{Product: "Samsung SSD 970", Serial: "S4EW", Firmware: "2B2Q", State: "live", Address: "0000:01:00.0", Size: 1 << 20},
		},
		"sda": {
			map[string]string{
				"size": "8\n", "queue/rotational": "1\n", "device/vpd_pg80": "\x00\x80\x00\x04WD-1", "device/model": "WD40EFRX\n",
				"device/vendor": "ATA     \n", "device/rev": "0A80\n", "device/state": "running\n",
			},
			Hardware{Vendor: "ATA", Product: "WD40EFRX", Serial: "WD-1", Firmware: "0A80", State: "running", Address: "device", Size: 4096, Rotational: true},
		},
		"dm-0": {
			map[string]string{"size": "8\n", "dm/name": "vg-lv\n", "dm/uuid": "LVM-a\n"},
			Hardware{Product: "vg-lv", Serial: "LVM-a", Size: 4096},
		},
	} {
		dir := filepath.Join(t.TempDir(), name)
		for file, text := range c.files {
			path := filepath.Join(dir, file)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		c.want.Name = name
		if got := sysDisk(dir).hardware(); got != c.want {
			t.Errorf("%+v, want %+v", got, c.want)
		}
	}
	if got := sysDisk("").hardware(); got != (Hardware{}) {
		t.Errorf("no disk: %+v", got)
	}
}

func TestHardwareOfWhatIsNoDisk(t *testing.T) {
	dir := t.TempDir()
	if _, err := HardwareOf(dir); !errors.Is(err, ErrNotSupported) {
		t.Errorf("a directory: %v", err)
	}
	if _, err := HardwareOf(filepath.Join(dir, "gone")); !errors.Is(err, os.ErrNotExist) && !errors.Is(err, ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
}
