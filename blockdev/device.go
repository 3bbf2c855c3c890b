// Package blockdev is the disk below: the Device interface, the back ends that
// hold bytes (directories of images, files, whole block devices, memory) and
// the layers that stand on another Device.
//
// Every feature of the data path is a Device over a Device. What a stack can
// do is asked of it through Info, and only then offered to a client; no
// ability is discovered by type assertion, since a layer would hide it.
package blockdev

import (
	"context"
	"errors"
	"fmt"
)

// Flag modifies one write, zero or trim.
type Flag uint8

const (
	// FUA makes the data of this request durable before the call returns nil.
	FUA Flag = 1 << iota
	// NoHole keeps Zero from punching a hole: space stays allocated.
	NoHole
	// FastZero makes Zero fail with ErrNotFast at once when zeroing would be
	// no faster than writing zeroes.
	FastZero
	// More says that the next call goes on with the request of this one. It is
	// for those who count requests; a device does the same with it as without.
	More
)

// Device is a disk: a fixed range of bytes that can be read and written.
// Offsets, lengths and sizes are bytes. A nil error means that all of the
// request was done. All methods may be called concurrently; the outcome of
// overlapping concurrent writes is one or the other per Info.Align unit.
//
// A request outside [0, Size) fails with ErrRange, one whose offset or length
// is no multiple of Info.Align with ErrAlign; neither has any effect. Errors
// of the operating system are wrapped so that errors.Is finds both the
// sentinel of this package (ErrNoSpace, ErrReadOnly …) and the errno.
type Device interface {
	// ReadAt fills p with the bytes at off.
	ReadAt(ctx context.Context, p []byte, off int64) error
	// WriteAt writes p at off. p belongs to the device for the length of the
	// call and its contents are undefined afterwards (an encrypting layer
	// encrypts in place). Flags: FUA, More.
	WriteAt(ctx context.Context, p []byte, off int64, f Flag) error
	// Zero makes the range read as zeroes. Flags: FUA, NoHole, FastZero.
	Zero(ctx context.Context, off, n int64, f Flag) error
	// Trim says that the contents of the range are no longer needed; what it
	// reads as afterwards is undefined unless Info.TrimZeroes. Flags: FUA.
	Trim(ctx context.Context, off, n int64, f Flag) error
	// Flush makes every write, zero and trim that completed before it was
	// called durable, whoever issued it and through whichever handle.
	Flush(ctx context.Context) error
	// Extents describes a prefix of the range (at least one extent, in order,
	// without gaps, at most MaxExtents). It never claims Zero for what may
	// read otherwise.
	Extents(ctx context.Context, off, n int64) ([]Extent, error)
	// Resize grows the device to size bytes. It changes Info().Size and
	// nothing else. Shrinking fails with ErrNotSupported.
	Resize(ctx context.Context, size int64) error
	// Info tells size and abilities. Constant while open, but for Size, which
	// only Resize changes.
	Info() Info
	// Close flushes nothing; it releases the handle. Calls after it fail with
	// ErrClosed.
	Close() error
}

// Info tells the shape and the abilities of a Device.
type Info struct {
	Size           int64 // bytes
	Align          int   // required multiple of offset and length; 1 = any
	LogicalSector  int   // smallest unit written without read-modify-write, as told to clients
	PhysicalSector int   // unit of the medium; best alignment
	OptimalIO      int   // best request size, 0 = unknown
	ReadOnly       bool
	Rotational     bool
	CanTrim        bool // Trim reaches the medium
	TrimZeroes     bool // trimmed ranges read as zeroes
	CanZero        bool // Zero is faster than writing zeroes
	CanExtents     bool // Extents can tell holes from data
	Volatile       bool // has a cache: completed writes need Flush to be durable
}

// Extent is a run of bytes in one state.
type Extent struct {
	Len  int64
	Hole bool // not allocated below
	Zero bool // reads as zeroes
}

// MaxExtents bounds the answer of one Device.Extents call.
const MaxExtents = 4096

// Errors of devices and drives, by what the caller can do about them.
var (
	ErrRange        = errors.New("request outside the device")
	ErrAlign        = errors.New("request not aligned to the device's sectors")
	ErrReadOnly     = errors.New("device is read-only")
	ErrNoSpace      = errors.New("no space left on the drive")
	ErrNotSupported = errors.New("not supported by this device")
	ErrNotFast      = errors.New("no fast way to zero")
	ErrClosed       = errors.New("device is closed")
	ErrBusy         = errors.New("in use by another process or volume")
	ErrExist        = errors.New("already exists")
	ErrNotExist     = errors.New("does not exist")
)

// Check validates a request of n bytes at off against the device's shape.
func (i Info) Check(off, n int64) error {
	if off < 0 || n < 0 || off > i.Size || n > i.Size-off {
		return fmt.Errorf("%w: %d bytes at %d of %d", ErrRange, n, off, i.Size)
	}
	if a := int64(i.Align); a > 1 && (off%a != 0 || n%a != 0) {
		return fmt.Errorf("%w: %d bytes at %d, unit %d", ErrAlign, n, off, a)
	}
	return nil
}
