package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// faultClearCommand is ClearClusterFaults.
func (a *app) faultClearCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "clear", Short: "Drop resolved faults from the list", Args: cobra.NoArgs,
		Long: `Drop resolved faults from the list, with --all the current ones too: those come
back if their condition still holds.`,
		RunE: func(c *cobra.Command, _ []string) error {
			which := "resolved"
			if all {
				which = "all"
			}
			r, err := call[wire.Empty](c.Context(), a, wire.MethodClearFaults, wire.ClearClusterFaultsParams{FaultTypes: which})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { fmt.Fprintf(w, "%s faults cleared\n", which) })
		},
	}
	c.Flags().BoolVar(&all, "all", false, "current ones too")
	return c
}
