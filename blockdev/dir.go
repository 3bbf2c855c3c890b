package blockdev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	imageSuffix = ".img"
	imageMode   = 0o600
	dirMode     = 0o700
)

// dirDrive is a directory of image files: NAME lives in NAME.img, sparse.
type dirDrive struct {
	opened
	dir string
}

// openDirDrive checks that the directory is there and can be used.
func openDirDrive(path string, o DriveOptions) (Drive, error) {
	if o.Create && !o.ReadOnly {
		if err := os.MkdirAll(path, dirMode); err != nil {
			return nil, fmt.Errorf("make drive directory: %w", osError(err))
		}
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open drive dir:%s: %w", path, osError(err))
	}
	if !st.IsDir() {
		return nil, fmt.Errorf("%w dir:%s: use file: or disk: for what is not a directory", ErrURI, path)
	}
	return &dirDrive{opened: opened{o: o}, dir: path}, nil
}

// URI implements Drive.
func (d *dirDrive) URI() string { return "dir:" + d.dir }

// Path implements Drive. A name that no image can have has no path.
func (d *dirDrive) Path(name string) string {
	if checkImageName(name) != nil {
		return ""
	}
	return filepath.Join(d.dir, name+imageSuffix)
}

// Info implements Drive.
func (d *dirDrive) Info(context.Context) (DriveInfo, error) {
	if err := d.check(false); err != nil {
		return DriveInfo{}, err
	}
	capacity, free, err := space(d.dir)
	return DriveInfo{
		Kind: "dir", Capacity: capacity, Free: free, Align: 1, Sector: pageBytes,
		ReadOnly: d.o.ReadOnly || errors.Is(unix.Access(d.dir, unix.W_OK), unix.EROFS),
	}, err
}

// Images implements Drive.
func (d *dirDrive) Images(context.Context) ([]string, error) {
	if err := d.check(false); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", osError(err))
	}
	var names []string
	for _, e := range entries {
		name, isImage := strings.CutSuffix(e.Name(), imageSuffix)
		if isImage && e.Type().IsRegular() && checkImageName(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Create implements Drive.
func (d *dirDrive) Create(_ context.Context, name string, size int64) (Device, error) {
	if err := d.admit(name, true); err != nil {
		return nil, fmt.Errorf("create image: %w", err)
	}
	f, err := createFile(d.Path(name), size)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Open implements Drive. A symbolic link is not followed: whoever can write to
// the directory could point it at any disk.
func (d *dirDrive) Open(_ context.Context, name string, readOnly bool) (Device, error) {
	if err := d.admit(name, !readOnly); err != nil {
		return nil, fmt.Errorf("open image: %w", err)
	}
	f, err := openFile(d.Path(name), openFlags{readOnly: readOnly, extra: unix.O_NOFOLLOW})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Remove implements Drive.
func (d *dirDrive) Remove(_ context.Context, name string) error {
	if err := d.admit(name, true); err != nil {
		return fmt.Errorf("remove image: %w", err)
	}
	f, err := openFile(d.Path(name), openFlags{extra: unix.O_NOFOLLOW})
	if errors.Is(err, ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove image: %w", err)
	}
	err = os.Remove(d.Path(name))
	if err == nil {
		err = syncDir(d.dir)
	}
	if err = errors.Join(osError(err), f.Close()); err != nil {
		return fmt.Errorf("remove image: %w", err)
	}
	return nil
}

// admit checks the drive's state and the name.
func (d *dirDrive) admit(name string, change bool) error {
	if err := d.check(change); err != nil {
		return err
	}
	return checkImageName(name)
}
