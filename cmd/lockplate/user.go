package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// userCommand groups the commands about API users.
func (a *app) userCommand() *cobra.Command {
	c := asGroup(&cobra.Command{
		Use: "user", Short: "Users of the HTTPS API",
		Long: `Users of the HTTPS API. On the daemon's own machine root needs no user: the
API socket takes whom the kernel says it is.`,
	})
	c.AddCommand(a.userAddCommand(), a.userListCommand(), a.userPasswdCommand(), a.userRemoveCommand())
	return c
}

// findUser finds a user by name: the API knows them by number.
func (a *app) findUser(ctx context.Context, name string) (wire.ClusterAdmin, error) {
	r, err := call[wire.ListClusterAdminsResult](ctx, a, wire.MethodListClusterAdmins, wire.Empty{})
	if err != nil {
		return wire.ClusterAdmin{}, err
	}
	for _, u := range r.Value.ClusterAdmins {
		if u.Username == name {
			return u, nil
		}
	}
	return wire.ClusterAdmin{}, hint(&codedError{exitNotFound, fmt.Errorf("user %q does not exist", name)}, "see 'lockplate user list'")
}

// parseAccess splits the --access flag.
func parseAccess(s string) ([]string, error) {
	words := strings.Split(s, ",")
	for _, w := range words {
		if w != wire.AccessAdministrator && w != wire.AccessRead {
			return nil, hint(usagef("access %q is unknown", w), "use %s or %s", wire.AccessAdministrator, wire.AccessRead)
		}
	}
	return words, nil
}
