package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// adoptFlags are the flags of volume adopt.
type adoptFlags struct {
	drive, image             string
	headerDrive, headerImage string
	passphrase               secretFlags
}

// volumeAdoptCommand is AdoptVolume, an extension.
func (a *app) volumeAdoptCommand() *cobra.Command {
	var f adoptFlags
	c := &cobra.Command{
		Use: "adopt NAME --drive DRIVE", Short: "Take an existing LUKS container into the cluster",
		Long: `Take an existing LUKS2 container into the cluster, opened with one of its
passphrases. Nothing in it is moved; its passphrases keep working. A LUKS1
container is taken read-only.`,
		Example: "  lockplate drive add file:/srv/old.img\n  lockplate volume adopt old --drive file:/srv/old.img",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := a.adoptParams(c.Context(), args[0], &f)
			if err != nil {
				return err
			}
			defer p.Passphrase.Wipe()
			r, err := call[wire.VolumeResult](c.Context(), a, wire.MethodAdoptVolume, p)
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { volumeTable(w, []wire.Volume{r.Value.Volume}) })
		},
	}
	fs := c.Flags()
	fs.StringVar(&f.drive, "drive", "", "drive that holds the container, by number or address")
	fs.StringVar(&f.image, "image", "", "on a directory: which image, its file name without .img")
	fs.StringVar(&f.headerDrive, "header-drive", "", "metadata drive with the detached header")
	fs.StringVar(&f.headerImage, "header-image", "", "which image on it is the header")
	f.passphrase.register(fs, "passphrase", "passphrase that opens the container")
	if err := c.MarkFlagRequired("drive"); err != nil {
		panic("lockplate: " + err.Error())
	}
	for _, flag := range []string{"drive", "header-drive"} {
		completeFlag(c, flag, func(c *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return complete(c, a.driveCompletions)
		})
	}
	return c
}

// adoptParams turns flags into parameters. The caller wipes the passphrase.
func (a *app) adoptParams(ctx context.Context, name string, f *adoptFlags) (wire.AdoptVolumeParams, error) {
	p := wire.AdoptVolumeParams{Name: name, Image: f.image, HeaderImage: f.headerImage}
	d, err := a.findDrive(ctx, f.drive)
	if err != nil {
		return p, err
	}
	p.DriveID = wire.Int(d.DriveID)
	if f.headerDrive != "" {
		h, err := a.findDrive(ctx, f.headerDrive)
		if err != nil {
			return p, err
		}
		p.HeaderDriveID = wire.Int(h.DriveID)
	}
	p.Passphrase, err = a.secret(ctx, &f.passphrase, "passphrase of the container", false)
	return p, err
}
