package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// userPasswdCommand is ModifyClusterAdmin with a password.
func (a *app) userPasswdCommand() *cobra.Command {
	var pass secretFlags
	c := &cobra.Command{
		Use: "passwd NAME", Short: "Set a user's password",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeUsers,
		RunE: func(c *cobra.Command, args []string) error {
			u, err := a.findUser(c.Context(), args[0])
			if err != nil {
				return err
			}
			s, err := a.secret(c.Context(), &pass, "new password for "+u.Username, true)
			if err != nil {
				return err
			}
			defer clear(s)
			r, err := call[wire.Empty](c.Context(), a, wire.MethodModifyClusterAdmin,
				wire.ModifyClusterAdminParams{ClusterAdminID: wire.Int(u.ClusterAdminID), Password: s})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { fmt.Fprintf(w, "password of %s set\n", u.Username) })
		},
	}
	pass.register(c.Flags(), "new-password", "new password")
	return c
}
