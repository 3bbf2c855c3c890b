package main

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// pykmip is the script that runs the key server of others.
func pykmip(ts *testscript.TestScript) string {
	path, err := filepath.Abs(filepath.Join("..", "..", "keymgr", "kmiptest", "testdata", "pykmip-server.sh"))
	ts.Check(err)
	return path
}

// cmdKeyserver starts and ends PyKMIP, and signs with its authority.
func cmdKeyserver(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: keyserver start|stop|sign DIR …")
	}
	dir := ts.MkAbs(args[1])
	switch args[0] {
	case "start":
		startKeyserver(ts, args[1], dir)
	case "stop":
		_ = daemons(ts)[args[1]].end(unix.SIGTERM) // its exit code does not matter
	case "sign":
		out, err := exec.Command(pykmip(ts), dir, "0", ts.MkAbs(args[2]), ts.MkAbs(args[3])).CombinedOutput()
		if err != nil {
			ts.Fatalf("sign: %v\n%s", err, out)
		}
	default:
		ts.Fatalf("keyserver %s: unknown", args[0])
	}
}

// startKeyserver starts the server, again at the port that it had before.
func startKeyserver(ts *testscript.TestScript, name, dir string) {
	if ts.Getenv(name) == "" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		ts.Setenv(name, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
		l.Close()
	}
	ts.Check(os.MkdirAll(dir, 0o700))
	ready := filepath.Join(dir, "ready")
	if err := os.Remove(ready); err != nil && !errors.Is(err, os.ErrNotExist) {
		ts.Check(err)
	}
	log, err := os.Create(filepath.Join(dir, "out.log"))
	ts.Check(err)
	cmd := exec.Command(pykmip(ts), dir, ts.Getenv(name))
	cmd.Stdout, cmd.Stderr = log, log
	ts.Check(cmd.Start())
	b := &background{cmd, make(chan error, 1)}
	go func() {
		err := cmd.Wait()
		log.Close()
		b.done <- err
	}()
	ts.Defer(func() { _ = b.end(unix.SIGKILL) }) // killed is what it is to be
	daemons(ts)[name] = b
	tick, limit := time.NewTicker(20*time.Millisecond), time.After(30*time.Second)
	defer tick.Stop()
	for _, err := os.Stat(ready); err != nil; _, err = os.Stat(ready) {
		select {
		case <-tick.C:
		case err := <-b.done:
			b.done <- err
			ts.Fatalf("the key server ended: %v\n%s", err, ts.ReadFile(filepath.Join(dir, "out.log")))
		case <-limit:
			ts.Fatalf("the key server does not listen")
		}
	}
}
