package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// backupCommand is GetStoreBackup into a new file. The API sends the backup
// sealed, so nothing in clear passes here.
func (a *app) backupCommand() *cobra.Command {
	var pass secretFlags
	c := &cobra.Command{
		Use: "backup FILE", Short: "Write the store, sealed with a passphrase, to a file",
		Long: `Write the store to a new file, sealed with a passphrase: the cluster, its
drives and volumes, and their wrapped keys. The master key's own sealer (key
file, passphrase, credential) is needed beside it; volumes' data is not in it.
"-" is standard output.`,
		Example: "  lockplate backup /media/usb/lockplate-2030-01-01.backup", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := absent(args[0]); err != nil {
				return err
			}
			s, err := a.secret(c.Context(), &pass, "passphrase of the backup", true)
			if err != nil {
				return err
			}
			defer clear(s)
			r, err := call[wire.GetStoreBackupResult](c.Context(), a, wire.MethodGetStoreBackup, wire.GetStoreBackupParams{Passphrase: s})
			if err != nil {
				return err
			}
			if args[0] == "-" {
				_, err := a.out.Write(r.Value.Backup)
				return err
			}
			if err := writeNew(args[0], r.Value.Backup); err != nil {
				return fmt.Errorf("write backup: %w", err)
			}
			return a.show(map[string]any{"file": args[0], "bytes": len(r.Value.Backup)}, func(w io.Writer) {
				fmt.Fprintf(w, "%d bytes in %s\n", len(r.Value.Backup), args[0])
			})
		},
	}
	pass.register(c.Flags(), "passphrase", "passphrase of the backup")
	return c
}

// absent refuses to overwrite a file before anything is asked.
func absent(name string) error {
	if _, err := os.Lstat(name); name == "-" || errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return hint(&codedError{exitConflict, fmt.Errorf("%s exists already", name)}, "choose another name; backups are not overwritten")
}

// writeNew writes a file that is whole and durable when it returns nil, and
// not there otherwise.
func writeNew(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(name)
		return err
	}
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
