package keymgr

import (
	"fmt"

	"golang.org/x/sys/unix"
)

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
