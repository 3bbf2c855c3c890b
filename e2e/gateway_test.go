package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lockplate/keymgr/kmiptest"
)

// gateway is one lockplate with a state directory and a directory drive.
type gateway struct {
	t     *testing.T
	dir   string // everything of it
	state string
	drive string
	sock  string   // NBD
	tcp   string   // NBD too, if asked for by withTCP
	extra []string // more arguments of serve
	proc  *process
}

// withTCP, among the arguments of serve, stands for NBD on a free TCP port.
const withTCP = "--with-tcp"

// freeAddr is an address on loopback that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", kmiptest.FreePort(t))
}

// recoveryPassphrase is what tests lock and unlock containers with.
const recoveryPassphrase = "open sesame, but longer"

// newGateway makes a cluster with one drive and serves it; serve takes more
// arguments of the command of that name.
func newGateway(t *testing.T, serve ...string) *gateway {
	t.Helper()
	g := newCluster(t, serve...)
	g.start()
	g.cli("drive", "add", "dir:"+g.drive)
	return g
}

// newCluster makes a cluster and does not serve it yet.
func newCluster(t *testing.T, serve ...string) *gateway {
	t.Helper()
	dir := shortDir(t)
	g := &gateway{
		t: t, dir: dir, state: filepath.Join(dir, "state"), drive: filepath.Join(dir, "drive"),
		sock: filepath.Join(dir, "nbd.sock"), extra: serve,
	}
	if i := slices.Index(serve, withTCP); i >= 0 {
		g.tcp = freeAddr(t)
		g.extra = slices.Replace(slices.Clone(serve), i, i+1, "--nbd", "tcp:"+g.tcp)
	}
	must(t, os.Mkdir(g.drive, 0o700))
	g.cli("init", "--seal", "file:"+g.sealFile())
	return g
}

// metadataDrive adds a drive for detached headers and gives its folder.
func (g *gateway) metadataDrive() string {
	g.t.Helper()
	meta := filepath.Join(g.dir, "meta")
	must(g.t, os.Mkdir(meta, 0o700))
	g.cli("drive", "add", "dir:"+meta, "--role", "metadata")
	return meta
}

func (g *gateway) sealFile() string { return filepath.Join(g.dir, "seal.key") }
func (g *gateway) log() string      { return filepath.Join(g.dir, "serve.log") }

// try runs a lockplate command against this gateway.
func (g *gateway) try(args ...string) result {
	g.t.Helper()
	return try(g.t, os.Getenv(envBinary), append(args, "--state", g.state)...)
}

// cli runs a command that must succeed.
func (g *gateway) cli(args ...string) string {
	g.t.Helper()
	return run(g.t, os.Getenv(envBinary), append(args, "--state", g.state)...)
}

// serveArgs is the command line of the daemon.
func (g *gateway) serveArgs() []string {
	return append([]string{
		"serve", "--state", g.state, "--nbd", "unix:" + g.sock, "--api", "none", "--metrics", "none",
	}, g.extra...)
}

// start serves and waits until an NBD client is greeted; it gives the time
// that took from the start of the process.
func (g *gateway) start() time.Duration {
	g.t.Helper()
	begin := time.Now()
	g.proc = spawn(g.t, g.log(), os.Getenv(envBinary), g.serveArgs()...)
	eventually(g.t, "ready on "+g.sock, func() bool {
		if !g.proc.running() {
			g.t.Fatalf("serve ended with %d:\n%s", g.proc.cmd.ProcessState.ExitCode(), g.readLog())
		}
		c, err := dial("unix", g.sock, "no such export")
		if err == nil {
			c.close()
		}
		return err == nil || strings.Contains(err.Error(), "option refused")
	})
	return time.Since(begin)
}

// stop ends it as a service manager would and expects success.
func (g *gateway) stop() {
	g.t.Helper()
	if code := g.proc.stop(g.t); code != 0 {
		g.t.Fatalf("serve ended with %d:\n%s", code, g.readLog())
	}
}

func (g *gateway) restart() {
	g.t.Helper()
	g.stop()
	g.start()
}

func (g *gateway) readLog() string {
	b, _ := os.ReadFile(g.log())
	return string(b)
}

// file writes a file of the test's into the gateway's folder.
func (g *gateway) file(name, text string) string {
	g.t.Helper()
	p := filepath.Join(g.dir, name)
	must(g.t, os.WriteFile(p, []byte(text), 0o600))
	return p
}

// volume makes a volume.
func (g *gateway) volume(name, size string, more ...string) {
	g.t.Helper()
	g.cli(append([]string{"volume", "create", name, "--size", size}, more...)...)
}

// recoverable makes a volume that cryptsetup can open too.
func (g *gateway) recoverable(name, size string, more ...string) {
	g.t.Helper()
	g.volume(name, size, append([]string{"--recovery", "--passphrase-file", g.file("recovery", recoveryPassphrase)}, more...)...)
}

func (g *gateway) uri(name string) string { return "nbd+unix:///" + name + "?socket=" + g.sock }

// dial attaches the test's own client.
func (g *gateway) dial(name string) *client {
	g.t.Helper()
	c, err := dial("unix", g.sock, name)
	must(g.t, err)
	g.t.Cleanup(c.close)
	return c
}

// volumeInfo is what volume show prints as JSON, as far as tests look at it.
type volumeInfo struct {
	VolumeID  int64  `json:"volumeID"`
	TotalSize int64  `json:"totalSize"`
	Status    string `json:"status"`
	Lockplate struct {
		State      string `json:"state"`
		Reason     string `json:"reason"`
		SectorSize int    `json:"sectorSize"`
		Path       string `json:"path"`
		HeaderPath string `json:"headerPath"`
	} `json:"lockplate"`
}

func (g *gateway) show(name string) volumeInfo {
	g.t.Helper()
	var shown struct{ Volume volumeInfo }
	out := g.cli("volume", "show", name, "--json")
	if err := json.Unmarshal([]byte(out), &shown); err != nil {
		g.t.Fatalf("volume show --json: %v\n%s", err, out)
	}
	return shown.Volume
}
