package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// pageSize is fixed, so that a file does not depend on the machine it was made
// on; bbolt finds it again in the file.
const pageSize = 4096

// mapBytes is mapped from the start, more than a store will ever need: address
// space, not memory. Growing past it would make bbolt map anew, for which an
// Update waits until no View runs. growBytes is how far the file grows at once.
const (
	mapBytes  = 256 << 20
	growBytes = 256 << 10
)

// newSuffix marks a store that is being made. See makeFile.
const newSuffix = ".new"

// openOrMake opens the file, or makes one where there is none.
func openOrMake(path string, o BoltOptions) (*bolt.DB, error) {
	for range 3 { // another process may make it, or take it away, meanwhile
		_, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) && !o.ReadOnly {
			db, err := makeFile(path)
			if !errors.Is(err, fs.ErrExist) {
				return db, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		return openFile(path, o)
	}
	return nil, ErrLocked
}

// openFile opens an existing file. It is locked, then verified, then given to
// bbolt, which believes what it finds in a file: a damaged one would end the
// process with a memory fault.
func openFile(path string, o BoltOptions) (*bolt.DB, error) {
	open := func(name string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(name, flag&^os.O_CREATE, mode)
		if err != nil {
			return nil, err
		}
		if err := prepare(f, o); err != nil {
			f.Close()
			return nil, err
		}
		return f, nil
	}
	return openBolt(path, o.ReadOnly, open)
}

func openBolt(path string, readOnly bool, open func(string, int, os.FileMode) (*os.File, error)) (*bolt.DB, error) {
	var db *bolt.DB
	err := guard(func() (err error) {
		db, err = bolt.Open(path, 0o600, &bolt.Options{
			Timeout: time.Second, ReadOnly: readOnly, PreLoadFreelist: true,
			PageSize: pageSize, FreelistType: bolt.FreelistMapType, NoStatistics: true, OpenFile: open, InitialMmapSize: mapBytes,
		})
		return err
	})
	if err != nil {
		return nil, osError(err)
	}
	db.AllocSize = growBytes
	return db, nil
}

// prepare locks and verifies an existing file.
func prepare(f *os.File, o BoltOptions) error {
	how := unix.LOCK_EX
	if o.ReadOnly {
		how = unix.LOCK_SH
	}
	if err := lock(f, how, o.LockWait); err != nil {
		return err
	}
	problems, err := verifyFile(f)
	if err != nil {
		return osError(err)
	}
	if len(problems) > 0 {
		return fmt.Errorf("%w (%s)", ErrCorrupt, problems[0])
	}
	return nil
}

// openLocked opens an existing file to look at, locked against writers.
func openLocked(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := lock(f, unix.LOCK_SH, 0); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// lock takes the lock that bbolt takes, on the same open file, so that bbolt
// then gets it at once.
func lock(f *os.File, how int, wait time.Duration) error {
	deadline := time.Now().Add(wait)
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EWOULDBLOCK):
			return fmt.Errorf("lock: %w", err)
		case !time.Now().Before(deadline):
			return ErrLocked
		}
		<-time.After(10 * time.Millisecond)
	}
}

// makeFile makes an empty store. A store that came into being page by page
// under its final name could be found torn after a power cut, and then neither
// be opened nor be told from a damaged one. So it is made as path.new, with its
// bucket and format record, synced, and only then gets its name. Whatever an
// earlier attempt left under path.new is overwritten. fs.ErrExist: somebody
// else made one first.
func makeFile(path string) (*bolt.DB, error) {
	tmp := path + newSuffix
	db, err := openBolt(tmp, false, openNew)
	if err != nil {
		return nil, err
	}
	if err := fillNew(db); err != nil {
		return nil, errors.Join(osError(err), db.Close(), os.Remove(tmp))
	}
	// The rename happens under the lock: nobody else can be in this file.
	if err := renameNew(tmp, path); err != nil {
		return nil, errors.Join(osError(err), db.Close(), os.Remove(tmp))
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return nil, errors.Join(osError(err), db.Close())
	}
	return db, nil
}

// openNew opens path.new, empty and locked.
func openNew(name string, flag int, mode os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(name, flag, mode)
	if err != nil {
		return nil, err
	}
	if err = lock(f, unix.LOCK_EX, 0); err == nil {
		err = f.Truncate(0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func fillNew(db *bolt.DB) error {
	err := db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte(bucketName))
		if err != nil {
			return err
		}
		return b.Put([]byte(KeyFormat), []byte(Format))
	})
	if err != nil {
		return err
	}
	return db.Sync()
}

// renameNew renames without replacing. File systems that cannot promise that
// get a plain rename; the lock on path.new covers all but a foreign program.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		err = os.Rename(from, to)
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
