package main

import (
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"lockplate/bench"
	"lockplate/cipher"
)

// benchFlags are those that every benchmark takes.
type benchFlags struct {
	rounds  int
	seconds float64
	dir     string
	write   string
}

// benchCommand groups the benchmarks.
func (a *app) benchCommand() *cobra.Command {
	c := asGroup(&cobra.Command{
		Use: "bench", Short: "Measure this machine's speed, beside others",
		Long: `Measure this machine's speed, beside others. Everything that is compared takes
turns in every round, and ratios are taken within a round: they mean something
also on a busy machine, absolute figures do not. No daemon is needed, and none
that runs is touched.

bench cipher and bench rekey need no other program. bench gateway and bench
latency need the clients fio and nbdcopy, and compare with the NBD servers that
are installed; those that are not are named.`,
	})
	c.AddCommand(a.benchCipherCommand(), a.benchGatewayCommand(), a.benchLatencyCommand(), a.benchRekeyCommand(), a.benchGoNBDCommand())
	return c
}

// register adds the flags that all benchmarks have.
func (f *benchFlags) register(fs *pflag.FlagSet) {
	// The defaults are in f already: each benchmark has its own.
	fs.IntVar(&f.rounds, "rounds", f.rounds, "rounds; their median is reported")
	fs.StringVar(&f.write, "write", "", "directory of docs: put the tables between their marks in BENCHMARKS.md, raw values and plots into bench/")
}

// check refuses what cannot be measured.
func (f *benchFlags) check() error {
	if f.rounds < 1 || f.seconds < 0 {
		return usagef("there must be at least one round, and no measurement can be shorter than no time")
	}
	return nil
}

// showReport writes a report to where it belongs: the docs, or standard output.
// What was measured for long is not lost when the docs cannot be written.
func (a *app) showReport(f *benchFlags, r *bench.Report, err error) error {
	if errors.Is(err, bench.ErrUnknown) || errors.Is(err, cipher.ErrNoEngine) {
		return usage(err)
	}
	if err != nil {
		return err
	}
	if f.write != "" {
		if err = r.Write(f.write); err == nil {
			return nil
		}
	}
	if a.opt.json {
		return errors.Join(err, r.JSON(a.out))
	}
	return errors.Join(err, r.Text(a.out))
}

// benchLog is where progress goes: nowhere for those who read JSON.
func (a *app) benchLog() io.Writer {
	if a.opt.json {
		return io.Discard
	}
	return a.err
}

// memoryDir is memory where there is such a directory: no disk is measured
// there.
func memoryDir() string {
	const memory = "/dev/shm"
	if st, err := os.Stat(memory); err == nil && st.IsDir() {
		return memory
	}
	return os.TempDir()
}

// benchGoNBDCommand is how bench gateway starts one of the servers it compares
// with.
func (a *app) benchGoNBDCommand() *cobra.Command {
	return &cobra.Command{
		Use: "go-nbd SOCKET FILE", Short: "Serve a file with the go-nbd module, to be measured", Args: cobra.ExactArgs(2), Hidden: true,
		RunE: func(c *cobra.Command, args []string) error { return bench.ServeGoNBD(c.Context(), args[0], args[1]) },
	}
}
