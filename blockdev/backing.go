package blockdev

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// fileBacking is the medium of a file: drive.
type fileBacking struct{ name string }

func (b *fileBacking) uri() string  { return "file:" + b.name }
func (b *fileBacking) path() string { return b.name }

func (b *fileBacking) open(_ context.Context, readOnly, peek bool, _ DriveOptions) (Device, error) {
	return openFile(b.name, openFlags{readOnly: readOnly, unlocked: peek})
}

func (b *fileBacking) make(size int64) error {
	d, err := createFile(b.name, size)
	if errors.Is(err, ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return d.Close()
}

func (b *fileBacking) info(i *DriveInfo) error {
	i.Kind = "file"
	capacity, free, err := space(filepath.Dir(b.name))
	if i.Capacity == 0 { // not there yet, or empty
		i.Capacity, i.Free = capacity, free
	}
	return err
}

// space tells the size of a file system and what of it is left for us.
func space(dir string) (capacity, free int64, err error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Statfs(dir, &st) }); err != nil {
		return 0, 0, fmt.Errorf("space on %s: %w", dir, osError(err))
	}
	return int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize, nil
}

// diskBacking is the medium of a disk: drive.
type diskBacking struct{ name string }

func (b *diskBacking) uri() string  { return "disk:" + b.name }
func (b *diskBacking) path() string { return b.name }

func (b *diskBacking) open(ctx context.Context, readOnly, peek bool, o DriveOptions) (Device, error) {
	return openDisk(ctx, b.name, openFlags{readOnly: readOnly, unlocked: peek}, o.Logger)
}

func (b *diskBacking) make(int64) error { return nil }

func (b *diskBacking) info(i *DriveInfo) error {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Stat(b.name, &st) }); err != nil {
		return fmt.Errorf("stat %s: %w", b.name, osError(err))
	}
	sys := sysDiskOf(uint64(st.Rdev))
	i.Kind, i.Serial, i.Model = "disk", sys.serial(), sys.model()
	i.ReadOnly = i.ReadOnly || sys.number("ro") == 1
	return nil
}

// memBacking is the medium of a mem: drive. It counts its handles, which
// files and disks leave to the kernel.
type memBacking struct {
	mem *Mem

	mu      sync.Mutex
	readers int
	writer  bool
}

func (b *memBacking) uri() string  { return fmt.Sprintf("mem:%d", b.mem.size.Load()) }
func (b *memBacking) path() string { return "" }

func (b *memBacking) make(int64) error { return nil }

func (b *memBacking) info(i *DriveInfo) error {
	i.Kind = "mem"
	return nil
}

func (b *memBacking) open(_ context.Context, readOnly, peek bool, _ DriveOptions) (Device, error) {
	if peek {
		return &Mem{memory: b.mem.memory}, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.writer || !readOnly && b.readers > 0 {
		return nil, fmt.Errorf("open %s: %w", b.uri(), ErrBusy)
	}
	if !readOnly {
		b.writer = true
		return &Mem{memory: b.mem.memory, onClose: func() { b.leave(&b.writer) }}, nil
	}
	b.readers++
	return ReadOnly(&Mem{memory: b.mem.memory, onClose: func() { b.leave(nil) }}), nil
}

// leave gives up a handle: the writer's, or one of a reader.
func (b *memBacking) leave(writer *bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if writer != nil {
		*writer = false
		return
	}
	b.readers--
}
