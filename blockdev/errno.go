package blockdev

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// sentinelOf names the sentinel that stands for an errno, nil if none does.
func sentinelOf(errno unix.Errno) error {
	switch errno {
	case unix.ENOSPC, unix.EDQUOT, unix.EFBIG:
		return ErrNoSpace
	case unix.EROFS:
		return ErrReadOnly
	case unix.EBUSY, unix.EWOULDBLOCK, unix.ETXTBSY:
		return ErrBusy
	case unix.EEXIST:
		return ErrExist
	case unix.ENOENT:
		return ErrNotExist
	case unix.EOPNOTSUPP, unix.ENOSYS, unix.ENOTTY:
		return ErrNotSupported
	}
	return nil
}

// osError makes errors.Is find the sentinel of this package as well as the
// errno in an error of the operating system.
func osError(err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return err
	}
	if s := sentinelOf(errno); s != nil && !errors.Is(err, s) {
		return fmt.Errorf("%w (%w)", s, err)
	}
	return err
}

// unsupported reports whether the kernel or the file system lacks a call.
func unsupported(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) ||
		errors.Is(err, unix.ENOTTY)
}

// retry runs a system call again while a signal interrupts it.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
