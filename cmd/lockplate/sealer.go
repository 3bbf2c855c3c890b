package main

import (
	"context"

	"lockplate/keymgr"
)

// sealerOptions is how this process opens sealed keys: passphrases come from
// what the flags say, or from the terminal.
func (a *app) sealerOptions(ctx context.Context, pass *secretFlags) keymgr.SealerOptions {
	return keymgr.SealerOptions{
		CredentialsDir: a.env("CREDENTIALS_DIRECTORY"),
		Passphrase: func(confirm bool) ([]byte, error) {
			return a.secret(ctx, pass, "passphrase that seals the master key", confirm)
		},
	}
}
