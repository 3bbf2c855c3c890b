package blockdev

import (
	"context"
	"errors"
	"fmt"
)

// backing is the medium of a single drive.
type backing interface {
	uri() string
	path() string
	// open opens the medium with its locks. peek is for a look at it while
	// others may have it open: read-only and without locks.
	open(ctx context.Context, readOnly, peek bool, o DriveOptions) (Device, error)
	// make brings a medium into being that is not there, size bytes of zeroes,
	// if it can. One that is there is left alone.
	make(size int64) error
	// info fills what the device's own Info does not tell. It fails for a
	// medium that is not there and cannot be made.
	info(*DriveInfo) error
}

// edgeBytes at either end of a medium tell whether it is blank: every table of
// partitions, file system, RAID and volume manager leaves its mark there.
const edgeBytes = 1 << 20

// singleImage is the name that Images gives to what is on a single drive.
const singleImage = "data"

// single is a drive that is one image: a file, a block device, memory. Every
// image name means that one. It does not hold the medium open, so a disk that
// is not in use can be unplugged or handed to another program.
type single struct {
	opened
	backing
}

// openSingle checks that the medium is of the right kind by looking at it.
func openSingle(ctx context.Context, b backing, o DriveOptions) (Drive, error) {
	s := &single{backing: b, opened: opened{o: o}}
	if _, err := s.Info(ctx); err != nil {
		return nil, fmt.Errorf("open drive %s: %w", b.uri(), err)
	}
	return s, nil
}

// URI implements Drive.
func (s *single) URI() string { return s.uri() }

// Path implements Drive.
func (s *single) Path(string) string { return s.path() }

// Info implements Drive.
func (s *single) Info(ctx context.Context) (DriveInfo, error) {
	if err := s.check(false); err != nil {
		return DriveInfo{}, err
	}
	i := DriveInfo{Single: true, Align: 1, Sector: pageBytes, ReadOnly: s.o.ReadOnly}
	d, err := s.open(ctx, true, true, s.o)
	if err == nil {
		shape := d.Info()
		i.Capacity, i.Align = shape.Size, shape.Align
		i.Sector = sectorFor(shape)
		i.Free, err = freeOn(ctx, d)
		err = errors.Join(err, d.Close())
	} else if errors.Is(err, ErrNotExist) && !s.o.ReadOnly {
		err = nil // Create may make it; info knows
	}
	if err != nil {
		return DriveInfo{}, err
	}
	err = s.info(&i)
	return i, err
}

// sectorFor is the cipher sector that suits a device: 4096 bytes unless the
// device has small physical sectors or an odd size.
func sectorFor(i Info) int {
	if i.PhysicalSector >= pageBytes && i.Size%pageBytes == 0 {
		return pageBytes
	}
	return 512
}

// freeOn is the space a new image would have: all of a blank device or none.
func freeOn(ctx context.Context, d Device) (int64, error) {
	blank, err := isBlank(ctx, d)
	if err != nil || !blank {
		return 0, err
	}
	return d.Info().Size, nil
}

// isBlank reports whether both edges are zero.
func isBlank(ctx context.Context, d Device) (bool, error) {
	size := d.Info().Size
	buf := Aligned(int(min(size, edgeBytes)))
	for _, off := range []int64{0, size - int64(len(buf))} {
		if err := d.ReadAt(ctx, buf, off); err != nil {
			return false, err
		}
		if !allZero(buf) {
			return false, nil
		}
	}
	return true, nil
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// Images implements Drive.
func (s *single) Images(ctx context.Context) ([]string, error) {
	if err := s.check(false); err != nil {
		return nil, err
	}
	d, err := s.open(ctx, true, true, s.o)
	if errors.Is(err, ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	blank, err := isBlank(ctx, d)
	if err = errors.Join(err, d.Close()); err != nil || blank {
		return nil, err
	}
	return []string{singleImage}, nil
}

// Create implements Drive.
func (s *single) Create(ctx context.Context, _ string, size int64) (Device, error) {
	if err := s.check(true); err != nil {
		return nil, err
	}
	if err := s.make(size); err != nil {
		return nil, err
	}
	d, err := s.open(ctx, false, false, s.o)
	if err != nil {
		return nil, err
	}
	if err := s.takeBlank(ctx, d, size); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// takeBlank makes sure that nothing is overwritten and that size fits.
func (s *single) takeBlank(ctx context.Context, d Device, size int64) error {
	blank, err := isBlank(ctx, d)
	if err != nil {
		return err
	}
	if !blank {
		return fmt.Errorf("create image on %s: data %w there: adopt it, or wipe it first", s.uri(), ErrExist)
	}
	if size <= d.Info().Size {
		return nil
	}
	return d.Resize(ctx, size)
}

// Open implements Drive.
func (s *single) Open(ctx context.Context, _ string, readOnly bool) (Device, error) {
	if err := s.check(!readOnly); err != nil {
		return nil, err
	}
	return s.open(ctx, readOnly, false, s.o)
}

// Remove implements Drive.
func (s *single) Remove(ctx context.Context, _ string) error {
	if err := s.check(true); err != nil {
		return err
	}
	d, err := s.open(ctx, false, false, s.o)
	if errors.Is(err, ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(wipe(ctx, d), d.Close())
}

// wipe trims all of d and zeroes its edges, in this order: the edges are zero
// whatever trimmed blocks read as.
func wipe(ctx context.Context, d Device) error {
	size := d.Info().Size
	if err := d.Trim(ctx, 0, size, 0); err != nil {
		return err
	}
	edge := min(size, edgeBytes)
	if err := d.Zero(ctx, 0, edge, 0); err != nil {
		return err
	}
	if err := d.Zero(ctx, size-edge, edge, 0); err != nil {
		return err
	}
	return d.Flush(ctx)
}
