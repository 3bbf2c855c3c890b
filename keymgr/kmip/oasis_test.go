package kmip

import (
	"bytes"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gemalto/kmip-go/kmip14"
	"github.com/gemalto/kmip-go/ttlv"
)

// oasis reads the messages of a published test case of KMIP Profiles 1.3 or
// 1.4, alternately requests and answers. They are XML in the module
// github.com/ovh/kmip-go, copyright OASIS Open.
func oasis(t *testing.T, name string) []item {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/ovh/kmip-go").Output()
	if err != nil {
		t.Skipf("needs the go command: %v", err)
	}
	minor := name[len(name)-1:]
	path := filepath.Join(strings.TrimSpace(string(dir)), "kmiptest", "testdata", "v1."+minor, name+".xml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	filled := regexp.MustCompile(`"\$NOW[^"]*"`).ReplaceAllString(string(text), `"2017-11-22T00:00:00+00:00"`)
	filled = regexp.MustCompile(`"\$UNIQUE_IDENTIFIER_(\d)"`).ReplaceAllString(filled, `"id-$1"`)
	filled = regexp.MustCompile(`<UniqueBatchItemID [^>]*/>`).ReplaceAllString(filled, "") // dialogue gives every message one
	filled = strings.ReplaceAll(filled, `"Encrypt Decrypt"`, `"Encrypt|Decrypt"`)
	var out []item
	for _, m := range regexp.MustCompile(`(?s)<(?:Request|Response)Message>.*?</(?:Request|Response)Message>`).FindAllString(filled, -1) {
		var b ttlv.TTLV
		if err := xml.Unmarshal([]byte(m), &b); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, m)
		}
		out = append(out, item(b))
	}
	return out
}

// dialogue plays one exchange of a case: our request must be the published
// bytes, but for the batch item id; the published answer is read.
func dialogue[T any](t *testing.T, msgs *[]item, minor int32, q request, parse func(item) (T, error)) (T, error) {
	t.Helper()
	if len(*msgs) < 2 {
		t.Fatal("no more messages in the case")
	}
	want, reply := (*msgs)[0], (*msgs)[1]
	*msgs = (*msgs)[2:]
	id := newItemID()
	got, err := q.encode(Version{1, minor}, id)
	if err != nil {
		t.Fatal(err)
	}
	if got = without(got, encodeItemID(id)); !bytes.Equal(got, want) {
		t.Errorf("sent %s\nwant %s", ttlv.TTLV(got), ttlv.TTLV(want))
	}
	frame := with(reply, encodeItemID(id))
	if err := check(frame); err != nil {
		t.Fatal(err)
	}
	payload, err := q.envelope(frame, Version{1, minor}, id)
	if err != nil {
		var none T
		return none, err
	}
	return parse(payload)
}

func encodeItemID(id []byte) []byte {
	return encode(kmip14.TagBatchItem, func(e *ttlv.Encoder) { e.EncodeByteString(kmip14.TagUniqueBatchItemID, id) })[8:]
}

// without takes an item out of the batch item of a message, with puts it in.
func without(msg, part []byte) []byte {
	out := bytes.Replace(msg, part, nil, 1)
	return resize(out, -len(part))
}

func with(msg, part []byte) []byte {
	at := bytes.Index(msg, []byte{0x42, 0, 0x0f, 1}) + headerBytes
	at += len(item(msg[at:])) - len(item(msg[at:]).next()) // after the operation
	out := slices.Insert(slices.Clone([]byte(msg)), at, part...)
	return resize(out, len(part))
}

// resize corrects the lengths of the message and its batch item.
func resize(msg []byte, by int) []byte {
	for _, at := range []int{0, bytes.Index(msg, []byte{0x42, 0, 0x0f, 1})} {
		copy(msg[at+4:], be32(uint32(int(item(msg[at:]).length())+by)))
	}
	return msg
}

func mustAbout(op kmip14.Operation, more func(*ttlv.Encoder)) request {
	q, _ := about(op, "id-0", more)
	return q
}

func names(all ...string) func(*ttlv.Encoder) {
	return func(e *ttlv.Encoder) {
		for _, n := range all {
			e.EncodeTextString(kmip14.TagAttributeName, n)
		}
	}
}

// TestStorageArrayProfile plays SASED-M-1 to 3 of 1.4. The cases of 1.0 and 1.3
// do the same by way of Template objects, which 1.4 deprecates and PyKMIP and
// this client do not have.
func TestStorageArrayProfile(t *testing.T) {
	const suffix, minor = "14", 4
	m1 := oasis(t, "SASED-M-1-"+suffix)
	info, err := dialogue(t, &m1, minor, query(), readInfo)
	if err != nil || !slices.Contains(info.Operations, "Register") || !slices.Contains(info.Objects, "SecretData") {
		t.Errorf("M-1: %+v, %v", info, err)
	}
	m2 := oasis(t, "SASED-M-2-"+suffix)
	prefix := "SASED-M-2-" + suffix
	ids, err := dialogue(t, &m2, minor, locate(Search{Name: prefix + "-name", Type: SecretData, Max: -1}), readIDs)
	if err != nil || len(ids) != 0 {
		t.Errorf("M-2 Locate: %q, %v", ids, err)
	}
	o := Object{Name: prefix + "-name", Group: prefix + "-group"}
	for _, n := range []string{"1", "2", "3", "4"} {
		o.Custom = append(o.Custom, Custom{"x-CustomAttribute" + n, "CustomValue" + n})
	}
	secret := bytes.Repeat([]byte{0x2a}, 32)
	if id, err := dialogue(t, &m2, minor, register(o, secret), readID); err != nil || id != "id-0" {
		t.Errorf("M-2 Register: %q, %v", id, err)
	}
	m3 := oasis(t, "SASED-M-3-"+suffix)
	ids, err = dialogue(t, &m3, minor, locate(Search{Group: prefix + "-group", Type: SecretData, Max: -1}), readIDs)
	if err != nil || !slices.Equal(ids, []string{"id-0"}) {
		t.Errorf("M-3 Locate: %q, %v", ids, err)
	}
	for _, c := range []Custom{o.Custom[3], o.Custom[2]} {
		a, err := dialogue(t, &m3, minor, mustAbout(kmip14.OperationGetAttributes, names(c.Name)), readAttributes)
		if err != nil || !slices.Equal(a.Custom, []Custom{c}) {
			t.Errorf("M-3 GetAttributes: %+v, %v", a, err)
		}
	}
	key, err := dialogue(t, &m3, minor, mustAbout(kmip14.OperationGet, nil), func(p item) (*Key, error) { return readKey(p, SecretData) })
	if err != nil || !bytes.Equal(key.Bytes, secret) {
		t.Errorf("M-3 Get: %v", err)
	}
	if _, err := dialogue(t, &m3, minor, mustAbout(kmip14.OperationDestroy, nil), nothing); err != nil || len(m3) != 0 {
		t.Errorf("M-3 Destroy: %v, %d messages are left", err, len(m3))
	}
}

func TestSymmetricKeyLifecycleProfile(t *testing.T) {
	for _, v := range []struct {
		suffix string
		minor  int32
	}{{"13", 3}, {"14", 4}} {
		for _, n := range []string{"1", "2", "3"} {
			name := "SKLC-M-" + n + "-" + v.suffix
			t.Run(name, func(t *testing.T) { keyLifecycle(t, name, v.minor) })
		}
	}
}

// keyLifecycle plays a case as its requests demand.
func keyLifecycle(t *testing.T, name string, minor int32) {
	msgs := oasis(t, name)
	for len(msgs) > 0 {
		batch, err := msgs[0].member(kmip14.TagBatchItem, ttlv.TypeStructure)
		if err != nil {
			t.Fatal(err)
		}
		op, err := batch.enum(kmip14.TagOperation)
		if err != nil {
			t.Fatal(err)
		}
		status, _ := msgs[1][bytes.Index(msgs[1], []byte{0x42, 0, 0x0f, 1}):].enum(kmip14.TagResultStatus)
		err = lifecycleStep(t, name, minor, &msgs, kmip14.Operation(op), batch)
		var refused *resultError
		if wantRefusal := status != 0; errors.As(err, &refused) != wantRefusal || (err != nil && !wantRefusal) {
			t.Errorf("%v: %v, want refusal %v", kmip14.Operation(op), err, wantRefusal)
		}
	}
}

func lifecycleStep(t *testing.T, name string, minor int32, msgs *[]item, op kmip14.Operation, batch item) error {
	switch op {
	case kmip14.OperationCreate:
		id, err := dialogue(t, msgs, minor, create(Object{Name: name}), readID)
		if id != "id-0" {
			t.Errorf("Create gives %q", id)
		}
		return err
	case kmip14.OperationGetAttributes:
		payload, _ := batch.member(kmip14.TagRequestPayload, ttlv.TypeStructure)
		var asked []string
		payload.each(kmip14.TagAttributeName, func(m item) { asked = append(asked, string(m.value())) })
		a, err := dialogue(t, msgs, minor, mustAbout(op, names(asked...)), readAttributes)
		if a.State == 0 {
			t.Errorf("no state in %+v", a)
		}
		return err
	case kmip14.OperationRevoke:
		_, err := dialogue(t, msgs, minor, mustAbout(op, revocation(Compromise, time.Unix(6, 0))), nothing)
		return err
	case kmip14.OperationModifyAttribute: // we have no use for it; the refusal must be understood
		_, err := dialogue(t, msgs, minor, mustAbout(op, func(e *ttlv.Encoder) {
			payload, _ := batch.member(kmip14.TagRequestPayload, ttlv.TypeStructure)
			attribute(e, "Activation Date", func(e *ttlv.Encoder) {
				e.EncodeDateTime(kmip14.TagAttributeValue, modifiedDate(payload))
			})
		}), nothing)
		return err
	}
	_, err := dialogue(t, msgs, minor, mustAbout(op, nil), nothing)
	return err
}

// modifiedDate finds the date in a published ModifyAttribute.
func modifiedDate(payload item) time.Time {
	a, _ := payload.member(kmip14.TagAttribute, ttlv.TypeStructure)
	v, _ := a.member(kmip14.TagAttributeValue, ttlv.TypeDateTime)
	return time.Unix(int64(binary.BigEndian.Uint64(v.value())), 0)
}
