package blockdev

import (
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Hardware is what the kernel tells of the disk behind a block device. What it
// does not tell is "" or 0.
type Hardware struct {
	Name       string // the kernel's: sdb, nvme0n1; of a partition its disk's
	Dev        uint64 // device number of the node
	Vendor     string
	Product    string
	Serial     string
	Firmware   string
	Address    string // on its bus: 6:0:0:0 for SCSI, 0000:01:00.0 for NVMe
	State      string // of its SCSI device or controller: running, live
	Size       int64  // bytes of the whole disk
	Rotational bool
}

// Major is the first half of the device number.
func (h Hardware) Major() uint32 { return unix.Major(h.Dev) }

// Minor is the second half of the device number.
func (h Hardware) Minor() uint32 { return unix.Minor(h.Dev) }

// HardwareOf asks for the disk behind a block device node. It opens nothing,
// so it works on one that is in use.
func HardwareOf(path string) (Hardware, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Stat(path, &st) }); err != nil {
		return Hardware{}, fmt.Errorf("stat %s: %w", path, osError(err))
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return Hardware{}, fmt.Errorf("%s: %w: it is no block device", path, ErrNotSupported)
	}
	h := sysDiskOf(uint64(st.Rdev)).hardware()
	h.Dev = uint64(st.Rdev)
	return h, nil
}

// hardware reads the attributes that SCSI, NVMe and virtio disks have.
func (s sysDisk) hardware() Hardware {
	if s == "" {
		return Hardware{}
	}
	h := Hardware{
		Name: filepath.Base(string(s)), Vendor: s.text("device/vendor"), Product: s.text("device/model"),
		Serial: s.serial(), State: s.text("device/state"), Address: s.text("device/address"),
		Size:       s.number("size") * 512, // sysfs counts in 512 bytes whatever the disk has
		Rotational: s.number("queue/rotational") == 1,
	}
	if strings.HasPrefix(h.Vendor, "0x") {
		h.Vendor = "" // a number on the PCI bus
	}
	if h.Product == "" {
		h.Product = s.text("dm/name")
	}
	for _, name := range []string{"device/firmware_rev", "device/rev"} {
		if h.Firmware == "" {
			h.Firmware = s.text(name)
		}
	}
	if dir, err := filepath.EvalSymlinks(filepath.Join(string(s), "device")); h.Address == "" && err == nil {
		h.Address = filepath.Base(dir)
	}
	return h
}
