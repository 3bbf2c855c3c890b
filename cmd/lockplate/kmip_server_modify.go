package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// kmipServerModifyCommand is ModifyKeyServerKmip.
func (a *app) kmipServerModifyCommand() *cobra.Command {
	var f serverFlags
	c := &cobra.Command{
		Use: "modify ID|NAME", Short: "Change a key server, once it was seen to work that way", Args: cobra.ExactArgs(1),
		Long: `Change a key server: what is not given stays. The server is contacted the new
way first, and when that fails nothing is changed.`,
		Example:           "  lockplate kmip server modify 1 --cert-file renewed.pem",
		ValidArgsFunction: a.completeServers,
		RunE: func(c *cobra.Command, args []string) error {
			n, err := a.serverID(c.Context(), args[0])
			if err != nil {
				return err
			}
			p := wire.ModifyKeyServerKmipParams{KeyServerID: n}
			if p.CACertificate, err = a.readOptional(f.ca); err != nil {
				return err
			}
			if p.ClientCertificate, err = a.readOptional(f.cert); err != nil {
				return err
			}
			f.changes(c, &p)
			r, err := call[wire.KeyServerResult](c.Context(), a, wire.MethodModifyKeyServer, p)
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { fmt.Fprintf(w, "key server %d is as told, and works\n", n) })
		},
	}
	f.register(c.Flags())
	return c
}

// changes sets the members whose flags were given.
func (s *serverFlags) changes(c *cobra.Command, p *wire.ModifyKeyServerKmipParams) {
	if c.Flags().Changed("name") {
		p.Name = &s.name
	}
	if c.Flags().Changed("host") {
		p.Hostnames = &s.hosts
	}
	if c.Flags().Changed("port") {
		port := wire.Int(s.port)
		p.Port = &port
	}
}
