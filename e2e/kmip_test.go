package e2e

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// keyServer is PyKMIP, a key server that others wrote, with its own authority.
type keyServer struct {
	t    *testing.T
	dir  string
	port string
	proc *process
}

const pykmip = "../keymgr/kmiptest/testdata/pykmip-server.sh"

// newKeyServer starts one on a free port. Its keys and its authority outlive a
// stop and a start.
func newKeyServer(t *testing.T) *keyServer {
	t.Helper()
	need(t, "bash", "openssl")
	if r := try(t, "/usr/bin/python3", "-c", "import kmip"); r.code != 0 {
		lack(t, "needs python3-pykmip")
	}
	_, port, err := net.SplitHostPort(freeAddr(t))
	must(t, err)
	k := &keyServer{t: t, dir: filepath.Join(t.TempDir(), "kmip"), port: port}
	k.start()
	return k
}

func (k *keyServer) start() {
	k.t.Helper()
	ready := filepath.Join(k.dir, "ready")
	_ = os.Remove(ready)
	k.proc = spawn(k.t, filepath.Join(k.t.TempDir(), "kmip.log"), "bash", pykmip, k.dir, k.port)
	eventually(k.t, "PyKMIP on port "+k.port, func() bool {
		_, err := os.Stat(ready)
		return err == nil
	})
}

// sign has the server's authority sign a certificate request.
func (k *keyServer) sign(csr string) string {
	k.t.Helper()
	in, out := filepath.Join(k.t.TempDir(), "csr.pem"), filepath.Join(k.t.TempDir(), "client.crt")
	must(k.t, os.WriteFile(in, []byte(csr), 0o600))
	run(k.t, "bash", pykmip, k.dir, "0", in, out)
	b, err := os.ReadFile(out)
	must(k.t, err)
	return string(b)
}

func (k *keyServer) ca() string {
	k.t.Helper()
	b, err := os.ReadFile(filepath.Join(k.dir, "ca.crt"))
	must(k.t, err)
	return string(b)
}

// object is a JSON object as the API gives it.
type object = map[string]any

// api calls one method as an administrator's script does.
func (g *gateway) api(method string, params object) object {
	g.t.Helper()
	b := []byte("{}")
	if params != nil {
		var err error
		b, err = json.Marshal(params)
		must(g.t, err)
	}
	var out object
	text := g.cli("api", method, string(b))
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		g.t.Fatalf("%s: %v in %s", method, err, text)
	}
	return out
}

// number reads a member that is a JSON number, a step for each name.
func number(t *testing.T, o object, path ...string) int64 {
	t.Helper()
	for _, p := range path[:len(path)-1] {
		o, _ = o[p].(object)
	}
	n, ok := o[path[len(path)-1]].(float64)
	if !ok {
		t.Fatalf("no number %v in %v", path, o)
	}
	return int64(n)
}

// addProvider follows the Element manual for one key server, up to a provider
// whose test passes, and gives the provider's id.
func (g *gateway) addProvider(k *keyServer) int64 {
	g.t.Helper()
	serverID := g.addServer(k)
	provider := number(g.t, g.api("CreateKeyProviderKmip", object{"keyProviderName": "provider " + k.port}), "kmipKeyProvider", "keyProviderID")
	g.api("AddKeyServerToProviderKmip", object{"keyProviderID": provider, "keyServerID": serverID})
	g.api("TestKeyServerKmip", object{"keyServerID": serverID})
	g.api("TestKeyProviderKmip", object{"keyProviderID": provider})
	return provider
}

// addServer records a key server, in no provider.
func (g *gateway) addServer(k *keyServer) int64 {
	g.t.Helper()
	csr, _ := g.api("GetClientCertificateSignRequest", nil)["clientCertificateSignRequest"].(string)
	server := g.api("CreateKeyServerKmip", object{
		"kmipCaCertificate": k.ca(), "kmipClientCertificate": k.sign(csr), "kmipKeyServerHostnames": []string{"127.0.0.1"},
		"kmipKeyServerName": "pykmip " + k.port, "kmipKeyServerPort": json.Number(k.port),
	})
	return number(g.t, server, "kmipKeyServer", "keyServerID")
}

// TestKeysAreNotCopied to a server that is added: it must have them. These two
// have keys of the same identifier that differ.
func TestKeysAreNotCopied(t *testing.T) {
	first, second := newKeyServer(t), newKeyServer(t)
	g := newGateway(t)
	g.api("CreatePublicPrivateKeyPair", object{"commonName": "lockplate"})
	p1, p2 := g.addProvider(first), g.addProvider(second)
	g.rekey(object{"keyManagementType": "external", "keyProviderID": p1})
	g.rekey(object{"keyManagementType": "external", "keyProviderID": p2})
	other := g.addServer(first)
	r := g.try("kmip", "provider", "add-server", strconv.FormatInt(p2, 10), strconv.FormatInt(other, 10))
	for _, want := range []string{"xKmipKeyConflict", "never copies", "replicate", "rekey", "hint: step "} {
		if !strings.Contains(r.err, want) {
			t.Errorf("no %q in the refusal: %v", want, r)
		}
	}
	if n := len(first.keys()); r.code != 11 || n != 1 {
		t.Errorf("%d keys at the server that was refused: %v", n, r)
	}
}

// rekey starts a rekey, polls it as the manual says, and gives its result.
func (g *gateway) rekey(params object) object {
	g.t.Helper()
	handle := number(g.t, g.api("RekeySoftwareEncryptionAtRestMasterKey", params), "asyncHandle")
	var answer object
	eventually(g.t, "the rekey to complete", func() bool {
		answer = g.api("GetAsyncResult", object{"asyncHandle": handle, "keepResult": true})
		return answer["status"] == "complete"
	})
	result, ok := answer["result"].(object)
	if !ok || answer["resultType"] != "RekeySoftwareEncryptionAtRestMasterKey" {
		g.t.Fatalf("rekey %v: %v", params, answer)
	}
	return result
}

// master is the key that GetSoftwareEncryptionAtRestInfo tells.
func (g *gateway) master() object {
	g.t.Helper()
	info := g.api("GetSoftwareEncryptionAtRestInfo", nil)
	if info["state"] != "enabled" || info["status"] != "enabled" {
		g.t.Errorf("encryption at rest: %v", info)
	}
	key, _ := info["masterKeyInfo"].(object)
	return key
}

// keyOf is how a result names a key.
func keyOf(t *testing.T, result object, member string) (id, kind string, provider any) {
	t.Helper()
	k, ok := result[member].(object)
	if !ok {
		t.Fatalf("no %s in %v", member, result)
	}
	id, _ = k["keyID"].(string)
	kind, _ = k["keyManagementType"].(string)
	return id, kind, k["keyProviderID"]
}

// wantRekey checks one rekey's result against what was asked and what is shown
// before and after.
func (g *gateway) wantRekey(params object, kind string, provider int64) {
	g.t.Helper()
	before := g.master()
	result := g.rekey(params)
	after := g.master()
	oldID, oldKind, _ := keyOf(g.t, result, "keyToDecommission")
	newID, newKind, newProvider := keyOf(g.t, result, "newKey")
	if oldID != before["keyID"] || oldKind != before["keyManagementType"] {
		g.t.Errorf("keyToDecommission %s %s, was %v", oldID, oldKind, before)
	}
	if newID != after["keyID"] || newKind != kind || after["keyManagementType"] != kind || newID == oldID {
		g.t.Errorf("newKey %s %s, asked for %s, info says %v", newID, newKind, kind, after)
	}
	var want any
	if provider != 0 {
		want = float64(provider)
	}
	if newProvider != want || after["keyProviderID"] != want {
		g.t.Errorf("provider of the new key: result %v, info %v, want %v", newProvider, after["keyProviderID"], want)
	}
	if s, _ := result["operation"].(string); result["state"] != "Ready" || s == "" {
		g.t.Errorf("result %v", result)
	}
}

// TestElementWalkThrough does what the manual of the source does, against real
// key servers: trust, servers, providers, tests, rekey to external keys, back,
// and to another provider; volumes stay readable throughout and afterwards.
func TestElementWalkThrough(t *testing.T) {
	first, second := newKeyServer(t), newKeyServer(t)
	g := newGateway(t)
	g.volume("vol", "8M")
	text := strings.Repeat("readable under every master key. ", 100)
	c := g.dial("vol")
	must(t, c.writeAt([]byte(text), 0))
	g.api("CreatePublicPrivateKeyPair", object{"commonName": "lockplate", "organization": "test", "country": "US"})
	p1, p2 := g.addProvider(first), g.addProvider(second)
	for _, step := range []struct {
		params   object
		kind     string
		provider int64
	}{
		{object{"keyManagementType": "external", "keyProviderID": strconv.FormatInt(p1, 10)}, "external", p1},
		{object{}, "external", p1},
		{object{"keyManagementType": "Internal"}, "internal", 0},
		{object{"keyManagementType": "internal"}, "internal", 0},
		{object{"keyManagementType": "External", "keyProviderID": p2}, "external", p2},
		{object{"keyManagementType": "external", "keyProviderID": p1}, "external", p1},
	} {
		g.wantRekey(step.params, step.kind, step.provider)
		expect(t, c, 0, text)
	}
	if r := g.try("api", "DeleteKeyProviderKmip", fmt.Sprintf(`{"keyProviderID":%d}`, p1)); r.code == 0 || !strings.Contains(r.err, "xKeyProviderIsActive") {
		t.Errorf("delete of the active provider: %v", r)
	}
	g.restart()
	expect(t, g.dial("vol"), 0, text)
}

// expect reads and compares.
func expect(t *testing.T, c *client, off int64, want string) {
	t.Helper()
	got := make([]byte, len(want))
	must(t, c.readAt(got, off))
	if string(got) != want {
		t.Errorf("%d bytes at %d differ from what was written", len(want), off)
	}
}

// TestKeyServerOutageLocksAndHeals restarts the gateway while its key server is
// away: volumes are locked, a fault says why and what to do, and all mends by
// itself when the server is back. A running volume never notices.
func TestKeyServerOutageLocksAndHeals(t *testing.T) {
	k := newKeyServer(t)
	g := newGateway(t)
	g.volume("vol", "8M")
	g.api("CreatePublicPrivateKeyPair", object{"commonName": "lockplate"})
	g.rekey(object{"keyManagementType": "external", "keyProviderID": g.addProvider(k)})
	c := g.dial("vol")
	must(t, c.writeAt([]byte("kept"), 4096))
	k.proc.stop(t)
	must(t, c.writeAt([]byte("running"), 8192))
	must(t, c.flush())
	g.restart()
	if v := g.show("vol"); v.Lockplate.State != "locked" {
		t.Errorf("without its key server the volume is %s", v.Lockplate.State)
	}
	if f := g.faults("current"); !strings.Contains(f, "kmipServerFault") || !strings.Contains(f, "TestKeyServerKmip") {
		t.Errorf("faults do not say what to do: %s", f)
	}
	k.start()
	began := time.Now()
	eventually(t, "the volume to unlock by itself", func() bool { return g.show("vol").Lockplate.State == "online" })
	t.Logf("unlocked %v after the key server was back", time.Since(began).Round(time.Millisecond))
	eventually(t, "the fault to clear", func() bool { return !strings.Contains(g.faults("current"), "kmipServerFault") })
	if !strings.Contains(g.faults("resolved"), "kmipServerFault") {
		t.Error("the fault left no history")
	}
	c = g.dial("vol")
	expect(t, c, 4096, "kept")
	expect(t, c, 8192, "running")
}

func (g *gateway) faults(which string) string {
	g.t.Helper()
	return g.cli("api", "ListClusterFaults", fmt.Sprintf(`{"faultTypes":%q}`, which))
}

// TestFioRunsThroughRekeys writes and verifies while the master key changes
// twenty times, in and out of a key server.
func TestFioRunsThroughRekeys(t *testing.T) {
	need(t, "fio")
	k := newKeyServer(t)
	g := newGateway(t)
	g.volume("vol", strconv.Itoa(interopSize))
	g.api("CreatePublicPrivateKeyPair", object{"commonName": "lockplate"})
	provider := g.addProvider(k)
	stop := make(chan struct{})
	done := make(chan int)
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			select {
			case <-stop:
				done <- n
				return
			default:
			}
			if !t.Run(fmt.Sprintf("fio %d", n), func(t *testing.T) { fioVerify(t, g.uri("vol"), 4, "--bs=4k") }) {
				done <- n
				return
			}
		}
	}()
	for i := range 20 {
		if i%2 == 0 {
			g.rekey(object{"keyManagementType": "external", "keyProviderID": provider})
		} else {
			g.rekey(object{"keyManagementType": "internal"})
		}
	}
	close(stop)
	if n := <-done; n == 0 {
		t.Error("fio did not run")
	}
}

// keys reads what the key server holds, from its own database.
func (k *keyServer) keys() [][]byte {
	k.t.Helper()
	const query = `import sqlite3, sys
for (value,) in sqlite3.connect(sys.argv[1]).execute("select value from managed_objects"): print(value.hex())`
	var out [][]byte
	for line := range strings.Lines(run(k.t, "/usr/bin/python3", "-c", query, filepath.Join(k.dir, "kmip.db"))) {
		b, err := hex.DecodeString(strings.TrimSpace(line))
		must(k.t, err)
		out = append(out, b)
	}
	return out
}

// The master keys are known here from the key server's own database. None of
// them, nor the private key of the cluster, may be in what lockplate writes,
// prints or shows of itself.
func TestMasterKeysStayInMemory(t *testing.T) {
	k := newKeyServer(t)
	metrics := freeAddr(t)
	g := newGateway(t, "--log-level", "debug", "--metrics", "tcp:"+metrics)
	g.volume("vol", "4M")
	g.api("CreatePublicPrivateKeyPair", object{"commonName": "lockplate"})
	provider := g.addProvider(k)
	for range 2 {
		g.rekey(object{"keyManagementType": "external", "keyProviderID": provider})
	}
	k.proc.stop(t)
	g.restart() // locked, with a fault that quotes what went wrong
	keys := k.keys()
	if len(keys) != 2 || len(keys[0]) != 32 {
		t.Fatalf("the key server holds %d keys, want 2 of 32 bytes", len(keys))
	}
	places := map[string][]byte{
		"metrics": []byte(httpGet(t, "http://"+metrics+"/metrics")), "key history": []byte(g.cli("key", "history", "--json")),
		"status": []byte(g.cli("status")), "csr": []byte(g.cli("kmip", "csr")),
	}
	for _, method := range []string{
		"GetSoftwareEncryptionAtRestInfo", "ListAsyncResults", "ListEvents", "ListClusterFaults", "ListKeyServersKmip",
		"ListKeyProvidersKmip", "GetClusterInfo", "ListVolumes",
	} {
		places[method] = []byte(g.cli("api", method))
	}
	g.stop()
	addFiles(t, places, g.state, g.drive, g.log())
	for place, b := range places {
		for _, key := range keys {
			for _, form := range forms(key) {
				if bytes.Contains(b, form) {
					t.Errorf("a master key is in %s", place)
				}
			}
		}
		if bytes.Contains(b, []byte("PRIVATE KEY")) && !strings.HasSuffix(place, "api.key") {
			t.Errorf("a private key is in %s", place)
		}
	}
}
