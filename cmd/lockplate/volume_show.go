package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// shownVolume is what volume show prints with --json.
type shownVolume struct {
	Volume wire.Volume  `json:"volume"`
	Attach []attachment `json:"attach"`
}

// volumeShowCommand picks one volume of ListVolumes, and makes the lines for
// clients from the listeners of GetGatewayInfo.
func (a *app) volumeShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show one volume and the lines that attach it",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeVolumes,
		RunE: func(c *cobra.Command, args []string) error {
			v, err := a.findVolume(c.Context(), args[0])
			if err != nil {
				return err
			}
			g, err := call[wire.GetGatewayInfoResult](c.Context(), a, wire.MethodGetGatewayInfo, wire.Empty{})
			if err != nil {
				return err
			}
			s := shownVolume{v, attachments(g.Value.Listeners, v)}
			return a.show(s, func(w io.Writer) { s.text(w) })
		},
	}
}

func (s shownVolume) text(w io.Writer) {
	v, l := s.Volume, s.Volume.Lockplate
	pairs(w,
		"id", id(v.VolumeID),
		"name", v.Name,
		"size", fmt.Sprintf("%s (%d bytes)", formatSize(v.TotalSize), v.TotalSize),
		"state", l.State,
		"reason", l.Reason,
		"access", v.Access,
		"encryption", encryptionText(l),
		"data", l.Path,
		"header", l.HeaderPath,
		"drive", id(l.DriveID),
		"discard", l.Discard,
		"qos", qosText(v),
		"recovery keys", fmt.Sprint(l.RecoveryKeys),
		"clients", fmt.Sprint(l.Connections),
		"created", v.CreateTime,
		"deleted", v.DeleteTime,
		"purged at", v.PurgeTime,
		"uuid", v.VolumeUUID,
	)
	for _, t := range s.Attach {
		fmt.Fprintln(w)
		pairs(w, "uri", t.URI, "nbd-client", t.NBDClient, "qemu", t.QEMU, "nbdtab", t.NBDTab, "fstab", t.FSTab)
	}
}

// encryptionText says how a volume is encrypted in one phrase.
func encryptionText(l wire.VolumeDetail) string {
	if !l.Encrypted {
		return "none"
	}
	text := fmt.Sprintf("%s, %d-bit key, %d-byte sectors", l.Cipher, l.KeyBits, l.SectorSize)
	if l.Adopted {
		text += ", adopted"
	}
	return text
}
