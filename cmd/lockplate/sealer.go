package main

import "lockplate/keymgr"

// sealerOptions is how this process opens sealed keys: passphrases come from
// what the flags say, or from the terminal.
func (a *app) sealerOptions(pass *secretFlags) keymgr.SealerOptions {
	return keymgr.SealerOptions{
		CredentialsDir: a.env("CREDENTIALS_DIRECTORY"),
		Passphrase: func(confirm bool) ([]byte, error) {
			return a.secret(pass, "passphrase that seals the master key", confirm)
		},
	}
}
