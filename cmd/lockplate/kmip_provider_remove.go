package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// kmipProviderRemoveCommand is RemoveKeyServerFromProviderKmip.
func (a *app) kmipProviderRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "remove-server SERVER", Short: "Take a key server out of its provider", Args: cobra.ExactArgs(1),
		Long: `Take a key server out of its provider. The last one of a provider whose keys are
in use stays.`,
		ValidArgsFunction: a.completeServers,
		RunE: func(c *cobra.Command, args []string) error {
			n, err := a.serverID(c.Context(), args[0])
			if err != nil {
				return err
			}
			r, err := call[wire.Empty](c.Context(), a, wire.MethodRemoveServer, wire.KeyServerIDParams{KeyServerID: n})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { fmt.Fprintf(w, "key server %d is in no key provider\n", n) })
		},
	}
}
