package blockdev

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"

	"github.com/docker/go-units"
)

// DriveOptions are the parameters of OpenDrive.
type DriveOptions struct {
	ReadOnly bool         // nothing on the drive will be changed
	Create   bool         // make the directory of a dir: drive if it is missing
	Logger   *slog.Logger // nil discards
}

// Errors of drive addresses and image names.
var (
	ErrURI  = errors.New("bad drive address")
	ErrName = errors.New("bad image name")
)

// OpenDrive opens the drive at an address:
//
//	dir:PATH    a directory of sparse image files, many images
//	file:PATH   a regular file, one image; Create makes the file
//	disk:PATH   a block device, one image
//	mem:SIZE    memory of its own, one image, gone after Close; SIZE as in 64M
//
// The drive itself is not locked; its images are, while open. Errors say what
// can be done about them and wrap ErrURI, ErrNotExist, ErrReadOnly or ErrBusy.
func OpenDrive(ctx context.Context, uri string, o DriveOptions) (Drive, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	kind, rest, ok := strings.Cut(uri, ":")
	if !ok || rest == "" {
		return nil, addressError(uri)
	}
	if kind == "mem" {
		return openMemDrive(rest, o)
	}
	path, err := filepath.Abs(rest)
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", ErrURI, uri, err)
	}
	switch kind {
	case "dir":
		return openDirDrive(path, o)
	case "file":
		return openSingle(ctx, &fileBacking{name: path}, o)
	case "disk":
		return openSingle(ctx, &diskBacking{name: path}, o)
	}
	return nil, addressError(uri)
}

func addressError(uri string) error {
	return fmt.Errorf("%w %q: use dir:PATH, file:PATH, disk:PATH or mem:SIZE", ErrURI, uri)
}

// opened is the state that all kinds of drives share.
type opened struct {
	o      DriveOptions
	mu     sync.Mutex
	closed bool
}

// Close implements Drive.
func (s *opened) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.closed = true
	return nil
}

// check fails when the drive is closed, or read-only and to be changed.
func (s *opened) check(change bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case change && s.o.ReadOnly:
		return fmt.Errorf("the drive was opened read-only: %w", ErrReadOnly)
	}
	return nil
}

// imageNameBytes keeps a name with its suffix and temporary prefix within what
// file systems take.
const imageNameBytes = 200

// checkImageName accepts what is one safe path element on its own.
func checkImageName(name string) error {
	const allowed = "letters, digits and . _ -"
	if name == "" || len(name) > imageNameBytes || name[0] == '.' || name[0] == '-' {
		return fmt.Errorf("%w %q: 1 to %d %s, not beginning with . or -", ErrName, name, imageNameBytes, allowed)
	}
	bad := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') &&
			r != '.' && r != '_' && r != '-'
	}
	if strings.ContainsFunc(name, bad) {
		return fmt.Errorf("%w %q: only %s", ErrName, name, allowed)
	}
	return nil
}

// openMemDrive makes a drive of memory. It is a single drive whose medium
// happens to be a Mem.
func openMemDrive(size string, o DriveOptions) (Drive, error) {
	n, err := units.RAMInBytes(size)
	if err != nil || n <= 0 {
		return nil, fmt.Errorf("%w %q: the size of memory is a positive number, as in mem:64M", ErrURI, "mem:"+size)
	}
	return &single{backing: &memBacking{mem: NewMem(n)}, opened: opened{o: o}}, nil
}
