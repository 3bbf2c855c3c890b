package blockdev

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// file is a regular file used as a disk, through the page cache. It needs no
// alignment, and what was never written or was trimmed takes no space where
// the file system can do that.
type file struct {
	rawDevice
	growing sync.Mutex // one Resize at a time: ftruncate would shrink as well
}

// openFlags says how to open a file or a disk.
type openFlags struct {
	readOnly bool
	unlocked bool // for a look while others have it open
	extra    int  // of open(2)
}

// openFile opens and locks an existing regular file.
func openFile(path string, f openFlags) (*file, error) {
	access := unix.O_RDWR
	if f.readOnly {
		access = unix.O_RDONLY
	}
	// O_NONBLOCK: a FIFO with no writer must not hold us up; files ignore it.
	h, err := openHandle(path, access|f.extra|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	d, err := newFile(h, f)
	if err != nil {
		return nil, errors.Join(err, h.close())
	}
	return d, nil
}

// newFile locks h and learns what its file system can do.
func newFile(h *handle, f openFlags) (*file, error) {
	st, err := h.stat()
	if err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("open %s: %w: not a regular file", h.path, ErrURI)
	}
	if !f.unlocked {
		if err := h.lock(f.readOnly); err != nil {
			return nil, err
		}
	}
	// Only now do size and name count: the last holder of the lock may have
	// grown or removed the file.
	if st, err = h.stat(); err != nil {
		return nil, err
	}
	if st.Nlink == 0 {
		return nil, fmt.Errorf("open %s: %w", h.path, ErrNotExist)
	}
	d := &file{rawDevice: rawDevice{handle: h}}
	d.size.Store(st.Size)
	d.info = Info{
		Align: 1, LogicalSector: 512, PhysicalSector: pageBytes,
		ReadOnly: f.readOnly, Volatile: !f.readOnly, Rotational: rotational(uint64(st.Dev)),
	}
	d.probe(st.Size)
	return d, nil
}

// probe asks the file system for its abilities without touching data: it
// punches behind the end of the file, where nothing is.
func (d *file) probe(size int64) {
	_, err := d.seek(0, unix.SEEK_HOLE)
	d.info.CanExtents = err == nil || errors.Is(err, unix.ENXIO)
	if d.info.ReadOnly {
		return
	}
	end := (size + pageBytes) &^ (pageBytes - 1)
	err = d.allocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, end, pageBytes)
	punch := err == nil
	d.info.CanTrim, d.info.TrimZeroes, d.info.CanZero = punch, punch, punch
}

func (d *file) seek(off int64, whence int) (pos int64, err error) {
	err = retry(func() (err error) {
		pos, err = unix.Seek(d.fd, off, whence)
		return err
	})
	return pos, err
}

func (d *file) allocate(mode uint32, off, n int64) error {
	return retry(func() error { return unix.Fallocate(d.fd, mode, off, n) })
}

// ReadAt implements Device.
func (d *file) ReadAt(_ context.Context, p []byte, off int64) error {
	if err := d.begin(off, int64(len(p))); err != nil {
		return err
	}
	defer d.release()
	return d.pread(p, off)
}

// WriteAt implements Device.
func (d *file) WriteAt(_ context.Context, p []byte, off int64, f Flag) error {
	if err := d.beginChange(off, int64(len(p))); err != nil {
		return err
	}
	defer d.release()
	return d.pwrite(p, off, f)
}

// Zero implements Device: by a hole, with NoHole by unwritten space, else by
// writing.
func (d *file) Zero(ctx context.Context, off, n int64, f Flag) error {
	if err := d.beginChange(off, n); err != nil {
		return err
	}
	defer d.release()
	if n == 0 {
		return nil
	}
	mode := uint32(unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE)
	if f&NoHole != 0 {
		mode = unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE
	}
	err := d.allocate(mode, off, n)
	switch {
	case err == nil:
		return d.finish(f)
	case !unsupported(err):
		return d.fail("zero", off, n, err)
	case f&FastZero != 0:
		return fmt.Errorf("zero %s: %w", d.path, ErrNotFast)
	}
	if err := d.writeZeroes(ctx, off, n); err != nil {
		return err
	}
	return d.finish(f)
}

// Trim implements Device by punching a hole. Where the file system cannot,
// nothing happens.
func (d *file) Trim(_ context.Context, off, n int64, f Flag) error {
	if err := d.beginChange(off, n); err != nil {
		return err
	}
	defer d.release()
	if n == 0 || !d.info.CanTrim {
		return nil
	}
	err := d.allocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	if err != nil {
		return d.fail("trim", off, n, err)
	}
	return d.finish(f)
}

// Extents implements Device by SEEK_DATA and SEEK_HOLE. A file system that
// cannot tell calls everything data.
func (d *file) Extents(ctx context.Context, off, n int64) ([]Extent, error) {
	if err := d.begin(off, n); err != nil {
		return nil, err
	}
	defer d.release()
	if !d.info.CanExtents {
		return oneExtent(n), nil
	}
	var list extentList
	for end := off + n; off < end && !list.full(); {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		e, err := d.extent(off, end)
		if err != nil {
			return nil, d.fail("find the extents of", off, end-off, err)
		}
		list.add(e)
		off += e.Len
	}
	return list.all, nil
}

// extent describes what begins at off, up to end at most. Data written
// meanwhile can only turn a hole into data behind off, so the answer is at
// least one byte long.
func (d *file) extent(off, end int64) (Extent, error) {
	data, err := d.seek(off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) { // no data up to the end of the file
		return Extent{Len: end - off, Hole: true, Zero: true}, nil
	}
	if err != nil {
		return Extent{}, err
	}
	if data > off {
		return Extent{Len: min(data, end) - off, Hole: true, Zero: true}, nil
	}
	hole, err := d.seek(off, unix.SEEK_HOLE)
	if err != nil {
		return Extent{}, err
	}
	// A hole punched since the first call begins at off: call it data.
	return Extent{Len: max(min(hole, end)-off, 1)}, nil
}

// oneExtent calls n bytes data.
func oneExtent(n int64) []Extent {
	if n == 0 {
		return nil
	}
	return []Extent{{Len: n}}
}

// Resize implements Device. The new size is durable when it returns.
func (d *file) Resize(_ context.Context, size int64) error {
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
	if err := retry(func() error { return unix.Ftruncate(d.fd, size) }); err != nil {
		return fmt.Errorf("grow %s to %d bytes: %w", d.path, size, osError(err))
	}
	if err := d.sync(); err != nil {
		return err
	}
	d.size.Store(size)
	return nil
}
