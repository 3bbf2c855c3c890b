package main

import (
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// driveListCommand is ListDrives.
func (a *app) driveListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the drives", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := call[wire.ListDrivesResult](c.Context(), a, wire.MethodListDrives, wire.Empty{})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { driveTable(w, r.Value.Drives) })
		},
	}
}
