package e2e

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
)

// relay stands before a key server, on an address of its own, and can make it
// look dead, black-holed or mad.
type relay struct {
	addr, to string

	mu       sync.Mutex
	changed  *sync.Cond
	listener net.Listener
	mode     string // "": pass; else one of those below
	conns    map[net.Conn]bool
	wg       sync.WaitGroup
}

// Modes of a relay.
const (
	isDead       = "dead"         // nobody listens, connections are gone
	isBlackHoled = "black-holed"  // nothing comes back, on old connections neither
	isMad        = "all nonsense" // bytes come back that no server sends
)

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	r := &relay{addr: freeAddr(t), to: to, conns: map[net.Conn]bool{}}
	r.changed = sync.NewCond(&r.mu)
	r.become(t, "")
	t.Cleanup(func() {
		r.become(t, isDead)
		r.wg.Wait()
	})
	return r
}

// become changes the mode; open connections feel it too.
func (r *relay) become(t *testing.T, mode string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.mode
	r.mode = mode
	if mode == isDead && r.listener != nil {
		_ = r.listener.Close()
		r.listener = nil
	}
	if mode == isDead || was == isBlackHoled {
		for c := range r.conns {
			_ = c.Close()
		}
	}
	if mode != isDead && r.listener == nil {
		l, err := net.Listen("tcp", r.addr)
		must(t, err)
		r.listener = l
		r.wg.Go(func() { r.accept(l) })
	}
	r.changed.Broadcast()
}

func (r *relay) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		r.wg.Go(func() { r.serve(c) })
	}
}

func (r *relay) serve(c net.Conn) {
	back, err := net.Dial("tcp", r.to)
	if err != nil {
		_ = c.Close()
		return
	}
	r.mu.Lock()
	if r.mode == isDead {
		_ = c.Close()
	}
	r.conns[c], r.conns[back] = true, true
	r.mu.Unlock()
	r.wg.Go(func() { r.copy(back, c) })
	r.copy(c, back)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
	delete(r.conns, back)
}

// copy passes bytes on as the mode has it.
func (r *relay) copy(to io.WriteCloser, from io.ReadCloser) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		switch r.passes() {
		case isDead:
			return
		case isMad:
			copy(buf[:n], bytes.Repeat([]byte{0x42}, n))
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// passes waits while nothing may pass, and gives the mode after that.
func (r *relay) passes() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.mode == isBlackHoled {
		r.changed.Wait()
	}
	return r.mode
}
