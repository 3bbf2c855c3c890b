package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// volumeDeleteCommand is DeleteVolume, with --purge also PurgeDeletedVolume.
func (a *app) volumeDeleteCommand() *cobra.Command {
	var yes, purge bool
	c := &cobra.Command{
		Use: "delete NAME", Short: "Delete a volume; it can be restored until it is purged",
		Long: `Delete a volume. Clients are cut off. It can be restored until it is purged,
which happens by itself after some hours, or at once with --purge.`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeVolumes,
		RunE: func(c *cobra.Command, args []string) error {
			v, err := a.findVolume(c.Context(), args[0])
			if err != nil {
				return err
			}
			if err := a.confirm(c.Context(), yes, deleteText(v, purge), v.Name); err != nil {
				return err
			}
			r, err := call[wire.VolumeResult](c.Context(), a, wire.MethodDeleteVolume, wire.VolumeIDParams{VolumeID: wire.Int(v.VolumeID)})
			if err != nil {
				return err
			}
			if purge {
				return a.purge(c.Context(), v)
			}
			return a.show(r.Raw, func(w io.Writer) {
				fmt.Fprintf(w, "volume %s deleted; until %s 'lockplate volume restore %s' brings it back\n", v.Name, r.Value.Volume.PurgeTime, v.Name)
			})
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&purge, "purge", false, "destroy the key and the data at once")
	return c
}

// deleteText says what is about to happen to a volume.
func deleteText(v wire.Volume, purge bool) string {
	if purge {
		return fmt.Sprintf("destroying volume %s (%s) and its key for good", v.Name, formatSize(v.TotalSize))
	}
	return fmt.Sprintf("deleting volume %s (%s)", v.Name, formatSize(v.TotalSize))
}

// purge destroys a deleted volume.
func (a *app) purge(ctx context.Context, v wire.Volume) error {
	r, err := call[wire.Empty](ctx, a, wire.MethodPurgeDeletedVolume, wire.VolumeIDParams{VolumeID: wire.Int(v.VolumeID)})
	if err != nil {
		return err
	}
	return a.show(r.Raw, func(w io.Writer) { fmt.Fprintf(w, "volume %s is gone, with its key\n", v.Name) })
}
