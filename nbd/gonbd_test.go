package nbd

import (
	"bytes"
	"errors"
	"testing"

	"github.com/pojntfx/go-nbd/pkg/backend"
	"github.com/pojntfx/go-nbd/pkg/server"

	"lockplate/blockdev"
)

// TestClientToGoNBD attaches the server of go-nbd: no structured replies, no
// flush, trim or zeroes. The client makes up for what it can.
func TestClientToGoNBD(t *testing.T) {
	const size = 1 << 20
	ours, theirs := pipe(t)
	served := make(chan error)
	go func() {
		served <- server.Handle(theirs, []*server.Export{{
			Name: "disk", Description: "peer", Backend: backend.NewMemoryBackend(make([]byte, size)),
		}}, &server.Options{SupportsMultiConn: true})
	}()
	c, err := NewClient(t.Context(), ours, "disk", DialOptions{AnyAlign: true})
	if err != nil {
		t.Fatal(err)
	}
	if c.g.mode != modeSimple || c.Info().Size != size || c.Info().CanTrim || c.Info().CanZero || c.Info().Volatile {
		t.Errorf("mode %v, info %+v", c.g.mode, c.Info())
	}
	p := bytes.Repeat([]byte{7}, 4096)
	if err := c.WriteAt(t.Context(), p, 8192, blockdev.FUA); err != nil {
		t.Fatal(err)
	}
	if err := c.Zero(t.Context(), 8192, 1024, 0); err != nil {
		t.Errorf("zero by writing: %v", err)
	}
	if err := c.Zero(t.Context(), 8192, 1024, blockdev.FastZero); !errors.Is(err, blockdev.ErrNotFast) {
		t.Errorf("fast zero: %v", err)
	}
	if err := c.Trim(t.Context(), 0, size, 0); err != nil {
		t.Errorf("trim of a server without it: %v", err)
	}
	got := make([]byte, 4096)
	if err := c.ReadAt(t.Context(), got, 8192); err != nil || bytes.Count(got, []byte{0}) != 1024 || !bytes.Equal(got[1024:], p[1024:]) {
		t.Errorf("contents wrong, err %v", err)
	}
	if e, err := c.Extents(t.Context(), 0, size); err != nil || len(e) != 1 || e[0] != (blockdev.Extent{Len: size}) {
		t.Errorf("extents %v, %v", e, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	<-served
}
