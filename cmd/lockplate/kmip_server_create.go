package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// kmipServerCreateCommand is CreateKeyServerKmip.
func (a *app) kmipServerCreateCommand() *cobra.Command {
	var f serverFlags
	c := &cobra.Command{
		Use: "create", Short: "Describe a key server; it is not contacted yet", Args: cobra.NoArgs,
		Example: "  lockplate kmip server create --name eks --host eks.example.org --ca-file ca.pem --cert-file client.pem",
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := a.createServer(c.Context(), &f)
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) {
				fmt.Fprintf(w, "key server %d created\n", r.Value.KeyServer.KeyServerID)
			})
		},
	}
	f.register(c.Flags())
	return c
}

// createServer creates a key server as the flags describe it.
func (a *app) createServer(ctx context.Context, f *serverFlags) (r reply[wire.KeyServerResult], err error) {
	switch {
	case f.name == "" || len(f.hosts) == 0:
		return r, usagef("--name and --host are needed")
	case f.ca == "" || f.cert == "":
		return r, hint(usagef("--ca-file and --cert-file are needed"), "'lockplate kmip csr' prints the request that the key server's authority signs")
	}
	ca, err := a.readText(f.ca)
	if err != nil {
		return r, err
	}
	cert, err := a.readText(f.cert)
	if err != nil {
		return r, err
	}
	port := wire.Int(f.port)
	return call[wire.KeyServerResult](ctx, a, wire.MethodCreateKeyServer, wire.CreateKeyServerKmipParams{
		Name: f.name, Hostnames: f.hosts, Port: &port, CACertificate: ca, ClientCertificate: cert,
	})
}
