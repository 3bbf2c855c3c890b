package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// kmipProviderListCommand is ListKeyProvidersKmip.
func (a *app) kmipProviderListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the key providers", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := a.providers(c.Context())
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { providerTable(w, r.Value.KeyProviders) })
		},
	}
}

func (a *app) providers(ctx context.Context) (reply[wire.ListKeyProvidersKmipResult], error) {
	return call[wire.ListKeyProvidersKmipResult](ctx, a, wire.MethodListKeyProviders, wire.Empty{})
}
