package blockdev

import (
	"os"
	"path/filepath"
	"testing"
)

// TestSysfsIdentity reads the layouts of different kinds of disks, as their
// drivers in Linux 6.1 make them.
func TestSysfsIdentity(t *testing.T) {
	for name, c := range map[string]struct {
		files         map[string]string
		serial, model string
	}{
		"nvme": {map[string]string{
			"device/serial": "S4EWNX0R123456  \n", "device/model": "Samsung SSD 970 EVO Plus\n", "device/vendor": "0x144d\n",
		}, "S4EWNX0R123456", "Samsung SSD 970 EVO Plus"},
		"scsi": {map[string]string{
			"device/vpd_pg80": "\x00\x80\x00\x08WD-12345", "device/model": "WDC WD40EFRX\n", "device/vendor": "ATA     \n",
		}, "WD-12345", "ATA WDC WD40EFRX"},
		"virtio":  {map[string]string{"serial": "vol-1\n"}, "vol-1", ""},
		"mapper":  {map[string]string{"dm/uuid": "LVM-abc\n", "dm/name": "vg-lv\n"}, "LVM-abc", "vg-lv"},
		"hostile": {map[string]string{"serial": "\x1b[2J\x00a\xff\n"}, "[2Ja", ""},
		"bare":    {nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range c.files {
				path := filepath.Join(dir, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s := sysDisk(dir)
			if s.serial() != c.serial || s.model() != c.model {
				t.Errorf("serial %q, model %q, want %q, %q", s.serial(), s.model(), c.serial, c.model)
			}
		})
	}
}

// TestWriteWithoutDSync takes the way of kernels that lack RWF_DSYNC.
func TestWriteWithoutDSync(t *testing.T) {
	d, err := createFile(filepath.Join(t.TempDir(), "a"), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.noDSync.Store(true)
	ctx, p := t.Context(), []byte("durable")
	if err := d.WriteAt(ctx, p, 100, FUA); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(p))
	if err := d.ReadAt(ctx, got, 100); err != nil || string(got) != "durable" {
		t.Errorf("read %q, %v", got, err)
	}
}

// TestDiscardInPieces checks that a long range is cut and can be stopped.
func TestDiscardInPieces(t *testing.T) {
	var got [][2]int64
	note := func(off, n int64) error {
		got = append(got, [2]int64{off, n})
		return nil
	}
	if err := pieces(t.Context(), 512, 2*discardBytes+1024, note); err != nil {
		t.Fatal(err)
	}
	want := [][2]int64{{512, discardBytes}, {512 + discardBytes, discardBytes}, {512 + 2*discardBytes, 1024}}
	if len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("pieces %v, want %v", got, want)
	}
}
