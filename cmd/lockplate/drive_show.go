package main

import (
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// driveShowCommand picks one drive of ListDrives.
func (a *app) driveShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show ID|URI", Short: "Show one drive", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeDrives,
		RunE: func(c *cobra.Command, args []string) error {
			d, err := a.findDrive(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.show(d, func(w io.Writer) { driveText(w, d) })
		},
	}
}

// driveText writes all that is known of a drive.
func driveText(w io.Writer, d wire.Drive) {
	l := d.Lockplate
	pairs(w,
		"id", id(d.DriveID),
		"address", l.URI,
		"status", d.Status,
		"reason", l.Reason,
		"role", driveRole(d),
		"capacity", formatSize(d.Capacity),
		"free", formatSize(l.Free),
		"volumes", ids(l.Volumes),
		"serial", d.Serial,
		"model", l.Model,
		"uuid", l.UUID,
		"added", l.Added,
	)
}
