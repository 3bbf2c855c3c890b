package main

import (
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mayImport says which of our packages each may import: imports only go down.
// docs/ARCHITECTURE draws it. A package for tests (blockdevtest) may import
// what its own (blockdev) may, and that one.
func mayImport() map[string][]string {
	return map[string][]string{
		"blockdev": {}, "cipher": {}, "store": {}, "opal": {}, "keymgr/kmip": {}, "api/wire": {},
		"volume/luks": {"blockdev", "cipher"},
		"volume":      {"blockdev", "cipher"},
		"keymgr":      {"store", "keymgr/kmip"},
		"nbd":         {"blockdev"},
		"fusefs":      {"blockdev"},
		// cipher: only to hand the Sectors of a header to the volume over it
		"cluster":    {"volume", "volume/luks", "keymgr", "opal", "store", "blockdev", "cipher"},
		"api":        {"cluster", "keymgr", "api/wire"},
		"api/client": {"api/wire"},
	}
}

const module = "lockplate/"

func TestImportsOnlyGoDown(t *testing.T) {
	allowed := mayImport()
	for _, line := range goList(t, `{{.ImportPath}} {{join .Imports " "}}`, "../../...") {
		words := strings.Fields(line)
		pkg := strings.TrimPrefix(words[0], module)
		may, known := allowed[forTests(pkg)]
		if top, _, _ := strings.Cut(pkg, "/"); slices.Contains([]string{"cmd", "e2e", "bench"}, top) {
			continue // on top of all; the next test looks into cmd
		}
		if !known {
			t.Errorf("package %s is not in the drawing: add it here and in docs/ARCHITECTURE", pkg)
			continue
		}
		for _, imp := range words[1:] {
			if slices.Contains([]string{"os/exec", "github.com/pojntfx/go-nbd/pkg/client"}, imp) {
				t.Errorf("%s imports %s: the first runs other programs, the second links a GPL module", pkg, imp)
			}
			ours, ok := strings.CutPrefix(imp, module)
			own := ours == forTests(pkg) && pkg != ours
			if ok && !own && !slices.Contains(may, ours) {
				t.Errorf("%s imports %s: only %v stand below it", pkg, ours, may)
			}
		}
	}
}

// forTests gives blockdev for blockdev/blockdevtest, and else the name itself.
func forTests(pkg string) string {
	dir, base := filepath.Split(pkg)
	if parent := strings.TrimSuffix(dir, "/"); parent != "" && base == filepath.Base(parent)+"test" {
		return parent
	}
	return pkg
}

// Nothing that the binary links may be under a licence that NOTICE does not
// name, and none of it may be made for tests.
func TestBinaryLinksNothingUnwanted(t *testing.T) {
	for _, pkg := range goList(t, "{{.ImportPath}}", "-deps", ".") {
		for _, unwanted := range []string{"github.com/pojntfx/go-nbd/pkg/client", "github.com/pilebones/go-udev", "os/exec", "testing"} {
			if pkg == unwanted {
				t.Errorf("the binary links %s", pkg)
			}
		}
	}
}

// Every command but those that are the daemon, or work where no daemon may
// run, speaks to the daemon: so whatever the command line can do, the API can.
func TestCommandsSpeakOnlyThroughTheClient(t *testing.T) {
	inProcess := []string{"serve", "init", "restore", "store", "demo", "config", "version", "main", "exit"}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name, _, _ := strings.Cut(strings.TrimSuffix(file, ".go"), "_")
		if strings.HasSuffix(file, "_test.go") || slices.Contains(inProcess, name) {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, imp := range f.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			if ours, ok := strings.CutPrefix(path, module); ok && ours != "api/client" && ours != "api/wire" {
				t.Errorf("%s imports %s: it must go through api/client", file, ours)
			}
		}
	}
}

func goList(t *testing.T, format string, args ...string) []string {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list", "-f", format}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func TestNoticeNamesEveryLinkedModule(t *testing.T) {
	notice, err := os.ReadFile("../../NOTICE")
	if err != nil {
		t.Fatal(err)
	}
	named := strings.Fields(string(notice))
	for _, mod := range goList(t, "{{with .Module}}{{.Path}}{{end}}", "-deps", ".") {
		if mod != "" && mod != strings.TrimSuffix(module, "/") && !slices.Contains(named, mod) {
			t.Errorf("NOTICE does not name %s", mod)
		}
	}
}
