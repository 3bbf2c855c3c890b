package bench

import (
	"context"
	"fmt"
	"os/exec"
	"time"
)

// job is one workload of the gateway. Bulk is reported in MB/s (10^6), small
// requests in requests a second: more is better in both.
type job struct {
	name, what string
	small      bool // 4 KiB requests: counted, not weighed
	alone      bool // one request at a time: its latency is reported too
	// run moves data for about w.Seconds. The server is asked by nobody else.
	run func(ctx context.Context, w *work, s *server) (outcome, error)
}

// unit of the job's rate.
func (j job) unit() string {
	if j.small {
		return "IOPS"
	}
	return "MB/s"
}

// value of an outcome in that unit.
func (j job) value(o outcome) float64 {
	if j.small {
		return o.requests / o.seconds
	}
	return o.bytes / o.seconds / 1e6
}

// work done by an outcome in the unit in which processor time is given: GiB, or
// a million requests.
func (j job) done(o outcome) float64 {
	if j.small {
		return o.requests / 1e6
	}
	return o.bytes / (1 << 30)
}

// jobs are the workloads of the gateway.
func jobs() (list []job) {
	// The lines are those that fio is given elsewhere to measure NBD servers, so
	// that figures can be compared.
	add := func(name, what string, p pattern) {
		list = append(list, job{name, what, p.bs == "4k", p.depth == 1, runPattern(p)})
	}
	add("seqr1m", "sequential read, 1 MiB, 4 in flight", pattern{rw: "read", bs: "1m", depth: 4, connections: 1})
	add("seqw1m", "sequential write, 1 MiB, 4 in flight", pattern{rw: "write", bs: "1m", depth: 4, connections: 1})
	add("r64k", "random read, 64 KiB, 16 in flight", pattern{rw: "randread", bs: "64k", depth: 16, connections: 1})
	add("w64k", "random write, 64 KiB, 16 in flight", pattern{rw: "randwrite", bs: "64k", depth: 16, connections: 1})
	for _, n := range []int{1, 4} {
		suffix, on := "", ""
		if n > 1 {
			suffix, on = "-4c", fmt.Sprintf(", on each of %d connections", n)
		}
		add("rr4k"+suffix, "random read, 4 KiB, 32 in flight"+on, pattern{rw: "randread", bs: "4k", depth: 32, connections: n})
		add("rw4k"+suffix, "random write, 4 KiB, 32 in flight"+on, pattern{rw: "randwrite", bs: "4k", depth: 32, connections: n})
		add("mix4k"+suffix, "70 % read, 30 % write, 4 KiB, 32 in flight"+on, mixed(32, n))
	}
	list = append(list, queueOfOne()...)
	add("mix4k-qd1", "70 % read, 30 % write, 4 KiB, one at a time", mixed(1, 1))
	add("flush4k", "random write, 4 KiB, each followed by a flush", pattern{
		rw: "randwrite", bs: "4k", depth: 1, connections: 1, more: []string{"--fsync=1"},
	})
	return append(list, copies()...)
}

// queueOfOne are reads and writes of 4 KiB, one at a time.
func queueOfOne() []job {
	read := pattern{rw: "randread", bs: "4k", depth: 1, connections: 1}
	write := pattern{rw: "randwrite", bs: "4k", depth: 1, connections: 1}
	return []job{
		{"rr4k-qd1", "random read, 4 KiB, one at a time", true, true, runPattern(read)},
		{"rw4k-qd1", "random write, 4 KiB, one at a time", true, true, runPattern(write)},
	}
}

// mixed is seven reads for three writes, as a file system or data base asks.
func mixed(depth, connections int) pattern {
	return pattern{rw: "randrw", bs: "4k", depth: depth, connections: connections, more: []string{"--rwmixread=70"}}
}

// copies are what TLS is measured with too: fio speaks no TLS.
func copies() []job {
	return []job{
		{"copy-out", "nbdcopy from the volume", false, false, copyOut},
		{"copy-in", "nbdcopy to the volume", false, false, copyIn},
	}
}

// runPattern is a workload of fio.
func runPattern(p pattern) func(context.Context, *work, *server) (outcome, error) {
	return func(ctx context.Context, w *work, s *server) (outcome, error) { return w.fio(ctx, s, p, w.Seconds) }
}

// copyOut reads the whole volume; holes are read too.
func copyOut(ctx context.Context, w *work, s *server) (outcome, error) {
	// Without it nbdcopy asks for holes and skips them, which is no speed.
	return w.nbdcopy(ctx, s, "--no-extents", s.uri, "null:")
}

// copyIn writes the whole volume from a file.
func copyIn(ctx context.Context, w *work, s *server) (outcome, error) {
	src, err := w.source()
	if err != nil {
		return outcome{}, err
	}
	return w.nbdcopy(ctx, s, src, s.uri)
}

// nbdcopy runs to its end, again and again until the time is over.
func (w *work) nbdcopy(ctx context.Context, s *server, args ...string) (outcome, error) {
	var o outcome
	before := s.cpu()
	for o.seconds < w.Seconds {
		cmd := exec.CommandContext(ctx, "nbdcopy", args...)
		start := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return o, fmt.Errorf("nbdcopy %v: %w\n%s", args, err, out)
		}
		o.seconds += time.Since(start).Seconds()
		o.bytes += float64(w.Size)
		o.clientCPU += used(cmd)
	}
	o.serverCPU = s.cpu() - before
	return o, nil
}
