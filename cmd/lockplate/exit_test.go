package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"lockplate/api/client"
	"lockplate/api/wire"
	"lockplate/blockdev"
	"lockplate/cluster"
	"lockplate/keymgr"
	"lockplate/store"
)

func TestExitCodeOfLocalErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{io.ErrUnexpectedEOF, 1},
		{usagef("bad"), 2},
		{fs.ErrNotExist, 10},
		{&cluster.NotFoundError{Kind: "volume", ID: "7"}, 10},
		{&cluster.InvalidError{Param: "seal", Reason: "?"}, 2},
		{cluster.ErrNoCluster, 10},
		{keymgr.ErrWrongKey, 11},
		{keymgr.ErrSealerMissing, 11},
		{keymgr.ErrWrongPassphrase, 13},
		{client.ErrUnauthorized, 13},
		{client.ErrUntrusted, 13},
		{&os.PathError{Op: "open", Path: "/x", Err: unix.EACCES}, 13},
		{fmt.Errorf("%w: %w", client.ErrUnreachable, unix.EACCES), 13},
		{fmt.Errorf("%w: %w", client.ErrUnreachable, unix.ENOENT), 1},
		{keymgr.ErrIntegrity, 14},
		{keymgr.ErrTruncated, 14},
		{store.ErrCorrupt, 14},
		{cluster.ErrStateBusy, 15},
		{store.ErrLocked, 15},
		{&os.SyscallError{Syscall: "bind", Err: unix.EADDRINUSE}, 15},
		{cluster.ErrClusterExists, 16},
		{keymgr.ErrNotEmpty, 16},
		{blockdev.ErrNoSpace, 17},
		{unix.ENOSPC, 17},
		{unix.EROFS, 18},
		{blockdev.ErrReadOnly, 18},
		{context.Canceled, 130},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v: code %d, want %d", c.err, got, c.want)
		}
		if c.err == nil {
			continue
		}
		if got := exitCode(hint(fmt.Errorf("do it: %w", c.err), "way out")); got != c.want {
			t.Errorf("wrapped %v: code %d, want %d", c.err, got, c.want)
		}
	}
}

// TestEveryAPINameHasItsCode fails when a name is added to the API and nobody
// decided what scripts get.
func TestEveryAPINameHasItsCode(t *testing.T) {
	general := map[string]bool{wire.ErrInternal: true, wire.ErrUnsupportedFormat: true, wire.ErrRekeyFailed: true}
	for _, name := range wire.ErrorNames() {
		code := exitCode(fmt.Errorf("call: %w", &client.Error{Code: wire.CodeError, Name: name, Message: "m"}))
		if (code == exitFailure) != general[name] {
			t.Errorf("%s: exit code %d", name, code)
		}
	}
	if got := apiCode("xSomethingNew"); got != exitFailure {
		t.Errorf("unknown name: %d", got)
	}
}

func TestEveryExitCodeIsDocumentedOnce(t *testing.T) {
	seen := map[int]bool{}
	for _, e := range exitTexts() {
		if seen[e.code] || e.text == "" {
			t.Errorf("code %d is listed twice or without text", e.code)
		}
		seen[e.code] = true
	}
	codes := []int{exitOK, exitFailure, exitUsage}
	for _, k := range knownErrors() {
		codes = append(codes, k.code)
	}
	for _, name := range wire.ErrorNames() {
		codes = append(codes, apiCode(name))
	}
	for _, c := range codes {
		if !seen[c] {
			t.Errorf("code %d is used and not documented", c)
		}
	}
}

func TestErrorsArePrintedWithTheirHint(t *testing.T) {
	var b bytes.Buffer
	printError(&b, hint(errors.New("it broke."), "mend %s", "it"))
	if got, want := b.String(), "lockplate: it broke\nhint: mend it\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestErrorsAreOneJSONLineWithJSON(t *testing.T) {
	a, out, errOut := testApp("", &fakeTerminal{})
	a.opt.json = true
	a.report(fmt.Errorf("find: %w", &client.Error{Name: wire.ErrNoSpace, Message: "full"}))
	if out.Len() > 0 || strings.Count(errOut.String(), "\n") != 1 {
		t.Errorf("standard output %q, standard error %q", out, errOut)
	}
	var e exitError
	if err := json.Unmarshal(errOut.Bytes(), &e); err != nil {
		t.Fatal(err)
	}
	if e.MessageType != "exit_error" || e.Code != exitNoSpace || e.Name != wire.ErrNoSpace || e.Hint == "" || e.Message == "" {
		t.Errorf("got %+v", e)
	}
}

func TestCommandLineErrorsAreUsageErrors(t *testing.T) {
	for _, args := range [][]string{
		{"nonsense"},
		{"volume"},
		{"volume", "creat"},
		{"volume", "create"},
		{"volume", "create", "x"},
		{"volume", "create", "x", "--size", "10GB"},
		{"--nonsense"},
		{"status", "extra"},
		{"api"},
		{"api", "X", "[1]"},
		{"user", "add", "x", "--access", "root"},
		{"drive", "add", "dir:/x", "--role", "spare"},
		{"status", "--user", "x"},
		{"status", "--server", "https://x"},
		{"status", "--server", "x", "--socket", "y"},
		{"init"},
		{"init", "--seal", "passphrase", "--no-software-encryption"},
		{"demo", "--state", "/x"},
	} {
		a, _, errOut := testApp("", &fakeTerminal{})
		if code := a.run(args); code != exitUsage {
			t.Errorf("%q: exit code %d, want %d: %s", args, code, exitUsage, errOut)
		}
		if !strings.HasPrefix(errOut.String(), "lockplate: ") {
			t.Errorf("%q: %q", args, errOut)
		}
	}
}

func TestUnknownCommandsGetASuggestion(t *testing.T) {
	for _, args := range [][]string{{"volum"}, {"volume", "creat"}} {
		a, _, errOut := testApp("", &fakeTerminal{})
		a.run(args)
		if !strings.Contains(errOut.String(), "hint: did you mean "+args[len(args)-1]) {
			t.Errorf("%q: %s", args, errOut)
		}
	}
}
