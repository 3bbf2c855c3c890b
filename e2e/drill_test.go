package e2e

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// These tests run the commands of docs/OPERATIONS as they are written there, on
// the disasters that they are for.

// drillText is what is written to a volume before a disaster and read after it.
const drillText = "outlives key servers, hosts and stores"

// drillBlock gives the commands under a marker of docs/OPERATIONS.
func drillBlock(t *testing.T, name string) []string {
	t.Helper()
	_, rest, found := strings.Cut(doc(t, "OPERATIONS.md"), "<!-- drill: "+name+" -->\n\n")
	var lines []string
	for line := range strings.Lines(rest) {
		code, ok := strings.CutPrefix(line, "    ")
		if !ok {
			break
		}
		lines = append(lines, code)
	}
	if !found || len(lines) == 0 {
		t.Fatalf("docs/OPERATIONS has no commands for %q", name)
	}
	return lines
}

// drill runs the commands under a marker, in the gateway's folder, with names
// replaced by those of the test, and gives all they print. The service is this
// gateway.
func (g *gateway) drill(name string, replace ...string) string {
	g.t.Helper()
	r := g.tryDrill(name, replace...)
	if r.code != 0 {
		g.t.Fatalf("drill %q: %v", name, r)
	}
	return r.out
}

// tryDrill is drill for commands that may fail: the first that does ends it.
func (g *gateway) tryDrill(name string, replace ...string) result {
	g.t.Helper()
	replace = append(replace, "/srv/lockplate", g.drive, "/media/usb", g.dir, "/root", g.dir,
		"/var/lib/lockplate", g.state, "key destroy", "key destroy --yes") // no terminal to ask at
	var all result
	var script strings.Builder
	flush := func() bool {
		r := tryIn(g.t, script.String(), "env", "-C", g.dir, "LOCKPLATE_STATE="+g.state,
			"PATH="+g.bin()+":"+os.Getenv("PATH"), "bash", "-eu", "-o", "pipefail")
		script.Reset()
		all.code, all.out, all.err = r.code, all.out+r.out, all.err+r.err
		return r.code == 0
	}
	for _, line := range drillBlock(g.t, name) {
		unit := map[string]func(){"systemctl start lockplate\n": func() { g.start() }, "systemctl stop lockplate\n": g.stop}[line]
		if unit == nil {
			script.WriteString(strings.NewReplacer(replace...).Replace(line))
			continue
		}
		if !flush() {
			return all
		}
		unit()
	}
	flush()
	return all
}

// bin is a folder in which the binary has its name.
func (g *gateway) bin() string {
	g.t.Helper()
	dir := filepath.Join(g.dir, "bin")
	if err := os.Mkdir(dir, 0o700); os.IsExist(err) {
		return dir
	}
	must(g.t, os.Symlink(os.Getenv(envBinary), filepath.Join(dir, "lockplate")))
	return dir
}

// newDrill is a gateway with a volume that has something in it.
func newDrill(t *testing.T) *gateway {
	t.Helper()
	need(t, "bash")
	g := newGateway(t)
	g.volume("web", "8M")
	c := g.dial("web")
	must(t, c.writeAt([]byte(drillText), 4096))
	must(t, c.flush())
	c.close()
	g.file("backup.pass", "of the backup")
	g.file("recovery.pass", recoveryPassphrase)
	return g
}

// toKeyServer is the section on set-up, with k as the key server.
func (g *gateway) toKeyServer(k *keyServer) {
	g.t.Helper()
	g.drill("trust")
	g.signed(k)
	g.file("ca.pem", k.ca())
	out := g.drill("provider", "--host eks.example.org", "--host 127.0.0.1 --port "+k.port)
	if !strings.Contains(out, "keyProviderID=1") || g.master()["keyManagementType"] != "external" {
		g.t.Fatalf("after the set-up the key is %v; it printed %s", g.master(), out)
	}
}

// signed is the authority's part.
func (g *gateway) signed(k *keyServer) {
	g.t.Helper()
	csr, err := os.ReadFile(filepath.Join(g.dir, "lockplate.csr"))
	must(g.t, err)
	g.file("lockplate.pem", k.sign(string(csr)))
}

// keyID is the current master key.
func (g *gateway) keyID() string {
	g.t.Helper()
	id, _ := g.master()["keyID"].(string)
	return id
}

// stateOf gives what history says of a key.
func (g *gateway) stateOf(key string) (state string, mayExistAt []string) {
	g.t.Helper()
	var all struct {
		MasterKeys []struct {
			KeyID, State string
			MayExistAt   []string
		}
	}
	must(g.t, json.Unmarshal([]byte(g.cli("key", "history", "--json")), &all))
	for _, k := range all.MasterKeys {
		if k.KeyID == key {
			return k.State, k.MayExistAt
		}
	}
	return "", nil
}

// intact checks that the volume is online with what it had.
func (g *gateway) intact() {
	g.t.Helper()
	eventually(g.t, "the volume to be online", func() bool { return g.show("web").Lockplate.State == "online" })
	c := g.dial("web")
	defer c.close()
	expect(g.t, c, 4096, drillText)
}

func TestDrillSetUpAndRekey(t *testing.T) {
	g, k := newDrill(t), newKeyServer(t)
	g.toKeyServer(k)
	old := g.keyID()
	if out := g.drill("rekey", "KEYID", old); !strings.Contains(out, "destroyed") {
		t.Errorf("rekey prints %s", out)
	}
	if s, _ := g.stateOf(old); s != "destroyed" || g.keyID() == old || len(k.keys()) != 1 {
		t.Errorf("the old key is %s, the key server has %d keys", s, len(k.keys()))
	}
	g.intact()
}

func TestDrillOutage(t *testing.T) {
	g, k := newDrill(t), newKeyServer(t)
	g.toKeyServer(k)
	k.proc.stop(t)
	g.restart()
	r := g.tryDrill("outage", "kmip server test 1", "kmip server test 1 || test $? = 12")
	for _, want := range []string{"kmipServerFault", "connection failure", "locked"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in %v", want, r)
		}
	}
	if !regexp.MustCompile(`(?m)^hint: step "connect" failed: `).MatchString(r.err) || r.code != 0 {
		t.Errorf("no step and no hint: %v", r)
	}
	k.start()
	g.intact()
	eventually(t, "the fault to clear", func() bool { return !strings.Contains(g.faults("current"), "kmipServerFault") })
}

// TestDrillLostWhileOpen: the provider has a second server, which goes first.
func TestDrillLostWhileOpen(t *testing.T) {
	g, k := newDrill(t), newKeyServer(t)
	g.toKeyServer(k)
	twin := k.twin(t)
	g.cli("kmip", "server", "create", "--name", "twin", "--host", twin.Addr().String(),
		"--ca-file", filepath.Join(g.dir, "ca.pem"), "--cert-file", filepath.Join(g.dir, "lockplate.pem"))
	g.cli("kmip", "provider", "add-server", "1", "2")
	twin.Close()
	eventually(t, "a warning of the lost server", func() bool { return strings.Contains(g.faults("current"), "Key server 2") })
	g.drill("one of several")
	eventually(t, "the fault to clear", func() bool { return !strings.Contains(g.faults("current"), "kmipServerFault") })

	old := g.keyID()
	k.proc.kill()
	if r := g.try("kmip", "provider", "delete", "1"); r.code != 16 || !strings.Contains(r.err, "lockplate key destroy KEYID") {
		t.Errorf("delete of the active provider: %v", r)
	}
	g.drill("lost while open", "KEYID", old)
	if s, at := g.stateOf(old); s != "forgotten" || len(at) != 1 || at[0] != "127.0.0.1:"+k.port {
		t.Errorf("the lost key is %s, at %v", s, at)
	}
	if p := g.cli("kmip", "provider", "list", "--json"); strings.Contains(p, "keyProviderID\": 1") {
		t.Errorf("providers: %s", p)
	}
	g.intact()
	g.restart()
	g.intact()
	if f := g.faults("current"); strings.Contains(f, "kmip") {
		t.Errorf("faults: %s", f)
	}
}

// twin passes everything on to the key server, until it is closed.
func (k *keyServer) twin(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", "127.0.0.1:"+k.port)
			if err != nil {
				in.Close()
				continue
			}
			pass := func(to, from net.Conn) {
				_, _ = io.Copy(to, from) // either end may go first
				to.Close()
			}
			go pass(out, in)
			go pass(in, out)
		}
	}()
	return l
}

// TestDrillLostWhileLocked: a rekey says what is left, and a backup from before
// the key server opens the data of today.
func TestDrillLostWhileLocked(t *testing.T) {
	g, k := newDrill(t), newKeyServer(t)
	g.cli("backup", filepath.Join(g.dir, "before.backup"), "--passphrase-file", filepath.Join(g.dir, "backup.pass"))
	g.toKeyServer(k)
	c := g.dial("web")
	must(t, c.writeAt([]byte("after the backup"), 0))
	must(t, c.flush())
	c.close()
	k.proc.kill()
	g.restart()
	r := g.try("key", "rekey", "--internal")
	for _, want := range []string{"not at hand", "recovery key", "LUKS passphrase", "lockplate restore", `hint: step "connect" failed`} {
		if !strings.Contains(r.err, want) {
			t.Errorf("no %q in the refusal: %v", want, r)
		}
	}
	if f := g.faults("current"); !strings.Contains(f, "lost for good") {
		t.Errorf("the fault does not say what is left: %s", f)
	}
	g.drill("lost while locked")
	g.intact()
	c = g.dial("web")
	expect(t, c, 0, "after the backup")
}

func TestDrillCertificates(t *testing.T) {
	need(t, "openssl")
	g, k := newDrill(t), newKeyServer(t)
	g.toKeyServer(k)
	before := g.cli("kmip", "server", "show", "1", "--json")
	g.drill("certificate request")
	g.signed(k)
	g.drill("certificate")
	run(t, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=new",
		"-keyout", filepath.Join(g.dir, "new-ca.key"), "-out", filepath.Join(g.dir, "new-ca.pem"))
	if r := g.try("kmip", "server", "modify", "1", "--ca-file", filepath.Join(g.dir, "new-ca.pem")); r.code != 13 || !strings.Contains(r.err, "hint: step \"certificate\" failed") {
		t.Errorf("an authority that is not the server's: %v", r)
	}
	g.drill("authority")
	after := g.cli("kmip", "server", "show", "1", "--json")
	if before == after || strings.Count(after, "BEGIN CERTIFICATE") != strings.Count(before, "BEGIN CERTIFICATE")+1 {
		t.Errorf("the key server was\n%s\nand is\n%s", before, after)
	}
	g.restart()
	g.intact()
}

func TestDrillNewHost(t *testing.T) {
	g, k := newDrill(t), newKeyServer(t)
	g.toKeyServer(k)
	g.drill("prepare")
	g.stop()
	must(t, os.RemoveAll(g.state))
	out := g.drill("new host")
	if !strings.Contains(out, "web") {
		t.Errorf("the new host shows %s", out)
	}
	g.intact()
	if g.master()["keyManagementType"] != "external" {
		t.Errorf("the master key is %v", g.master())
	}
}

// TestDrillDisksOnly: the store and the key server are gone, first with
// lockplate at hand, then without.
func TestDrillDisksOnly(t *testing.T) {
	g, k := newDrill(t), newKeyServer(t)
	g.toKeyServer(k)
	g.drill("prepare")
	path := g.show("web").Lockplate.Path
	image := strings.TrimSuffix(filepath.Base(path), ".img")
	g.stop()
	k.proc.kill()
	must(t, os.RemoveAll(g.state))
	must(t, os.Remove(g.sealFile()))
	g.drill("adopt", "IMAGE", image)
	g.intact()
	g.stop()
	need(t, "cryptsetup")
	g.drill("disks only", "IMAGE", image)
	got := inspect(t, path, path, filepath.Join(g.dir, "recovery.pass")).plain(8192)
	if !strings.HasPrefix(string(got[4096:]), drillText) {
		t.Errorf("decrypted outside it is %q", got[4096:])
	}
}
