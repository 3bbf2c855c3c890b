package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeTerminal answers questions from a list.
type fakeTerminal struct {
	interactive bool
	lines       []string
}

func (t *fakeTerminal) Interactive() bool { return t.interactive }
func (t *fakeTerminal) Live() bool        { return false }
func (t *fakeTerminal) Restore()          {}

func (t *fakeTerminal) ReadSecret() ([]byte, error) {
	if len(t.lines) == 0 {
		return nil, io.EOF
	}
	l := t.lines[0]
	t.lines = t.lines[1:]
	return []byte(l), nil
}

// testApp is an app with its own input, output and environment.
func testApp(in string, term *fakeTerminal) (a *app, out, errOut *bytes.Buffer) {
	out, errOut = &bytes.Buffer{}, &bytes.Buffer{}
	return &app{
		in: strings.NewReader(in), out: out, err: errOut, term: term,
		env: func(string) string { return "" },
	}, out, errOut
}

func TestSecretIsAskedTwiceWhenSet(t *testing.T) {
	for _, c := range []struct {
		setting bool
		lines   []string
		want    string
		code    int
	}{
		{true, []string{"abc", "abc"}, "abc", 0},
		{true, []string{"abc", "abd"}, "", exitUsage},
		{true, []string{"", ""}, "", exitUsage},
		{true, []string{"abc"}, "", exitFailure},
		{false, []string{"abc"}, "abc", 0},
		{false, nil, "", exitFailure},
	} {
		a, _, shown := testApp("", &fakeTerminal{interactive: true, lines: c.lines})
		got, err := a.secret(t.Context(), &secretFlags{name: "passphrase", fd: -1}, "passphrase", c.setting)
		if string(got) != c.want || exitCode(err) != c.code {
			t.Errorf("%q: got %q, %v", c.lines, got, err)
		}
		if strings.Contains(shown.String(), "abc") {
			t.Errorf("the terminal shows the secret: %q", shown)
		}
	}
}

func TestSecretIsNotAskedWithoutTerminal(t *testing.T) {
	a, _, shown := testApp("abc\n", &fakeTerminal{lines: []string{"abc"}})
	_, err := a.secret(t.Context(), &secretFlags{name: "passphrase", fd: -1}, "passphrase", false)
	if exitCode(err) != exitUsage || !strings.Contains(hintFor(err), "--passphrase-file") {
		t.Errorf("error %v, hint %q", err, hintFor(err))
	}
	if shown.Len() > 0 {
		t.Errorf("something was asked: %q", shown)
	}
}

func TestSecretFromFileLosesOneLineEnd(t *testing.T) {
	for in, want := range map[string]string{
		"abc": "abc", "abc\n": "abc", "abc\r\n": "abc", "abc\n\n": "abc\n", " a b ": " a b ", "\n": "", "": "",
		strings.Repeat("x", maxSecret) + "\n":   strings.Repeat("x", maxSecret),
		strings.Repeat("x", maxSecret+1) + "\n": "",
		strings.Repeat("x", 3*maxSecret):        "",
	} {
		name := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(name, []byte(in), 0o600); err != nil {
			t.Fatal(err)
		}
		a, _, _ := testApp("", &fakeTerminal{})
		got, err := a.secret(t.Context(), &secretFlags{name: "passphrase", file: name, fd: -1}, "", false)
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%.20q (%d bytes): got %.20q, %v", in, len(in), got, err)
		}
	}
}

func TestSecretFromFileDescriptorAndStandardInput(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.WriteString("from fd\n")
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	a, _, _ := testApp("from stdin\n", &fakeTerminal{})
	got, err := a.secret(t.Context(), &secretFlags{name: "passphrase", fd: int(r.Fd())}, "", true)
	if string(got) != "from fd" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	got, err = a.secret(t.Context(), &secretFlags{name: "passphrase", file: "-", fd: -1}, "", true)
	if string(got) != "from stdin" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err = a.secret(t.Context(), &secretFlags{name: "passphrase", file: "-", fd: 3}, "", true); exitCode(err) != exitUsage {
		t.Errorf("file and descriptor together: %v", err)
	}
	if _, err = a.secret(t.Context(), &secretFlags{name: "passphrase", file: "/nonexistent/file", fd: -1}, "", true); exitCode(err) != exitNotFound {
		t.Errorf("missing file: %v", err)
	}
}

func TestQuestionsEndWithTheContext(t *testing.T) {
	silent, writer := io.Pipe()
	defer writer.Close()
	a, _, _ := testApp("", &fakeTerminal{interactive: true})
	a.in = silent
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.confirm(ctx, false, "deleting", "web"); exitCode(err) != exitSignal {
		t.Errorf("confirm: %v", err)
	}
	block := make(chan struct{})
	defer close(block)
	_, err := interruptibly(ctx, func() ([]byte, error) { <-block; return nil, nil })
	if exitCode(err) != exitSignal {
		t.Errorf("secret: %v", err)
	}
}

func TestConfirmNeedsTheWord(t *testing.T) {
	for _, c := range []struct {
		in          string
		interactive bool
		yes         bool
		code        int
	}{
		{"web\n", true, false, 0},
		{"  web \n", true, false, 0},
		{"y\n", true, false, exitUsage},
		{"Web\n", true, false, exitUsage},
		{"", true, false, exitFailure},
		{"web\n", false, false, exitUsage},
		{"", false, true, 0},
	} {
		a, _, shown := testApp(c.in, &fakeTerminal{interactive: c.interactive})
		if err := a.confirm(t.Context(), c.yes, "deleting volume web", "web"); exitCode(err) != c.code {
			t.Errorf("%+v: %v", c, err)
		}
		if asked := shown.Len() > 0; asked != (c.interactive && !c.yes) {
			t.Errorf("%+v: asked %q", c, shown)
		}
	}
}
