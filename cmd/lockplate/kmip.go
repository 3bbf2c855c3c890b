package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

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

// parseID reads the number of a thing; list names the command that lists them.
func parseID(what, s, list string) (wire.Int, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 {
		return 0, hint(usagef("%s %q is not a number", what, s), "see 'lockplate %s'", list)
	}
	return wire.Int(n), nil
}

func serverID(s string) (wire.Int, error)   { return parseID("key server", s, "kmip server list") }
func providerID(s string) (wire.Int, error) { return parseID("key provider", s, "kmip provider list") }

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

// completeServers completes the first argument with numbers of key servers.
func (a *app) completeServers(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return completeFirst(c, args, func(ctx context.Context) (out []cobra.Completion, err error) {
		r, err := a.servers(ctx)
		for _, s := range r.Value.KeyServers {
			out = append(out, cobra.CompletionWithDesc(id(s.KeyServerID), s.Name))
		}
		return out, err
	})
}

// completeProviders completes the first argument with numbers of providers.
func (a *app) completeProviders(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return completeFirst(c, args, func(ctx context.Context) (out []cobra.Completion, err error) {
		r, err := a.providers(ctx)
		for _, p := range r.Value.KeyProviders {
			out = append(out, cobra.CompletionWithDesc(id(p.KeyProviderID), p.Name))
		}
		return out, err
	})
}
