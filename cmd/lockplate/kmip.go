package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// maxCertificates bounds a file of certificates, in bytes.
const maxCertificates = 64 << 10

// kmipCommand groups the commands about external key management.
func (a *app) kmipCommand() *cobra.Command {
	c := asGroup(&cobra.Command{
		Use: "kmip", Short: "Key servers that hold the master key outside (KMIP)",
		Long: `Key servers that hold the master key outside of this machine, spoken to in KMIP
1.0 to 1.4. A key provider is the set of servers that hold the same keys.

'lockplate kmip setup' walks through all of it in order.`,
	})
	c.AddCommand(a.kmipSetupCommand(), a.kmipKeypairCommand(), a.kmipCSRCommand(), a.kmipServerCommand(), a.kmipProviderCommand())
	return c
}

// named is a thing of which people know the name, and the API the number.
type named struct {
	id   int64
	name string
}

// pickID reads an argument: a number, or a name that one thing has.
func pickID(what, arg, list string, all func() ([]named, error)) (wire.Int, error) {
	if n, err := strconv.ParseInt(arg, 10, 64); err == nil {
		if n < 1 {
			return 0, hint(usagef("%s %q is not a number", what, arg), "see 'lockplate %s'", list)
		}
		return wire.Int(n), nil
	}
	things, err := all()
	if err != nil {
		return 0, err
	}
	var found []int64
	for _, t := range things {
		if t.name == arg {
			found = append(found, t.id)
		}
	}
	switch len(found) {
	case 0:
		return 0, hint(&codedError{exitNotFound, fmt.Errorf("%s %q does not exist", what, arg)}, "see 'lockplate %s'", list)
	case 1:
		return wire.Int(found[0]), nil
	}
	return 0, hint(usagef("%s %q: several have this name: %s", what, arg, ids(found)), "give the number; see 'lockplate %s'", list)
}

// serverID reads an argument that names a key server.
func (a *app) serverID(ctx context.Context, arg string) (wire.Int, error) {
	return pickID("key server", arg, "kmip server list", func() ([]named, error) { return a.serverNames(ctx) })
}

// providerID reads an argument that names a key provider.
func (a *app) providerID(ctx context.Context, arg string) (wire.Int, error) {
	return pickID("key provider", arg, "kmip provider list", func() ([]named, error) { return a.providerNames(ctx) })
}

// serverNames lists the key servers.
func (a *app) serverNames(ctx context.Context) (out []named, err error) {
	r, err := a.servers(ctx)
	for _, s := range r.Value.KeyServers {
		out = append(out, named{s.KeyServerID, s.Name})
	}
	return out, err
}

// providerNames lists the key providers.
func (a *app) providerNames(ctx context.Context) (out []named, err error) {
	r, err := a.providers(ctx)
	for _, p := range r.Value.KeyProviders {
		out = append(out, named{p.KeyProviderID, p.Name})
	}
	return out, err
}

// readText reads a small text file; "-" is standard input.
func (a *app) readText(path string) (string, error) {
	in := a.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", fmt.Errorf("read certificates: %w", err)
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxCertificates+1))
	if err != nil {
		return "", fmt.Errorf("read certificates from %s: %w", path, err)
	}
	if len(b) > maxCertificates {
		return "", usagef("%s has more than %d bytes: no file of certificates", path, maxCertificates)
	}
	if len(b) == 0 {
		return "", usage(errors.New(path + " is empty"))
	}
	return string(b), nil
}

// readOptional reads a file whose flag was given, else gives nil.
func (a *app) readOptional(path string) (*string, error) {
	if path == "" {
		return nil, nil
	}
	text, err := a.readText(path)
	return &text, err
}

// completeServers completes the first argument with key servers.
func (a *app) completeServers(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return completeFirst(c, args, func(ctx context.Context) ([]cobra.Completion, error) {
		return completions(a.serverNames(ctx))
	})
}

// completeProviders completes the first argument with key providers.
func (a *app) completeProviders(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return completeFirst(c, args, func(ctx context.Context) ([]cobra.Completion, error) {
		return completions(a.providerNames(ctx))
	})
}

// completions offers the names that can be typed as they are and mean one
// thing only, else the number.
func completions(all []named, err error) (out []cobra.Completion, _ error) {
	count := map[string]int{}
	for _, t := range all {
		count[t.name]++
	}
	for _, t := range all {
		_, number := strconv.ParseInt(t.name, 10, 64)
		if t.name != "" && count[t.name] == 1 && number != nil && !strings.ContainsAny(t.name, " \t\"'\\$`:&|;<>()*?[]#~!") {
			out = append(out, cobra.CompletionWithDesc(t.name, "number "+id(t.id)))
		} else {
			out = append(out, cobra.CompletionWithDesc(id(t.id), t.name))
		}
	}
	return out, err
}
