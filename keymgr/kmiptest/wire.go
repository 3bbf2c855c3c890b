package kmiptest

import (
	"bytes"
	"fmt"
	"io"
	"net"
)

// wireFault makes a connection fail at a request of an operation: before the
// server sees it, or instead of the answer.
type wireFault struct {
	op    byte // 0: none
	lose  bool
	times int // 0: always
}

// Fault makes the server lose its answer to an operation ("lose Create"), or
// not see the request ("drop Create"), as often as told; 0 is always, and no
// text makes it healthy.
func (s *OVH) Fault(line string, times int) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = wireFault{}
	if line == "" {
		return
	}
	var how, what string
	if _, err := fmt.Sscan(line, &how, &what); err != nil || operations()[what] == 0 || how != "lose" && how != "drop" {
		s.t.Fatalf("no such fault: %q", line)
	}
	s.fault = wireFault{op: operations()[what], lose: how == "lose", times: times}
}

func operations() map[string]byte {
	return map[string]byte{
		"Create": OpCreate, "Locate": OpLocate, "Get": OpGet, "GetAttributes": OpGetAttributes, "Activate": OpActivate,
		"Revoke": OpRevoke, "Destroy": OpDestroy, "Query": OpQuery,
	}
}

// hit says what is to go wrong with a request, whose beginning it gets.
func (s *OVH) hit(request []byte) (drop, lose bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &s.fault
	if f.op == 0 || !bytes.Contains(request, []byte{0x42, 0, 0x5c, 5, 0, 0, 0, 4, 0, 0, 0, f.op}) {
		return false, false
	}
	drop, lose = !f.lose, f.lose
	if f.times == 1 {
		*f = wireFault{}
	}
	f.times--
	return drop, lose
}

// wireListener makes the connections of a server fail.
type wireListener struct {
	net.Listener
	s *OVH
}

// Accept implements net.Listener.
func (l wireListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &wireConn{Conn: c, s: l.s}, nil
}

// wireConn reads a request at a time, for clients send the next one only after
// the answer.
type wireConn struct {
	net.Conn
	s       *OVH
	request []byte // since the last answer
	lose    bool
}

// Read implements net.Conn.
func (c *wireConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.request = append(c.request, p[:n]...)
	drop, lose := c.s.hit(c.request)
	if drop {
		_ = c.Close()
		return 0, io.EOF
	}
	if lose {
		c.lose = true
	}
	return n, err
}

// Write implements net.Conn.
func (c *wireConn) Write(p []byte) (int, error) {
	c.request = c.request[:0]
	if c.lose {
		_ = c.Close()
		return 0, io.ErrClosedPipe
	}
	return c.Conn.Write(p)
}
