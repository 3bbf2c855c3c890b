package main

import (
	"context"

	"lockplate/keymgr"
	"lockplate/keymgr/shamir"
)

// sealUsage describes --seal where it names a new sealer.
const sealUsage = "what protects the master key: file:PATH, passphrase, credential:NAME, tpm2"

// sealers completes --seal.
func sealers() completer { return oneOf("file:", "passphrase", "credential:", "tpm2") }

// sealSecret asks for what a new sealer needs, nil if nothing.
func (a *app) sealSecret(ctx context.Context, spec string, pass *secretFlags) ([]byte, error) {
	asks, err := keymgr.SealerAsks(a.localSeal(spec))
	if err != nil || asks == "" {
		return nil, nil // whoever makes the sealer says what is wrong with it
	}
	return a.secret(ctx, pass, asks+" that seals the master key", true)
}

// sealerOptions is how this process opens sealed keys: passphrases come from
// what the flags say, or from the terminal.
func (a *app) sealerOptions(ctx context.Context, pass *secretFlags) keymgr.SealerOptions {
	return keymgr.SealerOptions{
		CredentialsDir: a.env("CREDENTIALS_DIRECTORY"),
		Passphrase: func(confirm bool) ([]byte, error) {
			return a.secret(ctx, pass, "passphrase or PIN that seals the master key", confirm)
		},
	}
}

// shareProblem says what is wrong with one more share, while it can be typed
// again.
func shareProblem(have [][]byte, more []byte) error {
	var set shamir.Set
	defer set.Wipe()
	for _, t := range append(have[:len(have):len(have)], more) {
		s, err := shamir.Parse(t)
		if err == nil {
			err = set.Add(s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sharesAsker collects shares for a start without the sealer.
func (a *app) sharesAsker(ctx context.Context, files []string) func(keymgr.SharesInfo) (*shamir.Set, error) {
	return func(want keymgr.SharesInfo) (*shamir.Set, error) {
		texts, err := a.shareTexts(ctx, files, want.Threshold)
		if err != nil {
			return nil, err
		}
		return keymgr.ParseShares(texts)
	}
}
