package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// kmipServerListCommand is ListKeyServersKmip.
func (a *app) kmipServerListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the key servers", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := a.servers(c.Context())
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { serverTable(w, r.Value.KeyServers) })
		},
	}
}

func (a *app) servers(ctx context.Context) (reply[wire.ListKeyServersKmipResult], error) {
	return call[wire.ListKeyServersKmipResult](ctx, a, wire.MethodListKeyServers, wire.Empty{})
}
