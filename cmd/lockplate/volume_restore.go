package main

import (
	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// volumeRestoreCommand is RestoreDeletedVolume.
func (a *app) volumeRestoreCommand() *cobra.Command {
	return &cobra.Command{
		Use: "restore NAME", Short: "Bring a deleted volume back",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeVolumes,
		RunE: func(c *cobra.Command, args []string) error {
			return onVolume[wire.Empty](c.Context(), a, args[0], wire.MethodRestoreDeletedVolume, "restored")
		},
	}
}
