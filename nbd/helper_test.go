package nbd

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lockplate/blockdev"
)

// memExports offers devices by name. Closing a connection's handle leaves the
// device open.
type memExports struct {
	mu   sync.Mutex
	devs map[string]blockdev.Device
}

type handle struct{ blockdev.Device }

func (handle) Close() error { return nil }

func (e *memExports) Open(_ context.Context, name string) (blockdev.Device, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if d, ok := e.devs[name]; ok {
		return handle{d}, nil
	}
	return nil, fmt.Errorf("export %q: %w", name, blockdev.ErrNotExist)
}

func (e *memExports) Names(context.Context) ([]string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var names []string
	for n := range e.devs {
		names = append(names, n)
	}
	slices.Sort(names)
	return names, nil
}

// one offers a single device under the name "disk".
func one(d blockdev.Device) *memExports {
	return &memExports{devs: map[string]blockdev.Device{"disk": d}}
}

// testServer is a running server.
type testServer struct {
	*Server
	ln net.Listener
}

// startServer runs a server on a unix socket until the test ends.
func startServer(t testing.TB, c Config) *testServer {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(shortDir(t), "s"))
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, c, ln)
}

// startTCP runs a server on loopback TCP until the test ends.
func startTCP(t testing.TB, c Config) *testServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, c, ln)
}

func serveOn(t testing.TB, c Config, ln net.Listener) *testServer {
	t.Helper()
	srv, err := NewServer(c)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(context.Background(), ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return &testServer{srv, ln}
}

// dial opens a plain connection to the server.
func (s *testServer) dial(t testing.TB) net.Conn {
	t.Helper()
	nc, err := net.Dial(s.ln.Addr().Network(), s.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return nc
}

// uri is the address of an export for other people's tools.
func (s *testServer) uri(export string) string {
	if s.ln.Addr().Network() == "unix" {
		return "nbd+unix:///" + export + "?socket=" + s.ln.Addr().String()
	}
	return "nbd://" + s.ln.Addr().String() + "/" + export
}

// await returns when a condition of the server holds.
func (s *testServer) await(t testing.TB, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("the condition never came true")
		}
	}
}

// shortDir is a temporary directory whose name leaves room for a socket.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nbd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// needTool skips the test where a tool is missing.
func needTool(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		if os.Getenv("LOCKPLATE_REQUIRE_ALL") == "1" {
			t.Fatalf("needs %s, and LOCKPLATE_REQUIRE_ALL is set", name)
		}
		t.Skipf("needs %s", name)
	}
}

// run runs a tool and returns what it says; it must succeed.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	needTool(t, name)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// pipe is a connected pair of unix sockets.
func pipe(t testing.TB) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(shortDir(t), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if b, err = net.Dial("unix", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if a, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}
