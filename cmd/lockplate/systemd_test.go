package main

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// notifySocket is the other end of sd_notify(3).
func notifySocket(t *testing.T) (path string, read func() string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return path, func() string {
		b := make([]byte, 4096)
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
}

// TestServiceOfSystemd starts the daemon as systemd does: it hands over a
// socket, wants READY=1 and STOPPING=1, and pets from the watchdog.
func TestServiceOfSystemd(t *testing.T) {
	path, err := exec.LookPath("lockplate")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "handed.sock")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	file, err := ln.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	notify, read := notifySocket(t)
	// The pid that LISTEN_PID must name is known only to the process itself.
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ WATCHDOG_PID=$$ exec "$0" "$@"`,
		path, "serve", "--state", filepath.Join(dir, "s"), "--api", "none", "--metrics", "none")
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=nbd", "NOTIFY_SOCKET="+notify, "WATCHDOG_USEC=20000")
	cmd.ExtraFiles = []*os.File{file}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	seen := ""
	for !strings.Contains(seen, "READY=1") || strings.Count(seen, "WATCHDOG=1") < 3 {
		seen += read() + "\n"
	}
	lines := bufio.NewScanner(out)
	listening := ""
	for lines.Scan() && lines.Text() != "ready" {
		listening += lines.Text() + "\n"
	}
	if !strings.Contains(listening, "listen nbd unix:"+socket) || strings.Contains(listening, "tcp:") {
		t.Errorf("listens on:\n%s", listening)
	}
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	hello := make([]byte, 8)
	if _, err := c.Read(hello); string(hello) != "NBDMAGIC" {
		t.Errorf("the socket says %q, %v", hello, err)
	}
	if err := cmd.Process.Signal(unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(seen, "RELOADING=1") || strings.Count(seen, "READY=1") < 2 {
		seen += read() + "\n"
	}
	if !strings.Contains(seen, "MONOTONIC_USEC=") {
		t.Error("RELOADING=1 came without its time")
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(seen, "STOPPING=1") {
		seen += read() + "\n"
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestWithoutSystemdNothingIsTold(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	s := supervisor{slog.New(slog.DiscardHandler)}
	s.ready("x")
	s.watch(context.Background(), func() { t.Error("the watchdog was petted") })
}
