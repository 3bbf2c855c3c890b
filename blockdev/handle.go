package blockdev

import (
	"fmt"
	"math"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// handle is an open descriptor that may be closed while calls use it: close
// refuses new users and waits for those that are under way, so that a number
// the kernel has given to another file is never written to. It costs two
// atomic additions per use and no memory.
type handle struct {
	fd   int
	path string
	// users counts calls under way; shutting is added to it by close.
	users atomic.Int64
	idle  chan struct{}
}

const shutting = math.MinInt64 / 2

// openHandle opens path with O_CLOEXEC. The errors of this package are found
// in what it returns.
func openHandle(path string, flags int, mode uint32) (*handle, error) {
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Open(path, flags|unix.O_CLOEXEC, mode)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, osError(err))
	}
	return &handle{fd: fd, path: path, idle: make(chan struct{}, 1)}, nil
}

// acquire begins one use; false means that the handle is closed.
func (h *handle) acquire() bool {
	if h.users.Add(1) > 0 {
		return true
	}
	h.release()
	return false
}

// release ends one use.
func (h *handle) release() {
	if h.users.Add(-1) == shutting {
		select {
		case h.idle <- struct{}{}:
		default:
		}
	}
}

// close waits for the users and closes the descriptor, which gives up its
// locks as well.
func (h *handle) close() error {
	for {
		n := h.users.Load()
		if n < 0 {
			return ErrClosed
		}
		if !h.users.CompareAndSwap(n, n+shutting) {
			continue
		}
		if n > 0 {
			<-h.idle
		}
		if err := unix.Close(h.fd); err != nil {
			return fmt.Errorf("close %s: %w", h.path, osError(err))
		}
		return nil
	}
}

// lock takes the advisory lock that keeps other openers of the same file out,
// in this process too: shared for readers, exclusive for writers.
func (h *handle) lock(shared bool) error {
	how := unix.LOCK_EX
	if shared {
		how = unix.LOCK_SH
	}
	err := retry(func() error { return unix.Flock(h.fd, how|unix.LOCK_NB) })
	if err != nil {
		return fmt.Errorf("lock %s: %w", h.path, osError(err))
	}
	return nil
}

// stat describes the open file.
func (h *handle) stat() (unix.Stat_t, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(h.fd, &st) }); err != nil {
		return st, fmt.Errorf("stat %s: %w", h.path, osError(err))
	}
	return st, nil
}
