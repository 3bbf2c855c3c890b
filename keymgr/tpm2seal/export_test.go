package tpm2seal

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
)

// UnsealUnchecked leaves out all checks but those of the TPM. The policy of the
// object is not looked at.
func UnsealUnchecked(ctx context.Context, device string, obj []byte) ([]byte, error) {
	o, err := parseObject(obj)
	if o == nil {
		return nil, err
	}
	s, err := begin(ctx, device)
	if err != nil {
		return nil, err
	}
	defer s.end()
	b, err := s.unseal(o, nil)
	if err != nil {
		err = s.explain("unseal", o, err)
	}
	return b, err
}

// Golden is the object that testdata has.
func Golden() []byte {
	text, err := os.ReadFile("testdata/object-1.hex")
	if err != nil {
		panic(err)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// CheckObject parses b; what passes marshals to what it was.
func CheckObject(t testing.TB, b []byte) {
	o, err := parseObject(b)
	if err != nil {
		return
	}
	if !bytes.Equal(o.marshal(), b) || len(o.values) != len(o.pcrs) {
		t.Fatalf("%x does not marshal to what it was parsed from", b)
	}
}

// TestGoldenObject reads the object of version 1 by the offsets in docs/FORMAT.
func TestGoldenObject(t *testing.T) {
	b := Golden()
	o, err := parseObject(b)
	if err != nil {
		t.Fatal(err)
	}
	if !o.pin || listPCRs(o.pcrs) != "4+7" || !bytes.Equal(o.root, b[8:42]) || !bytes.Equal(o.values[1], b[74:106]) {
		t.Errorf("golden object is read as %+v", o)
	}
	n := int(b[106])<<8 | int(b[107])
	if !bytes.Equal(o.public, b[108:108+n]) || !bytes.Equal(o.private, b[110+n:]) {
		t.Error("areas")
	}
}

// busy is a TPM that says several times that it has not begun.
type busy struct {
	codes []tpm2.TPMRC
	sent  int
	out   bytes.Buffer
}

func (b *busy) Write(p []byte) (int, error) {
	c := b.codes[min(b.sent, len(b.codes)-1)]
	b.sent++
	b.out.Write([]byte{0x80, 1, 0, 0, 0, 10, byte(c >> 24), byte(c >> 16), byte(c >> 8), byte(c)})
	return len(p), nil
}

// Read hands out a byte at a time, as a socket may.
func (b *busy) Read(p []byte) (int, error) { return b.out.Read(p[:1]) }
func (b *busy) Close() error               { return nil }

func TestBusyTPMIsAskedAgain(t *testing.T) {
	b := &busy{codes: []tpm2.TPMRC{tpm2.TPMRCRetry, tpm2.TPMRCYielded, tpm2.TPMRCTesting, tpm2.TPMRCAuthFail}}
	rsp, err := (&link{ctx: t.Context(), rw: b}).Send([]byte("command"))
	if err != nil || b.sent != 4 || len(rsp) != headBytes {
		t.Errorf("%d times sent: %x, %v", b.sent, rsp, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&link{ctx: ctx, rw: b}).Send([]byte("command")); err == nil || b.sent != 4 {
		t.Errorf("sent after the end: %v", err)
	}
}

// TestHostileResponses: a length that lies is an error, at once.
func TestHostileResponses(t *testing.T) {
	for _, rsp := range []string{"", "\x80\x01", "\x80\x01\x00\x00\x00\x09\x00\x00\x00\x00", "\x80\x01\xff\xff\xff\xff\x00\x00\x00\x00", "\x80\x01\x00\x00\x00\x0a\x00\x00\x00\x00more"} {
		near, far := net.Pipe()
		go func() {
			io.ReadFull(far, make([]byte, 7))
			far.Write([]byte(rsp))
			far.Close()
		}()
		if got, err := (&link{ctx: t.Context(), rw: near}).Send([]byte("command")); err == nil {
			t.Errorf("%q gives %x", rsp, got)
		}
		near.Close()
	}
}
