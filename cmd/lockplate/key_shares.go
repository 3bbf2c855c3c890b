package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

const sharesLong = `Recovery shares open the cluster when what seals its keys is lost: the key file,
the passphrase, the TPM. Of the shares that are made, any --threshold together
do; fewer tell nothing. Give each to another person. They stay valid when the
master key or the sealer is replaced, until they are replaced or removed.

To use them: 'lockplate serve --seal shares', then 'lockplate key reseal'.`

// keySharesCommand groups the commands about recovery shares.
func (a *app) keySharesCommand() *cobra.Command {
	c := asGroup(&cobra.Command{Use: "shares", Short: "Recovery shares, which open the cluster without its sealer", Long: sharesLong})
	c.AddCommand(a.keySharesCreateCommand(), a.keySharesStatusCommand(), a.keySharesVerifyCommand(), a.keySharesRemoveCommand())
	return c
}

// keySharesCreateCommand is CreateKeyShares.
func (a *app) keySharesCreateCommand() *cobra.Command {
	var p wire.CreateKeySharesParams
	var threshold, shares int64
	c := &cobra.Command{
		Use: "create --threshold K --shares N", Short: "Make recovery shares and print them, once", Args: cobra.NoArgs,
		Long:    sharesLong + "\n\nThe shares are printed here and kept nowhere.",
		Example: "  lockplate key shares create --threshold 3 --shares 5",
		RunE: func(c *cobra.Command, _ []string) error {
			p.Threshold, p.Shares = wire.Int(threshold), wire.Int(shares)
			r, err := call[wire.CreateKeySharesResult](c.Context(), a, wire.MethodCreateKeyShares, p)
			if err != nil {
				return err
			}
			defer clear(r.Raw)
			return a.show(r.Raw, func(w io.Writer) { sharesText(w, r.Value) })
		},
	}
	c.Flags().Int64Var(&threshold, "threshold", 3, "shares that are needed")
	c.Flags().Int64Var(&shares, "shares", 5, "shares to make")
	c.Flags().BoolVar(&p.Replace, "replace", false, "replace the shares that there are: those open nothing afterwards")
	return c
}

// sharesText prints shares, each as a paragraph to be cut out, and wipes them.
func sharesText(w io.Writer, r wire.CreateKeySharesResult) {
	k := r.KeyShares
	for i, s := range r.Shares {
		fmt.Fprintf(w, "share %d of %d, set %s, %d are needed:\n", i+1, len(r.Shares), k.SetID, k.Threshold)
		w.Write(s)
		fmt.Fprint(w, "\n\n")
		s.Wipe()
	}
	fmt.Fprintf(w, "They are not kept: give each to another person now, and try %d with 'lockplate key shares verify'.\n", k.Threshold)
}

// keySharesStatusCommand is GetKeyShares.
func (a *app) keySharesStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show whether there are recovery shares, and what they open", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := call[wire.GetKeySharesResult](c.Context(), a, wire.MethodGetKeyShares, wire.Empty{})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) {
				k := r.Value.KeyShares
				if k == nil {
					fmt.Fprintln(w, "there are no recovery shares")
					return
				}
				pairs(w, "set", k.SetID, "shares", strconv.Itoa(k.Shares), "threshold", strconv.Itoa(k.Threshold), "created", k.CreatedTime,
					"valid", yesNo(k.Covers))
			})
		},
	}
}

// sharesSummary is recovery shares in a line, "" if there are none.
func sharesSummary(k *wire.KeyShares) string {
	if k == nil {
		return ""
	}
	text := fmt.Sprintf("%d of %d, set %s", k.Threshold, k.Shares, k.SetID)
	if !k.Covers {
		text += ", which do not open the present keys: make new ones"
	}
	return text
}

// keySharesVerifyCommand is VerifyKeyShares.
func (a *app) keySharesVerifyCommand() *cobra.Command {
	var files []string
	c := &cobra.Command{
		Use: "verify", Short: "Prove that recovery shares open the cluster", Args: cobra.NoArgs,
		Long: `Prove that recovery shares open the cluster, as many as are needed. They are
asked for on the terminal, or read from files. Nothing is changed.`,
		Example: "  lockplate key shares verify --shares-file a.txt --shares-file b.txt --shares-file c.txt",
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := call[wire.GetKeySharesResult](c.Context(), a, wire.MethodGetKeyShares, wire.Empty{})
			if err != nil {
				return err
			}
			want := 2
			if r.Value.KeyShares != nil {
				want = r.Value.KeyShares.Threshold
			}
			texts, err := a.shareTexts(c.Context(), files, want)
			if err != nil {
				return err
			}
			var p wire.VerifyKeySharesParams
			for _, t := range texts {
				p.Shares = append(p.Shares, t)
				defer clear(t)
			}
			done, err := call[wire.Empty](c.Context(), a, wire.MethodVerifyKeyShares, p)
			if err != nil {
				return err
			}
			return a.show(done.Raw, func(w io.Writer) { fmt.Fprintln(w, "the shares open the cluster") })
		},
	}
	registerShares(c, &files)
	return c
}

// registerShares adds the flag that names files with shares.
func registerShares(c *cobra.Command, files *[]string) {
	c.Flags().StringArrayVar(files, "shares-file", nil, "file with one or more recovery shares, - is standard input; may be repeated")
}

// shareTexts reads shares from files, else asks for as many as are wanted. The
// caller wipes them.
func (a *app) shareTexts(ctx context.Context, files []string, want int) (out [][]byte, err error) {
	if len(files) > 0 {
		return a.readShares(files)
	}
	if !a.term.Interactive() {
		return nil, hint(usagef("recovery shares are needed, and standard input is not a terminal"), "use --shares-file FILE")
	}
	for len(out) < want {
		t, err := a.promptSecret(ctx, fmt.Sprintf("recovery share (%d of the %d that are needed)", len(out)+1, want))
		if err != nil {
			wipeTexts(out)
			return nil, err
		}
		if problem := shareProblem(out, t); problem != nil {
			fmt.Fprintf(a.err, "lockplate: %v; type it again\n", problem)
			clear(t)
			continue
		}
		out = append(out, t)
	}
	return out, nil
}

// readShares reads files, each with shares on lines of their own among others.
func (a *app) readShares(files []string) (out [][]byte, err error) {
	for _, name := range files {
		b, err := a.readShareFile(name)
		if err != nil {
			wipeTexts(out)
			return nil, err
		}
		found := splitShares(b)
		clear(b)
		if len(found) == 0 {
			wipeTexts(out)
			return nil, usagef("%s has no recovery share in it", name)
		}
		out = append(out, found...)
	}
	return out, nil
}

func (a *app) readShareFile(name string) ([]byte, error) {
	if name == "-" {
		return readLimited(a.in, "standard input")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read recovery share: %w", err)
	}
	defer f.Close()
	return readLimited(f, name)
}

// wipeTexts overwrites shares.
func wipeTexts(texts [][]byte) {
	for _, t := range texts {
		clear(t)
	}
}

// keySharesRemoveCommand is RemoveKeyShares.
func (a *app) keySharesRemoveCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "remove", Short: "Make the recovery shares worthless", Args: cobra.NoArgs,
		Long: `Make the recovery shares worthless. Backups of the store from their time can
still be opened with them.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := a.confirm(c.Context(), yes, "removing the recovery shares, without which a lost sealer is a lost cluster,", "remove"); err != nil {
				return err
			}
			r, err := call[wire.Empty](c.Context(), a, wire.MethodRemoveKeyShares, wire.Empty{})
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) { fmt.Fprintln(w, "recovery shares removed") })
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}
