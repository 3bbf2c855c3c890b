package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// TestMain makes this binary lockplate when it is run under that name, which
// is how the scripts run it.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lockplate": main})
}

// TestScripts runs testdata/script: the commands as a user types them.
//
// Beside testscript's own commands they have
//
//	exits CODE lockplate ARG…   run and want this exit code
//	start NAME ARG…             run lockplate ARG… in the background, wait until it is ready
//	finish NAME                 end it with SIGTERM and want exit code 0
//	hangup NAME                 send SIGHUP
//	get CODE URL                GET over HTTP; the body is the standard output
//	keyserver start DIR         start PyKMIP with its keys in DIR; DIR is then also a variable with its port
//	keyserver stop DIR          end it
//	keyserver sign DIR CSR OUT  have its authority sign a request
//
// and the condition [lacks:PROGRAM]. start sets a variable for each kind of listener it is told of: nbd, api,
// metrics hold HOST:PORT of the last TCP one.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(e *testscript.Env) error {
			e.Vars = append(e.Vars, "LOCKPLATE_STATE="+filepath.Join(e.WorkDir, "s"))
			e.Values[daemonsKey{}] = map[string]*background{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"keyserver": cmdKeyserver,
			"exits":     cmdExits, "start": cmdStart, "finish": cmdFinish, "hangup": cmdHangup, "get": cmdGet,
		},
		Condition: lacks,
	})
}

type daemonsKey struct{}

// background is a process that a script started.
type background struct {
	cmd  *exec.Cmd
	done chan error
}

func daemons(ts *testscript.TestScript) map[string]*background {
	return ts.Value(daemonsKey{}).(map[string]*background)
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE program arg…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var e *exec.ExitError
		if !errors.As(err, &e) {
			ts.Fatalf("%v", err)
		}
		got = e.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d\n%s", got, want, ts.ReadFile("stderr"))
	}
}

// cmdStart starts a command that prints "ready" and stays.
func cmdStart(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME lockplate-arg…")
	}
	log, err := os.Create(ts.MkAbs(args[0] + ".log"))
	ts.Check(err)
	path, err := exec.LookPath("lockplate")
	ts.Check(err)
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir, cmd.Stderr = ts.MkAbs("."), log
	cmd.Env = append(os.Environ(), "LOCKPLATE_STATE="+ts.Getenv("LOCKPLATE_STATE"), "TMPDIR="+ts.Getenv("TMPDIR"))
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	lines := bufio.NewScanner(out)
	ready := waitReady(ts, lines)
	b := &background{cmd, make(chan error, 1)}
	go func() {
		for lines.Scan() { // what comes after it is ready
		}
		b.done <- cmd.Wait()
		log.Close()
	}()
	ts.Defer(func() { b.end(unix.SIGKILL) })
	if !ready {
		err := <-b.done
		b.done <- err
		ts.Fatalf("%v is not ready: %v\n%s", args[1:], err, ts.ReadFile(args[0]+".log"))
	}
	daemons(ts)[args[0]] = b
}

// waitReady reads until the line "ready" and takes note of the listeners.
func waitReady(ts *testscript.TestScript, lines *bufio.Scanner) bool {
	for lines.Scan() {
		text := lines.Text()
		ts.Logf("%s", text)
		if text == "ready" {
			return true
		}
		if f := strings.Fields(text); len(f) >= 3 && f[0] == "listen" && strings.HasPrefix(f[2], "tcp:") {
			ts.Setenv(f[1], strings.TrimPrefix(f[2], "tcp:"))
		}
	}
	return false
}

// end sends a signal and waits. Ending twice is no error.
func (b *background) end(s os.Signal) error {
	if err := b.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	err := <-b.done
	b.done <- err
	return err
}

func cmdFinish(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(daemons(ts)[args[0]].end(unix.SIGTERM))
}

func cmdHangup(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(daemons(ts)[args[0]].cmd.Process.Signal(unix.SIGHUP))
}

func cmdGet(ts *testscript.TestScript, _ bool, args []string) {
	c := http.Client{Timeout: 10 * time.Second}
	r, err := c.Get(args[1])
	ts.Check(err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	ts.Check(err)
	if strconv.Itoa(r.StatusCode) != args[0] {
		ts.Fatalf("GET %s: %s, want %s\n%s", args[1], r.Status, args[0], body)
	}
	_, err = ts.Stdout().Write(body)
	ts.Check(err)
}

// lacks is the condition [lacks:PROGRAM].
func lacks(cond string) (bool, error) {
	name, ok := strings.CutPrefix(cond, "lacks:")
	if !ok {
		return false, fmt.Errorf("no such condition: %s", cond)
	}
	_, err := exec.LookPath(name)
	if name == "pykmip" {
		err = exec.Command("/usr/bin/python3", "-c", "import kmip").Run()
	}
	if err != nil && os.Getenv("LOCKPLATE_REQUIRE_ALL") == "1" {
		return false, fmt.Errorf("needs %s, and LOCKPLATE_REQUIRE_ALL=1 lets nothing be skipped", name)
	}
	return err != nil, nil
}
