package bench

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"
)

// beside marks the values that were taken while a streamer ran.
const beside = " beside"

// streamBusy is the processor time after which a streamer counts as running.
const streamBusy = 30 * time.Millisecond

// Latency measures one request of 4 KiB at a time, alone and while another
// connection moves 1 MiB at a time as fast as it can: what a server lets one
// client do to another.
func Latency(ctx context.Context, o GatewayOptions) (*Report, error) {
	list, err := chosen(queueOfOne(), o.Jobs, "workload", func(j job) string { return j.name })
	if err != nil {
		return nil, err
	}
	r := &Report{Name: "latency", Title: "Latency, alone and beside a streamer", Settings: o}
	return r, o.run(ctx, r, func(w *work, servers []*server) error {
		for round := range o.Rounds {
			for _, j := range list {
				for _, i := range rotated(len(servers), round) {
					alone := w.measure(ctx, r, round, j, servers[i])
					if err := errors.Join(alone, w.measure(ctx, r, round, j.besideStreamer(), servers[i])); err != nil {
						return err
					}
				}
			}
		}
		r.fairnessTables(o, list, names(servers, func(s *server) string { return s.name }))
		return nil
	})
}

// besideStreamer is the same job while a streamer moves data in the same
// direction on a connection of its own.
func (j job) besideStreamer() job {
	way := map[string]string{"rr4k-qd1": "read", "rw4k-qd1": "write"}[j.name]
	b := j
	b.name += beside
	b.run = func(ctx context.Context, w *work, s *server) (outcome, error) {
		stop, err := w.stream(ctx, s, way)
		if err != nil {
			return outcome{}, err
		}
		o, err := j.run(ctx, w, s)
		return o, errors.Join(err, stop())
	}
	return b
}

// stream begins to move 1 MiB at a time, and returns when the server is busy
// with it. stop ends it, and complains if it had ended before.
func (w *work) stream(ctx context.Context, s *server, way string) (stop func() error, err error) {
	cmd := exec.CommandContext(ctx, "fio", "--name=stream", "--ioengine=nbd", "--uri="+s.uri, fmt.Sprintf("--size=%d", w.Size),
		"--thread", "--rw="+way, "--bs=1m", "--iodepth=4", "--time_based", "--runtime=600", "--output-format=json")
	cmd.Dir = w.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // killed, it would leave shared memory
	before := s.cpu()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start streamer: %w", err)
	}
	// The busy server is the proof that the streamer moves data: fio connects
	// and lays out its job first.
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // by our signal
	}()
	stop = func() error {
		select {
		case <-ended:
			return errors.New("the streamer ended by itself")
		default:
		}
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may end this moment
		<-ended
		return nil
	}
	if err := poll(ctx, startLimit, func() bool { return s.cpu()-before >= streamBusy }); err != nil {
		return nil, errors.Join(fmt.Errorf("streamer: %w", err), stop())
	}
	return stop, nil
}

// fairnessTables makes what people read of the values.
func (r *Report) fairnessTables(o GatewayOptions, list []job, servers []string) {
	r.aboutGateway(o)
	// Alone and beside are measured one after the other in each round, so that
	// their ratio is of one moment of the machine.
	r.about += " The streamer moves 1 MiB at a time, 4 in flight, in the same direction on another connection."
	t := table{
		title: "Latency in µs (quarters of the rounds around the median)",
		head:  []string{"workload", "server", "p50", "p99", "p99.9", "p50 beside", "p99 beside", "p99.9 beside", "p99 beside / alone"},
	}
	c := chart{file: "latency", title: "One 4 KiB request at a time, p99", unit: "µs (less is better)", groups: servers}
	for _, j := range list {
		alone, busy := series{name: j.name + " alone"}, series{name: j.name + beside}
		for _, s := range servers {
			row := []string{j.name, s}
			for _, name := range []string{j.name, j.name + beside} {
				for _, p := range []string{"p50", "p99", "p99.9"} {
					row = append(row, spread(r.rounds(name, s, p)))
				}
			}
			a, b := r.rounds(j.name, s, "p99"), r.rounds(j.name+beside, s, "p99")
			t.row(append(row, spread(quotients(b, a)))...)
			alone.push(a)
			busy.push(b)
		}
		c.series = append(c.series, alone, busy)
	}
	r.tables, r.charts = append(r.tables, t), append(r.charts, c)
}
