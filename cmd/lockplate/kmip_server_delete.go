package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// kmipServerDeleteCommand is DeleteKeyServerKmip.
func (a *app) kmipServerDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delete ID|NAME", Short: "Forget a key server; nothing changes on it", Args: cobra.ExactArgs(1),
		Long: `Forget a key server; nothing changes on it. The last server of a provider whose
keys are in use is not deleted.`,
		ValidArgsFunction: a.completeServers,
		RunE: func(c *cobra.Command, args []string) error {
			n, err := a.serverID(c.Context(), args[0])
			if err != nil {
				return err
			}
			r, err := call[wire.Empty](c.Context(), a, wire.MethodDeleteKeyServer, wire.KeyServerIDParams{KeyServerID: n})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { fmt.Fprintf(w, "key server %d deleted\n", n) })
		},
	}
}
