package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// keyRekeyCommand is RekeySoftwareEncryptionAtRestMasterKey.
func (a *app) keyRekeyCommand() *cobra.Command {
	var internal, wait bool
	var provider string
	c := &cobra.Command{
		Use: "rekey", Short: "Replace the master key, or move it to or from a key server", Args: cobra.NoArgs,
		Long: `Replace the master key by a new one, made where the present one was, with
--provider at the servers of that key provider, with --internal in the cluster.
Volumes are served throughout: their data is not encrypted anew, only the keys
of the volumes are wrapped with the new master key. Then an old key of the
cluster is erased; one at key servers stays there until 'lockplate key destroy'.`,
		Example: "  lockplate key rekey --provider 1 --wait\n  lockplate key rekey --internal --wait",
		RunE: func(c *cobra.Command, _ []string) error {
			p := wire.RekeyMasterKeyParams{}
			switch {
			case internal && provider != "":
				return usagef("--internal and --provider exclude each other")
			case internal:
				p.KeyManagementType = wire.KeyInternal
			case c.Flags().Changed("provider"):
				n, err := a.providerID(c.Context(), provider)
				if err != nil {
					return err
				}
				p = rekeyTo(int64(n))
			}
			return a.rekey(c.Context(), p, wait)
		},
	}
	c.Flags().BoolVar(&internal, "internal", false, "make the new key in the cluster")
	c.Flags().StringVar(&provider, "provider", "", "make the new key at the servers of this key provider (number or name)")
	c.Flags().BoolVar(&wait, "wait", false, "wait until the new key is in use")
	completeFlag(c, "provider", func(c *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return a.completeProviders(c, nil, word)
	})
	return c
}

// rekeyTo is a rekey to a provider.
func rekeyTo(provider int64) wire.RekeyMasterKeyParams {
	n := wire.Int(provider)
	return wire.RekeyMasterKeyParams{KeyManagementType: wire.KeyExternal, KeyProviderID: &n}
}

// startRekey begins a rekey and gives the handle of the job.
func (a *app) startRekey(ctx context.Context, p wire.RekeyMasterKeyParams) (int64, error) {
	r, err := call[wire.AsyncHandleResult](ctx, a, wire.MethodRekey, p)
	return r.Value.AsyncHandle, err
}

// rekey begins a rekey and shows the handle, or with wait the result.
func (a *app) rekey(ctx context.Context, p wire.RekeyMasterKeyParams, wait bool) error {
	h, err := a.startRekey(ctx, p)
	if err != nil {
		return err
	}
	if !wait {
		return a.show(wire.AsyncHandleResult{AsyncHandle: h}, func(w io.Writer) {
			fmt.Fprintf(w, "job %d is at work: 'lockplate job wait %d' tells how it ends\n", h, h)
		})
	}
	done, err := a.wait(ctx, h, "rekey")
	if err != nil {
		return err
	}
	return a.show(done, func(w io.Writer) { rekeyText(w, done.Result) })
}

// rekeyText shows the result of a rekey.
func rekeyText(w io.Writer, result map[string]any) {
	fmt.Fprintln(w, text(result["operation"]))
	pairs(w, "new key", keyText(result["newKey"]), "old key", keyText(result["keyToDecommission"]), "state", text(result["state"]))
}

// keyText shows one of the two keys.
func keyText(v any) string {
	k, _ := v.(map[string]any)
	s := text(k["keyID"]) + " " + text(k["keyManagementType"])
	if p := k["keyProviderID"]; p != nil {
		s += " provider " + text(p)
	}
	return s
}

// text shows a member of a result, "" if there is none.
func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}
