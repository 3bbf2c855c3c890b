package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"lockplate/api/wire"
)

// subjectFlags are the flags that name the cluster in its certificate request.
type subjectFlags wire.CreatePublicPrivateKeyPairParams

func (s *subjectFlags) register(f *pflag.FlagSet) {
	f.StringVar(&s.CommonName, "common-name", "", "common name (CN); some key servers take it as the user")
	f.StringVar(&s.Organization, "organization", "", "organization (O)")
	f.StringVar(&s.OrganizationalUnit, "organizational-unit", "", "organizational unit (OU)")
	f.StringVar(&s.Locality, "locality", "", "locality (L)")
	f.StringVar(&s.State, "state-name", "", "state or province (ST)")
	f.StringVar(&s.Country, "country", "", "country (C), two letters")
	f.StringVar(&s.EmailAddress, "email", "", "email address")
}

// kmipKeypairCommand is CreatePublicPrivateKeyPair.
func (a *app) kmipKeypairCommand() *cobra.Command {
	var subject subjectFlags
	var yes bool
	c := &cobra.Command{
		Use: "keypair", Short: "Make the key pair with which the cluster shows itself to key servers", Args: cobra.NoArgs,
		Long: `Make the key pair with which the cluster shows itself to key servers. It
replaces the one before, and client certificates made for that are worth nothing
then. It is refused while keys of a provider are in use.`,
		Example: "  lockplate kmip keypair --common-name lockplate --organization Example --country DE",
		RunE: func(c *cobra.Command, _ []string) error {
			has, err := a.hasKeyPair(c.Context())
			if err != nil {
				return err
			}
			if has {
				if err := a.confirm(c.Context(), yes, "replacing the key pair, after which its certificates cannot be used,", "replace"); err != nil {
					return err
				}
			}
			r, err := call[wire.Empty](c.Context(), a, wire.MethodCreateKeyPair, wire.CreatePublicPrivateKeyPairParams(subject))
			if err != nil {
				return err
			}
			return a.show(r.Raw, func(w io.Writer) {
				fmt.Fprintln(w, "key pair made; 'lockplate kmip csr' prints the request to be signed")
			})
		},
	}
	subject.register(c.Flags())
	c.Flags().BoolVar(&yes, "yes", false, "do not ask before the present key pair is replaced")
	return c
}
