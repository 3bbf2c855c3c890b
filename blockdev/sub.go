package blockdev

import (
	"context"
	"fmt"
	"sync/atomic"
)

// Sub returns the part of d that begins at off and has size bytes, as a
// Device. Closing it closes d. Resize grows d as far as needed; off and size
// must be multiples of d's alignment and lie within d.
func Sub(d Device, off, size int64) (Device, error) {
	if err := d.Info().Check(off, size); err != nil {
		return nil, fmt.Errorf("part of a device: %w", err)
	}
	s := &sub{lower: d, off: off}
	s.size.Store(size)
	return s, nil
}

// sub is a window on the device below. It checks ranges itself, so that none
// reaches what lies beside the window.
type sub struct {
	lower Device
	off   int64
	size  atomic.Int64
}

func (s *sub) ReadAt(ctx context.Context, p []byte, off int64) error {
	if err := s.Info().Check(off, int64(len(p))); err != nil {
		return err
	}
	return s.lower.ReadAt(ctx, p, s.off+off)
}

func (s *sub) WriteAt(ctx context.Context, p []byte, off int64, f Flag) error {
	if err := s.Info().Check(off, int64(len(p))); err != nil {
		return err
	}
	return s.lower.WriteAt(ctx, p, s.off+off, f)
}

func (s *sub) Zero(ctx context.Context, off, n int64, f Flag) error {
	if err := s.Info().Check(off, n); err != nil {
		return err
	}
	return s.lower.Zero(ctx, s.off+off, n, f)
}

func (s *sub) Trim(ctx context.Context, off, n int64, f Flag) error {
	if err := s.Info().Check(off, n); err != nil {
		return err
	}
	return s.lower.Trim(ctx, s.off+off, n, f)
}

func (s *sub) Flush(ctx context.Context) error { return s.lower.Flush(ctx) }

func (s *sub) Extents(ctx context.Context, off, n int64) ([]Extent, error) {
	if err := s.Info().Check(off, n); err != nil {
		return nil, err
	}
	return s.lower.Extents(ctx, s.off+off, n)
}

func (s *sub) Resize(ctx context.Context, size int64) error {
	now := s.size.Load()
	if size < now {
		return fmt.Errorf("shrink part of %d bytes to %d: %w", now, size, ErrNotSupported)
	}
	if end := s.off + size; end > s.lower.Info().Size {
		if err := s.lower.Resize(ctx, end); err != nil {
			return err
		}
	}
	if a := int64(s.lower.Info().Align); size%a != 0 {
		return fmt.Errorf("grow part to %d bytes: %w", size, ErrAlign)
	}
	s.size.Store(size)
	return nil
}

func (s *sub) Info() Info {
	i := s.lower.Info()
	i.Size = s.size.Load()
	return i
}

func (s *sub) Close() error { return s.lower.Close() }
