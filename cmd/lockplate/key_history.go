package main

import (
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// keyHistoryCommand is ListMasterKeys.
func (a *app) keyHistoryCommand() *cobra.Command {
	return &cobra.Command{
		Use: "history", Short: "List the master keys, newest first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := call[wire.ListMasterKeysResult](c.Context(), a, wire.MethodListMasterKeys, wire.Empty{})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) {
				rows := [][]string{}
				for _, k := range r.Value.MasterKeys {
					provider := ""
					if k.KeyProviderID != nil {
						provider = id(*k.KeyProviderID)
					}
					rows = append(rows, []string{k.KeyID, k.KeyManagementType, provider, k.KeyCreatedTime, k.State})
				}
				table(w, "KEY MANAGEMENT PROVIDER CREATED STATE", rows)
			})
		},
	}
}
