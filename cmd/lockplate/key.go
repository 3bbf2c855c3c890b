package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// keyCommand groups the commands about the master key.
func (a *app) keyCommand() *cobra.Command {
	c := asGroup(&cobra.Command{Use: "key", Short: "The master key that wraps the keys of all volumes"})
	c.AddCommand(a.keyStatusCommand(), a.keyHistoryCommand(), a.keyRekeyCommand(), a.keyDestroyCommand(),
		a.keyResealCommand(), a.keySharesCommand())
	return c
}

// keyStatusText says what the master key is and, in words that cannot be
// overlooked, if nothing but the disk itself protects it.
func keyStatusText(w io.Writer, r wire.GetSoftwareEncryptionAtRestInfoResult) {
	k, p := r.MasterKeyInfo, r.Lockplate
	if k == nil {
		k = &wire.EncryptionKeyInfo{}
	}
	if p == nil {
		p = &wire.KeyProtection{}
	}
	provider := ""
	if k.KeyProviderID != nil {
		provider = id(*k.KeyProviderID)
	}
	sealed, shares := "", ""
	if k.KeyID != "" {
		sealed, shares = yesNo(p.Sealed), sharesSummary(p.Shares)
	}
	pairs(w,
		"encryption", r.State,
		"master key", k.KeyID,
		"management", k.KeyManagementType,
		"provider", provider,
		"created", k.KeyCreatedTime,
		"sealer", p.Sealer,
		"sealed", sealed,
		"recovery shares", shares,
		"locked", p.Locked,
	)
	if p.Warning != "" {
		fmt.Fprintf(w, "warning: %s\n", p.Warning)
	}
}
