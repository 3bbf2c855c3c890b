package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// kmipProviderAddCommand is AddKeyServerToProviderKmip.
func (a *app) kmipProviderAddCommand() *cobra.Command {
	return &cobra.Command{
		Use: "add-server PROVIDER SERVER", Short: "Put a key server into a provider, once it was seen to work", Args: cobra.ExactArgs(2),
		Long: `Put a key server into a provider. The server is contacted, and must have the
keys that the provider is to have. Each is named by its number, or by its name
if no other has it.`,
		ValidArgsFunction: func(c *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return a.completeServers(c, nil, word)
			}
			return a.completeProviders(c, args, word)
		},
		RunE: func(c *cobra.Command, args []string) error {
			p, err := a.providerID(c.Context(), args[0])
			if err != nil {
				return err
			}
			s, err := a.serverID(c.Context(), args[1])
			if err != nil {
				return err
			}
			r, err := a.addServer(c.Context(), p, s)
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { fmt.Fprintf(w, "key server %d is in key provider %d\n", s, p) })
		},
	}
}

func (a *app) addServer(ctx context.Context, provider, server wire.Int) (reply[wire.Empty], error) {
	return call[wire.Empty](ctx, a, wire.MethodAddServerToProvider, wire.AddKeyServerToProviderKmipParams{KeyProviderID: provider, KeyServerID: server})
}
