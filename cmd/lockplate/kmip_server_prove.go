package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// kmipServerTestCommand is TestKeyServerKmip.
func (a *app) kmipServerTestCommand() *cobra.Command {
	return &cobra.Command{
		Use: "test ID|NAME", Short: "Prove that a key server can be reached, trusted and used", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeServers,
		RunE: func(c *cobra.Command, args []string) error {
			n, err := a.serverID(c.Context(), args[0])
			if err != nil {
				return err
			}
			r, err := call[wire.Empty](c.Context(), a, wire.MethodTestKeyServer, wire.KeyServerIDParams{KeyServerID: n})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { fmt.Fprintf(w, "key server %d works\n", n) })
		},
	}
}
