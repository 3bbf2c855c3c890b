package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"lockplate/cluster"
	"lockplate/keymgr"
)

// restoreCommand works on the store itself: a daemon that runs has a store open
// already, and one cannot be put under it.
func (a *app) restoreCommand() *cobra.Command {
	var pass secretFlags
	c := &cobra.Command{
		Use: "restore FILE", Short: "Bring a backup of the store into an empty state directory",
		Long: `Bring a backup into an empty state directory; the daemon must not run. Then
start 'lockplate serve' with the sealer that the master key had, or with
--seal shares if that is lost. "-" is standard input.`,
		Example: "  lockplate restore --state /var/lib/lockplate /media/usb/lockplate-2030-01-01.backup",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if a.opt.server != "" {
				return usagef("restore works on a local state directory, not on --server")
			}
			in, err := a.openInput(args[0])
			if err != nil {
				return fmt.Errorf("open backup: %w", err)
			}
			defer in.Close()
			s, err := a.secret(c.Context(), &pass, "passphrase of the backup", false)
			if err != nil {
				return err
			}
			defer clear(s)
			if err := restore(c.Context(), a.state(), in, s); err != nil {
				return fmt.Errorf("restore %s: %w", args[0], err)
			}
			return a.show(map[string]any{"state": a.state()}, func(w io.Writer) {
				fmt.Fprintf(w, "restored into %s; now 'lockplate serve --state %s'\n", a.state(), a.state())
			})
		},
	}
	pass.register(c.Flags(), "passphrase", "passphrase of the backup")
	return c
}

// openInput opens a file, or standard input for "-".
func (a *app) openInput(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(a.in), nil
	}
	return os.Open(name)
}

// restore fills the store of a state directory, all of it or nothing.
func restore(ctx context.Context, state string, in io.Reader, passphrase []byte) error {
	if err := keymgr.HardenProcess(); err != nil {
		return err
	}
	return cluster.Restore(ctx, state, in, passphrase)
}
