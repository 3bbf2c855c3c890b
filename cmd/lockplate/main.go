// Command lockplate is an encrypting block gateway: "lockplate serve" is the
// daemon, every other command is its client and speaks to it through the
// management API.
//
// Each command is one file. What they share is in small files beside: app
// (one run of the command line), connect (the way to the daemon), exit (exit
// codes), output (tables and JSON), secret (passphrases), confirm, size.
//
// The rules of the user interface: an error is one line that begins with
// "lockplate: ", in lower case and without a full stop, and after it, where
// there is a way out, one line that begins with "hint: ". With --json the
// error is one JSON object, the last line on standard error. Nothing is asked
// unless standard input is a terminal. No secret is ever taken from the
// command line or the environment.
package main

import (
	"context"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Set with -ldflags -X; see versionInfo for what is used without.
var (
	version  string
	revision string
)

func main() {
	a := &app{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.Getenv,
		term: newTerminal(),
	}
	os.Exit(a.run(os.Args[1:]))
}

// interruptible ends the context at the first SIGINT or SIGTERM, and lets the
// second one kill the process as usual.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// terminal is what the commands ask of the user's terminal.
type terminal interface {
	// Interactive says whether questions can be asked.
	Interactive() bool
	// Live says whether a progress bar can be drawn on standard error.
	Live() bool
	// ReadSecret reads a line without showing it.
	ReadSecret() ([]byte, error)
	// Restore shows what is typed again, after an interrupted ReadSecret.
	Restore()
}

// realTerminal is the terminal on standard input, if there is one.
type realTerminal struct {
	in, out int
	before  *term.State // nil: no terminal
}

func newTerminal() *realTerminal {
	t := &realTerminal{in: int(os.Stdin.Fd()), out: int(os.Stderr.Fd())}
	if s, err := term.GetState(t.in); err == nil {
		t.before = s
	}
	return t
}

func (t *realTerminal) Interactive() bool           { return t.before != nil }
func (t *realTerminal) Live() bool                  { return term.IsTerminal(t.out) }
func (t *realTerminal) ReadSecret() ([]byte, error) { return term.ReadPassword(t.in) }

func (t *realTerminal) Restore() {
	if t.before != nil {
		_ = term.Restore(t.in, t.before) // the terminal may be gone, and then nobody looks
	}
}
