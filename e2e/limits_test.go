package e2e

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// procField reads a number in KiB from /proc/PID/status.
func (p *process) procField(t *testing.T, field string) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	must(t, err)
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			must(t, err)
			return n
		}
	}
	t.Fatalf("no %s in /proc", field)
	return 0
}

func TestThousandIdleConnectionsCostLessThan64KiBEach(t *testing.T) {
	const conns, limitKiB = 1000, 64
	g := newGateway(t)
	g.volume("vol", "4MiB")
	c := g.dial("vol") // what the first connection needs is not counted
	must(t, c.readAt(make([]byte, 4096), 0))
	before := g.proc.procField(t, "VmRSS")
	for range conns {
		idle := g.dial("vol")
		must(t, idle.readAt(make([]byte, 4096), 0))
	}
	each := float64(g.proc.procField(t, "VmRSS")-before) / conns
	t.Logf("%.1f KiB each", each)
	if each >= limitKiB {
		t.Errorf("%.1f KiB each, want under %d", each, limitKiB)
	}
	must(t, c.readAt(make([]byte, 4096), 0))
}

// A client that sends a byte a second is cut at the handshake deadline, and
// meanwhile hurts nobody.
func TestTricklingClientIsCut(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	g.volume("vol", "4MiB")
	conn, err := net.Dial("unix", g.sock)
	must(t, err)
	defer conn.Close()
	begin := time.Now()
	cut := make(chan struct{})
	go func() {
		defer close(cut)
		for b := make([]byte, 1<<10); ; {
			if _, err := conn.Read(b); err != nil {
				return
			}
		}
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for begun := false; !begun || time.Since(begin) < waitLimit; begun = true {
		select {
		case <-cut:
			if took := time.Since(begin); took < time.Second {
				t.Errorf("cut after %v: no honest client is that fast", took)
			}
			return
		case <-tick.C:
			_, _ = conn.Write([]byte{0}) // fails once it is cut
			must(t, g.dial("vol").readAt(make([]byte, 512), 0))
		}
	}
	t.Errorf("still connected after %v", waitLimit)
}
