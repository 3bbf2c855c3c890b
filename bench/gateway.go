package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// GatewayOptions say how the gateway is measured beside other servers.
type GatewayOptions struct {
	Binary  string    `json:"-"`       // the lockplate to measure
	Dir     string    `json:"-"`       // where the images are made
	Size    int64     `json:"size"`    // of each volume, in bytes
	Seconds float64   `json:"seconds"` // of one measurement
	Rounds  int       `json:"rounds"`
	Targets []string  `json:"targets"` // names of servers; empty: all that are installed
	Jobs    []string  `json:"jobs"`    // names of workloads; empty: all
	Base    string    `json:"base"`    // server that ratios are taken to
	TLS     bool      `json:"tls"`     // compare over TCP with and without TLS
	Log     io.Writer `json:"-"`       // progress
}

// Names of what is measured of a gateway, beside the rate.
const (
	serverCPU   = "server CPU"
	clientCPU   = "client CPU"
	serverCores = "server cores"
	clientCores = "client cores"
)

// ErrUnknown says that a name given is that of no target and no workload.
var ErrUnknown = errors.New("no such name")

// TargetNames names the servers that are known.
func TargetNames(tls bool) []string {
	return names(targets(tls), func(t target) string { return t.name })
}

// JobNames names the workloads, each with what it is.
func JobNames() (list [][2]string) {
	for _, j := range jobs() {
		list = append(list, [2]string{j.name, j.what})
	}
	return list
}

// Gateway measures lockplate beside the NBD servers that are installed, with
// fio and nbdcopy as clients. All of them run all the time, on images that are
// fully written; only one is asked at a time.
func Gateway(ctx context.Context, o GatewayOptions) (*Report, error) {
	all := jobs()
	if o.TLS {
		all = copies()
	}
	list, err := chosen(all, o.Jobs, "workload", func(j job) string { return j.name })
	if err != nil {
		return nil, err
	}
	r := &Report{Name: o.name(), Title: "The gateway beside others", Settings: o}
	return r, o.run(ctx, r, func(w *work, servers []*server) error {
		// Servers take turns within a workload: what is compared is measured
		// within seconds of each other.
		for round := range o.Rounds {
			for _, j := range list {
				for _, i := range rotated(len(servers), round) {
					if err := w.measure(ctx, r, round, j, servers[i]); err != nil {
						return err
					}
				}
			}
		}
		r.gatewayTables(o, list, names(servers, func(s *server) string { return s.name }))
		return nil
	})
}

// name tells apart what is kept side by side in the docs.
func (o GatewayOptions) name() string {
	switch {
	case o.TLS:
		return "gateway-tls"
	case !inMemory(o.Dir):
		return "gateway-disk"
	}
	return "gateway"
}

// run starts the servers, has measure do its work, and stops them again.
func (o GatewayOptions) run(ctx context.Context, r *Report, measure func(*work, []*server) error) (err error) {
	// A server that goes to the background leaves the folder it was started in.
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return err
	}
	list, err := chosen(targets(o.TLS), o.Targets, "target", func(t target) string { return t.name })
	if err != nil {
		return err
	}
	// One more than the servers for nbdcopy's source, and some for headers.
	if err := checkSpace(o.Dir, int64(len(list)+1)*(o.Size+o.Size/16)); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.Dir, "lockplate-bench-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer os.RemoveAll(dir)
	sockets, err := os.MkdirTemp("", "lockplate-bench-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer os.RemoveAll(sockets)
	w, err := prepare(dir, sockets, o)
	if err != nil {
		return err
	}
	servers, err := w.startAll(ctx, r, list)
	defer func() {
		for _, s := range servers {
			s.stop()
		}
	}()
	if err != nil {
		return err
	}
	r.Time = time.Now()
	r.Versions = versions([]string{o.Binary, "version"}, []string{"nbdkit", "--version"}, []string{"qemu-nbd", "--version"},
		[]string{"nbd-server", "-V"}, []string{"fio", "--version"}, []string{"nbdcopy", "--version"})
	r.Machine = machine()
	return measure(w, servers)
}

// startAll starts and fills what can be started, and names the rest.
func (w *work) startAll(ctx context.Context, r *Report, list []target) (servers []*server, err error) {
	for _, t := range list {
		s, err := w.start(ctx, t)
		if err != nil && ctx.Err() != nil {
			return servers, ctx.Err()
		}
		if err != nil {
			fmt.Fprintf(w.Log, "left out: %v\n", err)
			why, _, _ := strings.Cut(err.Error(), "\n")
			r.Missing = append(r.Missing, strings.ReplaceAll(why, w.dir, ""))
			continue
		}
		servers = append(servers, s)
		// Written with noise before anything is read: a hole costs no copy.
		if t.tls || w.TLS {
			_, err = copyIn(ctx, w, s)
		} else {
			err = w.fill(ctx, s)
		}
		if err != nil {
			return servers, fmt.Errorf("fill %s: %w", t.name, err)
		}
	}
	if len(servers) == 0 {
		return nil, fmt.Errorf("no server could be started: %s", strings.Join(r.Missing, "; "))
	}
	return servers, nil
}

// measure does one workload on one server. What a server cannot do is noted and
// not tried again; the run goes on.
func (w *work) measure(ctx context.Context, r *Report, round int, j job, s *server) error {
	if round > 0 && len(r.rounds(j.name, s.name, rate)) < round {
		return nil // it failed before
	}
	o, err := j.run(ctx, w, s)
	if ctx.Err() != nil { // the user's doing, not the server's
		return ctx.Err()
	}
	if err != nil {
		fmt.Fprintf(w.Log, "%s on %s: %v\n", j.name, s.name, err)
		r.fail("%s on %s", j.name, s.name)
		return nil
	}
	r.add(j.name, s.name, rate, j.unit(), j.value(o))
	each := map[bool]string{false: "s/GiB", true: "s/10^6 requests"}[j.small]
	r.add(j.name, s.name, serverCPU, each, o.serverCPU.Seconds()/j.done(o))
	r.add(j.name, s.name, clientCPU, each, o.clientCPU.Seconds()/j.done(o))
	r.add(j.name, s.name, serverCores, "cores", o.serverCPU.Seconds()/o.seconds)
	r.add(j.name, s.name, clientCores, "cores", o.clientCPU.Seconds()/o.seconds)
	if j.alone {
		for _, p := range []string{"p50", "p99", "p99.9"} {
			r.add(j.name, s.name, p, "us", o.latency[p])
		}
	}
	fmt.Fprintf(w.Log, "round %d %-10s %-16s %10s %s\n", round+1, j.name, s.name, number(j.value(o)), j.unit())
	return nil
}

// chosen picks by name, keeping the order of all; an empty choice is all.
func chosen[T any](all []T, want []string, what string, name func(T) string) ([]T, error) {
	known := names(all, name)
	for _, n := range want {
		if !slices.Contains(known, n) {
			return nil, fmt.Errorf("%w: %s %q; there are %s", ErrUnknown, what, n, strings.Join(known, ", "))
		}
	}
	if len(want) == 0 {
		return all, nil
	}
	return slices.DeleteFunc(all, func(t T) bool { return !slices.Contains(want, name(t)) }), nil
}

func names[T any](all []T, name func(T) string) (out []string) {
	for _, t := range all {
		out = append(out, name(t))
	}
	return out
}
