package main

import (
	"io"
	"strings"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// kmipProviderCommand groups the commands about key providers.
func (a *app) kmipProviderCommand() *cobra.Command {
	c := asGroup(&cobra.Command{Use: "provider", Short: "Key providers: sets of servers that hold the same keys"})
	c.AddCommand(a.kmipProviderCreateCommand(), a.kmipProviderListCommand(), a.kmipProviderShowCommand(),
		a.kmipProviderDeleteCommand(), a.kmipProviderAddCommand(), a.kmipProviderRemoveCommand(), a.kmipProviderTestCommand())
	return c
}

// providerText shows one provider.
func providerText(w io.Writer, p wire.KeyProviderKmip) {
	pairs(w, "id", id(p.KeyProviderID), "name", p.Name, "active", yesNo(p.IsActive),
		"servers", ids(p.KeyServerIDs), "capabilities", p.Capabilities)
}

// providerTable shows providers.
func providerTable(w io.Writer, all []wire.KeyProviderKmip) {
	rows := [][]string{}
	for _, p := range all {
		rows = append(rows, []string{id(p.KeyProviderID), strings.ReplaceAll(p.Name, " ", "_"), yesNo(p.IsActive), ids(p.KeyServerIDs)})
	}
	table(w, "ID NAME ACTIVE SERVERS", rows)
}
