package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// keyDestroyCommand is DestroyMasterKey.
func (a *app) keyDestroyCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "destroy KEYID", Short: "Destroy a master key that is not in use any more", Args: cobra.ExactArgs(1),
		Long: `Destroy a master key that is not in use any more, here and at its key servers.
A backup of the store that was made while it was in use is worthless then.`,
		ValidArgsFunction: a.completeOldKeys,
		RunE: func(c *cobra.Command, args []string) error {
			what := "destroying master key " + args[0] + ", without which backups of its time cannot be used,"
			if err := a.confirm(c.Context(), yes, what, "destroy"); err != nil {
				return err
			}
			r, err := call[wire.Empty](c.Context(), a, wire.MethodDestroyMasterKey, wire.DestroyMasterKeyParams{KeyID: args[0]})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { fmt.Fprintf(w, "master key %s destroyed\n", args[0]) })
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

// completeOldKeys completes the first argument with master keys that are not
// in use.
func (a *app) completeOldKeys(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return completeFirst(c, args, func(ctx context.Context) (out []cobra.Completion, err error) {
		r, err := call[wire.ListMasterKeysResult](ctx, a, wire.MethodListMasterKeys, wire.Empty{})
		for _, k := range r.Value.MasterKeys {
			if k.State == wire.KeyDecommissioned {
				out = append(out, cobra.CompletionWithDesc(k.KeyID, k.KeyCreatedTime))
			}
		}
		return out, err
	})
}
