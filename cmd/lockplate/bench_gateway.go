package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"lockplate/bench"
)

// gatewayFlags are those of the benchmarks that start servers.
type gatewayFlags struct {
	benchFlags
	binary  string
	size    sizeFlag
	targets []string
	jobs    []string
	base    string
	tls     bool
}

// benchGatewayCommand measures the NBD server.
func (a *app) benchGatewayCommand() *cobra.Command {
	// In memory, beside the plaintext server that is the fastest of the peers in
	// C: what a disk takes would hide what the servers take.
	f := gatewayFlags{benchFlags: benchFlags{rounds: 5, seconds: 2, dir: memoryDir()}, size: 512 << 20, base: "nbdkit file"}
	var rows strings.Builder
	for _, j := range bench.JobNames() {
		fmt.Fprintf(&rows, "  %-10s  %s\n", j[0], j[1])
	}
	c := &cobra.Command{
		Use: "gateway", Short: "Measure the gateway beside other NBD servers", Args: cobra.NoArgs,
		Long: `Measure the gateway beside other NBD servers: it starts each of those that are
installed on an image of its own, fills it, and asks them in turn, with fio and
nbdcopy as clients. Reported are rates, their ratios, processor seconds of
server and client, and the latency of one request at a time.

The servers; lockplate plain is this program without encryption:

  ` + strings.Join(bench.TargetNames(false), ", ") + `

With --tls it compares by nbdcopy over TCP, with and without TLS:

  ` + strings.Join(bench.TargetNames(true), ", ") + `

The workloads:

` + strings.TrimRight(rows.String(), "\n"),
		Example: "  lockplate bench gateway\n  lockplate bench gateway --targets lockplate,go-nbd --jobs rr4k,rw4k --rounds 9 --seconds 1\n" +
			"  lockplate bench gateway --dir /srv --size 1G\n  lockplate bench gateway --tls",
		RunE: func(c *cobra.Command, _ []string) error { return a.benchServers(c.Context(), &f, bench.Gateway) },
	}
	f.register(c)
	c.Flags().BoolVar(&f.tls, "tls", false, "compare over TCP, with and without TLS")
	c.Flags().StringVar(&f.base, "base", f.base, "server that ratios are taken to, if it runs")
	return c
}

// register adds the flags of the benchmarks that start servers.
func (f *gatewayFlags) register(c *cobra.Command) {
	fs := c.Flags()
	f.benchFlags.register(fs)
	fs.Float64Var(&f.seconds, "seconds", f.seconds, "length of one measurement")
	fs.StringVar(&f.dir, "dir", f.dir, "directory for the images; in memory no disk is measured")
	fs.Var(&f.size, "size", "size of each image")
	fs.StringSliceVar(&f.targets, "targets", nil, "servers to measure (default: all that are installed)")
	fs.StringSliceVar(&f.jobs, "jobs", nil, "workloads (default: all)")
	fs.StringVar(&f.binary, "binary", "", "the lockplate to measure (default: this one)")
	completeFlag(c, "targets", oneOf(append(bench.TargetNames(false), bench.TargetNames(true)...)...))
	var jobs []string
	for _, j := range bench.JobNames() {
		jobs = append(jobs, j[0])
	}
	completeFlag(c, "jobs", oneOf(jobs...))
}

// benchServers runs a benchmark that starts servers.
func (a *app) benchServers(ctx context.Context, f *gatewayFlags, run func(context.Context, bench.GatewayOptions) (*bench.Report, error)) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	if f.binary == "" {
		if f.binary, err = os.Executable(); err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
	}
	r, err := run(ctx, bench.GatewayOptions{
		Binary: f.binary, Dir: f.dir, Size: int64(f.size), Seconds: f.seconds, Rounds: f.rounds,
		Targets: f.targets, Jobs: f.jobs, Base: f.base, TLS: f.tls, Log: a.benchLog(),
	})
	return a.showReport(&f.benchFlags, r, err)
}
