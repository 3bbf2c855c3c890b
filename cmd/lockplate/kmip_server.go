package main

import (
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"lockplate/api/wire"
)

// kmipServerCommand groups the commands about key servers.
func (a *app) kmipServerCommand() *cobra.Command {
	c := asGroup(&cobra.Command{Use: "server", Short: "Key servers: how to reach each"})
	c.AddCommand(a.kmipServerCreateCommand(), a.kmipServerListCommand(), a.kmipServerShowCommand(),
		a.kmipServerModifyCommand(), a.kmipServerDeleteCommand(), a.kmipServerTestCommand())
	return c
}

// serverFlags describe a key server.
type serverFlags struct {
	name     string
	hosts    []string
	port     int
	ca, cert string
}

func (s *serverFlags) register(f *pflag.FlagSet) {
	f.StringVar(&s.name, "name", "", "name, for display")
	f.StringSliceVar(&s.hosts, "host", nil, "host name or address; repeat it for a clustered key server")
	f.IntVar(&s.port, "port", 5696, "TCP port")
	f.StringVar(&s.ca, "ca-file", "", "PEM file with the certificate of the key server's authority, - for standard input")
	f.StringVar(&s.cert, "cert-file", "", "PEM file with the signed client certificate, - for standard input")
}

// serverText shows one key server.
func serverText(w io.Writer, s wire.KeyServerKmip) {
	provider, active := "", ""
	if s.KeyProviderID != nil {
		provider = id(*s.KeyProviderID)
	}
	if s.ProviderIsActive != nil {
		active = yesNo(*s.ProviderIsActive)
	}
	pairs(w, "id", id(s.KeyServerID), "name", s.Name, "hosts", strings.Join(s.Hostnames, ","),
		"port", strconv.Itoa(s.Port), "provider", provider, "active", active)
}

// serverTable shows key servers.
func serverTable(w io.Writer, all []wire.KeyServerKmip) {
	rows := [][]string{}
	for _, s := range all {
		provider, active := "", "no"
		if s.KeyProviderID != nil {
			provider = id(*s.KeyProviderID)
		}
		if s.ProviderIsActive != nil {
			active = yesNo(*s.ProviderIsActive)
		}
		rows = append(rows, []string{
			id(s.KeyServerID), strings.ReplaceAll(s.Name, " ", "_"), strings.Join(s.Hostnames, ","),
			strconv.Itoa(s.Port), provider, active,
		})
	}
	table(w, "ID NAME HOSTS PORT PROVIDER ACTIVE", rows)
}
