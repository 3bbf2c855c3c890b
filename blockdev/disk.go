package blockdev

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// discardBytes bounds one BLKDISCARD, BLKZEROOUT or hole punch, which
	// cannot be interrupted: between pieces a cancelled context is seen.
	discardBytes = 1 << 30
	// A probe by udev holds the same advisory lock for a moment whenever a
	// disk was closed after writing, so a disk found locked is tried again.
	diskLockTries = 20
	diskLockPause = 50 * time.Millisecond
)

// disk is a whole block device or a partition, opened with O_DIRECT: what is
// written has reached the device, and nothing is cached twice. Buffers that do
// not lie as the device wants are copied through bounce buffers.
type disk struct {
	rawDevice
	memAlign uintptr   // of buffers, a power of two
	bounce   sync.Pool // of *[]byte, bounceBytes long
	growing  sync.Mutex
}

// openDisk opens a block device. Unless readOnly it is claimed (O_EXCL): a
// mounted disk, one that device mapper uses, or one that another process has
// claimed, is busy.
func openDisk(ctx context.Context, path string, f openFlags, log *slog.Logger) (*disk, error) {
	if !f.readOnly {
		if err := writable(path); err != nil {
			return nil, err
		}
	}
	h, err := openDirect(path, f.readOnly, log)
	if err != nil {
		return nil, err
	}
	d, err := newDisk(ctx, h, f)
	if err != nil {
		return nil, errors.Join(err, h.close())
	}
	return d, nil
}

// writable fails for a disk that the kernel holds read-only. Opening it for
// writing would fail too, but with the same errno as missing permission.
func writable(path string) error {
	h, err := openHandle(path, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = h.close() }() // nothing was written
	if err := isBlock(h); err != nil {
		return err
	}
	if ro, err := unix.IoctlGetInt(h.fd, unix.BLKROGET); err == nil && ro != 0 {
		return fmt.Errorf("open %s for writing: %w (blockdev --setrw, or use it read-only)", path, ErrReadOnly)
	}
	return nil
}

// openDirect opens with O_DIRECT, or without where the driver has none.
func openDirect(path string, readOnly bool, log *slog.Logger) (*handle, error) {
	flags := unix.O_RDWR | unix.O_EXCL
	if readOnly {
		flags = unix.O_RDONLY
	}
	h, err := openHandle(path, flags|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) {
		log.Warn("no direct I/O, using the page cache", "drive", path)
		h, err = openHandle(path, flags, 0)
	}
	if errors.Is(err, ErrBusy) {
		err = fmt.Errorf("%w: mounted, or used by device mapper, RAID or another gateway", err)
	}
	return h, err
}

func isBlock(h *handle) error {
	st, err := h.stat()
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFBLK {
		err = fmt.Errorf("open %s: %w: not a block device", h.path, ErrURI)
	}
	return err
}

// newDisk locks the disk and learns its shape.
func newDisk(ctx context.Context, h *handle, f openFlags) (*disk, error) {
	if err := isBlock(h); err != nil {
		return nil, err
	}
	if !f.unlocked {
		if err := lockPatiently(ctx, h, f.readOnly); err != nil {
			return nil, err
		}
	}
	st, err := h.stat()
	if err != nil {
		return nil, err
	}
	d := &disk{rawDevice: rawDevice{handle: h}}
	d.bounce.New = func() any {
		b := Aligned(bounceBytes)
		return &b
	}
	size, err := blockSize(h.fd)
	if err != nil {
		return nil, fmt.Errorf("size of %s: %w", h.path, osError(err))
	}
	d.size.Store(size)
	if d.info, err = diskInfo(h, sysDiskOf(uint64(st.Rdev)), f.readOnly); err != nil {
		return nil, err
	}
	d.memAlign = memoryAlign(h.fd, d.info.LogicalSector)
	return d, nil
}

func lockPatiently(ctx context.Context, h *handle, shared bool) error {
	for try := 1; ; try++ {
		err := h.lock(shared)
		if err == nil || !errors.Is(err, ErrBusy) || try == diskLockTries {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(diskLockPause):
		}
	}
}

// diskInfo asks the kernel for sector sizes and abilities.
func diskInfo(h *handle, sys sysDisk, readOnly bool) (Info, error) {
	logical, err := unix.IoctlGetInt(h.fd, unix.BLKSSZGET)
	if err != nil {
		return Info{}, fmt.Errorf("sector size of %s: %w", h.path, osError(err))
	}
	physical, err := unix.IoctlGetUint32(h.fd, unix.BLKPBSZGET)
	if err != nil {
		return Info{}, fmt.Errorf("physical sector size of %s: %w", h.path, osError(err))
	}
	i := Info{
		Align: logical, LogicalSector: logical, PhysicalSector: int(physical),
		OptimalIO:  int(sys.number("queue/optimal_io_size")),
		Rotational: sys.number("queue/rotational") == 1,
		CanTrim:    sys.number("queue/discard_max_bytes") > 0,
		CanZero:    sys.number("queue/write_zeroes_max_bytes") > 0,
		Volatile:   sys.text("queue/write_cache") != "write through",
	}
	if readOnly {
		i = i.readOnly()
	}
	return i, nil
}

// blockSize is the size of an open block device in bytes.
func blockSize(fd int) (int64, error) {
	var n uint64
	err := ioctl(fd, unix.BLKGETSIZE64, unsafe.Pointer(&n))
	return int64(n), err
}

func ioctl(fd int, request uint, arg unsafe.Pointer) error {
	return retry(func() error {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(arg))
		if errno != 0 {
			return errno
		}
		return nil
	})
}

// memoryAlign is what O_DIRECT demands of buffers' addresses: as statx says
// (Linux 6.1), else the logical sector.
func memoryAlign(fd, sector int) uintptr {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st)
	if err == nil && st.Mask&unix.STATX_DIOALIGN != 0 && st.Dio_mem_align != 0 {
		return uintptr(st.Dio_mem_align)
	}
	return uintptr(sector)
}

// fits reports whether the device takes p as it lies in memory.
func (d *disk) fits(p []byte) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(p)))&(d.memAlign-1) == 0
}

// ReadAt implements Device.
func (d *disk) ReadAt(_ context.Context, p []byte, off int64) error {
	if err := d.begin(off, int64(len(p))); err != nil {
		return err
	}
	defer d.release()
	if d.fits(p) {
		return d.pread(p, off)
	}
	b := d.bounce.Get().(*[]byte)
	defer d.bounce.Put(b)
	for len(p) > 0 {
		part := (*b)[:min(len(p), bounceBytes)]
		if err := d.pread(part, off); err != nil {
			return err
		}
		n := copy(p, part)
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// WriteAt implements Device.
func (d *disk) WriteAt(_ context.Context, p []byte, off int64, f Flag) error {
	if err := d.beginChange(off, int64(len(p))); err != nil {
		return err
	}
	defer d.release()
	if d.fits(p) {
		return d.pwrite(p, off, f)
	}
	b := d.bounce.Get().(*[]byte)
	defer d.bounce.Put(b)
	for len(p) > 0 {
		n := copy(*b, p)
		if err := d.pwrite((*b)[:n], off, f); err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// Zero implements Device. A hole is punched where that is sure to read as
// zeroes; else the kernel zeroes, by a command of the disk or by writing.
func (d *disk) Zero(ctx context.Context, off, n int64, f Flag) error {
	if err := d.beginChange(off, n); err != nil {
		return err
	}
	defer d.release()
	if f&FastZero != 0 && !d.info.CanZero {
		return fmt.Errorf("zero %s: %w", d.path, ErrNotFast)
	}
	err := pieces(ctx, off, n, func(off, n int64) error { return d.zeroPiece(off, n, f) })
	if err != nil {
		return d.fail("zero", off, n, err)
	}
	return d.finish(f)
}

func (d *disk) zeroPiece(off, n int64, f Flag) error {
	if f&NoHole == 0 {
		// On a block device this is the unmapping kind of zeroing, and fails
		// where the disk has none.
		const mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
		err := retry(func() error { return unix.Fallocate(d.fd, mode, off, n) })
		if !unsupported(err) {
			return err
		}
	}
	return blockRange(d.fd, unix.BLKZEROOUT, off, n)
}

// Trim implements Device by BLKDISCARD. A disk that cannot discard ignores it.
func (d *disk) Trim(ctx context.Context, off, n int64, f Flag) error {
	if err := d.beginChange(off, n); err != nil {
		return err
	}
	defer d.release()
	if !d.info.CanTrim {
		return nil
	}
	err := pieces(ctx, off, n, func(off, n int64) error {
		return blockRange(d.fd, unix.BLKDISCARD, off, n)
	})
	if err != nil && !unsupported(err) {
		return d.fail("trim", off, n, err)
	}
	return d.finish(f)
}

// blockRange issues an ioctl that takes a start and a length.
func blockRange(fd int, request uint, off, n int64) error {
	arg := [2]uint64{uint64(off), uint64(n)}
	return ioctl(fd, request, unsafe.Pointer(&arg))
}

// pieces calls do for a large range bit by bit, until the context ends.
func pieces(ctx context.Context, off, n int64, do func(off, n int64) error) error {
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		k := min(n, discardBytes)
		if err := do(off, k); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}

// Extents implements Device: the kernel does not tell what a disk has mapped.
func (d *disk) Extents(_ context.Context, off, n int64) ([]Extent, error) {
	if err := d.begin(off, n); err != nil {
		return nil, err
	}
	defer d.release()
	return oneExtent(n), nil
}

// Resize implements Device: it takes notice of a disk that was grown below,
// up to size. What the disk does not have is ErrNoSpace.
func (d *disk) Resize(_ context.Context, size int64) error {
	if err := d.beginChange(0, 0); err != nil {
		return err
	}
	defer d.release()
	d.growing.Lock()
	defer d.growing.Unlock()
	now := d.size.Load()
	if size < now {
		return fmt.Errorf("shrink %s from %d bytes to %d: %w", d.path, now, size, ErrNotSupported)
	}
	if size%int64(d.info.Align) != 0 {
		return fmt.Errorf("grow %s to %d bytes: %w", d.path, size, ErrAlign)
	}
	has, err := blockSize(d.fd)
	if err != nil {
		return fmt.Errorf("size of %s: %w", d.path, osError(err))
	}
	if size > has {
		return fmt.Errorf("grow %s to %d bytes, it has %d: %w", d.path, size, has, ErrNoSpace)
	}
	d.size.Store(size)
	return nil
}
