package kmiptest

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

func dial(t *testing.T, address string, d time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	return (&net.Dialer{}).DialContext(ctx, "tcp", address)
}

func TestAddressesThatDoNotAnswer(t *testing.T) {
	if c, err := dial(t, BlackHole(t), 200*time.Millisecond); !isTimeout(err) {
		t.Errorf("black hole: %v, %v", c, err)
	}
	if c, err := dial(t, Dead(t), time.Second); err == nil || isTimeout(err) {
		t.Errorf("dead: %v, %v", c, err)
	}
	c, err := dial(t, Silent(t), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("silent: %d bytes, %v", n, err)
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func TestNodesAreEncodedAsTheStandardHasIt(t *testing.T) {
	// Examples of KMIP 1.4, section 9.1.2.
	for _, tt := range []struct {
		node *Node
		want []byte
	}{
		{Int(0x420020, 8), []byte{0x42, 0, 0x20, 2, 0, 0, 0, 4, 0, 0, 0, 8, 0, 0, 0, 0}},
		{Enum(0x420020, 255), []byte{0x42, 0, 0x20, 5, 0, 0, 0, 4, 0, 0, 0, 255, 0, 0, 0, 0}},
		{Text(0x420020, "Hello World"), append([]byte{0x42, 0, 0x20, 7, 0, 0, 0, 11}, "Hello World\x00\x00\x00\x00\x00"...)},
		{Bytes(0x420020, []byte{1, 2, 3}), []byte{0x42, 0, 0x20, 8, 0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0, 0}},
		{Struct(0x420020, Enum(0x420004, 254), Int(0x420005, 255)), []byte{
			0x42, 0, 0x20, 1, 0, 0, 0, 32,
			0x42, 0, 4, 5, 0, 0, 0, 4, 0, 0, 0, 254, 0, 0, 0, 0,
			0x42, 0, 5, 2, 0, 0, 0, 4, 0, 0, 0, 255, 0, 0, 0, 0,
		}},
	} {
		if got := tt.node.Encode(); !bytes.Equal(got, tt.want) {
			t.Errorf("%x, want %x", got, tt.want)
		}
		back, rest, err := Decode(tt.want)
		if err != nil || len(rest) != 0 || !bytes.Equal(back.Encode(), tt.want) {
			t.Errorf("decoded: %+v, %x, %v", back, rest, err)
		}
	}
	if _, _, err := Decode([]byte{0x42, 0, 0x20, 2, 0, 0, 1, 0}); err == nil {
		t.Error("decoded an item without its value")
	}
}
