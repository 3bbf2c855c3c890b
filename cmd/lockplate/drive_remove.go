package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// driveRemoveCommand is RemoveDrives, and waits for its result. It asks for no
// confirmation, since it destroys nothing.
func (a *app) driveRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "remove ID|URI", Short: "Take a drive out of service; its data stays",
		Long: `Take a drive out of service. Its data stays, and 'drive add' takes it back. A
drive with volumes on it is not removed: delete and purge them first.`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeDrives,
		RunE: func(c *cobra.Command, args []string) error {
			d, err := a.findDrive(c.Context(), args[0])
			if err != nil {
				return err
			}
			r, err := call[wire.AsyncHandleResult](c.Context(), a, wire.MethodRemoveDrives,
				wire.RemoveDrivesParams{Drives: []wire.Int{wire.Int(d.DriveID)}})
			if err != nil {
				return err
			}
			done, err := a.wait(c.Context(), r.Value.AsyncHandle, "remove drive "+args[0])
			if err != nil {
				return err
			}
			return a.show(done, func(w io.Writer) {
				fmt.Fprintf(w, "drive %d is out of service (%s)\n", d.DriveID, d.Lockplate.URI)
			})
		},
	}
}
