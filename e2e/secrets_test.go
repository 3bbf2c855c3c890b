package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// forms are the ways in which a secret may leak.
func forms(secret []byte) [][]byte {
	return [][]byte{
		secret,
		[]byte(hex.EncodeToString(secret)),
		[]byte(strings.ToUpper(hex.EncodeToString(secret))),
		[]byte(base64.StdEncoding.EncodeToString(secret)),
		[]byte(base64.RawURLEncoding.EncodeToString(secret)),
		[]byte(strings.Trim(fmt.Sprint(secret), "[]")), // as %v prints bytes
	}
}

// The keys are known here because cryptsetup reveals the volume key to whoever
// has the recovery passphrase. None of them may be in what lockplate writes,
// prints or shows of itself.
func TestSecretsStayInMemory(t *testing.T) {
	need(t, "cryptsetup")
	metrics, profiles := freeAddr(t), freeAddr(t)
	g := newGateway(t, "--log-level", "debug", "--metrics", "tcp:"+metrics, "--pprof", "tcp:"+profiles)
	g.recoverable("vol", "4MiB")
	known(t, g, "vol", 4<<20)
	path := g.show("vol").Lockplate.Path
	g.stop()
	key := inspect(t, path, path, filepath.Join(g.dir, "recovery")).key()
	sealKey, err := os.ReadFile(g.sealFile())
	must(t, err)
	secrets := map[string][]byte{
		"data key half": key[:32], "tweak key half": key[32:], "recovery passphrase": []byte(recoveryPassphrase),
		"seal key": bytes.TrimSpace(sealKey),
	}
	g.start()
	c := g.dial("vol")
	must(t, c.readAt(make([]byte, 4096), 0))

	places := map[string][]byte{
		"status":            []byte(g.cli("status")),
		"volume show":       []byte(g.cli("volume", "show", "vol", "--json")),
		"key status":        []byte(g.cli("key", "status", "--json")),
		"metrics":           []byte(httpGet(t, "http://"+metrics+"/metrics")),
		"/proc/PID/cmdline": procFile(t, g, "cmdline"),
		"/proc/PID/environ": procFile(t, g, "environ"),
	}
	for _, name := range []string{"heap?debug=1", "goroutine?debug=1", "allocs?debug=1", "cmdline", "trace?seconds=0.1"} {
		places["profile "+name] = []byte(httpGet(t, "http://"+profiles+"/debug/pprof/"+name))
	}
	if limits := string(procFile(t, g, "limits")); !strings.Contains(limits, "Max core file size        0                    0") {
		t.Errorf("the daemon may dump core:\n%s", limits)
	}
	if g.proc.procField(t, "VmLck") == 0 {
		t.Error("no memory is locked")
	}
	g.stop()
	addFiles(t, places, g.state, g.drive, g.log())
	for place, b := range places {
		for name, secret := range secrets {
			for _, form := range forms(secret) {
				if bytes.Contains(b, form) {
					t.Errorf("%s is in %s", name, place)
				}
			}
		}
	}
}

func procFile(t *testing.T, g *gateway, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", g.proc.cmd.Process.Pid, name))
	must(t, err)
	return b
}

// addFiles reads every file below the given ones.
func addFiles(t *testing.T, places map[string][]byte, roots ...string) {
	t.Helper()
	for _, root := range roots {
		must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			places[path], err = os.ReadFile(path)
			return err
		}))
	}
}

// The plain data must not be in the image, nor anything that tells it from
// noise: every byte value is equally frequent.
func TestImageHoldsNoiseOnly(t *testing.T) {
	g := newGateway(t)
	g.volume("vol", "16MiB")
	text := []byte("Attack at dawn. We meet by the old oak behind the mill. ")
	c := g.dial("vol")
	plain := bytes.Repeat(text, 1<<20/len(text)+1)[:1<<20]
	for off := int64(0); off < c.size; off += 1 << 20 {
		must(t, c.writeAt(plain, off))
	}
	must(t, c.flush())
	path := g.show("vol").Lockplate.Path
	g.stop()
	image, err := os.ReadFile(path)
	must(t, err)
	data := image[len(image)-16<<20:]
	if bytes.Contains(image, text[:16]) {
		t.Error("the text is in the image")
	}
	var count [256]float64
	for _, b := range data {
		count[b]++
	}
	expected := float64(len(data)) / 256
	chi := 0.0
	for _, n := range count {
		chi += (n - expected) * (n - expected) / expected
	}
	// 255 degrees of freedom: beyond 400 has a chance of one in 10^8
	if chi > 400 {
		t.Errorf("chi-square of the byte values is %.0f", chi)
	}
	seen := map[[16]byte]bool{}
	for i := 0; i < len(data); i += 16 {
		block := [16]byte(data[i : i+16])
		if seen[block] {
			t.Fatalf("the block at %d is there twice", i)
		}
		seen[block] = true
	}
}
