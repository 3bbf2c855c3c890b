package nbd

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"lockplate/blockdev"
	"lockplate/blockdev/blockdevtest"
)

// attach makes a client of the server's export "disk".
func (s *testServer) attach(t testing.TB, o DialOptions) *Client {
	t.Helper()
	c, err := Dial(context.Background(), s.uri("disk"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// modes are the ways of answering, by the client that gets them.
var modes = map[string]DialOptions{
	"simple":     {Simple: true, AnyAlign: true},
	"structured": {Compact: true, AnyAlign: true},
	"extended":   {AnyAlign: true},
	"aligned":    {},
}

func TestClientIsADevice(t *testing.T) {
	for name, o := range modes {
		t.Run(name, func(t *testing.T) {
			blockdevtest.TestDevice(t, func(t *testing.T) blockdev.Device {
				s := startServer(t, Config{Exports: one(blockdev.NewMem(4 << 20))})
				c, err := Dial(t.Context(), s.uri("disk"), o)
				if err != nil {
					t.Fatal(err)
				}
				return c
			})
		})
	}
}

func TestClientTellsModeAndAbilities(t *testing.T) {
	s := startServer(t, Config{Exports: one(blockdev.NewMem(8 << 20))})
	want := map[string]replyMode{"simple": modeSimple, "structured": modeStructured, "extended": modeExtended, "aligned": modeExtended}
	for name, o := range modes {
		c := s.attach(t, o)
		if c.g.mode != want[name] {
			t.Errorf("%s: mode %v", name, c.g.mode)
		}
		i := c.Info()
		if i.Size != 8<<20 || !i.CanTrim || !i.CanZero || i.CanExtents != (want[name] != modeSimple) {
			t.Errorf("%s: info %+v", name, i)
		}
		if wantAlign := map[bool]int{true: 1, false: 512}[o.AnyAlign]; i.Align != wantAlign {
			t.Errorf("%s: align %d, want %d", name, i.Align, wantAlign)
		}
	}
}

// TestConcurrentClientsAgree has several connections write their own parts and
// read those of the others.
func TestConcurrentClientsAgree(t *testing.T) {
	const part = 1 << 20
	s := startServer(t, Config{Exports: one(blockdev.NewMem(4 * part))})
	var wg sync.WaitGroup
	for i := range int64(4) {
		c := s.attach(t, DialOptions{AnyAlign: true, Simple: i == 0, Compact: i == 1})
		for j := range int64(4) {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(i), uint64(j)))
				own := i*part + j*part/4
				want := bytes.Repeat([]byte{0}, part/4)
				for range 100 {
					n := 1 + rnd.Int64N(part/8)
					off := rnd.Int64N(part/4 - n)
					p := bytes.Repeat([]byte{byte(rnd.Uint32())}, int(n))
					copy(want[off:], p)
					if err := c.WriteAt(t.Context(), p, own+off, 0); err != nil {
						t.Error(err)
					}
				}
				got := make([]byte, part/4)
				if err := c.ReadAt(t.Context(), got, own); err != nil || !bytes.Equal(got, want) {
					t.Errorf("part %d of client %d differs, err %v", j, i, err)
				}
			})
		}
	}
	wg.Wait()
}

// TestLargeRequestsAreSplit writes and reads more than one payload can carry.
func TestLargeRequestsAreSplit(t *testing.T) {
	s := startServer(t, Config{Exports: one(blockdev.NewMem(80 << 20))})
	c := s.attach(t, DialOptions{})
	p := make([]byte, 70<<20)
	rand.NewChaCha8([32]byte{1}).Read(p)
	if err := c.WriteAt(t.Context(), p, 4<<20, 0); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(p))
	if err := c.ReadAt(t.Context(), got, 4<<20); err != nil || !bytes.Equal(p, got) {
		t.Fatalf("read back differs, err %v", err)
	}
}

// refusing fails every request with its error.
type refusing struct {
	blockdev.Device
	err error
}

func (d refusing) ReadAt(context.Context, []byte, int64) error                 { return d.err }
func (d refusing) WriteAt(context.Context, []byte, int64, blockdev.Flag) error { return d.err }
func (d refusing) Flush(context.Context) error                                 { return d.err }
func (d refusing) Zero(context.Context, int64, int64, blockdev.Flag) error     { return d.err }
func (d refusing) Trim(context.Context, int64, int64, blockdev.Flag) error     { return d.err }
func (d refusing) Extents(context.Context, int64, int64) ([]blockdev.Extent, error) {
	return nil, d.err
}

// TestErrorsKeepTheirMeaning checks the errno table from cause to client, and
// that the connection stays.
func TestErrorsKeepTheirMeaning(t *testing.T) {
	for _, row := range []struct {
		cause error
		want  Errno
	}{
		{blockdev.ErrReadOnly, EPERM},
		{blockdev.ErrNoSpace, ENOSPC},
		{blockdev.ErrNotFast, ENOTSUP},
		{blockdev.ErrClosed, ESHUTDOWN},
		{blockdev.ErrAlign, EINVAL},
		{blockdev.ErrRange, EINVAL},
		{syscall.EIO, EIO},
		{syscall.ENOMEM, ENOMEM},
		{syscall.EFBIG, ENOSPC},
		{syscall.EDQUOT, ENOSPC},
		{syscall.EROFS, EPERM},
		{syscall.EOVERFLOW, EOVERFLOW},
		{errors.New("unknown"), EIO},
		{ENOSPC, ENOSPC},
		{Errno(7), EIO},
	} {
		s := startServer(t, Config{Exports: one(refusing{blockdev.NewMem(1 << 20), row.cause})})
		for name, o := range modes {
			c := s.attach(t, o)
			p := make([]byte, 512)
			for op, err := range map[string]error{
				"read":  c.ReadAt(t.Context(), p, 0),
				"write": c.WriteAt(t.Context(), p, 0, 0),
				"flush": c.Flush(t.Context()),
				"zero":  c.Zero(t.Context(), 0, 512, 0),
				"trim":  c.Trim(t.Context(), 0, 512, 0),
			} {
				if !errors.Is(err, row.want) {
					t.Errorf("%v, %s, %s: got %v, want %v", row.cause, name, op, err, row.want)
				}
			}
		}
	}
}

// blocking waits in ReadAt until released.
type blocking struct {
	blockdev.Device
	entered, release chan struct{}
}

func (d blocking) ReadAt(ctx context.Context, p []byte, off int64) error {
	d.entered <- struct{}{}
	<-d.release
	return d.Device.ReadAt(ctx, p, off)
}

func TestContextEndsOneCallAlone(t *testing.T) {
	d := blocking{blockdev.NewMem(1 << 20), make(chan struct{}, 8), make(chan struct{})}
	s := startServer(t, Config{Exports: one(d)})
	c := s.attach(t, DialOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	p := make([]byte, 4096)
	got := make(chan error)
	go func() { got <- c.ReadAt(ctx, p, 0) }()
	<-d.entered
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled read: %v", err)
	}
	if err := c.WriteAt(t.Context(), p, 0, 0); err != nil {
		t.Errorf("write beside a cancelled read: %v", err)
	}
	close(d.release)
	if err := c.ReadAt(t.Context(), p, 0); err != nil {
		t.Errorf("read after a cancelled read: %v", err)
	}
}

func TestLostConnectionFailsEveryCall(t *testing.T) {
	d := blocking{blockdev.NewMem(1 << 20), make(chan struct{}, 8), make(chan struct{})}
	s := startServer(t, Config{Exports: one(d)})
	c := s.attach(t, DialOptions{})
	got := make(chan error)
	for range 3 {
		go func() { got <- c.ReadAt(t.Context(), make([]byte, 512), 0) }()
		<-d.entered
	}
	s.cut()
	close(d.release)
	for range 3 {
		if err := <-got; err == nil {
			t.Error("read succeeded without a server")
		}
	}
	if err := c.Flush(t.Context()); err == nil {
		t.Error("flush succeeded without a server")
	}
}

func TestListNames(t *testing.T) {
	e := &memExports{devs: map[string]blockdev.Device{"b": blockdev.NewMem(1), "a": blockdev.NewMem(2), "ü/1": blockdev.NewMem(3)}}
	s := startServer(t, Config{Exports: e})
	names, err := List(t.Context(), s.uri(""), DialOptions{})
	if err != nil || len(names) != 3 || names[0] != "a" || names[2] != "ü/1" {
		t.Errorf("names %q, err %v", names, err)
	}
	if _, err := Dial(t.Context(), s.uri("c"), DialOptions{}); !errors.Is(err, blockdev.ErrNotExist) {
		t.Errorf("unknown export: %v", err)
	}
	if _, err := Dial(t.Context(), s.uri(""), DialOptions{}); !errors.Is(err, blockdev.ErrNotExist) {
		t.Errorf("default export of three: %v", err)
	}
}

func TestDefaultExportIsTheOnlyOne(t *testing.T) {
	s := startServer(t, Config{Exports: one(blockdev.NewMem(12345))})
	c, err := Dial(t.Context(), s.uri(""), DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Info().Size != 12345 {
		t.Errorf("size %d", c.Info().Size)
	}
}

func TestParseURI(t *testing.T) {
	for uri, want := range map[string]target{
		"nbd://h/x":                    {"tcp", "h:10809", "x", "h", false},
		"nbds://h:99/":                 {"tcp", "h:99", "", "h", true},
		"nbd://[::1]:5/a/b":            {"tcp", "[::1]:5", "a/b", "::1", false},
		"nbd+unix:///x?socket=/s":      {"unix", "/s", "x", "localhost", false},
		"nbds+unix:///a%20b?socket=/s": {"unix", "/s", "a b", "localhost", true},
	} {
		if got, err := parseURI(uri); err != nil || got != want {
			t.Errorf("%s: %+v, %v", uri, got, err)
		}
	}
	for _, uri := range []string{"", "http://h/x", "nbd:///x", "nbd+unix:///x", "nbd://h:%zz/"} {
		if got, err := parseURI(uri); err == nil {
			t.Errorf("%q: %+v", uri, got)
		}
	}
	if _, err := Dial(t.Context(), "nbds://h/x", DialOptions{}); err == nil {
		t.Error("nbds without a TLS configuration")
	}
	if _, err := Dial(t.Context(), "nbd://h/x", DialOptions{TLS: &tls.Config{}}); err == nil {
		t.Error("nbd with a TLS configuration")
	}
}

// TestDialGivesUp dials a listener that never answers.
func TestDialGivesUp(t *testing.T) {
	srv, client := pipe(t)
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := NewClient(ctx, client, "x", DialOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
