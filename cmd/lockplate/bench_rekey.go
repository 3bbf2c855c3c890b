package main

import (
	"os"

	"github.com/spf13/cobra"

	"lockplate/bench"
)

// benchRekeyCommand measures the change of the master key.
func (a *app) benchRekeyCommand() *cobra.Command {
	f := benchFlags{rounds: 5, dir: os.TempDir()}
	volumes := []int{100, 1000, 10000}
	c := &cobra.Command{
		Use: "rekey", Short: "Measure the time of a rekey", Args: cobra.NoArgs,
		Long: `Measure the time in which the data keys of many volumes are put under a new
internal master key: the one transaction of the store that does it, and the
whole from the call to the confirmed end. A store of its own is made and filled
for each number of volumes, which for 100000 takes some minutes.`,
		Example: "  lockplate bench rekey\n  lockplate bench rekey --volumes 100,10000 --rounds 3 --dir /var/lib",
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			for _, n := range volumes {
				if n < 1 {
					return usagef("--volumes: there must be at least one")
				}
			}
			r, err := bench.Rekey(c.Context(), bench.RekeyOptions{Dir: f.dir, Volumes: volumes, Rounds: f.rounds, Log: a.benchLog()})
			return a.showReport(&f, r, err)
		},
	}
	f.register(c.Flags())
	c.Flags().IntSliceVar(&volumes, "volumes", volumes, "numbers of volumes to rekey")
	c.Flags().StringVar(&f.dir, "dir", f.dir, "directory for the store; its disk is what takes the time")
	return c
}
