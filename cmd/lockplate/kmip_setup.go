package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// setupFlags are what the walk-through needs to know.
type setupFlags struct {
	subject  subjectFlags
	server   serverFlags
	csr      string
	provider string
	rekey    bool
}

// kmipSetupCommand does, in order, what is left to do until the master key is
// at a key server. What is done is seen from the cluster, so it can be run
// again after any failure.
func (a *app) kmipSetupCommand() *cobra.Command {
	var f setupFlags
	c := &cobra.Command{
		Use: "setup", Short: "Walk through the set-up of a key server, from where it stands", Args: cobra.NoArgs,
		Long: `Walk through the set-up of a key server: key pair, certificate signing request,
key server, key provider, test, and with --rekey the move of the master key.
Each step that is done already is passed over, so run it again after anything
that failed.

Without --cert-file it ends (exit code 3) once the request is written: have the
key server's authority sign it, then run it again with the certificate.`,
		Example: "  lockplate kmip setup --name eks --csr-file lockplate.csr --common-name lockplate\n" +
			"  lockplate kmip setup --name eks --host eks.example.org --ca-file ca.pem --cert-file lockplate.pem --rekey",
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.setup(c.Context(), &f)
			if err != nil {
				return err
			}
			return a.show(s, func(io.Writer) {}) // each step was told as it was done
		},
	}
	f.subject.register(c.Flags())
	f.server.register(c.Flags())
	c.Flags().StringVar(&f.csr, "csr-file", "", "where to write the certificate signing request")
	c.Flags().StringVar(&f.provider, "provider-name", "", "name of the key provider (default: that of the server)")
	c.Flags().BoolVar(&f.rekey, "rekey", false, "move the master key to the provider, and wait until it is there")
	return c
}

// setupResult is where the walk-through came to.
type setupResult struct {
	KeyServerID   int64                      `json:"keyServerID"`
	KeyProviderID int64                      `json:"keyProviderID"`
	Rekey         *wire.GetAsyncResultResult `json:"rekey,omitempty"`
}

// told says what was done, unless the output is for programs.
func (a *app) told(format string, args ...any) {
	if !a.opt.json {
		fmt.Fprintf(a.out, format+"\n", args...)
	}
}

func (a *app) setup(ctx context.Context, f *setupFlags) (r setupResult, err error) {
	if f.server.name == "" {
		return r, usagef("--name is needed: it is how the key server is found again")
	}
	if err := a.setupTrust(ctx, f); err != nil {
		return r, err
	}
	if r.KeyServerID, err = a.setupServer(ctx, &f.server); err != nil {
		return r, err
	}
	if r.KeyProviderID, err = a.setupProvider(ctx, firstOf(f.provider, f.server.name), r.KeyServerID); err != nil {
		return r, err
	}
	if _, err := a.testProvider(ctx, wire.Int(r.KeyProviderID)); err != nil {
		return r, err
	}
	a.told("key provider %d works", r.KeyProviderID)
	return r, a.setupRekey(ctx, f.rekey, &r)
}

// setupTrust makes the key pair if there is none, and writes the request if
// there is no certificate for it yet.
func (a *app) setupTrust(ctx context.Context, f *setupFlags) error {
	has, err := a.hasKeyPair(ctx)
	if err != nil {
		return err
	}
	if !has {
		if _, err := call[wire.Empty](ctx, a, wire.MethodCreateKeyPair, wire.CreatePublicPrivateKeyPairParams(f.subject)); err != nil {
			return err
		}
		a.told("key pair made")
	}
	server, err := a.serverNamed(ctx, f.server.name)
	if err != nil || server != nil || f.server.cert != "" {
		return err
	}
	if f.csr == "" {
		return hint(usagef("--cert-file is needed, or --csr-file to write the request that is to be signed"), "'lockplate kmip csr' prints the request too")
	}
	if err := a.writeCSR(ctx, f.csr); err != nil {
		return err
	}
	return hint(&codedError{exitPartial, errors.New("the certificate is missing; the request is in " + f.csr)},
		"have the key server's authority sign it, then run this again with --cert-file")
}

// serverNamed finds a key server by its name, nil if there is none.
func (a *app) serverNamed(ctx context.Context, name string) (*wire.KeyServerKmip, error) {
	all, err := a.servers(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all.Value.KeyServers, func(s wire.KeyServerKmip) bool { return s.Name == name })
	if i < 0 {
		return nil, nil
	}
	return &all.Value.KeyServers[i], nil
}

// setupServer creates the key server unless there is one of that name.
func (a *app) setupServer(ctx context.Context, f *serverFlags) (int64, error) {
	s, err := a.serverNamed(ctx, f.name)
	if err != nil {
		return 0, err
	}
	if s != nil {
		a.told("key server %d is there", s.KeyServerID)
		return s.KeyServerID, nil
	}
	made, err := a.createServer(ctx, f)
	if err != nil {
		return 0, err
	}
	a.told("key server %d created", made.Value.KeyServer.KeyServerID)
	return made.Value.KeyServer.KeyServerID, nil
}

// setupProvider creates the provider unless the server has one or there is one
// of that name, and puts the server into it.
func (a *app) setupProvider(ctx context.Context, name string, server int64) (int64, error) {
	all, err := a.providers(ctx)
	if err != nil {
		return 0, err
	}
	var found *wire.KeyProviderKmip
	for i, p := range all.Value.KeyProviders {
		if slices.Contains(p.KeyServerIDs, server) {
			a.told("key provider %d has key server %d", p.KeyProviderID, server)
			return p.KeyProviderID, nil
		}
		if p.Name == name && found == nil {
			found = &all.Value.KeyProviders[i]
		}
	}
	if found == nil {
		made, err := a.createProvider(ctx, name)
		if err != nil {
			return 0, err
		}
		found = &made.Value.KeyProvider
		a.told("key provider %d created", found.KeyProviderID)
	}
	if _, err := a.addServer(ctx, wire.Int(found.KeyProviderID), wire.Int(server)); err != nil {
		return 0, hint(err, "%s", firstOf(hintFor(err), "mend it ('lockplate kmip server modify "+id(server)+"'), then run this again"))
	}
	a.told("key server %d is in key provider %d", server, found.KeyProviderID)
	return found.KeyProviderID, nil
}

// setupRekey moves the master key, unless it is there already.
func (a *app) setupRekey(ctx context.Context, wanted bool, r *setupResult) error {
	now, err := call[wire.GetSoftwareEncryptionAtRestInfoResult](ctx, a, wire.MethodGetSoftwareEncrypt, wire.Empty{})
	if err != nil {
		return err
	}
	if k := now.Value.MasterKeyInfo; k != nil && k.KeyProviderID != nil && *k.KeyProviderID == r.KeyProviderID {
		a.told("master key %s is there", k.KeyID)
		return nil
	}
	if !wanted {
		a.told("'lockplate key rekey --provider %d --wait' moves the master key there", r.KeyProviderID)
		return nil
	}
	h, err := a.startRekey(ctx, rekeyTo(r.KeyProviderID))
	if err != nil {
		return err
	}
	done, err := a.wait(ctx, h, "rekey")
	if err != nil {
		return err
	}
	r.Rekey = &done
	if !a.opt.json {
		rekeyText(a.out, done.Result)
	}
	return nil
}
