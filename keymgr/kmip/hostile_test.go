package kmip_test

import (
	"encoding/binary"
	"runtime"
	"testing"
	"time"

	"lockplate/keymgr/kmip"
	"lockplate/keymgr/kmiptest"
)

func head(tag uint32, kind byte, n uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, tag<<8|uint32(kind)), n)
}

// nested gives a well-formed answer, whose structures nest that deep.
func nested(depth int) []byte {
	n := kmiptest.Struct(0x420020)
	for range depth - 2 {
		n = kmiptest.Struct(0x420020, n)
	}
	return kmiptest.Struct(kmiptest.TagResponseMessage, n).Encode()
}

func setLength(b []byte, at int, n uint32) []byte {
	binary.BigEndian.PutUint32(b[at:], n)
	return b
}

// hostilities are answers to Get that no honest server gives.
func hostilities() map[string]kmiptest.Fault {
	raw := func(f func(b []byte) []byte) kmiptest.Fault {
		return kmiptest.Fault{Op: kmiptest.OpGet, Raw: f}
	}
	item := func(f func(i *kmiptest.Node)) kmiptest.Fault { return kmiptest.EditItem(kmiptest.OpGet, f) }
	payload := func(f func(p *kmiptest.Node)) kmiptest.Fault { return kmiptest.EditPayload(kmiptest.OpGet, f) }
	return map[string]kmiptest.Fault{
		"4 GiB from 8 bytes": kmiptest.Replace(kmiptest.OpGet, head(kmiptest.TagResponseMessage, kmiptest.Structure, 0xfffffff8)),
		"1 MiB frame":        kmiptest.Replace(kmiptest.OpGet, append(head(kmiptest.TagResponseMessage, kmiptest.Structure, 1<<20), make([]byte, 1<<20)...)),
		"over the cap":       kmiptest.Replace(kmiptest.OpGet, head(kmiptest.TagResponseMessage, kmiptest.Structure, 64<<10)),
		"request, no answer": kmiptest.Replace(kmiptest.OpGet, kmiptest.Struct(kmiptest.TagRequestMessage).Encode()),
		"empty":              kmiptest.Replace(kmiptest.OpGet, kmiptest.Struct(kmiptest.TagResponseMessage).Encode()),
		"not KMIP":           kmiptest.Replace(kmiptest.OpGet, []byte("HTTP/1.1 400 Bad Request\r\n\r\n")),
		"nested 26 deep":     kmiptest.Replace(kmiptest.OpGet, nested(26)),
		"nested 40 deep":     kmiptest.Replace(kmiptest.OpGet, nested(40)),
		"nested 8,000 deep":  kmiptest.Replace(kmiptest.OpGet, nested(8000)),
		"odd length":         raw(func(b []byte) []byte { return append(setLength(b, 4, uint32(len(b)-8+3)), 0, 0, 0) }),
		"inner length":       raw(func(b []byte) []byte { return setLength(b, 12, 1<<31) }),
		"cut in the head":    {Op: kmiptest.OpGet, Raw: func(b []byte) []byte { return b[:5] }, HangUp: true},
		"cut in the key":     {Op: kmiptest.OpGet, Raw: func(b []byte) []byte { return b[:len(b)-60] }, HangUp: true},
		"cut at the end":     {Op: kmiptest.OpGet, Raw: func(b []byte) []byte { return b[:len(b)-1] }, HangUp: true},
		"frame and more":     raw(func(b []byte) []byte { return append(b, b...) }),
		"frame and one byte": raw(func(b []byte) []byte { return append(b, 0) }),
		"unknown type":       raw(func(b []byte) []byte { b[11] = 0x55; return b }),
		"unknown tag":        raw(func(b []byte) []byte { b[8] = 0x17; return b }),
		"Integer of 8 bytes": item(func(i *kmiptest.Node) { i.Find(kmiptest.TagResultStatus).Value = make([]byte, 8) }),
		"text as status": item(func(i *kmiptest.Node) {
			*i.Find(kmiptest.TagResultStatus) = *kmiptest.Text(kmiptest.TagResultStatus, "ok!!")
		}),
		"no status": item(func(i *kmiptest.Node) { i.Kids = i.Kids[:2] }),
		"pending": item(func(i *kmiptest.Node) {
			*i.Find(kmiptest.TagResultStatus) = *kmiptest.Enum(kmiptest.TagResultStatus, 2)
		}),
		"unknown status": item(func(i *kmiptest.Node) {
			*i.Find(kmiptest.TagResultStatus) = *kmiptest.Enum(kmiptest.TagResultStatus, 77)
		}),
		"other batch item id": item(func(i *kmiptest.Node) { i.Find(kmiptest.TagBatchItemID).Value[5] ^= 0x10 }),
		"no batch item id":    item(func(i *kmiptest.Node) { i.Kids = append(i.Kids[:1], i.Kids[2:]...) }),
		"other operation":     item(func(i *kmiptest.Node) { i.Find(kmiptest.TagOperation).Value[3] = 1 }),
		"no payload":          item(func(i *kmiptest.Node) { i.Kids = i.Kids[:3] }),
		"payload is text":     item(func(i *kmiptest.Node) { i.Kids[3] = kmiptest.Text(kmiptest.TagResponsePayload, "key") }),
		"two payloads":        item(func(i *kmiptest.Node) { i.Kids = append(i.Kids, i.Kids[3]) }),
		"other key id":        payload(func(p *kmiptest.Node) { p.Find(kmiptest.TagUniqueIdentifier).Value = []byte("2") }),
		"no key id":           payload(func(p *kmiptest.Node) { p.Kids = p.Kids[1:] }),
		"id is bytes":         payload(func(p *kmiptest.Node) { p.Kids[0] = kmiptest.Bytes(kmiptest.TagUniqueIdentifier, []byte("1")) }),
		"no key":              payload(func(p *kmiptest.Node) { p.Kids = p.Kids[:2] }),
		"key block is bytes": payload(func(p *kmiptest.Node) {
			p.Kids[2] = kmiptest.Struct(kmiptest.TagSymmetricKey, kmiptest.Bytes(kmiptest.TagKeyBlock, make([]byte, 40)))
		}),
		"key value is bytes": payload(func(p *kmiptest.Node) {
			*p.Find(kmiptest.TagSymmetricKey, kmiptest.TagKeyBlock, kmiptest.TagKeyValue) = *kmiptest.Bytes(kmiptest.TagKeyValue, make([]byte, 40))
		}),
		"other major version": {Op: kmiptest.OpGet, Edit: func(n *kmiptest.Node) {
			n.Find(kmiptest.TagResponseHeader, kmiptest.TagVersion, kmiptest.TagVersionMajor).Value[3] = 2
		}},
		"two results": {Op: kmiptest.OpGet, Edit: func(n *kmiptest.Node) { n.Kids = append(n.Kids, n.Kids[1]) }},
		"batch count 2": {Op: kmiptest.OpGet, Edit: func(n *kmiptest.Node) {
			n.Find(kmiptest.TagResponseHeader, kmiptest.TagBatchCount).Value[3] = 2
		}},
		"no header": {Op: kmiptest.OpGet, Edit: func(n *kmiptest.Node) { n.Kids = n.Kids[1:] }},
	}
}

// TestHostileAnswers: none is believed, none costs time or memory, and the
// connection that it came over is never used again.
func TestHostileAnswers(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	config := r.config()
	config.RequestTimeout = 2 * time.Second * slack
	c := open(t, config)
	id := mustCreate(t, c, "k")
	var mostBytes uint64
	var mostTime time.Duration
	for name, f := range hostilities() {
		t.Run(name, func(t *testing.T) {
			mustLook(t, c, id)
			accepted := r.server.Accepted()
			r.server.Inject(f)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			_, err := c.Get(t.Context(), id, kmip.SymmetricKey)
			took := time.Since(began)
			runtime.ReadMemStats(&after)
			r.server.Heal()
			want := kmip.ClassProtocol
			if f.HangUp { // asked again, on a new connection, and cut again
				want = kmip.ClassReset
			}
			wantClass(t, err, want)
			if took > 1500*time.Millisecond*slack {
				t.Errorf("took %v", took)
			}
			// The server's own part is in it too.
			n := after.TotalAlloc - before.TotalAlloc
			if n > 1<<20 {
				t.Errorf("%d bytes allocated", n)
			}
			mostBytes, mostTime = max(mostBytes, n), max(mostTime, took)
			mustLook(t, c, id)
			if r.server.Accepted() == accepted {
				t.Error("the connection was used again")
			}
		})
	}
	t.Logf("%d hostile answers: at most %d KiB allocated and %v an exchange", len(hostilities()), mostBytes>>10, mostTime.Round(time.Millisecond))
}

// TestWrongKeys: well-formed answers with a key that must not be used.
func TestWrongKeys(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	c := open(t, r.config())
	id := mustCreate(t, c, "k")
	block := func(f func(b *kmiptest.Node)) kmiptest.Fault {
		return kmiptest.EditPayload(kmiptest.OpGet, func(p *kmiptest.Node) { f(p.Find(kmiptest.TagSymmetricKey, kmiptest.TagKeyBlock)) })
	}
	material := func(f func(m *kmiptest.Node)) kmiptest.Fault {
		return block(func(b *kmiptest.Node) { f(b.Find(kmiptest.TagKeyValue, kmiptest.TagKeyMaterial)) })
	}
	for name, f := range map[string]kmiptest.Fault{
		"16 bytes":     material(func(m *kmiptest.Node) { m.Value = m.Value[:16] }),
		"33 bytes":     material(func(m *kmiptest.Node) { m.Value = append(m.Value, 1) }),
		"empty":        material(func(m *kmiptest.Node) { m.Value = nil }),
		"all zero":     material(func(m *kmiptest.Node) { clear(m.Value) }),
		"says 128 bit": block(func(b *kmiptest.Node) { b.Find(kmiptest.TagLength).Value[2] = 0 }),
		"says 3DES":    block(func(b *kmiptest.Node) { b.Find(kmiptest.TagAlgorithm).Value[3] = 2 }),
		"PKCS#1":       block(func(b *kmiptest.Node) { b.Find(kmiptest.TagKeyFormatType).Value[3] = 3 }),
		"wrapped":      block(func(b *kmiptest.Node) { b.Kids = append(b.Kids, kmiptest.Struct(0x420046)) }),
		"other type":   kmiptest.EditPayload(kmiptest.OpGet, func(p *kmiptest.Node) { p.Find(kmiptest.TagObjectType).Value[3] = 7 }),
	} {
		r.server.Inject(f)
		_, err := c.Get(t.Context(), id, kmip.SymmetricKey)
		if kmip.ClassOf(err) != kmip.ClassKeyMismatch {
			t.Errorf("%s: %v", name, err)
		}
		r.server.Heal()
	}
}

// TestDripDoesNotStretchTheDeadline: a byte now and then keeps nobody waiting.
func TestDripDoesNotStretchTheDeadline(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	config := r.config()
	config.RequestTimeout = 500 * time.Millisecond * slack
	c := open(t, config)
	id := mustCreate(t, c, "k")
	r.server.Inject(kmiptest.Fault{Op: kmiptest.OpGet, Drip: 50 * time.Millisecond})
	began := time.Now()
	_, err := c.Get(t.Context(), id, kmip.SymmetricKey)
	wantClass(t, err, kmip.ClassTimeout)
	if took := time.Since(began); took > 1500*time.Millisecond*slack {
		t.Errorf("took %v", took)
	}
}

// TestLateAnswerIsNotTakenForTheNext: the answer to a request that timed out
// comes when the next one is under way.
func TestLateAnswerIsNotTakenForTheNext(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	config := r.config()
	config.RequestTimeout = 400 * time.Millisecond * slack
	c := open(t, config)
	first, second := mustCreate(t, c, "k1"), mustCreate(t, c, "k2")
	r.server.Inject(kmiptest.Fault{Op: kmiptest.OpGet, Delay: 600 * time.Millisecond * slack, Times: 1})
	_, err := c.Get(t.Context(), first, kmip.SymmetricKey)
	wantClass(t, err, kmip.ClassTimeout)
	for range 5 {
		if key := mustGet(t, c, second); string(key) != string(r.server.Keys.Material(second)) {
			t.Fatal("a wrong key")
		}
	}
}

// TestHostileLocateAndAttributes: lists with things in them that do not belong.
func TestHostileLists(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	c := open(t, r.config())
	id := mustCreate(t, c, "k")
	long := kmiptest.Text(kmiptest.TagUniqueIdentifier, string(make([]byte, 300)))
	attribute := func(name string, value *kmiptest.Node) *kmiptest.Node {
		return kmiptest.Struct(kmiptest.TagAttribute, kmiptest.Text(kmiptest.TagAttributeName, name), value)
	}
	for name, kids := range map[string][]*kmiptest.Node{
		"id too long":   {long},
		"id is no text": {kmiptest.Int(kmiptest.TagUniqueIdentifier, 7)},
		"id not UTF-8":  {kmiptest.Text(kmiptest.TagUniqueIdentifier, "\xff")},
	} {
		r.server.Inject(kmiptest.EditPayload(kmiptest.OpLocate, func(p *kmiptest.Node) { p.Kids = kids }))
		if _, err := c.Locate(t.Context(), kmip.Search{Name: "k"}); kmip.ClassOf(err) != kmip.ClassProtocol {
			t.Errorf("Locate, %s: %v", name, err)
		}
		r.server.Heal()
	}
	for name, a := range map[string]*kmiptest.Node{
		"state is text":   attribute("State", kmiptest.Text(kmiptest.TagAttributeValue, "Active")),
		"name is text":    attribute("Name", kmiptest.Text(kmiptest.TagAttributeValue, "k")),
		"group is a list": attribute("Object Group", kmiptest.Struct(kmiptest.TagAttributeValue)),
		"no name":         kmiptest.Struct(kmiptest.TagAttribute, kmiptest.Text(kmiptest.TagAttributeValue, "k")),
	} {
		r.server.Inject(kmiptest.EditPayload(kmiptest.OpGetAttributes, func(p *kmiptest.Node) { p.Kids = append(p.Kids[:1], a) }))
		if _, err := c.GetAttributes(t.Context(), id); kmip.ClassOf(err) != kmip.ClassProtocol {
			t.Errorf("GetAttributes, %s: %v", name, err)
		}
		r.server.Heal()
	}
}
