package nbd

import (
	"crypto/tls"
	"net"
	"sync"
)

// corkedConn is what TLS writes its records to, each of which would be a system
// call and a wake-up of the client. Between cork and uncork it gathers them;
// otherwise it is the connection below. Reading and writing may go on at the
// same time; only one goroutine writes (session.writing), but for an alert of
// crypto/tls, which the lock keeps in order.
type corkedConn struct {
	net.Conn
	pool *bufferPool

	mu  sync.Mutex
	buf *buffer // nil: not corked
	n   int     // bytes of buf in use
}

// corked is the corkedConn below a TLS connection, or nil.
func corked(nc net.Conn) *corkedConn {
	if t, ok := nc.(*tls.Conn); ok {
		c, _ := t.NetConn().(*corkedConn)
		return c
	}
	return nil
}

// cork makes Write gather until uncork.
func (c *corkedConn) cork() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf, c.n = c.pool.get(corkBytes), 0
}

// uncork writes what was gathered.
func (c *corkedConn) uncork() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.flush()
	c.pool.put(c.buf)
	c.buf = nil
	return err
}

// Write gathers p or writes it. p is not kept.
func (c *corkedConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.buf == nil {
		return c.Conn.Write(p)
	}
	if c.n+len(p) > len(c.buf.b) {
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	if len(p) > len(c.buf.b) {
		return c.Conn.Write(p)
	}
	c.n += copy(c.buf.b[c.n:], p)
	return len(p), nil
}

// flush writes what is gathered. The lock is held.
func (c *corkedConn) flush() error {
	if c.n == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.buf.b[:c.n])
	c.n = 0
	return err
}
