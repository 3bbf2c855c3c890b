package main

import (
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// volumeListCommand is ListVolumes of the active ones, or ListDeletedVolumes.
func (a *app) volumeListCommand() *cobra.Command {
	var deleted bool
	c := &cobra.Command{
		Use: "list", Short: "List the volumes", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			method, p := wire.MethodListVolumes, any(wire.ListVolumesParams{VolumeStatus: wire.VolumeActive})
			if deleted {
				method, p = wire.MethodListDeletedVolumes, wire.Empty{}
			}
			r, err := call[wire.ListVolumesResult](c.Context(), a, method, p)
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { volumeTable(w, r.Value.Volumes) })
		},
	}
	c.Flags().BoolVar(&deleted, "deleted", false, "list those that are deleted and not yet purged")
	return c
}
