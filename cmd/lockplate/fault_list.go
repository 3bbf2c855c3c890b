package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// faultListCommand is ListClusterFaults.
func (a *app) faultListCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "list", Short: "List the faults, each with what to do", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			which := "current"
			if all {
				which = "all"
			}
			r, err := call[wire.ListClusterFaultsResult](c.Context(), a, wire.MethodListClusterFaults,
				wire.ListClusterFaultsParams{FaultTypes: which})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { faultText(w, r.Value.Faults) })
		},
	}
	c.Flags().BoolVar(&all, "all", false, "resolved ones too")
	return c
}

// faultText shows each fault with its text below, which is too long for a
// column.
func faultText(w io.Writer, faults []wire.Fault) {
	if len(faults) == 0 {
		fmt.Fprintln(w, "no faults")
	}
	for _, f := range faults {
		until := ""
		if f.Resolved {
			until = "  until " + f.ResolvedDate
		}
		fmt.Fprintf(w, "%d  %s  %s  since %s%s\n    %s\n", f.ClusterFaultID, f.Severity, f.Code, f.Date, until, f.Details)
	}
}
