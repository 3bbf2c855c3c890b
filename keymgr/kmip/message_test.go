package kmip

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/gemalto/kmip-go/kmip14"
	"github.com/gemalto/kmip-go/ttlv"
)

// encode makes the bytes of one structure.
func encode(tag ttlv.Tag, members func(e *ttlv.Encoder)) []byte {
	var buf bytes.Buffer
	e := ttlv.NewEncoder(&buf)
	structure(e, tag, members)
	_ = e.Flush()
	return buf.Bytes()
}

func nestedAnswer(depth int) []byte {
	var nest func(e *ttlv.Encoder, depth int)
	nest = func(e *ttlv.Encoder, depth int) {
		if depth > 0 {
			structure(e, kmip14.TagAttribute, func(e *ttlv.Encoder) { nest(e, depth-1) })
		}
	}
	return encode(kmip14.TagResponseMessage, func(e *ttlv.Encoder) { nest(e, depth-1) })
}

func manyItems(n int) []byte {
	return encode(kmip14.TagResponseMessage, func(e *ttlv.Encoder) {
		for range n - 1 {
			structure(e, kmip14.TagAttribute, nil)
		}
	})
}

func TestCheckBoundsDepthAndCount(t *testing.T) {
	for _, tt := range []struct {
		name string
		b    []byte
		ok   bool
	}{
		{"as deep as may be", nestedAnswer(maxDepth), true},
		{"one deeper", nestedAnswer(maxDepth + 1), false},
		{"40 deep", nestedAnswer(40), false}, // never ends in gemalto's Valid
		{"as many as may be", manyItems(maxNodes), true},
		{"one more", manyItems(maxNodes + 1), false},
		{"two roots", append(nestedAnswer(1), nestedAnswer(1)...), false},
		{"no bytes", nil, false},
		{"seven bytes", nestedAnswer(1)[:7], false},
		{"half a root", nestedAnswer(3)[:16], false},
		{"no structure", encode(kmip14.TagResponseMessage, func(e *ttlv.Encoder) { e.EncodeBoolean(kmip14.TagAttribute, true) })[8:], false},
	} {
		began := time.Now()
		err := check(tt.b)
		if (err == nil) != tt.ok || (err != nil && !errors.Is(err, errMalformed)) {
			t.Errorf("%s: %v, want ok %v", tt.name, err, tt.ok)
		}
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("%s took %v", tt.name, took)
		}
	}
}

// TestLengthsAreExact: of every type, each length from 0 to 24 is accepted or
// refused as the specification has it.
func TestLengthsAreExact(t *testing.T) {
	allowed := map[ttlv.Type]func(n int) bool{
		ttlv.TypeStructure:   func(n int) bool { return n == 0 },
		ttlv.TypeInteger:     func(n int) bool { return n == 4 },
		ttlv.TypeLongInteger: func(n int) bool { return n == 8 },
		ttlv.TypeBigInteger:  func(n int) bool { return n == 8 || n == 16 || n == 24 },
		ttlv.TypeEnumeration: func(n int) bool { return n == 4 },
		ttlv.TypeBoolean:     func(n int) bool { return n == 8 },
		ttlv.TypeTextString:  func(int) bool { return true },
		ttlv.TypeByteString:  func(int) bool { return true },
		ttlv.TypeDateTime:    func(n int) bool { return n == 8 },
		ttlv.TypeInterval:    func(n int) bool { return n == 4 },
	}
	for kind := range 256 {
		for n := range 25 {
			inner := append([]byte{0x42, 0, 8, byte(kind), 0, 0, 0, byte(n)}, make([]byte, (n+7)/8*8)...)
			b := append([]byte{0x42, 0, 0x7b, 1, 0, 0, 0, byte(len(inner))}, inner...)
			fits := allowed[ttlv.Type(kind)]
			if want := fits != nil && fits(n); (check(b) == nil) != want {
				t.Errorf("type %d of %d bytes: %v, want ok %v", kind, n, check(b), want)
			}
		}
	}
}

func TestReadFrameAllocatesOnlyWhatItAccepts(t *testing.T) {
	for _, n := range []uint32{0xfffffff8, 1 << 31, 1 << 20, maxFrame} {
		head := binary.BigEndian.AppendUint32([]byte{0x42, 0, 0x7b, 1}, n)
		buf := make([]byte, 4096)
		allocs := testing.AllocsPerRun(10, func() {
			_, grown, err := readFrame(bytes.NewReader(head), buf)
			if !errors.Is(err, errMalformed) || len(grown) != len(buf) {
				t.Errorf("length %d: %v", n, err)
			}
		})
		if allocs > 10 {
			t.Errorf("length %d: %v allocations", n, allocs)
		}
	}
}

// TestReadFrameInPieces: an answer may come byte by byte, be longer than the
// buffer, or end anywhere.
func TestReadFrameInPieces(t *testing.T) {
	b := encode(kmip14.TagResponseMessage, func(e *ttlv.Encoder) { e.EncodeByteString(kmip14.TagKeyMaterial, make([]byte, 9000)) })
	frame, grown, err := readFrame(iotest.OneByteReader(bytes.NewReader(b)), make([]byte, 64))
	if err != nil || !bytes.Equal(frame, b) || len(grown) != len(b) {
		t.Fatalf("%d bytes in a buffer of %d: %v", len(frame), len(grown), err)
	}
	for cut := range len(b) {
		_, _, err := readFrame(bytes.NewReader(b[:cut]), make([]byte, 64))
		want := io.ErrUnexpectedEOF
		if cut == 0 {
			want = io.EOF
		}
		if !errors.Is(err, want) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
}

// TestOldBufferIsWipedWhenItGrows: the first part of a key may be in it.
func TestOldBufferIsWipedWhenItGrows(t *testing.T) {
	b := encode(kmip14.TagResponseMessage, func(e *ttlv.Encoder) {
		e.EncodeByteString(kmip14.TagKeyMaterial, bytes.Repeat([]byte{7}, 500))
	})
	small := make([]byte, 64)
	if _, _, err := readFrame(bytes.NewReader(b), small); err != nil || !bytes.Equal(small, make([]byte, 64)) {
		t.Errorf("%v, %x", err, small)
	}
}

// TestIdentifiersAreSentAsText: with gemalto's kmip20 linked, an id that looks
// like a number would be sent as an enumeration.
func TestIdentifiersAreSentAsText(t *testing.T) {
	for _, id := range []string{"7", "0x10", "0x00000001", "Active", "6b2d4e0c-2a61-4fd4-8a3a-6a2b1f0f9f11"} {
		q, err := about(kmip14.OperationGet, id, nil)
		if err != nil {
			t.Fatal(err)
		}
		msg, err := q.encode(Version{1, 4}, newItemID())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(msg, append([]byte{0x42, 0, 0x94, 7, 0, 0, 0, byte(len(id))}, id...)) {
			t.Errorf("%q is not sent as text: %x", id, msg)
		}
	}
}

// TestNoTimeStamp: servers refuse requests whose clock differs.
func TestNoTimeStamp(t *testing.T) {
	msg, err := query().encode(Version{1, 4}, newItemID())
	if err != nil || bytes.Contains(msg, []byte{0x42, 0, 0x92}) {
		t.Errorf("%x, %v", msg, err)
	}
}

func TestRegisteredSecretIsOnlyInTheMessage(t *testing.T) {
	secret := bytes.Repeat([]byte{0xa5}, 32)
	zero := request{op: kmip14.OperationRegister, material: secret, payload: func(e *ttlv.Encoder) {
		structure(e, kmip14.TagSecretData, func(e *ttlv.Encoder) {
			structure(e, kmip14.TagKeyBlock, func(e *ttlv.Encoder) {
				structure(e, kmip14.TagKeyValue, func(e *ttlv.Encoder) {
					e.EncodeByteString(kmip14.TagKeyMaterial, make([]byte, 32))
				})
			})
		})
	}}
	msg, err := zero.encode(Version{1, 4}, newItemID())
	if err != nil || bytes.Count(msg, secret) != 1 {
		t.Fatalf("%x, %v", msg, err)
	}
	zero.material = secret[:16]
	if _, err := zero.encode(Version{1, 4}, newItemID()); err == nil {
		t.Error("a secret of another length was taken")
	}
}

// TestIdleConnectionIsClosed after a while, without anybody asking.
func TestIdleConnectionIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		p := &endpoint{slots: make(chan struct{}, 1)}
		p.slots <- struct{}{}
		s := &session{conn: &conn{Conn: tls.Client(ours, &tls.Config{ServerName: "kms"}), raw: &wiping{Conn: ours}, from: p}}
		s.end(true)
		idle := func() int {
			p.mu.Lock()
			defer p.mu.Unlock()
			return len(p.idle)
		}
		if idle() != 1 || len(p.slots) != 0 {
			t.Fatalf("%d idle, %d in use", idle(), len(p.slots))
		}
		if n, err := theirs.Read(make([]byte, 1)); !errors.Is(err, io.EOF) { // waits for the close
			t.Errorf("read %d, %v", n, err)
		}
		if idle() != 0 {
			t.Error("still in the pool")
		}
	})
}

// TestForbiddenPackages: kmip20 changes how identifiers are sent, by being
// linked; gemalto's root package brings a logger and a server.
func TestForbiddenPackages(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Skipf("needs the go command: %v", err)
	}
	for p := range strings.FieldsSeq(string(out)) {
		switch p {
		case "github.com/gemalto/kmip-go", "github.com/gemalto/kmip-go/kmip20", "github.com/ovh/kmip-go", "os/exec":
			t.Errorf("%s is linked", p)
		}
	}
}

func TestBackoff(t *testing.T) {
	p, now := &endpoint{}, time.Now()
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		p.bad(now)
		if ok, until := p.healthy(now); ok || until.Sub(now) != want*time.Second {
			t.Errorf("backoff %v, want %d s", until.Sub(now), want)
		}
	}
	if ok, _ := p.healthy(now.Add(time.Minute)); !ok {
		t.Error("still bad after its time")
	}
	p.good()
	if ok, _ := p.healthy(now); !ok {
		t.Error("bad after a success")
	}
}

// TestEveryClassHasAHint, and none is forgotten in the table of hints.
func TestEveryClassHasAHint(t *testing.T) {
	all := []Class{
		ClassDNS, ClassRefused, ClassTimeout, ClassReset, ClassTLSVersion, ClassTLSServerUntrusted, ClassTLSServerName,
		ClassTLSServerExpired, ClassTLSClientRejected, ClassClientCertExpired, ClassClientCertKeyMismatch, ClassNoCommonVersion,
		ClassProtocol, ClassPermissionDenied, ClassAuthentication, ClassKeyNotFound, ClassKeyNotActive, ClassKeyMismatch,
		ClassUnsupported, ClassServerBusy, ClassServerError,
	}
	seen := map[string]bool{}
	for _, c := range all {
		if h := hint(c); h == "" || seen[h] {
			t.Errorf("class %s: hint %q", c, h)
		}
		seen[hint(c)] = true
	}
}
