package blockdev

import (
	"context"
	"fmt"
	"io"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawDevice is what files and block devices have in common: positioned reads
// and writes, durability, the handle and the shape.
type rawDevice struct {
	*handle
	info Info // but for Size
	size atomic.Int64

	noDSync  atomic.Bool           // the kernel lacks RWF_DSYNC
	poisoned atomic.Pointer[error] // why Flush can no longer promise anything
}

// Info implements Device.
func (d *rawDevice) Info() Info {
	i := d.info
	i.Size = d.size.Load()
	return i
}

// begin validates a request and holds the handle; every nil answer needs a
// release.
func (d *rawDevice) begin(off, n int64) error {
	i := d.Info()
	if err := i.Check(off, n); err != nil {
		return err
	}
	if !d.acquire() {
		return ErrClosed
	}
	return nil
}

// beginChange is begin for requests that change the device.
func (d *rawDevice) beginChange(off, n int64) error {
	if err := d.begin(off, n); err != nil {
		return err
	}
	if d.info.ReadOnly {
		d.release()
		return fmt.Errorf("change %s: %w", d.path, ErrReadOnly)
	}
	return nil
}

// pread fills p. The end of the file before that means that somebody else has
// cut it.
func (d *rawDevice) pread(p []byte, off int64) error {
	for len(p) > 0 {
		n, err := unix.Pread(d.fd, p, off)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return d.fail("read", off, int64(len(p)), err)
		case n == 0:
			return d.fail("read", off, int64(len(p)), io.ErrUnexpectedEOF)
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// pwrite writes all of p, durably if f has FUA.
func (d *rawDevice) pwrite(p []byte, off int64, f Flag) error {
	if f&FUA != 0 {
		return d.pwriteFUA(p, off)
	}
	for len(p) > 0 {
		n, err := unix.Pwrite(d.fd, p, off)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return d.fail("write", off, int64(len(p)), err)
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// pwriteFUA writes with RWF_DSYNC, which waits for these bytes only (and on a
// disk that can, is a write with the FUA bit), or else writes and flushes all.
func (d *rawDevice) pwriteFUA(p []byte, off int64) error {
	for len(p) > 0 && !d.noDSync.Load() {
		n, err := pwriteDSync(d.fd, p, off)
		switch {
		case err == unix.EINTR:
		case unsupported(err):
			d.noDSync.Store(true)
		case err != nil:
			return d.failFUA(p, off, err)
		default:
			p, off = p[n:], off+int64(n)
		}
	}
	if len(p) == 0 {
		return d.health()
	}
	if err := d.pwrite(p, off, 0); err != nil {
		return err
	}
	return d.sync()
}

// failFUA words an error of RWF_DSYNC and finds out where it came from: if a
// plain write of the same bytes goes through, it was the flush that failed, and
// with it perhaps other requests' data.
func (d *rawDevice) failFUA(p []byte, off int64, err error) error {
	err = d.fail("write", off, int64(len(p)), err)
	if _, again := unix.Pwrite(d.fd, p, off); again == nil {
		d.poison(err)
	}
	return err
}

// pwriteDSync is pwritev2 of one buffer. The wrapper in x/sys takes a slice of
// slices, which would have to be allocated.
func pwriteDSync(fd int, p []byte, off int64) (int, error) {
	iov := unix.Iovec{Base: &p[0]}
	iov.SetLen(len(p))
	low := uintptr(off)
	high := uintptr(uint64(off) >> (bits.UintSize - 1) >> 1) // 0 where a word holds it all
	n, _, errno := unix.Syscall6(unix.SYS_PWRITEV2, uintptr(fd),
		uintptr(unsafe.Pointer(&iov)), 1, low, high, unix.RWF_DSYNC)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// Flush implements Device. Once it has failed it fails until the device is
// opened again: the kernel forgets the pages that it could not write, and the
// next fdatasync would report success without them.
func (d *rawDevice) Flush(context.Context) error {
	if !d.acquire() {
		return ErrClosed
	}
	defer d.release()
	return d.sync()
}

// sync makes completed changes durable. The caller holds the handle.
func (d *rawDevice) sync() error {
	if d.info.ReadOnly {
		return nil
	}
	if err := d.health(); err != nil {
		return err
	}
	if err := retry(func() error { return unix.Fdatasync(d.fd) }); err != nil {
		err = fmt.Errorf("flush %s: %w", d.path, osError(err))
		d.poison(err)
		return err
	}
	return nil
}

// finish ends a change: with FUA it makes it durable.
func (d *rawDevice) finish(f Flag) error {
	if f&FUA == 0 {
		return nil
	}
	return d.sync()
}

func (d *rawDevice) poison(err error) { d.poisoned.CompareAndSwap(nil, &err) }

func (d *rawDevice) health() error {
	if p := d.poisoned.Load(); p != nil {
		return fmt.Errorf("an earlier flush failed and data may be lost, reopen to go on: %w", *p)
	}
	return nil
}

// fail words an error of the request.
func (d *rawDevice) fail(verb string, off, n int64, err error) error {
	return fmt.Errorf("%s %s: %d bytes at %d: %w", verb, d.path, n, off, osError(err))
}

// Close implements Device; it waits for requests that are under way.
func (d *rawDevice) Close() error { return d.close() }

// writeZeroes writes real zeroes, for what knows no faster way.
func (d *rawDevice) writeZeroes(ctx context.Context, off, n int64) error {
	buf := Aligned(int(min(n, bounceBytes)))
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		k := min(n, int64(len(buf)))
		if err := d.pwrite(buf[:k], off, 0); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}

// bounceBytes is the largest piece copied for a caller's unaligned buffer, or
// written at once when zeroing.
const bounceBytes = 1 << 20

// pageBytes is an alignment that satisfies every O_DIRECT.
const pageBytes = 4096

// Aligned returns a zeroed buffer of n bytes that begins on a page, which
// spares disks a copy of what is read into it and written from it.
func Aligned(n int) []byte {
	b := make([]byte, n+pageBytes)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (pageBytes - 1)
	return b[skip : skip+n : skip+n]
}
