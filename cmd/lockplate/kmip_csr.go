package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"lockplate/api/client"
	"lockplate/api/wire"
)

// kmipCSRCommand is GetClientCertificateSignRequest.
func (a *app) kmipCSRCommand() *cobra.Command {
	return &cobra.Command{
		Use: "csr", Short: "Print the certificate signing request of the key pair", Args: cobra.NoArgs,
		Long: `Print the certificate signing request of the key pair, in PEM. The authority of
the key server signs it; the private key never leaves the cluster.`,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := call[wire.GetClientCertificateSignRequestResult](c.Context(), a, wire.MethodGetSignRequest, wire.Empty{})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { fmt.Fprint(w, r.Value.SignRequest) })
		},
	}
}

// hasKeyPair asks whether there is a key pair.
func (a *app) hasKeyPair(ctx context.Context) (bool, error) {
	_, err := call[wire.GetClientCertificateSignRequestResult](ctx, a, wire.MethodGetSignRequest, wire.Empty{})
	if client.IsName(err, wire.ErrKeyPairNotFound) {
		return false, nil
	}
	return err == nil, err
}

// writeCSR puts the request into a file that is not there yet.
func (a *app) writeCSR(ctx context.Context, path string) error {
	r, err := call[wire.GetClientCertificateSignRequestResult](ctx, a, wire.MethodGetSignRequest, wire.Empty{})
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(r.Value.SignRequest), 0o644); err != nil {
		return fmt.Errorf("write request: %w", err)
	}
	return nil
}
