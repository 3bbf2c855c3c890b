package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// kmipProviderTestCommand is TestKeyProviderKmip.
func (a *app) kmipProviderTestCommand() *cobra.Command {
	return &cobra.Command{
		Use: "test ID|NAME", Short: "Prove that every server of a provider works", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeProviders,
		RunE: func(c *cobra.Command, args []string) error {
			n, err := a.providerID(c.Context(), args[0])
			if err != nil {
				return err
			}
			r, err := a.testProvider(c.Context(), n)
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { fmt.Fprintf(w, "key provider %d works\n", n) })
		},
	}
}

func (a *app) testProvider(ctx context.Context, n wire.Int) (reply[wire.Empty], error) {
	return call[wire.Empty](ctx, a, wire.MethodTestKeyProvider, wire.KeyProviderIDParams{KeyProviderID: n})
}
