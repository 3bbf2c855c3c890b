package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// walk calls fn for every command of the tree.
func walk(c *cobra.Command, fn func(*cobra.Command)) {
	fn(c)
	for _, sub := range c.Commands() {
		walk(sub, fn)
	}
}

func testTree(t *testing.T) *cobra.Command {
	t.Helper()
	a, _, _ := testApp("", &fakeTerminal{})
	return a.rootCommand()
}

// TestTheTreeIsTheDesignedOne: scripts and docs rely on these names.
func TestTheTreeIsTheDesignedOne(t *testing.T) {
	var got []string
	walk(testTree(t), func(c *cobra.Command) { got = append(got, strings.TrimPrefix(c.CommandPath(), "lockplate ")) })
	for _, want := range strings.Split(`serve,init,demo,status,key status,key history,store check,backup,restore,api,version,man,
drive add,drive list,drive show,drive hardware,drive remove,drive forget,user add,user list,user passwd,user remove,
volume create,volume list,volume show,volume grow,volume set,volume delete,volume restore,volume purge,volume adopt,
audit verify,audit show,audit export,fault list,fault clear,event list,job list,job show,job wait,
key rekey,key destroy,key reseal,key shares create,key shares status,key shares verify,key shares remove,kmip setup,kmip keypair,kmip csr,kmip server create,kmip server list,kmip server show,
kmip server modify,kmip server delete,kmip server test,kmip provider create,kmip provider list,kmip provider show,
kmip provider delete,kmip provider add-server,kmip provider remove-server,kmip provider test,
volume recovery-key add,volume recovery-key list,volume recovery-key remove,
bench cipher,bench gateway,bench latency,bench rekey`, ",") {
		if !slices.Contains(got, strings.TrimSpace(want)) {
			t.Errorf("there is no command %q", strings.TrimSpace(want))
		}
	}
}

func TestEveryCommandHasItsHelp(t *testing.T) {
	walk(testTree(t), func(c *cobra.Command) {
		path := c.CommandPath()
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short text %q: wanted, without a full stop", path, c.Short)
		}
		if c.Runnable() && c.Args == nil {
			t.Errorf("%s: takes any arguments", path)
		}
		if c.Example != "" && !strings.HasPrefix(c.Example, "  lockplate ") {
			t.Errorf("%s: example %q does not begin with two spaces and the program", path, c.Example)
		}
		for _, line := range strings.Split(c.Long, "\n") {
			if len(line) > 80 && !strings.HasPrefix(line, "  ") {
				t.Errorf("%s: a line of the long text has %d bytes: %s", path, len(line), line)
			}
		}
	})
}

func TestEveryFlagIsExplained(t *testing.T) {
	walk(testTree(t), func(c *cobra.Command) {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" || unicode.IsUpper([]rune(f.Usage)[0]) && unicode.IsLower([]rune(f.Usage)[1]) {
				t.Errorf("%s --%s: usage %q: wanted, in lower case", c.CommandPath(), f.Name, f.Usage)
			}
		})
	})
}

// TestNoFlagTakesASecret: arguments can be read by every user of the machine.
func TestNoFlagTakesASecret(t *testing.T) {
	walk(testTree(t), func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			secret := strings.Contains(f.Name, "passphrase") || strings.Contains(f.Name, "password")
			if secret && !strings.HasSuffix(f.Name, "-file") && !strings.HasSuffix(f.Name, "-fd") {
				t.Errorf("%s --%s takes a secret from the command line", c.CommandPath(), f.Name)
			}
		})
	})
	for _, s := range settings() {
		if strings.Contains(s.key, "pass") {
			t.Errorf("%s would take a secret from the environment", s.variable())
		}
	}
}

// TestExamplesParse: what help shows must be understood.
func TestExamplesParse(t *testing.T) {
	root := testTree(t)
	walk(root, func(c *cobra.Command) {
		for _, line := range strings.Split(c.Example, "\n") {
			words := strings.Fields(strings.TrimSuffix(strings.TrimSpace(line), " &"))
			if len(words) < 2 || strings.Contains(line, "'") {
				continue
			}
			if i := slices.Index(words, "try"); i > 0 { // the remark beside the first example
				words = words[:i]
			}
			found, rest, err := testTree(t).Find(words[1:])
			if err != nil || !found.Runnable() || found.HasSubCommands() {
				t.Errorf("%s: example %q: %v, %v", c.CommandPath(), line, found.CommandPath(), err)
				continue
			}
			if err := found.ParseFlags(rest); err != nil {
				t.Errorf("%s: example %q: %v", c.CommandPath(), line, err)
			}
		}
	})
}

func TestManHasAPageForEveryCommand(t *testing.T) {
	dir := t.TempDir()
	if err := writePages(testTree(t), dir, false); err != nil {
		t.Fatal(err)
	}
	walk(testTree(t), func(c *cobra.Command) {
		name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
		text, err := os.ReadFile(filepath.Join(dir, name))
		if c.Runnable() && !c.Hidden && (err != nil || !strings.Contains(string(text), ".SH SYNOPSIS")) {
			t.Errorf("%s: %v", name, err)
		}
	})
	first, err := os.ReadFile(filepath.Join(dir, "lockplate.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range exitTexts() {
		if !strings.Contains(string(first), e.text) {
			t.Errorf("lockplate.1 does not say that exit code %d means %q", e.code, e.text)
		}
	}
	serve, err := os.ReadFile(filepath.Join(dir, "lockplate-serve.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range settings() {
		if !strings.Contains(string(serve), strings.ReplaceAll(s.key, "_", "_")) {
			t.Errorf("lockplate-serve.1 does not tell of %s", s.key)
		}
	}
}

func TestEveryGroupRefusesWhatItDoesNotKnow(t *testing.T) {
	walk(testTree(t), func(c *cobra.Command) {
		if !c.HasSubCommands() || c.Name() == "completion" {
			return
		}
		for _, extra := range [][]string{nil, {"nonsense"}} {
			a, out, errOut := testApp("", &fakeTerminal{})
			args := append(strings.Fields(c.CommandPath())[1:], extra...)
			if code := a.run(args); code != exitUsage || out.Len() > 0 {
				t.Errorf("%q: exit code %d, output %q", args, code, out)
			}
			if !strings.Contains(errOut.String(), "\nhint: ") {
				t.Errorf("%q: no way out: %s", args, errOut)
			}
		}
	})
}
