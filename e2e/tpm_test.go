package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lockplate/keymgr/swtpmtest"
)

// tpmGateway is a gateway whose master key a TPM seals, with data in a volume.
func tpmGateway(t *testing.T, p *swtpmtest.TPM, options string) (g *gateway, data []byte) {
	t.Helper()
	g = newCluster(t)
	must(t, os.RemoveAll(g.state))
	pin := g.file("pin", "123456")
	g.cli("init", "--seal", "tpm2:"+p.Path+options, "--passphrase-file", pin)
	g.extra = []string{"--passphrase-file", pin}
	g.start()
	g.cli("drive", "add", "dir:"+g.drive)
	g.volume("web", "8M")
	return g, known(t, g, "web", 8<<20)
}

// refused wants serve to fail and its message to say all of these.
func (g *gateway) refused(code int, says ...string) {
	g.t.Helper()
	r := g.serveAgain(append([]string{"--nbd", "unix:" + g.sock}, g.extra...)...)
	expectRefusal(g.t, r, code)
	for _, s := range says {
		if !strings.Contains(r.err, s) {
			g.t.Errorf("serve does not say %q: %v", s, r)
		}
	}
}

func TestTPMSealsTheMasterKey(t *testing.T) {
	p := swtpmtest.Start(t)
	g, data := tpmGateway(t, p, ",pcrs=7+11,pin")
	if out := g.cli("key", "status"); !strings.Contains(out, "tpm2") || !strings.Contains(out, "sealed      yes") {
		t.Errorf("key status: %s", out)
	}
	g.proc.kill()
	g.start()
	expectData(t, g, "web", data)
	g.stop()
	p.PowerCycle(t)
	g.start()
	expectData(t, g, "web", data)
	g.stop()

	right := g.extra
	g.extra = []string{"--passphrase-file", g.file("wrong", "654321")}
	g.refused(exitDenied, "wrong PIN")
	g.extra = right
	p.Extend(t, 11)
	g.refused(exitLocked, "PCR 11 changed; bound to PCR 7+11", "--seal shares", "key reseal")
	p.PowerCycle(t)
	p.Stop(t)
	g.refused(exitLocked, "no TPM 2.0 answers there")
}

// TestDrillFirmware: an update is announced, the key is sealed to another
// sealer, and to the TPM again afterwards.
func TestDrillFirmware(t *testing.T) {
	p := swtpmtest.Start(t)
	g, data := tpmGateway(t, p, "")
	g.drill("before firmware")
	g.stop()
	p.Extend(t, 7)
	g.start()
	g.drill("after firmware", "--seal tpm2", "--seal tpm2:"+p.Path)
	must(t, os.Remove(filepath.Join(g.dir, "update.key")))
	g.restart()
	expectData(t, g, "web", data)
}

// TestDrillLostTPM: the board is replaced; shares open the cluster.
func TestDrillLostTPM(t *testing.T) {
	p := swtpmtest.Start(t)
	g, data := tpmGateway(t, p, "")
	out := g.drill("shares", "lockplate key shares verify", "lockplate key shares verify --shares-file shares", // no terminal
		"--shares 5", "--shares 5 | tee shares")
	if !strings.Contains(out, "the shares open the cluster") {
		t.Errorf("shares: %s", out)
	}
	g.proc.kill()
	p.Clear(t) // it is another TPM then
	g.refused(exitLocked, "another TPM", "--seal shares")
	plain := g.extra
	g.extra = append([]string{"--seal", "shares", "--shares-file", filepath.Join(g.dir, "shares")}, plain...)
	g.start()
	expectData(t, g, "web", data)
	g.drill("lost sealer", "--seal tpm2", "--seal tpm2:"+p.Path)
	g.stop()
	g.extra = plain
	g.start()
	expectData(t, g, "web", data)
	text, err := os.ReadFile(filepath.Join(g.dir, "shares"))
	must(t, err)
	share := text[strings.Index(string(text), "lockplate-share-1-"):][:60]
	for _, name := range []string{filepath.Join(g.state, "audit.log"), filepath.Join(g.state, "store.db"), g.log()} {
		b, err := os.ReadFile(name)
		must(t, err)
		if strings.Contains(string(b), string(share)) {
			t.Errorf("%s has a share in it", name)
		}
	}
	if !strings.Contains(g.cli("audit", "verify"), "last") {
		t.Error("the audit log is not whole")
	}
}
