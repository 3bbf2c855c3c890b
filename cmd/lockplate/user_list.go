package main

import (
	"io"
	"strings"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// userListCommand is ListClusterAdmins.
func (a *app) userListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the users", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := call[wire.ListClusterAdminsResult](c.Context(), a, wire.MethodListClusterAdmins, wire.Empty{})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) {
				rows := [][]string{}
				for _, u := range r.Value.ClusterAdmins {
					rows = append(rows, []string{id(u.ClusterAdminID), u.Username, strings.Join(u.Access, ",")})
				}
				table(w, "ID NAME ACCESS", rows)
			})
		},
	}
}
