// Command bench measures lockplate beside other NBD servers: the same outside
// client, the same machine, one run, the servers taking turns in every round.
// Only the ratios within a run mean something; the figures are there to show
// what they are ratios of.
//
//	go run ./bench -binary bin/lockplate                        the table on standard output
//	go run ./bench -binary bin/lockplate -write docs/BENCHMARKS.md   between the marks of that file
//
// Needs fio with its nbd engine, nbdcopy, nbdkit and qemu-nbd; a server that is
// not installed is left out and named.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// config is one run.
type config struct {
	binary  string
	dir     string
	size    int64
	seconds float64
	rounds  int
	targets []string
	jobs    []string
	base    string // the server that ratios are taken to
	log     io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("bench", flag.ExitOnError)
	c := config{log: os.Stderr}
	var sizeMiB int64
	var targetList, jobList, write string
	fs.StringVar(&c.binary, "binary", "bin/lockplate", "the lockplate to measure")
	fs.StringVar(&c.dir, "dir", defaultDir(), "folder for the images; in memory, or the disk is what is measured")
	fs.Int64Var(&sizeMiB, "size", 512, "size of each volume in MiB")
	fs.Float64Var(&c.seconds, "seconds", 2, "length of one measurement")
	fs.IntVar(&c.rounds, "rounds", 5, "rounds; the median of them is reported")
	fs.StringVar(&targetList, "targets", "", "comma-separated names of servers (default: all)")
	fs.StringVar(&c.base, "base", "nbdkit file", "server that the ratios are taken to, if it runs")
	fs.StringVar(&jobList, "jobs", "", "comma-separated names of workloads (default: all)")
	fs.StringVar(&write, "write", "", "put the table between the marks of this file")
	_ = fs.Parse(args)
	c.size = sizeMiB << 20
	c.targets, c.jobs = list(targetList), list(jobList)

	r, err := run(ctx, c)
	if err != nil {
		return err
	}
	table := r.markdown(time.Now())
	if write == "" {
		_, err = io.WriteString(os.Stdout, table)
		return err
	}
	return replaceMarked(write, table)
}

// defaultDir is memory where there is such a folder.
func defaultDir() string {
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		return "/dev/shm"
	}
	return os.TempDir()
}

func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// run starts every server once, fills it, and measures round by round.
func run(ctx context.Context, c config) (*results, error) {
	dir, err := os.MkdirTemp(c.dir, "lockplate-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	w, err := prepare(ctx, dir, c)
	if err != nil {
		return nil, err
	}
	r := &results{config: c, values: map[cell][]float64{}}
	var servers []*server
	defer func() {
		for _, s := range servers {
			s.stop()
		}
	}()
	for _, t := range chosen(targets(), c.targets, func(t target) string { return t.name }) {
		s, err := w.start(ctx, t)
		if err != nil {
			fmt.Fprintf(c.log, "bench: left out: %v\n", err)
			r.missing = append(r.missing, t.name)
			continue
		}
		servers = append(servers, s)
		r.targets = append(r.targets, t.name)
		if err := w.fill(ctx, s); err != nil {
			return nil, fmt.Errorf("fill %s: %w", t.name, err)
		}
	}
	r.jobs = chosen(jobs(), c.jobs, func(j job) string { return j.name })
	return r, w.measure(ctx, r, servers)
}

// measure goes round by round. Each round begins with another server, so that none always
// follows the same one.
func (w *work) measure(ctx context.Context, r *results, servers []*server) error {
	for round := range w.rounds {
		for _, j := range r.jobs {
			for i := range servers {
				s := servers[(i+round)%len(servers)]
				v, err := j.measure(ctx, w, s)
				if err != nil {
					return fmt.Errorf("%s on %s: %w", j.name, s.name, err)
				}
				r.values[cell{s.name, j.name}] = append(r.values[cell{s.name, j.name}], v)
				fmt.Fprintf(w.log, "round %d %-10s %-20s %12.0f %s\n", round+1, j.name, s.name, v, j.unit)
			}
		}
	}
	return nil
}

// chosen picks by name, keeping the order of all; an empty choice is all.
func chosen[T any](all []T, names []string, name func(T) string) []T {
	if len(names) == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(t T) bool { return !slices.Contains(names, name(t)) })
}
