package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes. They are promised to scripts: a number keeps its meaning.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitPartial     = 3
	exitNotFound    = 10
	exitLocked      = 11
	exitUnreachable = 12
	exitDenied      = 13
	exitIntegrity   = 14
	exitBusy        = 15
	exitConflict    = 16
	exitNoSpace     = 17
	exitReadOnly    = 18
	exitSignal      = 130
)

// exitTexts says what each code means, in order; help and man pages print it.
func exitTexts() []struct {
	code int
	text string
} {
	return []struct {
		code int
		text string
	}{
		{exitOK, "done"},
		{exitFailure, "failed, for a reason that has no code of its own"},
		{exitUsage, "the command line, a value or the configuration is wrong"},
		{exitPartial, "only a part was done"},
		{exitNotFound, "there is no such volume, drive, user, file or cluster"},
		{exitLocked, "locked: a key is missing or is the wrong one"},
		{exitUnreachable, "the key server cannot be reached"},
		{exitDenied, "a password, passphrase, certificate or permission was refused"},
		{exitIntegrity, "data is damaged or truncated"},
		{exitBusy, "in use: a second process, an attached volume, a taken port"},
		{exitConflict, "conflict: exists already, or not possible in this state"},
		{exitNoSpace, "no space left"},
		{exitReadOnly, "read-only"},
		{exitSignal, "ended by a signal"},
	}
}

// exitTable is the table of exit codes as text.
func exitTable() string {
	var b strings.Builder
	for _, e := range exitTexts() {
		fmt.Fprintf(&b, "  %3d  %s\n", e.code, e.text)
	}
	return b.String()
}

// exitCodesTopic is a page of help without a command: 'lockplate help exit-codes'.
func (a *app) exitCodesTopic() *cobra.Command {
	return &cobra.Command{
		Use: "exit-codes", Short: "What the exit codes mean",
		Long: "Exit codes. A number keeps its meaning for ever.\n\n" + strings.TrimRight(exitTable(), "\n"),
	}
}

// codedError gives an error an exit code.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// usage marks an error as one of the command line.
func usage(err error) error { return &codedError{exitUsage, err} }

// usagef makes an error of the command line.
func usagef(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }

// hintError adds the way out to an error.
type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }

// hint adds the way out to an error.
func hint(err error, format string, args ...any) error {
	return &hintError{err, fmt.Sprintf(format, args...)}
}

// exitCode finds the code of an error: one given on the way, else that of its
// API name, else that of the first known cause.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if c := (*codedError)(nil); errors.As(err, &c) {
		return c.code
	}
	if name := apiName(err); name != "" {
		return apiCode(name)
	}
	for _, k := range knownErrors() {
		if errors.Is(err, k.err) {
			return k.code
		}
	}
	return causeCode(err)
}

// hintFor finds the way out of an error, or "".
func hintFor(err error) string {
	if h := (*hintError)(nil); errors.As(err, &h) {
		return h.hint
	}
	if apiName(err) != "" {
		return apiHint(err)
	}
	for _, k := range knownErrors() {
		if errors.Is(err, k.err) {
			return k.hint
		}
	}
	return ""
}

// exitError is the last line on standard error with --json.
type exitError struct {
	MessageType string `json:"message_type"` // "exit_error"
	Code        int    `json:"code"`
	Name        string `json:"name,omitempty"` // of the API error
	Message     string `json:"message"`
	Hint        string `json:"hint,omitempty"`
}

// report tells the user of an error.
func (a *app) report(err error) {
	if a.opt.json {
		e := exitError{"exit_error", exitCode(err), apiName(err), err.Error(), hintFor(err)}
		_ = json.NewEncoder(a.err).Encode(e) // nobody is left to tell
		return
	}
	printError(a.err, err)
}

// printError writes an error for people.
func printError(w io.Writer, err error) {
	fmt.Fprintf(w, "lockplate: %s\n", strings.TrimSuffix(err.Error(), "."))
	if h := hintFor(err); h != "" {
		fmt.Fprintf(w, "hint: %s\n", h)
	}
}
