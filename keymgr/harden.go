package keymgr

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrMayNotLock says that the process may not lock all its memory.
var ErrMayNotLock = errors.New("not allowed to lock memory: " +
	"run as root, or give the service CAP_IPC_LOCK or LimitMEMLOCK=infinity; until then swap off or encrypt it")

// HardenProcess keeps the process's memory from other processes of the same
// user (no ptrace, no /proc/PID/mem) and from core dumps. Call it first in
// main. A limit on core size alone would not stop a core pattern that pipes.
func HardenProcess() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("make process undumpable: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	return nil
}

// LockMemory keeps the whole process out of swap: beside Secrets also the key
// schedules of open volumes and the plaintext in buffers. Pages are locked when
// they are first touched. A limited right is not used, since an allocation over
// the limit would end the process later. ErrMayNotLock.
func LockMemory() error {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &l); err != nil {
		return fmt.Errorf("read limit of locked memory: %w", err)
	}
	if l.Cur != unix.RLIM_INFINITY && !mayLock() {
		return ErrMayNotLock
	}
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return fmt.Errorf("lock memory: %w", err)
	}
	return nil
}

// mayLock says whether the process has CAP_IPC_LOCK.
func mayLock() bool {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	return unix.Capget(&h, &d[0]) == nil && d[0].Effective>>unix.CAP_IPC_LOCK&1 == 1
}
