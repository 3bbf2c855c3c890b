package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"lockplate/cipher"
	"lockplate/keymgr"
)

// serveFlags are the flags of serve that are no settings.
type serveFlags struct {
	set        config
	file, pid  string
	readyFD    int
	passphrase secretFlags
	seal       string
	shares     []string
}

const serveLong = `Run the daemon in the foreground until SIGTERM or SIGINT: then requests that
were read are answered, data is flushed, and the exit code is 0; a second
signal ends it at once. SIGHUP reads the certificates again; changed files are
noticed by themselves too. When everything listens, a line "ready" is printed
on standard output. It may be started before a cluster is made.

With --seal shares the master key is opened by recovery shares instead of what
seals it, which is lost; then 'lockplate key reseal' gives it another sealer.

Each key of the configuration file (TOML, default
` + defaultConfig + `) is also a flag, with dashes, and an
environment variable, with LOCKPLATE_ before it in upper case; lists are
separated by commas there. Flags go before environment, environment before
file. A key that is not known is an error.

`

// serveCommand is the daemon.
func (a *app) serveCommand() *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use: "serve", Short: "Run the gateway", Args: cobra.NoArgs,
		Long:    serveLong + strings.TrimRight(configTable(), "\n"),
		Example: "  lockplate serve --state /srv/lockplate --nbd tcp:127.0.0.1:10809 --nbd unix:/run/lockplate/nbd.sock",
		RunE: func(c *cobra.Command, _ []string) error {
			if f.seal != "" && f.seal != "shares" {
				return hint(usagef("--seal %s: only shares can be used instead of the sealer of the cluster", f.seal),
					"'lockplate key reseal' changes that")
			}
			f.set.State = a.opt.state
			cfg, err := loadConfig(firstOf(f.file, a.env("LOCKPLATE_CONFIG")), &f.set, c.Flags().Changed, a.env)
			if err != nil {
				return err
			}
			log, err := newLogger(a.err, cfg)
			if err != nil {
				return err
			}
			return a.serve(c.Context(), &f, cfg, log, c.Flags().Changed("nbd"))
		},
	}
	fs := c.Flags()
	fs.StringVar(&f.file, "config", "", "configuration file (LOCKPLATE_CONFIG, default "+defaultConfig+")")
	fs.StringVar(&f.pid, "pid", "", "write the process id to this file when ready")
	fs.IntVar(&f.readyFD, "ready-fd", -1, "write a line to this file descriptor when ready, and close it")
	f.passphrase.register(fs, "passphrase", "passphrase or PIN that seals the master key")
	fs.StringVar(&f.seal, "seal", "", "shares: open the master key by recovery shares, as its sealer is lost")
	registerShares(c, &f.shares)
	completeFlag(c, "seal", oneOf("shares"))
	registerSettings(fs, &f.set)
	completeFlag(c, "log-level", oneOf("debug", "info", "warn", "error"))
	completeFlag(c, "log-format", oneOf("text", "json"))
	return c
}

// newLogger writes to standard error, where systemd and container runtimes read.
func newLogger(w io.Writer, cfg *config) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.LogLevel)); err != nil {
		return nil, hint(usagef("log_level %q is unknown", cfg.LogLevel), "use debug, info, warn or error")
	}
	o := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return slog.New(slog.NewTextHandler(w, o)), nil
}

// serve runs the gateway until ctx ends or a server fails.
func (a *app) serve(ctx context.Context, f *serveFlags, cfg *config, log *slog.Logger, nbdGiven bool) error {
	if err := keymgr.HardenProcess(); err != nil {
		return err
	}
	if err := cipher.SelfTest(); err != nil {
		return err
	}
	if err := keymgr.LockMemory(); err != nil {
		log.Warn("memory may be swapped", "err", err)
	}
	handed, err := inherited()
	if err != nil {
		return err
	}
	if nbdGiven && len(handed[useNBD]) > 0 {
		return usagef("--nbd cannot stand beside a listener that systemd hands over")
	}
	so := a.sealerOptions(ctx, &f.passphrase)
	if f.seal != "" || len(f.shares) > 0 {
		so.Shares = a.sharesAsker(ctx, f.shares)
	}
	d, err := startDaemon(ctx, cfg, so, handed, log)
	if err != nil {
		return err
	}
	sup := supervisor{log}
	var background sync.WaitGroup
	bg, end := context.WithCancel(ctx)
	background.Go(func() { sup.watch(bg, func() { d.cluster.Exists() }) })
	background.Go(func() { d.reloadOnHangup(bg, sup) })
	log.Info("ready", "state", cfg.State, "listeners", len(d.listening))
	err = a.announce(d, f)
	if err == nil {
		sup.ready(fmt.Sprintf("listening on %d addresses", len(d.listening)))
		err = d.wait(ctx)
	}
	end()
	sup.stopping()
	log.Info("stopping")
	background.Wait()
	err = errors.Join(err, d.stop(), removePID(f.pid))
	log.Info("stopped")
	return err
}

// wait returns when ctx ends or a server fails.
func (d *daemon) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-d.failed:
		return err
	}
}

// reloadOnHangup reads the certificates again at each SIGHUP.
func (d *daemon) reloadOnHangup(ctx context.Context, sup supervisor) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, unix.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			sup.reloading()
			d.reloadCerts()
			sup.ready("certificates reloaded")
		}
	}
}

// announce tells who waits for it that the gateway is ready: standard output,
// the pid file, the file descriptor.
func (a *app) announce(d *daemon, f *serveFlags) error {
	for _, l := range d.listening {
		tls := ""
		if l.TLS {
			tls = " tls"
		}
		fmt.Fprintf(a.out, "listen %s %s%s\n", l.Kind, l.Address, tls)
	}
	if f.pid != "" {
		if err := os.WriteFile(f.pid, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
			return fmt.Errorf("write pid file: %w", err)
		}
	}
	if f.readyFD >= 0 {
		w := os.NewFile(uintptr(f.readyFD), "--ready-fd")
		_, err := io.WriteString(w, "ready\n")
		if err := errors.Join(err, w.Close()); err != nil {
			return fmt.Errorf("write to --ready-fd: %w", err)
		}
	}
	fmt.Fprintln(a.out, "ready")
	return nil
}

// removePID removes the pid file of a daemon that ends.
func removePID(name string) error {
	if name == "" {
		return nil
	}
	if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
