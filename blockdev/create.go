package blockdev

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// createFile makes a sparse file of size bytes and opens it, locked. It comes
// into being under a name of its own (.NAME.new) and gets its real one when
// complete and durable: a crash leaves the whole file or none. What an earlier
// crash left under the temporary name is used again.
func createFile(path string, size int64) (*file, error) {
	if size < 0 {
		return nil, fmt.Errorf("create %s: %w: negative size", path, ErrRange)
	}
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("create %s: %w", path, ErrExist)
	}
	draft := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	d, err := openDraft(draft)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", path, err)
	}
	if err := d.publish(draft, path, size); err != nil {
		return nil, fmt.Errorf("create %s: %w", path, errors.Join(err, d.Close()))
	}
	return d, nil
}

// openDraft opens the temporary file and locks it, so that of two creators one
// is told ErrBusy.
func openDraft(draft string) (*file, error) {
	h, err := openHandle(draft, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW, imageMode)
	if err != nil {
		return nil, err
	}
	d, err := newFile(h, openFlags{})
	if err != nil {
		return nil, errors.Join(err, h.close())
	}
	return d, nil
}

// publish gives the draft its size and its name. A draft that another creator
// published between our open and our lock no longer has the name we rename.
func (d *file) publish(draft, path string, size int64) error {
	if err := d.isAt(draft); err != nil {
		return err
	}
	err := d.reset(size)
	if err == nil {
		err = osError(renameNew(draft, path))
	}
	if err != nil {
		return errors.Join(err, osError(os.Remove(draft)))
	}
	d.path = path
	if err := syncDir(filepath.Dir(path)); err != nil {
		return errors.Join(err, osError(os.Remove(path)))
	}
	return nil
}

// isAt fails unless path names the open file.
func (d *file) isAt(path string) error {
	mine, err := d.stat()
	if err != nil {
		return err
	}
	var st unix.Stat_t
	err = retry(func() error { return unix.Lstat(path, &st) })
	if err != nil || st.Ino != mine.Ino || st.Dev != mine.Dev {
		return fmt.Errorf("%w: created by another process just now", ErrBusy)
	}
	return nil
}

// reset makes the file size bytes of hole, durably.
func (d *file) reset(size int64) error {
	for _, n := range []int64{0, size} {
		if err := retry(func() error { return unix.Ftruncate(d.fd, n) }); err != nil {
			return osError(err)
		}
	}
	d.size.Store(size)
	return d.sync()
}

// renameNew renames and never replaces what is there already.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	// NFS and others lack the flag; a second link does not replace either.
	if err := os.Link(from, to); err != nil {
		return err
	}
	return os.Remove(from)
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	h, err := openHandle(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	err = retry(func() error { return unix.Fsync(h.fd) })
	return errors.Join(osError(err), h.close())
}
