package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// driveForgetCommand is ForgetDrive, an extension.
func (a *app) driveForgetCommand() *cobra.Command {
	return &cobra.Command{
		Use: "forget ID|URI", Short: "Drop a removed drive from the list",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeDrives,
		RunE: func(c *cobra.Command, args []string) error {
			d, err := a.findDrive(c.Context(), args[0])
			if err != nil {
				return err
			}
			r, err := call[json.RawMessage](c.Context(), a, wire.MethodForgetDrive,
				wire.ForgetDriveParams{DriveID: wire.Int(d.DriveID)})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { fmt.Fprintf(w, "drive %d forgotten\n", d.DriveID) })
		},
	}
}
