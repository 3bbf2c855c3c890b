package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// userAddCommand is AddClusterAdmin.
func (a *app) userAddCommand() *cobra.Command {
	var access string
	var pass secretFlags
	c := &cobra.Command{
		Use: "add NAME", Short: "Add a user", Args: cobra.ExactArgs(1),
		Example: "  lockplate user add monitor --access read",
		RunE: func(c *cobra.Command, args []string) error {
			words, err := parseAccess(access)
			if err != nil {
				return err
			}
			s, err := a.secret(c.Context(), &pass, "password for "+args[0], true)
			if err != nil {
				return err
			}
			defer clear(s)
			r, err := call[wire.AddClusterAdminResult](c.Context(), a, wire.MethodAddClusterAdmin,
				wire.AddClusterAdminParams{Username: args[0], Password: s, Access: words, AcceptEula: true})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { fmt.Fprintf(w, "user %s added\n", args[0]) })
		},
	}
	c.Flags().StringVar(&access, "access", wire.AccessAdministrator, "what the user may do: administrator, read")
	completeFlag(c, "access", oneOf(wire.AccessAdministrator, wire.AccessRead))
	pass.register(c.Flags(), "new-password", "user's password")
	return c
}
