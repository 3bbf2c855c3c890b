package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"lockplate/cipher"
)

// versionInfo says what this binary is.
type versionInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Go       string `json:"go"`
	Engine   string `json:"engine"` // what does the encryption
}

// readVersion takes what the linker was told, else what the Go tool recorded.
func readVersion() versionInfo {
	v := versionInfo{version, revision, runtime.Version(), cipher.Engine()}
	if b, ok := debug.ReadBuildInfo(); ok {
		v.Version = firstOf(v.Version, b.Main.Version)
		for _, s := range b.Settings {
			if s.Key == "vcs.revision" && v.Revision == "" {
				v.Revision = s.Value
			}
		}
	}
	v.Version = firstOf(v.Version, "unknown")
	v.Revision = firstOf(v.Revision, "unknown")
	return v
}

// versionCommand needs no daemon: it tells of this binary, not of a running one
// (that is in status).
func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print version, revision, Go and cipher engine", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := readVersion()
			return a.show(v, func(w io.Writer) {
				fmt.Fprintf(w, "lockplate %s\n", v.Version)
				pairs(w, "revision", v.Revision, "go", v.Go, "cipher engine", v.Engine)
			})
		},
	}
}
