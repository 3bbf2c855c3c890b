package main

import (
	"github.com/spf13/cobra"
)

// volumePurgeCommand is PurgeDeletedVolume. It always wants a confirmation: with
// the key goes every way to the data.
func (a *app) volumePurgeCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "purge NAME", Short: "Destroy a deleted volume and its key for good",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeVolumes,
		RunE: func(c *cobra.Command, args []string) error {
			v, err := a.findVolume(c.Context(), args[0])
			if err != nil {
				return err
			}
			if err := a.confirm(c.Context(), yes, deleteText(v, true), v.Name); err != nil {
				return err
			}
			return a.purge(c.Context(), v)
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}
