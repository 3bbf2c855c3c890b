package main

import (
	"github.com/spf13/cobra"

	"lockplate/bench"
	"lockplate/cipher"
)

// benchCipherCommand measures AES-XTS.
func (a *app) benchCipherCommand() *cobra.Command {
	f := benchFlags{rounds: 7, seconds: 0.004}
	var engines, openssl []string
	c := &cobra.Command{
		Use: "cipher", Short: "Measure the cipher on one core", Args: cobra.NoArgs,
		Long: `Measure AES-256-XTS on one core: every engine of this processor, sectors of 512
and 4096 bytes, one sector to 1 MiB a call, both directions, in place and apart;
beside x/crypto, beside the rate at which the processor can do AES rounds at
all, and beside OpenSSL where it is installed.

Each round counts the best of six short tries, except beside OpenSSL, whose
speed command gives averages: there both are averages.`,
		Example: "  lockplate bench cipher\n  lockplate bench cipher --rounds 3 --engines avx2-vaes,aesni\n  lockplate bench cipher --openssl /opt/openssl/bin/openssl --json",
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			r, err := bench.Cipher(c.Context(), bench.CipherOptions{
				Rounds: f.rounds, Seconds: f.seconds, Engines: engines, OpenSSL: openssl, Log: a.benchLog(),
			})
			return a.showReport(&f, r, err)
		},
	}
	f.register(c.Flags())
	c.Flags().Float64Var(&f.seconds, "seconds", f.seconds, "length of one try")
	c.Flags().StringSliceVar(&engines, "engines", nil, "engines to measure (default: all of this processor)")
	c.Flags().StringSliceVar(&openssl, "openssl", []string{"openssl"}, "openssl programs to compare with; empty for none")
	completeFlag(c, "engines", oneOf(cipher.Engines()...))
	return c
}
