package blockdev

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// sysDisk is the directory in sysfs of the whole disk behind a block device
// number. For a partition that is its parent: queue and identity are there.
type sysDisk string

// sysDiskOf finds the directory, "" where sysfs does not know the number (as
// for file systems without one device).
func sysDiskOf(dev uint64) sysDisk {
	link := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(dev), unix.Minor(dev))
	dir, err := filepath.EvalSymlinks(link)
	if err != nil {
		return ""
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		dir = filepath.Dir(dir)
	}
	return sysDisk(dir)
}

// rotational reports whether the medium behind a device number spins. What is
// not known does not.
func rotational(dev uint64) bool { return sysDiskOf(dev).number("queue/rotational") == 1 }

// text reads an attribute, "" if there is none.
func (s sysDisk) text(name string) string {
	if s == "" {
		return ""
	}
	b, err := os.ReadFile(filepath.Join(string(s), name))
	if err != nil {
		return ""
	}
	return printable(b)
}

// number reads a decimal attribute, 0 if there is none.
func (s sysDisk) number(name string) int64 {
	n, err := strconv.ParseInt(s.text(name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// serial finds the hardware's serial number: NVMe and MMC keep it with the
// controller, virtio with the disk, SCSI in page 80h of the vital product data
// (SPC-4 7.8.15, four bytes of header). Device mapper has its uuid.
func (s sysDisk) serial() string {
	for _, name := range []string{"device/serial", "serial", "dm/uuid"} {
		if t := s.text(name); t != "" {
			return t
		}
	}
	if s == "" {
		return ""
	}
	page, err := os.ReadFile(filepath.Join(string(s), "device/vpd_pg80"))
	if err == nil && len(page) > 4 {
		return printable(page[4:])
	}
	return s.text("device/wwid")
}

// model finds the hardware's name for itself.
func (s sysDisk) model() string {
	model := s.text("device/model")
	if vendor := s.text("device/vendor"); model != "" && vendor != "" && !strings.HasPrefix(vendor, "0x") {
		return vendor + " " + model
	}
	if model == "" {
		return s.text("dm/name")
	}
	return model
}

// printable cuts padding and whatever would upset a terminal.
func printable(b []byte) string {
	clean := bytes.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, b)
	return strings.TrimSpace(string(clean))
}
