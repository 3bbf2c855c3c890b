package main

import (
	"io"
	"strings"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// driveHardwareCommand is ListDriveHardware.
func (a *app) driveHardwareCommand() *cobra.Command {
	return &cobra.Command{
		Use: "hardware", Short: "List the disks that drives are, as the kernel knows them", Args: cobra.NoArgs,
		Long: `List the disks that drives are, as the kernel knows them, and what encryption
they do by themselves. A directory or a file is no disk of its own.`,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := call[wire.ListDriveHardwareResult](c.Context(), a, wire.MethodListDriveHardware, wire.Empty{})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { hardwareTable(w, r.Value.Nodes) })
		},
	}
}

// hardwareTable writes one line for each drive.
func hardwareTable(w io.Writer, nodes []wire.NodeDriveHardware) {
	rows := [][]string{}
	for _, n := range nodes {
		for _, d := range n.Result.DriveHardware {
			rows = append(rows, []string{
				id(d.Lockplate.DriveID), dash(d.CanonicalName), dash(d.Vendor), dash(d.Product), dash(d.Serial), dash(d.Version),
				formatSize(d.Size), d.DriveEncryptionCapability, d.Lockplate.URI,
			})
		}
	}
	table(w, "ID NAME VENDOR PRODUCT SERIAL FIRMWARE SIZE ENCRYPTION URI", rows)
}

// dash fills an empty column, and keeps a text in one.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return strings.ReplaceAll(s, " ", "_")
}
