package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// driveCommand groups the commands about drives.
func (a *app) driveCommand() *cobra.Command {
	c := asGroup(&cobra.Command{Use: "drive", Short: "Places where volumes live"})
	c.AddCommand(a.driveAddCommand(), a.driveListCommand(), a.driveShowCommand(),
		a.driveHardwareCommand(), a.driveRemoveCommand(), a.driveForgetCommand())
	return c
}

// driveRole shows Element's type of a drive in lockplate's word.
func driveRole(d wire.Drive) string {
	if d.Lockplate.Role != "" {
		return d.Lockplate.Role
	}
	return d.Type
}

// driveRow is the line of a drive in tables.
func driveRow(d wire.Drive) []string {
	return []string{
		id(d.DriveID), d.Status, driveRole(d), formatSize(d.Capacity), formatSize(d.Lockplate.Free),
		fmt.Sprint(len(d.Lockplate.Volumes)), d.Lockplate.URI,
	}
}

// driveTable writes one line for each drive.
func driveTable(w io.Writer, drives []wire.Drive) {
	rows := make([][]string, len(drives))
	for i, d := range drives {
		rows[i] = driveRow(d)
	}
	table(w, "ID STATUS ROLE CAPACITY FREE VOLUMES URI", rows)
}

// localURI makes the path in a drive's address absolute when the daemon is on
// this machine: it may run in another directory.
func (a *app) localURI(uri string) string {
	kind, path, ok := strings.Cut(uri, ":")
	if !ok || a.opt.server != "" || (kind != "dir" && kind != "file" && kind != "disk") {
		return uri
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return uri
	}
	return kind + ":" + abs
}
