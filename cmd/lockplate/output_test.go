package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lockplate/api/wire"
)

func testInput(s string) io.Reader { return strings.NewReader(s) }

func TestTableColumnsCanBeCut(t *testing.T) {
	var b bytes.Buffer
	table(&b, "ID NAME STATE", [][]string{{"1", "a", ""}, {"22", "long-name", "ok"}})
	want := "ID  NAME       STATE\n1   a          -\n22  long-name  ok\n"
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}

func TestPairsLeaveOutWhatIsEmpty(t *testing.T) {
	var b bytes.Buffer
	pairs(&b, "a", "1", "long name", "2", "empty", "")
	if d := cmp.Diff("a          1\nlong name  2\n", b.String()); d != "" {
		t.Error(d)
	}
}

func TestJSONKeepsNumbersAndSigns(t *testing.T) {
	a, out, _ := testApp("", &fakeTerminal{})
	a.opt.json = true
	raw := json.RawMessage(`{"n": 9223372036854775807, "s": "a<b>&c", "f": 1.10}`)
	if err := a.show(raw, func(io.Writer) { t.Error("text was asked for") }); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`9223372036854775807`, `a<b>&c`, `1.10`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s is not in %s", want, out)
		}
	}
}

func TestStatusTellsEverythingOnOneScreen(t *testing.T) {
	s := gatewayStatus{
		Gateway: wire.GetGatewayInfoResult{
			Version: "1.0", Engine: "x", StartTime: "T", ClusterExists: true,
			Listeners: []wire.Listener{{Kind: "nbd", Address: "tcp:127.0.0.1:10809", TLS: true}},
		},
		Cluster: &wire.ClusterInfo{Name: "c", UUID: "u"},
		Encryption: &wire.GetSoftwareEncryptionAtRestInfoResult{
			State: "enabled", MasterKeyInfo: &wire.EncryptionKeyInfo{KeyID: "k", KeyManagementType: "internal", KeyCreatedTime: "T"},
			Lockplate: &wire.KeyProtection{Sealer: "file", Warning: "it lies beside"},
		},
		Drives:  []wire.Drive{{DriveID: 1, Status: "active", Type: "block", Capacity: 1 << 40, Lockplate: wire.DriveDetail{URI: "dir:/d", Free: 1 << 39}}},
		Volumes: []wire.Volume{{VolumeID: 7, Name: "web", TotalSize: 1 << 30, Access: "readWrite", Lockplate: wire.VolumeDetail{State: "locked", Encrypted: true, DriveID: 1}}},
		Faults:  []wire.Fault{{Severity: "error", Code: "volumesOffline", Details: "why"}},
	}
	var b bytes.Buffer
	s.text(&b)
	want := `lockplate 1.0, cipher engine x, since T
  nbd      tcp:127.0.0.1:10809 (TLS)

CLUSTER c (u)
encryption  enabled
master key  k
management  internal
created     T
sealer      file
sealed      no
warning: it lies beside

DRIVES 1
ID  STATUS  ROLE   CAPACITY  FREE    VOLUMES  URI
1   active  block  1TiB      512GiB  0        dir:/d

VOLUMES 1
ID  NAME  SIZE  STATE   ACCESS     ENCRYPTED  DRIVE  CLIENTS
7   web   1GiB  locked  readWrite  yes        1      0

FAULTS 1
  error volumesOffline: why
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}

func TestStatusWithoutEncryption(t *testing.T) {
	var b bytes.Buffer
	keyStatusText(&b, wire.GetSoftwareEncryptionAtRestInfoResult{State: "disabled"})
	if d := cmp.Diff("encryption  disabled\n", b.String()); d != "" {
		t.Error(d)
	}
}

func TestNewFileIsWholeAndNotReplaced(t *testing.T) {
	name := filepath.Join(t.TempDir(), "b")
	if err := absent(name); err != nil {
		t.Fatal(err)
	}
	if err := writeNew(name, []byte("data")); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(name)
	if err != nil || st.Mode().Perm() != 0o600 || st.Size() != 4 {
		t.Errorf("%v, %v", st, err)
	}
	if err := absent(name); exitCode(err) != exitConflict || hintFor(err) == "" {
		t.Errorf("a file that exists: %v", err)
	}
	if err := writeNew(name, []byte("other")); err == nil {
		t.Error("a backup was replaced")
	}
	if err := writeNew(filepath.Join(t.TempDir(), "no", "dir"), nil); exitCode(err) != exitNotFound {
		t.Errorf("no directory: %v", err)
	}
}
