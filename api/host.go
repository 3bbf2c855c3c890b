package api

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// hostUsage is what the machine has and the gateway uses of it. What cannot
// be told is 0.
type hostUsage struct {
	arch     string
	cpuModel string
	threads  int // of the processor that the gateway may use
	kernel   string
	memory   int64 // bytes the machine has
	resident int64 // bytes the gateway has in memory
	cpu      time.Duration
}

// readHost asks the kernel.
func readHost() hostUsage {
	h := hostUsage{arch: runtime.GOARCH, threads: runtime.NumCPU()}
	var un unix.Utsname
	if unix.Uname(&un) == nil {
		h.kernel = unix.ByteSliceToString(un.Release[:])
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		h.cpuModel = modelOf(b)
	}
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) == nil {
		h.memory = int64(si.Totalram) * int64(si.Unit)
	}
	var ru unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &ru) == nil {
		h.cpu = time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
	}
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		h.resident = residentBytes(b)
	}
	return h
}

// modelOf is the model of the first processor; some architectures tell none.
func modelOf(cpuinfo []byte) string {
	for line := range bytes.Lines(cpuinfo) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if string(bytes.TrimSpace(name)) == "model name" {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}

// residentBytes is the second field of statm, in pages.
func residentBytes(statm []byte) int64 {
	f := bytes.Fields(statm)
	if len(f) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(string(f[1]), 10, 64) // not a number: 0
	return pages * int64(os.Getpagesize())
}
