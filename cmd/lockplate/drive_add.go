package main

import (
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// driveAddCommand is AddDrives, and waits for its result. A number names a drive
// that is known, anything else is an address.
func (a *app) driveAddCommand() *cobra.Command {
	var role string
	c := &cobra.Command{
		Use: "add URI|ID", Short: "Take a drive into service", Args: cobra.ExactArgs(1),
		Long: `Take a drive into service: a new one by its address, or one that was removed
by its number.

  dir:/srv/lockplate   a directory; many volumes, each a sparse image file
  file:/srv/x.img      a regular file; one volume
  disk:/dev/sdb        a whole block device; one volume`,
		Example: "  lockplate drive add dir:/srv/lockplate\n  lockplate drive add dir:/ssd/headers --role metadata",
		RunE: func(c *cobra.Command, args []string) error {
			t, err := driveType(role)
			if err != nil {
				return err
			}
			d := wire.NewDrive{Type: t}
			if n, err := strconv.ParseInt(args[0], 10, 64); err == nil {
				d.DriveID = wire.Int(n)
			} else {
				d.URI = a.localURI(args[0])
			}
			r, err := call[wire.AsyncHandleResult](c.Context(), a, wire.MethodAddDrives, wire.AddDrivesParams{Drives: []wire.NewDrive{d}})
			if err != nil {
				return err
			}
			done, err := a.wait(c.Context(), r.Value.AsyncHandle, "add drive "+args[0])
			if err != nil {
				return err
			}
			if a.opt.json {
				return a.show(done, nil)
			}
			return a.showAdded(c, args[0])
		},
	}
	c.Flags().StringVar(&role, "role", "", "what the drive is for: block (volumes), metadata (detached headers)")
	return c
}

// driveType gives Element's word for a role.
func driveType(role string) (string, error) {
	switch role {
	case "":
		return "", nil
	case "block":
		return wire.DriveBlock, nil
	case "metadata":
		return wire.DriveMetadata, nil
	}
	return "", hint(usagef("%q is not a role of a drive", role), "use block or metadata")
}

// showAdded shows the drive that was just added.
func (a *app) showAdded(c *cobra.Command, name string) error {
	d, err := a.findDrive(c.Context(), name)
	if err != nil {
		return err
	}
	return a.show(d, func(w io.Writer) { driveTable(w, []wire.Drive{d}) })
}
