package bench

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// Machine is where it was measured.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Load   string `json:"load"` // five-minute average when the run ended; tells of other work
}

// String is for headings.
func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, Linux %s, load average %s", m.CPU, m.Cores, m.Kernel, m.Load)
}

// machine looks at this one.
func machine() Machine {
	load := "unknown"
	if f := strings.Fields(readText("/proc/loadavg")); len(f) > 1 {
		load = f[1]
	}
	return Machine{cpuModel(), runtime.NumCPU(), strings.TrimSpace(readText("/proc/sys/kernel/osrelease")), load}
}

// cpuModel is the kernel's name of the processor, or its architecture where the
// kernel tells none.
func cpuModel() string {
	for line := range strings.Lines(readText("/proc/cpuinfo")) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return runtime.GOARCH
}

// readText gives a file of the kernel, or nothing where it has no such.
func readText(name string) string {
	b, _ := os.ReadFile(name)
	return string(b)
}

// versions asks programs for the first line they say of themselves. Those that
// are not there are left out.
func versions(commands ...[]string) []string {
	var v []string
	for _, c := range commands {
		out, err := exec.Command(c[0], c[1:]...).CombinedOutput()
		if line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n"); err == nil && line != "" {
			v = append(v, line)
		}
	}
	return v
}
