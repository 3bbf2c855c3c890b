package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// How long a server may take to answer on its socket, and to end.
const (
	startLimit = 20 * time.Second
	stopLimit  = 10 * time.Second
)

// launch says how to start a server and where it then listens.
type launch struct {
	args        []string
	network, at string // to see whether it is ready
	uri         string // of its export, for clients
	pidFile     string // of a server that goes to the background
}

// server is a running target.
type server struct {
	name string
	uri  string        // as fio and nbdcopy take it
	proc *os.Process   // the one whose processor time counts
	done chan struct{} // closed when it has ended
}

// startServer runs a server and waits until it greets.
func startServer(ctx context.Context, name string, l launch) (*server, error) {
	var stderr bytes.Buffer
	cmd := exec.Command(l.args[0], l.args[1:]...)
	start := startChild
	if l.pidFile != "" {
		start = startDaemon
	} else {
		cmd.Stderr = &stderr // a daemon would keep it open for ever
	}
	s, err := start(ctx, cmd, l)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s.name = name
	if err := s.ready(ctx, l); err != nil {
		s.stop()
		return nil, fmt.Errorf("%s: %w\n%s", name, err, stderr.Bytes())
	}
	return s, nil
}

// startChild starts a server that ends with us.
func startChild(_ context.Context, cmd *exec.Cmd, l launch) (*server, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return newServer(l, cmd.Process, func() { _ = cmd.Wait() }), nil // however it ended
}

// startDaemon starts a server that leaves us. We become the parent of those
// without one, so that it can be waited for like the others.
func startDaemon(ctx context.Context, cmd *exec.Cmd, l launch) (*server, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become its parent: %w", err)
	}
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	pid := 0
	err := poll(ctx, startLimit, func() bool {
		pid, _ = strconv.Atoi(strings.TrimSpace(readText(l.pidFile)))
		return pid > 1
	})
	if err != nil {
		killStray(l.pidFile)
		return nil, fmt.Errorf("no process id: %w", err)
	}
	proc, err := os.FindProcess(pid)
	if err != nil {
		return nil, err
	}
	return newServer(l, proc, func() { _, _ = proc.Wait() }), nil // however it ended
}

// killStray kills those of our children that were given the argument.
func killStray(arg string) {
	for _, pid := range childrenOf(os.Getpid()) {
		if !slices.Contains(strings.Split(readText("/proc/"+pid+"/cmdline"), "\x00"), arg) {
			continue
		}
		if n, err := strconv.Atoi(pid); err == nil {
			_ = unix.Kill(n, unix.SIGKILL) // it may have ended
		}
	}
}

// childrenOf lists the children of a process, also those that other threads of
// it started (proc(5)).
func childrenOf(pid int) (list []string) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		list = append(list, strings.Fields(readText(f))...)
	}
	return list
}

// newServer has wait run until the process has ended.
func newServer(l launch, proc *os.Process, wait func()) *server {
	s := &server{uri: l.uri, proc: proc, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		wait()
	}()
	return s
}

// poll asks again and again until ok.
func poll(ctx context.Context, limit time.Duration, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return errors.New("not ready in time")
		case <-tick.C:
		}
	}
	return nil
}

// ready waits until somebody greets on the socket.
func (s *server) ready(ctx context.Context, l launch) error {
	var greeting error
	err := poll(ctx, startLimit, func() bool {
		select {
		case <-s.done:
			greeting = errors.New("ended at once")
			return true
		default:
		}
		c, err := net.Dial(l.network, l.at)
		if err != nil {
			return false
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(startLimit))
		_, greeting = io.ReadFull(c, make([]byte, 18)) // two magics and the flags
		return true
	})
	return errors.Join(err, greeting)
}

// stop ends the server, by force if it does not want to.
func (s *server) stop() {
	_ = s.proc.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-s.done:
	case <-time.After(stopLimit):
		_ = s.proc.Kill()
		<-s.done
	}
}

// cpu is the processor time that the server has used so far, with all children,
// alive or not.
func (s *server) cpu() time.Duration {
	sum := ticksOf(readText(fmt.Sprintf("/proc/%d/stat", s.proc.Pid)))
	// nbd-server forks for each connection: what ended is in the parent's
	// counters, what has not is not.
	for _, pid := range childrenOf(s.proc.Pid) {
		sum += ticksOf(readText("/proc/" + pid + "/stat"))
	}
	return time.Duration(sum) * (time.Second / 100) // USER_HZ is 100 on every Linux
}

// ticksOf sums utime, stime, cutime and cstime of a line of /proc/PID/stat
// (proc(5)), whose second field may have spaces.
func ticksOf(stat string) (sum int64) {
	_, rest, _ := strings.Cut(stat[max(strings.LastIndexByte(stat, ')'), 0):], " ")
	f := strings.Fields(rest)
	if len(f) < 15 {
		return 0
	}
	for _, field := range f[11:15] {
		n, _ := strconv.ParseInt(field, 10, 64)
		sum += n
	}
	return sum
}
