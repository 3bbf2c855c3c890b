package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"lockplate/api/client"
)

// app is one run of the command line.
type app struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) string
	term     terminal

	opt     globalOptions
	started bool // the command line was understood
	client  *client.Client
}

// globalOptions are the flags that every command takes.
type globalOptions struct {
	state, socket, server string
	user, ca, fingerprint string
	password              secretFlags
	json                  bool
}

// run does what the arguments say and returns the exit code.
func (a *app) run(args []string) int {
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	ctx, stop := interruptible(context.Background())
	defer stop()
	defer a.term.Restore()
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if !a.started && exitCode(err) == exitFailure {
		err = usage(err)
		a.opt.json = a.opt.json || slices.Contains(args, "--json")
	}
	if errors.Is(err, context.Canceled) {
		err = hint(&codedError{exitSignal, errors.New("interrupted")}, "%s", hintFor(err))
	}
	a.report(err)
	return exitCode(err)
}

const rootLong = `lockplate puts disks, files and directories behind NBD exports, encrypts them
with AES-256-XTS in standard LUKS2 containers, and keeps the keys.

"lockplate serve" is the daemon; every other command is its client.`

const rootExample = `  lockplate demo                                     try it: nothing is kept
  lockplate init --seal file:/media/usb/lockplate.key
  lockplate serve &
  lockplate drive add dir:/srv/lockplate
  lockplate volume create web --size 10G
  lockplate volume show web                          the lines that attach it`

// rootCommand is the whole tree. Flags that every command takes are here; the
// rest is with each command.
func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use: "lockplate", Short: "encrypting block gateway", Long: rootLong, Example: rootExample,
		SilenceErrors: true, SilenceUsage: true,
	}
	asGroup(root)
	f := root.PersistentFlags()
	f.StringVar(&a.opt.state, "state", "", "state directory (LOCKPLATE_STATE, default "+defaultState+")")
	f.StringVar(&a.opt.socket, "socket", "", "API socket of the daemon (LOCKPLATE_SOCKET, default STATE/"+apiSocket+")")
	f.StringVar(&a.opt.server, "server", "", "speak HTTPS to https://HOST:PORT instead of the socket; needs --user")
	f.StringVar(&a.opt.user, "user", "", "user name for --server")
	f.StringVar(&a.opt.ca, "ca", "", "PEM file with the certificates to trust for --server")
	f.StringVar(&a.opt.fingerprint, "fingerprint", "", "SHA-256 of the certificate to trust for --server, in hex")
	a.opt.password.register(f, "password", "password for --server")
	f.BoolVar(&a.opt.json, "json", false, "print JSON: the result object of the API method")
	root.AddCommand(
		a.serveCommand(), a.initCommand(), a.demoCommand(), a.statusCommand(),
		a.driveCommand(), a.volumeCommand(), a.keyCommand(), a.userCommand(),
		a.kmipCommand(), a.faultCommand(), a.eventCommand(), a.jobCommand(), a.auditCommand(),
		a.storeCommand(), a.backupCommand(), a.restoreCommand(), a.apiCommand(), a.benchCommand(),
		a.versionCommand(), a.manCommand(), a.exitCodesTopic(),
	)
	a.noteStart(root)
	return root
}

// noteStart has every command note that it was begun: errors before that are
// of the command line.
func (a *app) noteStart(c *cobra.Command) {
	if run := c.RunE; run != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			a.started = true
			return run(c, args)
		}
	}
	for _, sub := range c.Commands() {
		a.noteStart(sub)
	}
}

// asGroup makes c a command that only holds others: alone it is a usage
// error that shows them, and a name it does not know is one that suggests.
func asGroup(c *cobra.Command) *cobra.Command {
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return hint(usage(fmt.Errorf("%s needs a command", c.CommandPath())), "see '%s --help'", c.CommandPath())
		}
		err := usage(fmt.Errorf("unknown command %q for %q", args[0], c.CommandPath()))
		c.SuggestionsMinimumDistance = 2
		if s := c.SuggestionsFor(args[0]); len(s) > 0 {
			return hint(err, "did you mean %s?", strings.Join(s, " or "))
		}
		return hint(err, "see '%s --help'", c.CommandPath())
	}
	return c
}
