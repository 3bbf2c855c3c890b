package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// recoveryKeyCommand groups the commands about LUKS2 keyslots.
func (a *app) recoveryKeyCommand() *cobra.Command {
	c := asGroup(&cobra.Command{
		Use: "recovery-key", Short: "Passphrases that open a volume without lockplate",
		Long: `Passphrases that open a volume without lockplate: LUKS2 keyslots, which
cryptsetup on any Linux host takes.`,
	})
	c.AddCommand(a.recoveryAddCommand(), a.recoveryListCommand(), a.recoveryRemoveCommand())
	return c
}

// recoveryAddCommand is AddVolumeRecoveryKey, an extension.
func (a *app) recoveryAddCommand() *cobra.Command {
	var kdf string
	var pass secretFlags
	c := &cobra.Command{
		Use: "add NAME", Short: "Add a passphrase",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeVolumes,
		RunE: func(c *cobra.Command, args []string) error {
			v, err := a.findVolume(c.Context(), args[0])
			if err != nil {
				return err
			}
			s, err := a.secret(c.Context(), &pass, "recovery passphrase for "+v.Name, true)
			if err != nil {
				return err
			}
			defer clear(s)
			r, err := call[wire.AddVolumeRecoveryKeyResult](c.Context(), a, wire.MethodAddRecoveryKey,
				wire.AddVolumeRecoveryKeyParams{VolumeID: wire.Int(v.VolumeID), Passphrase: s, KDF: kdf})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { fmt.Fprintf(w, "passphrase added to %s in keyslot %d\n", v.Name, r.Value.Slot) })
		},
	}
	c.Flags().StringVar(&kdf, "kdf", "", "key derivation: argon2id (default), pbkdf2")
	completeFlag(c, "kdf", oneOf("argon2id", "pbkdf2"))
	pass.register(c.Flags(), "passphrase", "recovery passphrase")
	return c
}

// recoveryListCommand is ListVolumeRecoveryKeys, an extension.
func (a *app) recoveryListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list NAME", Short: "List the keyslots of a volume",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeVolumes,
		RunE: func(c *cobra.Command, args []string) error {
			v, err := a.findVolume(c.Context(), args[0])
			if err != nil {
				return err
			}
			r, err := call[wire.ListVolumeRecoveryKeysResult](c.Context(), a, wire.MethodListRecoveryKeys,
				wire.VolumeIDParams{VolumeID: wire.Int(v.VolumeID)})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) {
				rows := [][]string{}
				for _, k := range r.Value.RecoveryKeys {
					rows = append(rows, []string{strconv.Itoa(k.Slot), k.KDF})
				}
				table(w, "SLOT KDF", rows)
			})
		},
	}
}

// recoveryRemoveCommand is RemoveVolumeRecoveryKey, an extension.
func (a *app) recoveryRemoveCommand() *cobra.Command {
	var yes, force bool
	c := &cobra.Command{
		Use: "remove NAME SLOT", Short: "Wipe a keyslot; its passphrase no longer works",
		Args: cobra.ExactArgs(2), ValidArgsFunction: a.completeVolumes,
		RunE: func(c *cobra.Command, args []string) error {
			slot, err := strconv.Atoi(args[1])
			if err != nil {
				return usagef("%q is not the number of a keyslot", args[1])
			}
			v, err := a.findVolume(c.Context(), args[0])
			if err != nil {
				return err
			}
			if err := a.confirm(c.Context(), yes, fmt.Sprintf("wiping keyslot %d of volume %s", slot, v.Name), v.Name); err != nil {
				return err
			}
			r, err := call[wire.Empty](c.Context(), a, wire.MethodRemoveRecoveryKey,
				wire.RemoveVolumeRecoveryKeyParams{VolumeID: wire.Int(v.VolumeID), Slot: wire.Int(slot), Force: force})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { fmt.Fprintf(w, "keyslot %d of %s wiped\n", slot, v.Name) })
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&force, "force", false, "also if it is the last one")
	return c
}
