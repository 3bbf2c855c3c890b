package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// keyDestroyCommand is DestroyMasterKey.
func (a *app) keyDestroyCommand() *cobra.Command {
	var yes, forget bool
	c := &cobra.Command{
		Use: "destroy KEYID", Short: "Destroy a master key that is not in use any more", Args: cobra.ExactArgs(1),
		Long: `Destroy a master key that is not in use any more, here and at its key servers.
A backup of the store that was made while it was in use is worthless then.

All addresses of its key provider must answer, since each may have a copy. For
key servers that are lost for good there is --forget: the key is destroyed
where one answers and given up at the rest, 'lockplate key history --json'
names those, and the key provider can be deleted when it has no other keys.`,
		Example:           "  lockplate key destroy 0123abcd-…\n  lockplate key destroy --forget 0123abcd-…",
		ValidArgsFunction: a.completeOldKeys,
		RunE: func(c *cobra.Command, args []string) error {
			what := "destroying master key " + args[0] + ", without which backups of its time cannot be used,"
			word := "destroy"
			if forget {
				what += " and giving it up at key servers that do not answer, where whoever finds them may have it,"
				word = "forget"
			}
			if err := a.confirm(c.Context(), yes, what, word); err != nil {
				return err
			}
			return a.destroyKey(c.Context(), wire.DestroyMasterKeyParams{KeyID: args[0], Forget: forget})
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&forget, "forget", false, "give the key up at key servers that are lost for good")
	return c
}

// destroyKey destroys or forgets a master key and tells where it may still be.
func (a *app) destroyKey(ctx context.Context, p wire.DestroyMasterKeyParams) error {
	r, err := call[wire.DestroyMasterKeyResult](ctx, a, wire.MethodDestroyMasterKey, p)
	if err != nil {
		return err
	}
	return a.show(r.Raw, func(w io.Writer) {
		if left := r.Value.MayExistAt; len(left) > 0 {
			fmt.Fprintf(w, "master key %s forgotten; it may still exist at %s\n", p.KeyID, strings.Join(left, ", "))
			return
		}
		fmt.Fprintf(w, "master key %s destroyed\n", p.KeyID)
	})
}

// completeOldKeys completes the first argument with master keys that are not
// in use.
func (a *app) completeOldKeys(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return completeFirst(c, args, func(ctx context.Context) (out []cobra.Completion, err error) {
		r, err := call[wire.ListMasterKeysResult](ctx, a, wire.MethodListMasterKeys, wire.Empty{})
		for _, k := range r.Value.MasterKeys {
			if k.State == wire.KeyDecommissioned || k.State == wire.KeyForgotten {
				out = append(out, cobra.CompletionWithDesc(k.KeyID, k.KeyCreatedTime))
			}
		}
		return out, err
	})
}
