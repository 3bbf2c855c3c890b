package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func noFlags(string) bool { return false }
func noEnv(string) string { return "" }

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "lockplate.toml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestConfigDefaults(t *testing.T) {
	got, err := loadConfig(writeConfig(t, ""), &config{}, noFlags, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	want := &config{
		State: defaultState, NBD: []string{defaultNBD, "unix:/var/lib/lockplate/nbd.sock"},
		API: []string{defaultAPI}, Metrics: defaultMetrics, Pprof: "none", LogLevel: "info", LogFormat: "text", NBDTLSMin: "1.3",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestFlagsGoBeforeEnvironmentBeforeFile(t *testing.T) {
	file := writeConfig(t, "state = \"/file\"\nmetrics = \"none\"\nnbd = [\"tcp:127.0.0.1:1\"]\nlog_level = \"warn\"\n")
	env := map[string]string{"LOCKPLATE_STATE": "/env", "LOCKPLATE_NBD": "none,unix:/a", "LOCKPLATE_ALLOW_PLAINTEXT": "1"}
	flags := &config{State: "/flag"}
	got, err := loadConfig(file, flags, func(f string) bool { return f == "state" }, func(k string) string { return env[k] })
	if err != nil {
		t.Fatal(err)
	}
	if got.State != "/flag" || got.Metrics != "none" || got.LogLevel != "warn" || !got.AllowPlaintext {
		t.Errorf("got %+v", got)
	}
	if d := cmp.Diff([]string{"none", "unix:/a"}, got.NBD); d != "" {
		t.Error(d)
	}
}

func TestConfigErrorsNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"state = \"/x\"\n\nnbd_tls = true\n":      ":3: unknown key \"nbd_tls\"",
		"# comment\n[limits]\nconnections = 5\n":  ":2: unknown key \"limits",
		"state = \"/x\"\nstate = \"/y\"\n":        ":2: ",
		"state = \n":                              ":1: ",
		"state = 5\n":                             "incompatible types",
		"log_format = \"xml\"\n":                  "log_format \"xml\" is unknown",
		"nbd_cert = \"/c\"\n":                     "must be given together",
		"api_key = \"/c\"\n":                      "must be given together",
		"nbd_client_ca = \"/c\"\n":                "needs nbd_cert",
		"audit_max_size = \"64\"\n":               "audit_max_size: ",
		"audit_keep = \"-1\"\n":                   "audit_keep \"-1\" is no number",
		"audit_syslog = \"udp:x:1\"\n":            "audit_syslog: ",
		"audit_syslog_ca = \"/nowhere\"\n":        "audit_syslog_ca: ",
		"\"log level\" = \"x\"\nstate = \"/x\"\n": ":1: unknown key",
	} {
		_, err := loadConfig(writeConfig(t, text), &config{}, noFlags, noEnv)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", text, err, want)
			continue
		}
		if exitCode(err) != exitUsage {
			t.Errorf("%q: exit code %d, want %d", text, exitCode(err), exitUsage)
		}
	}
}

func TestNamedConfigMustExist(t *testing.T) {
	_, err := loadConfig(filepath.Join(t.TempDir(), "absent"), &config{}, noFlags, noEnv)
	if exitCode(err) != exitNotFound {
		t.Errorf("error %v, exit code %d, want %d", err, exitCode(err), exitNotFound)
	}
}

func TestBadBooleanInEnvironmentIsAnError(t *testing.T) {
	_, err := loadConfig(writeConfig(t, ""), &config{}, noFlags, func(k string) string {
		if k == "LOCKPLATE_ALLOW_PLAINTEXT" {
			return "perhaps"
		}
		return ""
	})
	if err == nil || !strings.Contains(err.Error(), "LOCKPLATE_ALLOW_PLAINTEXT") {
		t.Errorf("error %v does not name the variable", err)
	}
}

func TestEverySettingReachesItsField(t *testing.T) {
	c := &config{}
	seen := map[any]string{}
	for _, s := range settings() {
		p := s.at(c)
		if other := seen[p]; other != "" {
			t.Errorf("%s and %s share a field", s.key, other)
		}
		seen[p] = s.key
		if err := s.parse(c, "true"); err != nil {
			t.Errorf("%s: %v", s.key, err)
		}
		to := &config{}
		s.copy(to, c)
		if s.at(to) == nil || cmp.Equal(to, &config{}) {
			t.Errorf("%s: not copied", s.key)
		}
	}
	if d := cmp.Diff(19, len(seen)); d != "" {
		t.Error("a field of config has no setting, or a setting was added without its test:", d)
	}
}
