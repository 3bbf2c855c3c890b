package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// volumeCommand groups the commands about volumes.
func (a *app) volumeCommand() *cobra.Command {
	c := asGroup(&cobra.Command{Use: "volume", Short: "Encrypted block devices that clients attach"})
	c.AddCommand(a.volumeCreateCommand(), a.volumeListCommand(), a.volumeShowCommand(),
		a.volumeGrowCommand(), a.volumeSetCommand(), a.volumeDeleteCommand(), a.volumeRestoreCommand(),
		a.volumePurgeCommand(), a.volumeAdoptCommand(), a.recoveryKeyCommand())
	return c
}

// volumeTable writes one line for each volume.
func volumeTable(w io.Writer, vols []wire.Volume) {
	rows := make([][]string, len(vols))
	for i, v := range vols {
		rows[i] = []string{
			id(v.VolumeID), v.Name, formatSize(v.TotalSize), v.Lockplate.State, v.Access,
			yesNo(v.Lockplate.Encrypted), id(v.Lockplate.DriveID), fmt.Sprint(v.Lockplate.Connections),
		}
	}
	table(w, "ID NAME SIZE STATE ACCESS ENCRYPTED DRIVE CLIENTS", rows)
}

// onVolume runs a method that takes only the number of a volume, and prints
// what to say about it.
func onVolume[R any](ctx context.Context, a *app, name, method, did string) error {
	v, err := a.findVolume(ctx, name)
	if err != nil {
		return err
	}
	r, err := call[R](ctx, a, method, wire.VolumeIDParams{VolumeID: wire.Int(v.VolumeID)})
	if err != nil {
		return err
	}
	return a.show(r.Raw, func(w io.Writer) { fmt.Fprintf(w, "volume %s %s\n", v.Name, did) })
}
