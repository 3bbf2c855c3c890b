package nbd

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"lockplate/blockdev"
)

// Errno is an error value of the protocol ("Error values"). A Client's
// request that the server refused fails with one; errors.Is finds the
// blockdev sentinel and the syscall.Errno that stand for it.
type Errno uint32

// The error values of the protocol.
const (
	EPERM     Errno = 1
	EIO       Errno = 5
	ENOMEM    Errno = 12
	EINVAL    Errno = 22
	ENOSPC    Errno = 28
	EOVERFLOW Errno = 75
	ENOTSUP   Errno = 95
	ESHUTDOWN Errno = 108
)

// errnoNames are the values of the metric label errno.
var errnoNames = map[Errno]string{
	EPERM: "EPERM", EIO: "EIO", ENOMEM: "ENOMEM", EINVAL: "EINVAL",
	ENOSPC: "ENOSPC", EOVERFLOW: "EOVERFLOW", ENOTSUP: "ENOTSUP", ESHUTDOWN: "ESHUTDOWN",
}

// errnoTable is the one place that pairs causes with what the client is told.
// The first row that matches wins; what matches none is EIO.
var errnoTable = [...]struct {
	cause error
	errno Errno
}{
	{blockdev.ErrReadOnly, EPERM},
	{blockdev.ErrNoSpace, ENOSPC},
	{blockdev.ErrNotFast, ENOTSUP},
	{blockdev.ErrRange, EINVAL},
	{blockdev.ErrAlign, EINVAL},
	{blockdev.ErrNotSupported, EINVAL},
	{blockdev.ErrClosed, ESHUTDOWN},
	{context.Canceled, ESHUTDOWN}, // only ever with the connection already gone
	{syscall.EPERM, EPERM},
	{syscall.EACCES, EPERM},
	{syscall.EROFS, EPERM},
	{syscall.ENOMEM, ENOMEM},
	{syscall.EINVAL, EINVAL},
	{syscall.ENOSPC, ENOSPC},
	{syscall.EDQUOT, ENOSPC},
	{syscall.EFBIG, ENOSPC},
	{syscall.EOVERFLOW, EOVERFLOW},
	{syscall.EOPNOTSUPP, ENOTSUP},
	{syscall.ESHUTDOWN, ESHUTDOWN},
}

// errnoOf tells what a client is told about err; 0 for nil.
func errnoOf(err error) Errno {
	if err == nil {
		return 0
	}
	var e Errno
	if errors.As(err, &e) && e.known() {
		return e
	}
	for _, row := range errnoTable {
		if errors.Is(err, row.cause) {
			return row.errno
		}
	}
	return EIO
}

// known says whether e is a value of the protocol.
func (e Errno) known() bool {
	_, ok := errnoNames[e]
	return ok
}

// Error says the text of the operating system's error of the same number,
// which the protocol's numbers are taken from.
func (e Errno) Error() string {
	if !e.known() {
		return fmt.Sprintf("nbd error %d", uint32(e))
	}
	return syscall.Errno(e).Error()
}

// Is makes errors.Is(e, target) true for the blockdev sentinel and the
// syscall.Errno that e stands for.
func (e Errno) Is(target error) bool {
	switch target {
	case blockdev.ErrReadOnly:
		return e == EPERM
	case blockdev.ErrNoSpace:
		return e == ENOSPC
	case blockdev.ErrNotFast:
		return e == ENOTSUP
	case blockdev.ErrClosed:
		return e == ESHUTDOWN
	case syscall.Errno(e):
		return true
	}
	return false
}
