package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"
)

// maxSecret bounds a password or passphrase in bytes. cryptsetup asks for at
// most 512 on a terminal; nobody types more than this.
const maxSecret = 4096

// secretFlags say where a password or passphrase comes from: --NAME-file,
// --NAME-fd, else the terminal. Never the command line itself or the
// environment, which other processes can read.
type secretFlags struct {
	name string
	file string
	fd   int
}

func (s *secretFlags) register(f *pflag.FlagSet, name, what string) {
	s.name = name
	f.StringVar(&s.file, name+"-file", "", "file with the "+what+", - is standard input")
	f.IntVar(&s.fd, name+"-fd", -1, "read the "+what+" from this file descriptor")
}

func (s *secretFlags) given() bool { return s.file != "" || s.fd >= 0 }

// secret reads what s says. Asked on a terminal, a secret that is being set is
// asked twice. The caller wipes the result.
func (a *app) secret(ctx context.Context, s *secretFlags, prompt string, setting bool) ([]byte, error) {
	switch {
	case s.file != "" && s.fd >= 0:
		return nil, usagef("--%s-file and --%s-fd exclude each other", s.name, s.name)
	case s.file == "-":
		return readSecret(a.in, "standard input")
	case s.file != "":
		f, err := os.Open(s.file)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", s.name, err)
		}
		defer f.Close()
		return readSecret(f, s.file)
	case s.fd >= 0:
		f := os.NewFile(uintptr(s.fd), fmt.Sprintf("file descriptor %d", s.fd))
		if f == nil {
			return nil, usagef("--%s-fd %d is not a file descriptor", s.name, s.fd)
		}
		defer f.Close()
		return readSecret(f, f.Name())
	}
	return a.askSecret(ctx, s.name, prompt, setting)
}

// askSecret asks on the terminal, and says which flags would do where there is
// none.
func (a *app) askSecret(ctx context.Context, name, prompt string, setting bool) ([]byte, error) {
	if !a.term.Interactive() {
		return nil, hint(usagef("a %s is needed, and standard input is not a terminal", name),
			"use --%s-file FILE or --%s-fd N", name, name)
	}
	first, err := a.promptSecret(ctx, prompt)
	if err != nil || !setting {
		return first, err
	}
	second, err := a.promptSecret(ctx, prompt+", again")
	if err != nil {
		clear(first)
		return nil, err
	}
	defer clear(second)
	if !bytes.Equal(first, second) {
		clear(first)
		return nil, usagef("the two entries differ, nothing was done")
	}
	return first, nil
}

// promptSecret asks once.
func (a *app) promptSecret(ctx context.Context, prompt string) ([]byte, error) {
	fmt.Fprintf(a.err, "%s: ", prompt)
	b, err := interruptibly(ctx, a.term.ReadSecret)
	fmt.Fprintln(a.err)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", prompt, err)
	}
	return checkSecret(b, "the entry")
}

// readSecret reads all of r without one trailing line end.
func readSecret(r io.Reader, from string) ([]byte, error) {
	buf := make([]byte, maxSecret+3)
	n, err := io.ReadFull(r, buf)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		clear(buf)
		return nil, fmt.Errorf("read %s: %w", from, err)
	}
	b := bytes.TrimSuffix(buf[:n], []byte("\n"))
	return checkSecret(bytes.TrimSuffix(b, []byte("\r")), from)
}

// checkSecret refuses what cannot be meant as a secret.
func checkSecret(b []byte, from string) ([]byte, error) {
	if len(b) == 0 {
		return nil, usagef("%s is empty", from)
	}
	if len(b) > maxSecret {
		clear(b)
		return nil, usagef("%s is longer than %d bytes", from, maxSecret)
	}
	return b, nil
}
