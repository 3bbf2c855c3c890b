package main

import (
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// keyStatusCommand is GetSoftwareEncryptionAtRestInfo.
func (a *app) keyStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the master key and what protects it", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := call[wire.GetSoftwareEncryptionAtRestInfoResult](c.Context(), a, wire.MethodGetSoftwareEncrypt, wire.Empty{})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { keyStatusText(w, r.Value) })
		},
	}
}
