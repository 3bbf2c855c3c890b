package main

import (
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// volumeGrowCommand is ModifyVolume with a larger size.
func (a *app) volumeGrowCommand() *cobra.Command {
	var size sizeFlag
	c := &cobra.Command{
		Use: "grow NAME --size SIZE", Short: "Make a volume larger", Args: cobra.ExactArgs(1),
		Long: `Make a volume larger, to the size that is given. Clients that are attached see
it when they attach again. A volume never gets smaller.`,
		Example: "  lockplate volume grow web --size 20G", ValidArgsFunction: a.completeVolumes,
		RunE: func(c *cobra.Command, args []string) error {
			v, err := a.findVolume(c.Context(), args[0])
			if err != nil {
				return err
			}
			n := wire.Int(size)
			r, err := call[wire.VolumeResult](c.Context(), a, wire.MethodModifyVolume,
				wire.ModifyVolumeParams{VolumeID: wire.Int(v.VolumeID), TotalSize: &n})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { volumeTable(w, []wire.Volume{r.Value.Volume}) })
		},
	}
	c.Flags().Var(&size, "size", "new size, rounded up to whole MiB")
	if err := c.MarkFlagRequired("size"); err != nil {
		panic("lockplate: " + err.Error())
	}
	return c
}
