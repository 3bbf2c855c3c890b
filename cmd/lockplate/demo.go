package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
	"lockplate/keymgr"
)

// demoVolume is the name of the demo's volume.
const demoVolume = "demo"

// demoFlags are the flags of demo.
type demoFlags struct {
	size sizeFlag
	nbd  []string
}

// demoCommand is serve, init, drive add and volume create in one, in a directory
// that goes away.
func (a *app) demoCommand() *cobra.Command {
	f := demoFlags{size: 1 << 30}
	c := &cobra.Command{
		Use: "demo", Short: "Run a throw-away gateway with one volume", Args: cobra.NoArgs,
		Long: `Run a throw-away gateway with one volume, everything in a temporary directory,
until Ctrl-C; then all of it is deleted. The key file lies beside the data, so
the data is encrypted but not protected: for trying out only.`,
		Example: "  lockplate demo\n  lockplate demo --size 10G --nbd tcp:127.0.0.1:10900",
		RunE:    func(c *cobra.Command, _ []string) error { return a.demo(c.Context(), &f) },
	}
	c.Flags().Var(&f.size, "size", "size of the volume")
	c.Flags().StringArrayVar(&f.nbd, "nbd", nil, "listen for NBD, repeatable: tcp:HOST:PORT, unix:PATH (default "+defaultNBD+" and a socket)")
	return c
}

// demo runs until ctx ends. Whatever happens, the directory is removed last, when
// nothing has files open in it.
func (a *app) demo(ctx context.Context, f *demoFlags) error {
	if a.opt.server != "" || a.opt.socket != "" || a.opt.state != "" {
		return usagef("demo takes neither --state nor --socket nor --server: everything is in a temporary directory")
	}
	if err := keymgr.HardenProcess(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "lockplate-demo-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer os.RemoveAll(dir)
	cfg := &config{State: filepath.Join(dir, "state"), NBD: f.nbd, API: []string{"none"}, Metrics: "none"}
	if err := cfg.complete(); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	d, err := startDaemon(ctx, cfg, a.sealerOptions(ctx, &secretFlags{fd: -1}), nil, log)
	if err != nil {
		return err
	}
	a.opt.socket = filepath.Join(cfg.State, apiSocket)
	err = a.fillDemo(ctx, dir, int64(f.size))
	if err == nil {
		err = d.wait(ctx)
	}
	return errors.Join(err, d.stop())
}

// fillDemo makes cluster, drive and volume as a user would, and tells how to
// attach it.
func (a *app) fillDemo(ctx context.Context, dir string, size int64) error {
	encrypt := true
	_, err := call[wire.Empty](ctx, a, wire.MethodCreateCluster, wire.CreateClusterParams{
		Name: demoVolume, AcceptEula: true, SoftwareEncryption: &encrypt,
		Seal: "file:" + filepath.Join(dir, "lockplate.key"),
	})
	if err != nil {
		return fmt.Errorf("make cluster: %w", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "drive"), 0o700); err != nil {
		return err
	}
	added, err := call[wire.AsyncHandleResult](ctx, a, wire.MethodAddDrives,
		wire.AddDrivesParams{Drives: []wire.NewDrive{{URI: "dir:" + filepath.Join(dir, "drive")}}})
	if err != nil {
		return err
	}
	if _, err := a.wait(ctx, added.Value.AsyncHandle, "add drive"); err != nil {
		return err
	}
	made, err := call[wire.CreateVolumeResult](ctx, a, wire.MethodCreateVolume,
		wire.CreateVolumeParams{Name: demoVolume, TotalSize: wire.Int(size), Enable512e: true})
	if err != nil {
		return err
	}
	return a.showDemo(ctx, made.Value.Volume)
}

// showDemo tells how to attach the volume and how to end it all.
func (a *app) showDemo(ctx context.Context, v wire.Volume) error {
	g, err := call[wire.GetGatewayInfoResult](ctx, a, wire.MethodGetGatewayInfo, wire.Empty{})
	if err != nil {
		return err
	}
	s := shownVolume{v, attachments(g.Value.Listeners, v)}
	s.text(a.out)
	fmt.Fprintf(a.out, "\nThe key lies beside the data: this shows how it works and protects nothing.\n"+
		"In another shell: export LOCKPLATE_SOCKET=%s; lockplate status\n"+
		"Ctrl-C ends it and deletes everything.\nready\n", shellWord(a.opt.socket))
	return nil
}
