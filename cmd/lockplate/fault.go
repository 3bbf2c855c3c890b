package main

import (
	"github.com/spf13/cobra"
)

// faultCommand groups the commands about faults.
func (a *app) faultCommand() *cobra.Command {
	c := asGroup(&cobra.Command{
		Use: "fault", Short: "Conditions that an administrator should know of",
		Long: `Conditions that an administrator should know of. A fault clears by itself when
its condition ends.`,
	})
	c.AddCommand(a.faultListCommand(), a.faultClearCommand())
	return c
}
