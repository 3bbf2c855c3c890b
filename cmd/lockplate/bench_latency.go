package main

import (
	"github.com/spf13/cobra"

	"lockplate/bench"
)

// benchLatencyCommand measures the latency of the NBD server.
func (a *app) benchLatencyCommand() *cobra.Command {
	f := gatewayFlags{benchFlags: benchFlags{rounds: 5, seconds: 2, dir: memoryDir()}, size: 512 << 20}
	c := &cobra.Command{
		Use: "latency", Short: "Measure latency, alone and beside a streaming client", Args: cobra.NoArgs,
		Long: `Measure the latency of one 4 KiB request at a time: p50, p99 and p99.9, alone
and while another connection moves 1 MiB at a time as fast as it can.

The servers are those of 'lockplate bench gateway', the workloads rr4k-qd1 and
rw4k-qd1.`,
		Example: "  lockplate bench latency\n  lockplate bench latency --targets lockplate --jobs rr4k-qd1 --rounds 9",
		RunE:    func(c *cobra.Command, _ []string) error { return a.benchServers(c.Context(), &f, bench.Latency) },
	}
	f.register(c)
	return c
}
