package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// kmipServerShowCommand is GetKeyServerKmip.
func (a *app) kmipServerShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show ID|NAME", Short: "Show a key server with its certificates", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeServers,
		RunE: func(c *cobra.Command, args []string) error {
			n, err := a.serverID(c.Context(), args[0])
			if err != nil {
				return err
			}
			r, err := call[wire.KeyServerResult](c.Context(), a, wire.MethodGetKeyServer, wire.KeyServerIDParams{KeyServerID: n})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) {
				s := r.Value.KeyServer
				serverText(w, s)
				fmt.Fprintf(w, "authority\n%s\nclient certificate\n%s\n", s.CACertificate, s.ClientCertificate)
			})
		},
	}
}
