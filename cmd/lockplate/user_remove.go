package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// userRemoveCommand is RemoveClusterAdmin.
func (a *app) userRemoveCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "remove NAME", Short: "Remove a user",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeUsers,
		RunE: func(c *cobra.Command, args []string) error {
			u, err := a.findUser(c.Context(), args[0])
			if err != nil {
				return err
			}
			if err := a.confirm(c.Context(), yes, "removing user "+u.Username, u.Username); err != nil {
				return err
			}
			r, err := call[wire.Empty](c.Context(), a, wire.MethodRemoveClusterAdmin,
				wire.RemoveClusterAdminParams{ClusterAdminID: wire.Int(u.ClusterAdminID)})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { fmt.Fprintf(w, "user %s removed\n", u.Username) })
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}
