package main

import (
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// kmipProviderShowCommand is GetKeyProviderKmip.
func (a *app) kmipProviderShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show ID|NAME", Short: "Show a key provider", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeProviders,
		RunE: func(c *cobra.Command, args []string) error {
			n, err := a.providerID(c.Context(), args[0])
			if err != nil {
				return err
			}
			r, err := call[wire.KeyProviderResult](c.Context(), a, wire.MethodGetKeyProvider, wire.KeyProviderIDParams{KeyProviderID: n})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { providerText(w, r.Value.KeyProvider) })
		},
	}
}
