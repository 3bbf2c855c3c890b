package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"time"
)

// outcome is what a client says of one measurement, and what it cost.
type outcome struct {
	bytes, requests float64            // moved in both directions
	seconds         float64            // as the client measured them, without its start
	latency         map[string]float64 // microseconds by percentile
	clientCPU       time.Duration
	serverCPU       time.Duration
}

// pattern is one workload of fio's nbd engine.
type pattern struct {
	rw, bs             string // in fio's words
	depth, connections int    // requests in flight on each connection
	more               []string
}

// fio runs the pattern on a server for some seconds.
func (w *work) fio(ctx context.Context, s *server, p pattern, seconds float64) (outcome, error) {
	return w.runFio(ctx, s, append([]string{
		"--rw=" + p.rw, "--bs=" + p.bs, "--iodepth=" + strconv.Itoa(p.depth), "--numjobs=" + strconv.Itoa(p.connections),
		"--time_based", fmt.Sprintf("--runtime=%.0fms", seconds*1000),
	}, p.more...)...)
}

// fill writes the whole volume once, so that nobody reads holes.
func (w *work) fill(ctx context.Context, s *server) error {
	_, err := w.runFio(ctx, s, "--rw=write", "--bs=1m", "--iodepth=4", "--refill_buffers")
	return err
}

// runFio runs fio's nbd engine on a server. Processor time is that from its
// start to its end, and is the server's only as long as nobody else asks it.
func (w *work) runFio(ctx context.Context, s *server, args ...string) (outcome, error) {
	args = append([]string{
		"--name=bench", "--ioengine=nbd", "--uri=" + s.uri, "--size=" + strconv.FormatInt(w.Size, 10),
		"--thread", "--group_reporting", "--output-format=json", "--randrepeat=0", "--percentile_list=50:99:99.9",
	}, args...)
	cmd := exec.CommandContext(ctx, "fio", args...)
	cmd.Dir = w.dir // it leaves files where it runs
	before := s.cpu()
	out, err := cmd.Output()
	if err != nil {
		said, _, _ := bytes.Cut(out, []byte("\n{"))
		return outcome{}, fmt.Errorf("fio: %w: %s", err, bytes.TrimSpace(said))
	}
	o, err := parseFio(out)
	o.serverCPU, o.clientCPU = s.cpu()-before, used(cmd)
	return o, err
}

// used is the processor time of a client that has ended.
func used(cmd *exec.Cmd) time.Duration {
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// fioSide is one direction in fio's report.
type fioSide struct {
	IOPS     float64
	Bytes    float64 `json:"io_bytes"`
	Requests float64 `json:"total_ios"`
	Runtime  float64 // ms
	Latency  struct {
		Percentile map[string]float64
	} `json:"clat_ns"`
}

// parseFio reads the one job of fio's JSON report. Latencies are those of the
// reads if there were any, else of the writes.
func parseFio(out []byte) (outcome, error) {
	var report struct {
		Jobs []struct {
			Error       int
			Read, Write fioSide
		}
	}
	// fio prints remarks of its own before the report
	if err := json.Unmarshal(out[max(bytes.IndexByte(out, '{'), 0):], &report); err != nil {
		return outcome{}, fmt.Errorf("fio's report: %w", err)
	}
	if len(report.Jobs) != 1 || report.Jobs[0].Error != 0 {
		return outcome{}, fmt.Errorf("fio's report: %d jobs or an error in it", len(report.Jobs))
	}
	j := report.Jobs[0]
	o := outcome{
		bytes: j.Read.Bytes + j.Write.Bytes, requests: j.Read.Requests + j.Write.Requests,
		seconds: max(j.Read.Runtime, j.Write.Runtime) / 1000, latency: map[string]float64{},
	}
	if o.bytes == 0 || o.seconds == 0 {
		return outcome{}, errors.New("fio's report: nothing was moved")
	}
	side := j.Read
	if side.Requests == 0 {
		side = j.Write
	}
	for name, key := range map[string]string{"p50": "50.000000", "p99": "99.000000", "p99.9": "99.900000"} {
		o.latency[name] = side.Latency.Percentile[key] / 1000
	}
	return o, nil
}
