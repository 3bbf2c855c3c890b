package e2e

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the generated docs anew")

// doc reads a page of docs.
func doc(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "docs", name))
	must(t, err)
	return string(b)
}

// column gives the first code word in each table row between two headings.
func column(page, from string) []string {
	_, rest, _ := strings.Cut(page, from)
	rest, _, _ = strings.Cut(rest, "\n## ")
	var names []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllStringSubmatch(rest, -1) {
		names = append(names, m[1])
	}
	return names
}

func TestDocsListEveryMethod(t *testing.T) {
	g := newCluster(t)
	g.start()
	var api map[string]json.RawMessage
	must(t, json.Unmarshal([]byte(g.cli("api", "GetAPI")), &api))
	var version string
	must(t, json.Unmarshal(api["currentVersion"], &version))
	var methods []string
	must(t, json.Unmarshal(api[version], &methods))
	documented := column(doc(t, "ELEMENT.md"), "## Methods")
	slices.Sort(methods)
	slices.Sort(documented)
	if !slices.Equal(methods, documented) || len(methods) == 0 {
		t.Errorf("served: %v\ndocumented: %v", methods, documented)
	}
}

func TestDocsListEveryExitCode(t *testing.T) {
	out := run(t, os.Getenv(envBinary), "exit-codes", "--help")
	page := doc(t, "OPERATIONS.md")
	codes := regexp.MustCompile(`(?m)^ +(\d+)  +(\S.*)$`).FindAllStringSubmatch(out, -1)
	if len(codes) < 10 {
		t.Fatalf("exit-codes prints:\n%s", out)
	}
	for _, c := range codes {
		if !strings.Contains(page, "\n| "+c[1]+" | "+c[2]) {
			t.Errorf("docs/OPERATIONS lacks exit code %s: %s", c[1], c[2])
		}
	}
}

// The commands of the README work when pasted, and show what they say.
func TestReadmeWorksWhenPasted(t *testing.T) {
	need(t, "bash", "nbdinfo", "nbdcopy")
	page, err := os.ReadFile("../README.md")
	must(t, err)
	_, rest, found := strings.Cut(string(page), "By hand,")
	block, _, found2 := strings.Cut(rest, "\nAny NBD client")
	var script []string
	for line := range strings.Lines(block) {
		if code, ok := strings.CutPrefix(line, "    "); ok {
			script = append(script, strings.Replace(code, "make build && ", "", 1))
		}
	}
	if !found || !found2 || len(script) < 10 {
		t.Fatalf("the block of commands is not where it was: %q", script)
	}
	dir := shortDir(t)
	must(t, os.Mkdir(filepath.Join(dir, "bin"), 0o700))
	must(t, os.Symlink(os.Getenv(envBinary), filepath.Join(dir, "bin", "lockplate")))
	must(t, os.WriteFile(filepath.Join(dir, "README.md"), page, 0o600))
	// -m, as in a shell that somebody types into: %1 is the daemon
	r := tryIn(t, strings.Join(script, ""), "env", "-C", dir, "bash", "-m")
	for _, want := range []string{"volume", "nbd+unix:///web", "export-size: 1073741824", "\n# lockplate\n", "\n0\n"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in what it prints: %v", want, r)
		}
	}
	if r.code != 0 {
		t.Errorf("the last command failed: %v", r)
	}
	if _, err := os.Stat(filepath.Join(dir, "try")); err == nil {
		t.Error("the commands leave their folder behind")
	}
}

// docs/METRICS.md is made from a scrape: go test ./e2e -run DocsListEveryMetric -update
func TestDocsListEveryMetric(t *testing.T) {
	addr := freeAddr(t)
	g := newGateway(t, "--metrics", "tcp:"+addr)
	g.volume("vol", "4MiB")
	known(t, g, "vol", 1<<20)
	page := metricsPage(httpGet(t, "http://"+addr+"/metrics"))
	file := filepath.Join("..", "docs", "METRICS.md")
	if *update {
		must(t, os.WriteFile(file, []byte(page), 0o644))
	}
	// labels of what has not happened in this scrape are not in it
	row := regexp.MustCompile("(?m)^(\\| `\\w+` \\| \\w+ \\|)[^|]*(\\|.*)$")
	documented, served := row.ReplaceAllString(doc(t, "METRICS.md"), "$1$2"), row.ReplaceAllString(page, "$1$2")
	for line := range strings.Lines(served) {
		if !strings.Contains(documented, line) {
			t.Errorf("docs/METRICS.md lacks %srun go test ./e2e -run DocsListEveryMetric -update", line)
		}
	}
}

// metricsPage turns HELP and TYPE lines and label names into a table.
func metricsPage(scrape string) string {
	var b strings.Builder
	b.WriteString("# Metrics\n\nMade from a scrape by `go test ./e2e -run DocsListEveryMetric -update`. Beside these there are the standard\n" +
		"`go_` and `process_` metrics. A metric of something that has not happened yet may be absent.\n\n| name | type | labels | meaning |\n|---|---|---|---|\n")
	labels := regexp.MustCompile(`(\w+)="`)
	for block := range strings.SplitSeq(scrape, "# HELP ") {
		head, rest, _ := strings.Cut(block, "\n")
		name, help, _ := strings.Cut(head, " ")
		if !strings.HasPrefix(name, "lockplate_") {
			continue
		}
		kind, samples, _ := strings.Cut(rest, "\n")
		var names []string
		for _, m := range labels.FindAllStringSubmatch(samples, -1) {
			if !slices.Contains(names, m[1]) && m[1] != "le" {
				names = append(names, m[1])
			}
		}
		slices.Sort(names)
		b.WriteString("| `" + name + "` | " + kind[strings.LastIndexByte(kind, ' ')+1:] + " | " + strings.Join(names, ", ") + " | " + help + " |\n")
	}
	return b.String()
}
