package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// createFlags are the flags of volume create.
type createFlags struct {
	size                 sizeFlag
	drive, header        string
	discard, access, kdf string
	sectorSize           int
	emulate512, recovery bool
	passphrase           secretFlags
	qos                  qosFlags
}

// volumeCreateCommand is CreateVolume.
func (a *app) volumeCreateCommand() *cobra.Command {
	var f createFlags
	c := &cobra.Command{
		Use: "create NAME --size SIZE", Short: "Make a volume", Args: cobra.ExactArgs(1),
		Long: `Make a volume: a LUKS2 container with a new key of its own. The key is wrapped
by the master key and kept in the store. With --recovery the container also
takes a passphrase, so that any Linux host opens it with cryptsetup and
without lockplate.`,
		Example: "  lockplate volume create web --size 10G\n  lockplate volume create db --size 1.5T --drive 2 --recovery",
		RunE: func(c *cobra.Command, args []string) error {
			p, err := a.createParams(c.Context(), args[0], &f)
			if err != nil {
				return err
			}
			p.QOS, p.QOSPolicyID, p.AssociateWithQoSPolicy = f.qos.params(c)
			defer p.RecoveryPassphrase.Wipe()
			r, err := call[wire.CreateVolumeResult](c.Context(), a, wire.MethodCreateVolume, p)
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { volumeTable(w, []wire.Volume{r.Value.Volume}) })
		},
	}
	f.register(a, c)
	return c
}

func (f *createFlags) register(a *app, c *cobra.Command) {
	fs := c.Flags()
	fs.Var(&f.size, "size", "size, rounded up to whole MiB: 512M, 10G, 1.5T")
	fs.StringVar(&f.drive, "drive", "", "drive, by number or address (default the one with the most space)")
	fs.StringVar(&f.header, "header", "attached", "where the LUKS2 header is: attached, detached (on a metadata drive)")
	fs.StringVar(&f.discard, "discard", "", "what a trim does: off (default) nothing, pass frees the space, zero writes encrypted zeroes")
	fs.StringVar(&f.access, "access", "", "readWrite (default), readOnly, locked")
	fs.IntVar(&f.sectorSize, "sector-size", 0, "bytes in a sector of the cipher: 512, 4096 (default as the drive does best)")
	fs.BoolVar(&f.emulate512, "512e", true, "take requests of any alignment; =false tells clients of 4096-byte sectors")
	f.qos.register(fs)
	fs.BoolVar(&f.recovery, "recovery", false, "add a recovery passphrase, asked for or from --passphrase-file")
	fs.StringVar(&f.kdf, "kdf", "", "key derivation of the recovery passphrase: argon2id (default), pbkdf2")
	f.passphrase.register(fs, "passphrase", "recovery passphrase")
	if err := c.MarkFlagRequired("size"); err != nil {
		panic("lockplate: " + err.Error())
	}
	completeFlag(c, "drive", func(c *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return complete(c, a.driveCompletions)
	})
	completeFlag(c, "header", oneOf("attached", "detached"))
	completeFlag(c, "discard", oneOf("zero", "pass", "off"))
	completeFlag(c, "access", oneOf("readWrite", "readOnly", "locked"))
	completeFlag(c, "kdf", oneOf("argon2id", "pbkdf2"))
}

// createParams turns flags into parameters. The caller wipes the passphrase.
func (a *app) createParams(ctx context.Context, name string, f *createFlags) (wire.CreateVolumeParams, error) {
	p := wire.CreateVolumeParams{
		Name: name, TotalSize: wire.Int(f.size), Enable512e: f.emulate512, Access: f.access,
		Discard: f.discard, SectorSize: wire.Int(f.sectorSize), RecoveryKDF: f.kdf,
	}
	switch f.header {
	case "attached":
	case "detached":
		p.DetachedHeader = true
	default:
		return p, hint(usagef("--header %q is unknown", f.header), "use attached or detached")
	}
	if f.drive != "" {
		d, err := a.findDrive(ctx, f.drive)
		if err != nil {
			return p, err
		}
		p.DriveID = wire.Int(d.DriveID)
	}
	if f.recovery || f.passphrase.given() {
		s, err := a.secret(ctx, &f.passphrase, "recovery passphrase for "+name, true)
		if err != nil {
			return p, err
		}
		p.RecoveryPassphrase = s
	}
	return p, nil
}
