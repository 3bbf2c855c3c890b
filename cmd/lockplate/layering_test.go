package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The layers, from docs/ARCHITECTURE. A package may import, of ours, only what
// is listed for it; "*" is everything but cmd. Folders that are to come are
// listed too. Test files and packages named …test are not held to it.
func mayImport() map[string][]string {
	return map[string][]string{
		"api":         {"cluster", "keymgr", "api/wire", "api/console"},
		"api/client":  {"api/wire"},
		"api/console": {"api/wire"},
		"api/wire":    {},
		"bench":       {"*"},
		"blockdev":    {},
		"cipher":      {},
		"cluster":     {"volume", "volume/luks", "keymgr", "opal", "store", "blockdev"},
		"cmd":         {"*"},
		"e2e":         {"*"},
		"fusefs":      {"blockdev"},
		"keymgr":      {"store", "keymgr/kmip", "keymgr/tpm2seal", "keymgr/shamir"},
		"keymgr/kmip": {},
		// Sealing by a TPM and sharing of a secret know nothing of master keys.
		"keymgr/tpm2seal": {},
		"keymgr/shamir":   {},
		"nbd":             {"blockdev"},
		"opal":            {},
		"opal/sgio":       {"opal"},
		"opal/opalsim":    {"opal"},
		"store":           {},
		"volume":          {"blockdev", "cipher"},
		"volume/luks":     {"blockdev", "cipher"},
	}
}

const module = "lockplate"

// listed is what "go list" tells of a package.
type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Standard   bool
}

func goList(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Deps,Standard"}, args...)...)
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		var e *exec.ExitError
		if errors.As(err, &e) {
			t.Fatalf("go list: %s", e.Stderr)
		}
		t.Skipf("needs the go command: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// layerOf gives the row of mayImport that a package of ours belongs to: its
// own, or that of the nearest folder above.
func layerOf(rows map[string][]string, dir string) (string, bool) {
	for ; dir != "." && dir != ""; dir = filepath.Dir(dir) {
		if _, ok := rows[dir]; ok {
			return dir, true
		}
	}
	return "", false
}

// isTestHelp says whether a package serves tests only.
func isTestHelp(dir string) bool {
	return strings.HasSuffix(dir, "test") || strings.Contains(dir, "internal/")
}

func TestImportsOnlyGoDown(t *testing.T) {
	rows := mayImport()
	for _, p := range goList(t, "./...") {
		dir := strings.TrimPrefix(p.ImportPath, module+"/")
		layer, ok := layerOf(rows, dir)
		if !ok {
			t.Errorf("%s: the folder is not drawn in the layers; a new one needs a reason and a row in mayImport", dir)
			continue
		}
		for _, i := range p.Imports {
			target, ours := strings.CutPrefix(i, module+"/")
			if !ours || isTestHelp(dir) {
				continue
			}
			if err := checkEdge(rows, layer, target); err != nil {
				t.Errorf("%s imports %s: %v", dir, target, err)
			}
		}
	}
}

func checkEdge(rows map[string][]string, layer, target string) error {
	to, ok := layerOf(rows, target)
	allowed := rows[layer]
	switch {
	case isTestHelp(target):
		return fmt.Errorf("%s is for tests only", target)
	case ok && to == layer:
		return nil
	case to == "cmd" || to == "e2e":
		return fmt.Errorf("nothing may import %s", to)
	case slices.Contains(allowed, "*"), slices.Contains(allowed, to):
		return nil
	}
	return fmt.Errorf("imports only go down; %s may import %v of ours", layer, allowed)
}

func TestCheckEdgeRefusesWhatIsNotDrawn(t *testing.T) {
	rows := mayImport()
	for _, e := range []struct {
		layer, target string
		ok            bool
	}{
		{"nbd", "blockdev", true},
		{"nbd", "volume", false},
		{"volume", "blockdev", true},
		{"blockdev", "volume", false},
		{"cluster", "volume/luks", true},
		{"cluster", "api", false},
		{"keymgr", "cipher", false},
		{"api/client", "cluster", false},
		{"cmd", "nbd", true},
		{"bench", "cmd/lockplate", false},
		{"cluster", "blockdev/blockdevtest", false},
	} {
		if err := checkEdge(rows, e.layer, e.target); (err == nil) != e.ok {
			t.Errorf("%s → %s: %v, want allowed: %v", e.layer, e.target, err, e.ok)
		}
	}
}

// Packages that must not be linked into the product, and why.
func banned() map[string]string {
	return map[string]string{
		"github.com/pojntfx/go-nbd/pkg/client": "it pulls github.com/pilebones/go-udev, which is GPL-3.0",
		"github.com/pojntfx/go-nbd/pkg/server": "it answers before it has read, and allocates what a client states; nbd has its own loop (bench measures beside it)",
		"github.com/pilebones/go-udev":         "it is GPL-3.0",
		"github.com/gemalto/kmip-go":           "its server panics on what a client sends, and it brings a logger; keymgr/kmip needs only its encoder",
		"github.com/gemalto/kmip-go/kmip20":    "by being linked it makes an enumeration of Unique Identifier: an id such as 7 is then not sent as text",
		"github.com/ovh/kmip-go":               "it is the other side in tests; the client must share no code with it",
		"os/exec":                              "the product runs no programs; only tests and bench may",
		"plugin":                               "the product is one static binary",
	}
}

// onlyBench lists those of the banned packages that "lockplate bench" brings
// in all the same. No other package of ours may import them.
func onlyBench() []string {
	return []string{"os/exec", "github.com/pojntfx/go-nbd/pkg/server"}
}

// The KMIP modules, and the only folders whose files may import any of their
// packages: bytes of a server go through the reader and checker of keymgr/kmip,
// because gemalto's decoder allocates what a header says and panics on others.
func kmipModules() map[string][]string {
	return map[string][]string{
		"github.com/gemalto/kmip-go": {"keymgr/kmip"},
		"github.com/ovh/kmip-go":     {"keymgr/kmiptest"},
	}
}

func TestKMIPModulesStayWhereTheyBelong(t *testing.T) {
	used := map[string]int{}
	for name, imports := range fileImports(t, filepath.Join("..", "..")) {
		dir := filepath.ToSlash(filepath.Dir(name))
		for _, i := range imports {
			for m, dirs := range kmipModules() {
				if i != m && !strings.HasPrefix(i, m+"/") {
					continue
				}
				if used[m]++; !slices.Contains(dirs, dir) {
					t.Errorf("%s imports %s: only %v may", name, i, dirs)
				}
				if why, bad := banned()[i]; bad && !strings.HasSuffix(dir, "test") {
					t.Errorf("%s imports %s: %s", name, i, why)
				}
			}
		}
	}
	for m := range kmipModules() {
		if used[m] == 0 {
			t.Errorf("nothing imports %s", m)
		}
	}
}

func TestBannedPackagesAreNotLinked(t *testing.T) {
	all := goList(t, "-deps", "./cmd/lockplate")
	if len(all) < 100 {
		t.Fatalf("go list -deps gave only %d packages", len(all))
	}
	for _, p := range all {
		why, bad := banned()[p.ImportPath]
		if bad && !slices.Contains(onlyBench(), p.ImportPath) {
			t.Errorf("%s is linked: %s (go mod why %[1]s)", p.ImportPath, why)
		}
		if ours := strings.HasPrefix(p.ImportPath, module+"/"); !ours || p.ImportPath == module+"/bench" {
			continue
		}
		for _, i := range onlyBench() {
			if slices.Contains(p.Imports, i) {
				t.Errorf("%s imports %s: %s", p.ImportPath, i, banned()[i])
			}
		}
	}
}

// TestCommandsSpeakThroughTheAPI holds the files of this folder to the rule
// that only the commands that work without a daemon import the layers below
// the API.
func TestCommandsSpeakThroughTheAPI(t *testing.T) {
	inProcess := []string{
		"audit.go", "audit_show.go", "auditconfig.go", "daemon.go", "demo.go", "errors.go", "init.go", "listen.go", "metrics.go", "nbdtls.go",
		"restore.go", "sealer.go", "serve.go", "store.go", "version.go", "connect.go",
		"bench.go", "bench_cipher.go", "bench_gateway.go", "bench_latency.go", "bench_rekey.go",
	}
	allowed := []string{"lockplate/api/client", "lockplate/api/wire"}
	for name, imports := range fileImports(t, ".") {
		if strings.HasSuffix(name, "_test.go") || slices.Contains(inProcess, name) {
			continue
		}
		for _, i := range imports {
			if strings.HasPrefix(i, module+"/") && !slices.Contains(allowed, i) {
				t.Errorf("%s imports %s: commands speak to the daemon through api/client and api/wire only", name, i)
			}
		}
	}
}

// TestNoFileHasBothCiphers: the name of our package is also that of the
// standard one, so a file with both cannot be read.
func TestNoFileHasBothCiphers(t *testing.T) {
	seen := 0
	for name, imports := range fileImports(t, filepath.Join("..", "..")) {
		seen++
		own := strings.HasPrefix(filepath.ToSlash(name), "cipher/")
		if !own && slices.Contains(imports, "crypto/cipher") && slices.Contains(imports, module+"/cipher") {
			t.Errorf("%s imports both crypto/cipher and lockplate/cipher: only files in cipher/ may", name)
		}
	}
	if seen < 50 {
		t.Errorf("only %d files were looked at", seen)
	}
}

// fileImports gives the imports of every Go file under root, by its path
// relative to root.
func fileImports(t *testing.T, root string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")) && d.Name() != "..":
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		out[rel], err = importsOf(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func importsOf(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // an editor's file that went meanwhile
	}
	if err != nil {
		return nil, err
	}
	f, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, i := range f.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}
