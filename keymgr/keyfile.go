package keymgr

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// fileSealer uses a key file: 32 random bytes, mode 0600, best on a medium that
// is kept apart from the machine. It is read each time it is needed.
type fileSealer struct {
	path   string
	state  string
	create bool
}

func (s *fileSealer) kind() sealKind { return kindFile }
func (s *fileSealer) close()         {}

func (s *fileSealer) wrong() error {
	return fmt.Errorf("key file %s: %w: use the key file that was used to make the cluster", s.path, ErrWrongKey)
}

func (s *fileSealer) protects() (bool, string) {
	if sameFS(s.path, s.state) {
		return false, "key file " + s.path + " is on the same file system as the state directory: " +
			"who has the disk has both; keep it on other media"
	}
	return true, ""
}

func (s *fileSealer) base(_ context.Context, h *header, seal bool) (*Secret, error) {
	k, err := s.read()
	if errors.Is(err, fs.ErrNotExist) && seal && s.create {
		if err := makeKeyFile(s.path); err != nil {
			return nil, fmt.Errorf("make key file %s: %w", s.path, err)
		}
		k, err = s.read()
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("key file %s: %w: attach the medium it is on, or put a copy of it there", s.path, ErrSealerMissing)
	}
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", s.path, err)
	}
	if seal {
		if err := freshSalt(h, kindFile); err != nil {
			k.Destroy()
			return nil, err
		}
	}
	return k, nil
}

// read checks who else can read the file before its content is used.
func (s *fileSealer) read() (*Secret, error) {
	fi, err := os.Stat(s.path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() != keyBytes {
		return nil, fmt.Errorf("%w: a key file is a regular file of %d bytes, this has %d; move it away",
			ErrWrongKey, keyBytes, fi.Size())
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%w (mode %04o)", ErrPermissions, fi.Mode().Perm())
	}
	b, err := readSmall(s.path, keyBytes)
	if err != nil {
		return nil, err
	}
	var any byte
	for _, c := range b {
		any |= c
	}
	if len(b) != keyBytes || any == 0 {
		clear(b)
		return nil, fmt.Errorf("%w: the file is empty or all zero; copy it again from where it was good", ErrWrongKey)
	}
	return NewSecret(b)
}

// makeKeyFile writes a new key file, whole or not at all, and never over
// something that is there.
func makeKeyFile(path string) error {
	k, err := RandomSecret(rand.Reader, keyBytes)
	if err != nil {
		return err
	}
	defer k.Destroy()
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(k.Bytes())
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = unix.Renameat2(unix.AT_FDCWD, f.Name(), unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
