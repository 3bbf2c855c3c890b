package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	envBinary     = "LOCKPLATE_BIN"
	envRequireAll = "LOCKPLATE_REQUIRE_ALL"
)

// waitLimit is how long a test waits for something that must happen soon; far
// more than it takes, because the machine may be busy.
const waitLimit = 30 * time.Second

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	if os.Getenv(envBinary) == "" {
		dir, err := os.MkdirTemp("", "lockplate-e2e-bin-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		bin := filepath.Join(dir, "lockplate")
		build := exec.Command("go", "build", "-o", bin, "../cmd/lockplate")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build lockplate: %v\n%s", err, out)
			return 1
		}
		os.Setenv(envBinary, bin)
	}
	return m.Run()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// need skips the test, or fails it where everything is required, unless all
// tools are installed.
func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			lack(t, "needs "+tool)
		}
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		lack(t, "needs root")
	}
}

func lack(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv(envRequireAll) == "1" {
		t.Fatal(reason + ", and " + envRequireAll + " is set")
	}
	t.Skip(reason)
}

// result is a finished program.
type result struct {
	code     int
	out, err string
}

func (r result) String() string {
	return fmt.Sprintf("exit %d\nout: %s\nerr: %s", r.code, r.out, r.err)
}

// try runs a program to its end, whatever its exit code.
func try(t *testing.T, name string, args ...string) result {
	t.Helper()
	return tryIn(t, "", name, args...)
}

// tryIn gives the program its standard input.
func tryIn(t *testing.T, stdin, name string, args ...string) result {
	t.Helper()
	var out, stderr bytes.Buffer
	cmd := exec.Command(name, args...) // also used in cleanups, where the test's context is over
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", name, err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), stderr.String()}
}

// run runs a program that must succeed and gives its output.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	r := try(t, name, args...)
	if r.code != 0 {
		t.Fatalf("%s %s: %v", filepath.Base(name), strings.Join(args, " "), r)
	}
	return r.out
}

// eventually waits for a condition; what says what was waited for.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(waitLimit)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within %v", what, waitLimit)
		}
	}
}

// shortDir is a temporary folder whose name leaves room for a socket's: the
// kernel takes 107 bytes, and t.TempDir spends them on the name of the test.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lp")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// process is a program that keeps running beside the test.
type process struct {
	cmd  *exec.Cmd
	out  *os.File // both of its outputs
	done chan struct{}
}

// spawn starts a program; the test's end ends it.
func spawn(t *testing.T, log string, name string, args ...string) *process {
	t.Helper()
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	p := &process{cmd, out, make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		out.Close()
		close(p.done)
	}()
	t.Cleanup(p.kill)
	return p
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill is kill -9, and waits for the end.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// stop asks it to end and gives its exit code.
func (p *process) stop(t *testing.T) int {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	return p.wait(t)
}

func (p *process) wait(t *testing.T) int {
	t.Helper()
	eventually(t, "end of "+p.cmd.Path, func() bool { return !p.running() })
	return p.cmd.ProcessState.ExitCode()
}

// httpGet fetches a page that must be there.
func httpGet(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	must(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s\n%s", url, resp.Status, b)
	}
	return string(b)
}
