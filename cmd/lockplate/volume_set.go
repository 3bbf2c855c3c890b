package main

import (
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// volumeSetCommand is ModifyVolume with whatever else can change. Only flags that
// were given are sent.
func (a *app) volumeSetCommand() *cobra.Command {
	var name, access, discard string
	var emulate512 bool
	var qos qosFlags
	c := &cobra.Command{
		Use: "set NAME", Short: "Change the name, access, speed or policies of a volume",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeVolumes,
		Example: "  lockplate volume set web --access readOnly\n  lockplate volume set web --qos-max-iops 5000 --qos-burst-iops 10000",
		RunE: func(c *cobra.Command, args []string) error {
			p := wire.ModifyVolumeParams{}
			changed := c.Flags().Changed
			p.Name = given(changed("name"), &name)
			p.Access = given(changed("access"), &access)
			p.Discard = given(changed("discard"), &discard)
			p.Enable512e = given(changed("512e"), &emulate512)
			p.QOS, p.QOSPolicyID, p.AssociateWithQoSPolicy = qos.params(c)
			if p == (wire.ModifyVolumeParams{}) {
				return hint(usagef("nothing to change is given"), "see 'lockplate volume set --help'")
			}
			v, err := a.findVolume(c.Context(), args[0])
			if err != nil {
				return err
			}
			p.VolumeID = wire.Int(v.VolumeID)
			r, err := call[wire.VolumeResult](c.Context(), a, wire.MethodModifyVolume, p)
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { volumeTable(w, []wire.Volume{r.Value.Volume}) })
		},
	}
	f := c.Flags()
	f.StringVar(&name, "name", "", "new name")
	f.StringVar(&access, "access", "", "readWrite, readOnly, locked (nobody may attach)")
	f.StringVar(&discard, "discard", "", "what a trim does: off nothing, pass frees the space, zero writes encrypted zeroes")
	qos.register(f)
	f.BoolVar(&emulate512, "512e", true, "take requests of any alignment; =false tells clients of 4096-byte sectors")
	completeFlag(c, "access", oneOf("readWrite", "readOnly", "locked"))
	completeFlag(c, "discard", oneOf("zero", "pass", "off"))
	return c
}

// given is p if the flag behind it was given, else nil.
func given[T any](is bool, p *T) *T {
	if is {
		return p
	}
	return nil
}
