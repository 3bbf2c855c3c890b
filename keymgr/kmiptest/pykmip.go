package kmiptest

import (
	"bytes"
	"context"
	"crypto/tls"
	"embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

//go:embed testdata/pykmip-server.sh testdata/pykmip_launcher.py
var launcher embed.FS

// PyKMIP is a running PyKMIP server. Keys and certificates are in Dir and
// outlive it.
type PyKMIP struct {
	Dir     string
	Address string // 127.0.0.1:port

	t    testing.TB
	env  []string
	port int
	cmd  *exec.Cmd
	out  bytes.Buffer
	done chan struct{}
}

// StartPyKMIP starts the server for the time of the test, and skips the test
// where it is not installed. env are settings of pykmip-server.sh, such as
// "KMIP_SERVER_KEY=rsa".
func StartPyKMIP(t testing.TB, env ...string) *PyKMIP {
	t.Helper()
	needPyKMIP(t)
	p := &PyKMIP{Dir: t.TempDir(), t: t, env: env, port: FreePort(t)}
	p.Address = net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port))
	for _, name := range []string{"pykmip-server.sh", "pykmip_launcher.py"} {
		text, err := launcher.ReadFile("testdata/" + name)
		if err == nil {
			err = os.WriteFile(filepath.Join(p.Dir, name), text, 0o700)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	p.Start()
	t.Cleanup(p.Stop)
	return p
}

func needPyKMIP(t testing.TB) {
	t.Helper()
	err := exec.Command("/usr/bin/python3", "-c", "import kmip").Run()
	if err == nil {
		_, err = exec.LookPath("openssl")
	}
	switch {
	case err == nil:
	case os.Getenv("LOCKPLATE_REQUIRE_ALL") == "1":
		t.Fatalf("needs python3-pykmip and openssl: %v", err)
	default:
		t.Skipf("needs python3-pykmip and openssl: %v", err)
	}
}

// FreePort gives a port on which nobody listened a moment ago.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Start starts the server again after Stop or Kill, and waits until it listens.
func (p *PyKMIP) Start() {
	p.t.Helper()
	_ = os.Remove(filepath.Join(p.Dir, "ready"))
	p.out.Reset()
	p.cmd = exec.Command(filepath.Join(p.Dir, "pykmip-server.sh"), p.Dir, strconv.Itoa(p.port))
	p.cmd.Env = append(os.Environ(), p.env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.done = make(chan struct{})
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	ready := func() bool {
		_, err := os.Stat(filepath.Join(p.Dir, "ready"))
		return err == nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for tick := time.NewTicker(20 * time.Millisecond); !ready(); {
		select {
		case <-tick.C:
		case <-p.done:
			p.t.Fatalf("PyKMIP ended:\n%s", p.out.String())
		case <-ctx.Done():
			p.t.Fatal("PyKMIP does not listen")
		}
	}
}

// Stop ends the server.
func (p *PyKMIP) Stop() { p.end(os.Interrupt) }

// Kill ends the server as a crash would.
func (p *PyKMIP) Kill() { p.end(os.Kill) }

func (p *PyKMIP) end(s os.Signal) {
	_ = p.cmd.Process.Signal(s)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// Fault sets the lines of the fault file, as pykmip-server.sh lists them; none
// makes the server healthy.
func (p *PyKMIP) Fault(lines ...string) {
	p.t.Helper()
	tmp := filepath.Join(p.Dir, "fault.tmp")
	err := os.WriteFile(tmp, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
	if err == nil {
		err = os.Rename(tmp, filepath.Join(p.Dir, "fault"))
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// Requests gives the operations that were asked for, oldest first, with their
// outcome: "create ok".
func (p *PyKMIP) Requests() []string {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.Dir, "requests.log"))
	if err != nil && !os.IsNotExist(err) {
		p.t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) >= 4 {
			out = append(out, strings.Join(f[2:], " "))
		}
	}
	return out
}

// CA gives the PEM of the server's authority, which also signs clients.
func (p *PyKMIP) CA() []byte { return p.read("ca.crt") }

// Certificate gives the client certificate that the server knows.
func (p *PyKMIP) Certificate() (*tls.Certificate, error) {
	cert, err := tls.X509KeyPair(p.read("client.crt"), p.read("client.key"))
	return &cert, err
}

// Sign has the server's authority sign a certificate request, PEM both.
func (p *PyKMIP) Sign(request []byte) ([]byte, error) {
	in, out := filepath.Join(p.Dir, "request.csr"), filepath.Join(p.Dir, "request.crt")
	if err := os.WriteFile(in, request, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(p.Dir, "pykmip-server.sh"), p.Dir, "0", in, out)
	cmd.Env = append(os.Environ(), p.env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("sign: %w: %s", err, text)
	}
	return os.ReadFile(out)
}

func (p *PyKMIP) read(name string) []byte {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.Dir, name))
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}
