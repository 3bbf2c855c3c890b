package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// kmipProviderCreateCommand is CreateKeyProviderKmip.
func (a *app) kmipProviderCreateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "create NAME", Short: "Create a key provider, without servers yet", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			r, err := a.createProvider(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) {
				fmt.Fprintf(w, "key provider %d created\n", r.Value.KeyProvider.KeyProviderID)
			})
		},
	}
}

func (a *app) createProvider(ctx context.Context, name string) (reply[wire.KeyProviderResult], error) {
	return call[wire.KeyProviderResult](ctx, a, wire.MethodCreateKeyProvider, wire.CreateKeyProviderKmipParams{Name: name})
}
