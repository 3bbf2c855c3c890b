package main

import (
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// keyHistory lists master keys, newest first. So far a cluster keeps the one
// it was made with, which is therefore all of its history.
type keyHistory struct {
	Keys []wire.EncryptionKeyInfo `json:"keys"`
}

// keyHistoryCommand lists what GetSoftwareEncryptionAtRestInfo tells.
func (a *app) keyHistoryCommand() *cobra.Command {
	return &cobra.Command{
		Use: "history", Short: "List the master keys, newest first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := call[wire.GetSoftwareEncryptionAtRestInfoResult](c.Context(), a, wire.MethodGetSoftwareEncrypt, wire.Empty{})
			if err != nil {
				return err
			}
			h := keyHistory{Keys: []wire.EncryptionKeyInfo{}}
			if k := r.Value.MasterKeyInfo; k != nil {
				h.Keys = append(h.Keys, *k)
			}
			return a.show(h, func(w io.Writer) {
				rows := [][]string{}
				for _, k := range h.Keys {
					rows = append(rows, []string{k.KeyID, k.KeyManagementType, k.KeyCreatedTime, "current"})
				}
				table(w, "KEY MANAGEMENT CREATED STATE", rows)
			})
		},
	}
}
