package nbd

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lockplate/blockdev"
	"lockplate/blockdev/blockdevtest"
)

// TestOutOfOrder has a slow read under way while other requests of the same
// connection are answered.
func TestOutOfOrder(t *testing.T) {
	gate := blockdevtest.NewGate(blockdev.NewMem(1 << 20))
	s := startServer(t, Config{Exports: one(gate)})
	r := s.enter(t, modeSimple)
	gate.Stall(blockdevtest.OpRead)
	r.send(r.requestHeader(cmdRead, 0, 1, 0, 512))
	r.send(r.requestHeader(cmdRead, 0, 2, 0, 512))
	if err := gate.AwaitWaiting(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	r.send(r.requestHeader(cmdFlush, 0, 3, 0, 0))
	if a := r.reply(0); a.cookie != 3 {
		t.Errorf("answer %+v", a)
	}
	gate.Open()
	r.reply(512)
	r.reply(512)
}

// TestShutdownDrains stops the server with a request under way: it is
// answered, without ESHUTDOWN, and the connection closed.
func TestShutdownDrains(t *testing.T) {
	for _, m := range allModes {
		gate := blockdevtest.NewGate(blockdev.NewMem(1 << 20))
		s := startServer(t, Config{Exports: one(gate)})
		r := s.enter(t, m)
		idle := s.enter(t, m)
		half := s.greeted(t)
		gate.Stall(blockdevtest.OpWrite)
		r.send(cat(r.requestHeader(cmdWrite, r.writeFlags(), 1, 0, 512), make([]byte, 512)))
		if err := gate.AwaitWaiting(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- s.Shutdown(context.Background()) }()
		half.closed()
		idle.closed()
		idle.Close()
		gate.Open()
		if a := r.reply(0); a.errno != 0 || a.cookie != 1 {
			t.Errorf("%v: answer %+v", m, a)
		}
		r.closed()
		r.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := net.Dial("unix", s.ln.Addr().String()); err == nil {
			t.Error("the listener is still there")
		}
	}
}

// TestShutdownGivesUp cuts what does not end in time.
func TestShutdownGivesUp(t *testing.T) {
	gate := blockdevtest.NewGate(blockdev.NewMem(1 << 20))
	s := startServer(t, Config{Exports: one(gate)})
	r := s.enter(t, modeSimple)
	gate.Stall(blockdevtest.OpRead)
	r.send(r.requestHeader(cmdRead, 0, 1, 0, 512))
	if err := gate.AwaitWaiting(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	r.closed()
}

// TestServeEndsWithItsContext cuts every connection when ctx ends.
func TestServeEndsWithItsContext(t *testing.T) {
	srv, err := NewServer(Config{Exports: one(blockdev.NewMem(1 << 20))})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- srv.Serve(ctx, ln) }()
	r := (&testServer{srv, ln}).enter(t, modeSimple)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	r.closed()
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := srv.Serve(t.Context(), ln); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Errorf("serve after shutdown: %v", err)
	}
}

// TestConnectionLimit closes one connection too many, and takes one again when
// there is room.
func TestConnectionLimit(t *testing.T) {
	s := startServer(t, Config{Exports: one(blockdev.NewMem(1 << 20)), Limits: Limits{Connections: 2}})
	a, b := s.enter(t, modeSimple), s.enter(t, modeSimple)
	nc := s.dial(t)
	if n, err := nc.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error("a third connection was greeted")
	}
	a.Close()
	for {
		nc := s.dial(t)
		if n, _ := nc.Read(make([]byte, 1)); n == 1 {
			break
		}
		runtime.Gosched()
	}
	b.alive()
}

// flakyListener fails some accepts as the system does when files run out.
type flakyListener struct {
	net.Listener
	mu   sync.Mutex
	fail int
}

func (l *flakyListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	l.fail--
	fail := l.fail >= 0
	l.mu.Unlock()
	if fail {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return l.Listener.Accept()
}

func TestAcceptSurvivesFullFileTable(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := serveOn(t, Config{Exports: one(blockdev.NewMem(1 << 20))}, &flakyListener{Listener: ln, fail: 4})
	s.enter(t, modeSimple).alive()
}

// TestStalledReaderHurtsNobody has clients ask for much and read nothing,
// until no memory is left, while another works.
func TestStalledReaderHurtsNobody(t *testing.T) {
	s := startServer(t, Config{
		Exports: one(blockdev.NewMem(64 << 20)),
		Limits:  Limits{TotalBytes: 4 * maxPayloadBytes, StalledTimeout: 200 * time.Millisecond},
	})
	for range 8 {
		r := s.enter(t, modeSimple)
		r.send(r.requestHeader(cmdRead, 0, 1, 0, maxPayloadBytes))
		r.send(r.requestHeader(cmdRead, 0, 2, 0, maxPayloadBytes))
	}
	c := s.attach(t, DialOptions{})
	p := make([]byte, 4096)
	for i := range int64(2000) {
		if err := c.WriteAt(t.Context(), p, i*4096, 0); err != nil {
			t.Fatal(err)
		}
	}
	if used := s.budget.inUse(); used > 4*maxPayloadBytes {
		t.Errorf("%d bytes in flight", used)
	}
	large := make([]byte, maxPayloadBytes) // does not fit until the stuck are cut
	if err := c.WriteAt(t.Context(), large, 0, 0); err != nil {
		t.Fatal(err)
	}
}

// TestPipeliningWithoutReading sends far more requests than may be in flight
// before it reads the first answer; the server must neither deadlock nor lose
// one.
func TestPipeliningWithoutReading(t *testing.T) {
	s := startServer(t, Config{Exports: one(blockdev.NewMem(1 << 20)), Limits: Limits{Requests: 16}})
	r := s.enter(t, modeSimple)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range uint64(3000) {
			r.Write(r.requestHeader(cmdRead, 0, i, 0, 4096))
		}
	}()
	for range 3000 {
		r.reply(4096)
	}
	<-sent
}

// TestBudgetLeavesRoom checks the rule by which connections share memory.
func TestBudgetLeavesRoom(t *testing.T) {
	b := newBudget(1024)
	held := []int64{}
	for range 20 {
		h := int64(0)
		for b.take(h, 8) {
			h += 8
		}
		held = append(held, h)
	}
	if held[0] != 512 || held[1] != 256 || b.inUse() > 1024 {
		t.Errorf("held %v, used %d", held, b.inUse())
	}
	for _, h := range held {
		b.give(h)
	}
	if b.inUse() != 0 || b.contended() {
		t.Errorf("%d bytes left", b.inUse())
	}
	if !b.take(0, 5000) {
		t.Error("the only request was refused")
	}
}

// residentBytes is the resident memory of this process without its files.
func residentBytes(t *testing.T) int64 {
	p, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("needs /proc")
	}
	for line := range strings.Lines(string(p)) {
		if f := strings.Fields(line); f[0] == "RssAnon:" {
			kb, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Skip("needs RssAnon in /proc/self/status")
	return 0
}

// TestIdleConnectionsAreSmall opens 1,000 connections, has each do some work,
// and measures what they hold while idle: sockets of both ends included.
func TestIdleConnectionsAreSmall(t *testing.T) {
	const count, limit = 1000, 64 << 10
	var rl syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &rl) != nil || rl.Cur < 2*count+100 {
		t.Skipf("needs %d open files, limit is %d", 2*count+100, rl.Cur)
	}
	s := startServer(t, Config{Exports: one(blockdev.NewMem(1 << 20))})
	debug.FreeOSMemory()
	before := residentBytes(t)
	conns := make([]*rawPeer, count)
	for i := range conns {
		conns[i] = s.enter(t, modeStructured)
		conns[i].ask(cmdWrite, 0, 0, 65536, make([]byte, 65536))
		conns[i].ask(cmdRead, flagDF, 0, 65536, nil)
	}
	debug.FreeOSMemory()
	each := (residentBytes(t) - before) / count
	t.Logf("%d bytes each", each)
	if each > limit && !raceEnabled {
		t.Errorf("an idle connection holds %d bytes, more than %d", each, limit)
	}
	for _, r := range conns {
		r.alive()
	}
}

// TestConnectAndAbort leaves nothing behind; goleak looks at the end.
func TestConnectAndAbort(t *testing.T) {
	count := 500
	if os.Getenv("LOCKPLATE_LONG") != "" {
		count = 10000
	}
	s := startTCP(t, Config{Exports: one(blockdev.NewMem(1 << 20))})
	for i := range count {
		nc := s.dial(t)
		switch i % 4 {
		case 1:
			nc.Write(be32(3))
		case 2:
			nc.Write(cat(be32(3), optionBytes(optGo, goData("disk"))[:20]))
		case 3:
			nc.Write(cat(be32(3), optionBytes(optGo, goData("disk")), make([]byte, 10)))
		}
		nc.Close()
	}
	s.enter(t, modeSimple).alive()
}

// TestNoAllocationPerRequest measures whole requests, client's end included.
func TestNoAllocationPerRequest(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, m := range allModes {
		s := startServer(t, Config{Exports: one(blockdev.NewMem(8 << 20))})
		r := s.enter(t, m)
		for _, n := range []uint64{4096, 64 << 10, 1 << 20} {
			data := bytes.Repeat([]byte{1}, int(n))
			write := cat(r.requestHeader(cmdWrite, r.writeFlags(), 1, 0, n), data)
			read := r.requestHeader(cmdRead, 0, 1, 0, n)
			wack, rack := make([]byte, simpleBytes), make([]byte, simpleBytes+n)
			switch m {
			case modeStructured:
				rack = make([]byte, structuredBytes+8+n)
			case modeExtended:
				wack, rack = make([]byte, extReplyBytes), make([]byte, extReplyBytes+8+n)
			}
			exchange := func() {
				r.Write(write)
				if err := readAll(r, wack); err != nil {
					t.Fatal(err)
				}
				r.Write(read)
				if err := readAll(r, rack); err != nil {
					t.Fatal(err)
				}
			}
			for range 100 {
				exchange()
			}
			gc := debug.SetGCPercent(-1) // a collection empties the pools
			got := testing.AllocsPerRun(500, exchange) / 2
			debug.SetGCPercent(gc)
			if got != 0 {
				t.Errorf("%v, %d bytes: %.2f allocations a request", m, n, got)
			}
		}
	}
}

func TestNewServerChecksItsConfig(t *testing.T) {
	e := one(blockdev.NewMem(1))
	for name, c := range map[string]Config{
		"no exports":           {},
		"TLS without config":   {Exports: e, RequireTLS: true},
		"too little a client":  {Exports: e, Limits: Limits{ConnBytes: 4096}},
		"too little in total":  {Exports: e, Limits: Limits{TotalBytes: maxPayloadBytes}},
		"total below a client": {Exports: e, Limits: Limits{TotalBytes: maxPayloadBytes, ConnBytes: 2 * maxPayloadBytes}},
	} {
		if _, err := NewServer(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
