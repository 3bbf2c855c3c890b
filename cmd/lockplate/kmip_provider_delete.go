package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// kmipProviderDeleteCommand is DeleteKeyProviderKmip.
func (a *app) kmipProviderDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delete ID|NAME", Short: "Forget a key provider whose keys are not in use", Args: cobra.ExactArgs(1),
		Long: `Forget a key provider whose keys are not in use. Its servers stay, in no
provider.`, ValidArgsFunction: a.completeProviders,
		RunE: func(c *cobra.Command, args []string) error {
			n, err := a.providerID(c.Context(), args[0])
			if err != nil {
				return err
			}
			r, err := call[wire.Empty](c.Context(), a, wire.MethodDeleteKeyProvider, wire.KeyProviderIDParams{KeyProviderID: n})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { fmt.Fprintf(w, "key provider %d deleted\n", n) })
		},
	}
}
