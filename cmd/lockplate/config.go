package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/spf13/pflag"
)

// config is what serve must know before the store is open. Everything that
// can change while it runs is in the store instead.
type config struct {
	State          string   `toml:"state"`
	NBD            []string `toml:"nbd"`
	API            []string `toml:"api"`
	Metrics        string   `toml:"metrics"`
	Pprof          string   `toml:"pprof"`
	AllowPlaintext bool     `toml:"allow_plaintext"`
	NBDCert        string   `toml:"nbd_cert"`
	NBDKey         string   `toml:"nbd_key"`
	NBDClientCA    string   `toml:"nbd_client_ca"`
	NBDTLSMin      string   `toml:"nbd_tls_min"`
	APICert        string   `toml:"api_cert"`
	APIKey         string   `toml:"api_key"`
	LogLevel       string   `toml:"log_level"`
	LogFormat      string   `toml:"log_format"`
	AuditMaxSize   string   `toml:"audit_max_size"`
	AuditKeep      string   `toml:"audit_keep"`
	AuditCopy      string   `toml:"audit_copy"`
	AuditSyslog    string   `toml:"audit_syslog"`
	AuditSyslogCA  string   `toml:"audit_syslog_ca"`
}

// Listeners unless told otherwise.
const (
	defaultNBD     = "tcp:127.0.0.1:10809"
	defaultMetrics = "tcp:127.0.0.1:10810"
	defaultAPI     = "tcp:127.0.0.1:10811"
	nbdSocket      = "nbd.sock"
)

// What the audit log does unless told otherwise.
const (
	defaultAuditSize = "64MiB"
	auditAll         = "all"
	auditNone        = "none"
)

// setting declares one key: of the file, and with it the flag (dashes for
// underscores) and the environment variable (LOCKPLATE_ and upper case).
type setting struct {
	key, value, help string
	at               func(*config) any // *string, *bool or *[]string
}

// settings is the one list of keys; flags, file, environment and the man page
// are made from it. state has its own global flag.
func settings() []setting {
	return []setting{
		{"state", "DIR", "state directory (default " + defaultState + ")", func(c *config) any { return &c.State }},
		{"nbd", "ADDR", "listen for NBD, repeatable: tcp:HOST:PORT, unix:PATH, none (default " + defaultNBD + " and unix:STATE/" + nbdSocket + ")", func(c *config) any { return &c.NBD }},
		{"api", "ADDR", "listen for the API, repeatable; tcp is HTTPS; STATE/" + apiSocket + " is always served (default " + defaultAPI + ")", func(c *config) any { return &c.API }},
		{"metrics", "ADDR", "listen for /metrics and /healthz (default " + defaultMetrics + ")", func(c *config) any { return &c.Metrics }},
		{"pprof", "ADDR", "listen for profiles of this process, on this machine only: tcp:127.0.0.1:PORT, unix:PATH, none (default)", func(c *config) any { return &c.Pprof }},
		{"allow_plaintext", "", "allow NBD without TLS beyond this machine, or beside TLS", func(c *config) any { return &c.AllowPlaintext }},
		{"nbd_cert", "FILE", "PEM certificate of the NBD listeners; with it TCP clients must use TLS", func(c *config) any { return &c.NBDCert }},
		{"nbd_key", "FILE", "PEM key of nbd_cert", func(c *config) any { return &c.NBDKey }},
		{"nbd_client_ca", "FILE", "PEM certificates; NBD clients over TLS must have one that these signed", func(c *config) any { return &c.NBDClientCA }},
		{"nbd_tls_min", "VERSION", "oldest TLS that NBD clients may use: 1.3 (default), or 1.2 for those that know no newer, such as nbd-client 3.24", func(c *config) any { return &c.NBDTLSMin }},
		{"api_cert", "FILE", "PEM certificate of the API (default: one made in STATE)", func(c *config) any { return &c.APICert }},
		{"api_key", "FILE", "PEM key of api_cert", func(c *config) any { return &c.APIKey }},
		{"log_level", "LEVEL", "debug, info (default), warn, error", func(c *config) any { return &c.LogLevel }},
		{"log_format", "FORMAT", "text (default), json", func(c *config) any { return &c.LogFormat }},
		{"audit_max_size", "SIZE", "size over which a new audit.log is begun (default " + defaultAuditSize + "), none", func(c *config) any { return &c.AuditMaxSize }},
		{"audit_keep", "N", "old audit files to keep, all (default)", func(c *config) any { return &c.AuditKeep }},
		{"audit_copy", "DIR", "directory on other media with a copy of the audit log", func(c *config) any { return &c.AuditCopy }},
		{"audit_syslog", "ADDR", "send audit records to syslog (RFC 5424) too: local, unix:PATH, tcp:HOST:PORT, tls:HOST:PORT", func(c *config) any { return &c.AuditSyslog }},
		{"audit_syslog_ca", "FILE", "PEM certificates that audit_syslog's tls server is checked by (default: the system's)", func(c *config) any { return &c.AuditSyslogCA }},
	}
}

// flag is the key's flag on the command line.
func (s setting) flag() string     { return strings.ReplaceAll(s.key, "_", "-") }
func (s setting) variable() string { return "LOCKPLATE_" + strings.ToUpper(s.key) }

// configTable lists the keys for help and the man page.
func configTable() string {
	var b strings.Builder
	for _, s := range settings() {
		fmt.Fprintf(&b, "  %-16s %s\n", s.key, s.help)
	}
	return b.String()
}

// registerSettings makes the flags; their values go into c.
func registerSettings(f *pflag.FlagSet, c *config) {
	for _, s := range settings() {
		switch p := s.at(c).(type) {
		case *string:
			if s.key != "state" {
				f.StringVar(p, s.flag(), "", s.help)
			}
		case *[]string:
			f.StringArrayVar(p, s.flag(), nil, s.help)
		case *bool:
			f.BoolVar(p, s.flag(), false, s.help)
		}
	}
}

// loadConfig joins what is given: flags before environment before the file at
// path before the defaults. changed says which flags were given.
func loadConfig(path string, flags *config, changed func(flag string) bool, env func(string) string) (*config, error) {
	c := &config{}
	if err := c.readFile(path); err != nil {
		return nil, err
	}
	for _, s := range settings() {
		if v := env(s.variable()); v != "" {
			if err := s.parse(c, v); err != nil {
				return nil, usagef("%s: %w", s.variable(), err)
			}
		}
		if changed(s.flag()) {
			s.copy(c, flags)
		}
	}
	return c, c.complete()
}

// parse sets the key from one string; a list is separated by commas.
func (s setting) parse(c *config, v string) error {
	switch p := s.at(c).(type) {
	case *string:
		*p = v
	case *[]string:
		*p = strings.Split(v, ",")
	case *bool:
		b, err := strconv.ParseBool(v)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", v)
		}
		*p = b
	}
	return nil
}

// copy takes the value over from another config.
func (s setting) copy(to, from *config) {
	switch p := s.at(to).(type) {
	case *string:
		*p = *s.at(from).(*string)
	case *[]string:
		*p = *s.at(from).(*[]string)
	case *bool:
		*p = *s.at(from).(*bool)
	}
}

// readFile reads the TOML file. The default file may be missing, path "".
func (c *config) readFile(path string) error {
	name := firstOf(path, defaultConfig)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && path == "" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	return c.decode(name, string(text))
}

// decode is strict: a key that is not known is an error that names its line.
func (c *config) decode(name, text string) error {
	md, err := toml.Decode(text, c)
	if p := (toml.ParseError{}); errors.As(err, &p) {
		return usagef("%s:%d: %s", name, p.Position.Line, p.Message)
	}
	if err != nil {
		return usagef("%s: %w", name, err)
	}
	if u := md.Undecoded(); len(u) > 0 {
		return hint(usagef("%s:%d: unknown key %q", name, keyLine(text, u[0]), u[0].String()),
			"the keys are listed in 'lockplate serve --help'")
	}
	return nil
}

// keyLine finds the line of a key or of its table; 1 if it is written in a
// way that this does not see.
func keyLine(text string, key toml.Key) int {
	at := regexp.MustCompile(`^\s*\[*\s*["']?` + regexp.QuoteMeta(key[0]) + `["']?\s*[\].=]`)
	for i, line := range strings.Split(text, "\n") {
		if at.MatchString(line) {
			return i + 1
		}
	}
	return 1
}

// complete fills in the defaults and judges what is given.
func (c *config) complete() error {
	state, err := filepath.Abs(firstOf(c.State, defaultState))
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	c.State = state
	c.LogLevel = firstOf(c.LogLevel, "info")
	c.LogFormat = firstOf(c.LogFormat, "text")
	c.NBDTLSMin = firstOf(c.NBDTLSMin, "1.3")
	c.Metrics = firstOf(c.Metrics, defaultMetrics)
	c.Pprof = firstOf(c.Pprof, "none")
	if c.NBD == nil {
		c.NBD = []string{defaultNBD, "unix:" + c.State + "/" + nbdSocket}
	}
	if c.API == nil {
		c.API = []string{defaultAPI}
	}
	switch {
	case (c.NBDCert == "") != (c.NBDKey == ""):
		return usagef("nbd_cert and nbd_key must be given together")
	case (c.APICert == "") != (c.APIKey == ""):
		return usagef("api_cert and api_key must be given together")
	case c.NBDClientCA != "" && c.NBDCert == "":
		return usagef("nbd_client_ca needs nbd_cert and nbd_key")
	case c.NBDTLSMin != "1.3" && c.NBDTLSMin != "1.2":
		return hint(usagef("nbd_tls_min %q is unknown", c.NBDTLSMin), "use 1.3, or 1.2 for old clients")
	case c.LogFormat != "text" && c.LogFormat != "json":
		return hint(usagef("log_format %q is unknown", c.LogFormat), "use text or json")
	}
	_, err = c.auditOptions()
	return err
}
