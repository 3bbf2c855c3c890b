package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// keyResealCommand is ResealKeys.
func (a *app) keyResealCommand() *cobra.Command {
	var spec string
	var pass secretFlags
	c := &cobra.Command{
		Use: "reseal --seal SEALER", Short: "Have another sealer protect the same keys", Args: cobra.NoArgs,
		Long: `Have another sealer protect the keys that are kept in the store: another key
file or passphrase, a TPM, or the same TPM in the state that firmware is in now.
The keys stay the same and volumes are served throughout. What the old sealer
sealed is replaced, in one step, once the new one was seen to work. SEALER is as
for 'lockplate init'. Backups from before still need the old one.`,
		Example: "  lockplate key reseal --seal tpm2\n  lockplate key reseal --seal file:/media/usb/new.key",
		RunE: func(c *cobra.Command, _ []string) error {
			if spec == "" {
				return hint(usagef("--seal is missing: what is to protect the keys"), "see 'lockplate init --help'")
			}
			p := wire.ResealKeysParams{Seal: a.localSeal(spec)}
			var err error
			if p.SealPassphrase, err = a.sealSecret(c.Context(), spec, &pass); err != nil {
				return err
			}
			defer p.SealPassphrase.Wipe()
			r, err := call[wire.Empty](c.Context(), a, wire.MethodResealKeys, p)
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { fmt.Fprintf(w, "the keys are sealed by %s\n", p.Seal) })
		},
	}
	c.Flags().StringVar(&spec, "seal", "", sealUsage)
	pass.register(c.Flags(), "passphrase", "passphrase of --seal passphrase, or PIN of --seal tpm2:pin")
	completeFlag(c, "seal", sealers())
	return c
}
