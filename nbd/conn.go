package nbd

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"lockplate/blockdev"
)

// conn is one connection from accept to close:
//
//	handshake ──GO, EXPORT_NAME──▶ transmission ──DISC, EOF, Shutdown──▶ closed
//	    └──ABORT, deadline, error, Shutdown──────────────────────────────▶ closed
type conn struct {
	srv     *Server
	start   time.Time
	session atomic.Pointer[session] // in transmission

	mu     sync.Mutex
	nc     net.Conn // the TLS connection once there is one
	moving bool     // in transmission
	gone   bool     // stop was called
}

// serve runs the connection and closes it.
func (c *conn) serve() {
	defer func() { c.transport().Close() }()
	c.nc.SetDeadline(c.start.Add(c.srv.limits.Handshake))
	h := newHandshake(c)
	dev, t, err := h.run(c.srv.ctx)
	if err != nil {
		c.srv.metrics.handshakeFailed(err)
		c.srv.log.Debug("handshake ended", "client", remote(c.nc), "err", err)
		return
	}
	c.srv.metrics.handshake.WithLabelValues(tlsLabel(h.secure)).Observe(time.Since(c.start).Seconds())
	c.transmit(dev, t)
}

// transport is what bytes go through now.
func (c *conn) transport() net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nc
}

// secure puts TLS around the transport.
func (c *conn) secure(t *tls.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nc = t
}

// transmit serves requests and closes the device, before it waits for the
// client to go: who detached may delete the volume at once.
func (c *conn) transmit(dev blockdev.Device, t terms) {
	if !c.move() {
		dev.Close()
		return
	}
	nc := c.transport()
	s := newSession(c.srv, nc, dev, t)
	c.session.Store(s)
	defer c.srv.metrics.open(t.openName)()
	log := c.srv.log.With(slog.String("client", remote(nc)), slog.String("volume", t.openName))
	log.Info("client attached", "replies", t.mode.String(), "read_only", t.info.ReadOnly)
	err := s.run()
	c.session.Store(nil)
	var p errProtocol
	if errors.As(err, &p) {
		c.srv.metrics.protocolErrors.WithLabelValues(p.kind).Inc()
	}
	if isGone(err) || errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled) {
		log.Info("client detached", "clean", err == nil)
	} else {
		log.Warn("client lost", "err", err)
	}
	s.in.close()
	if err := dev.Close(); err != nil {
		log.Warn("close of the volume failed", "err", err)
	}
	c.linger(nc)
}

// move enters transmission, where there is no deadline; false: the server
// stops and the connection need not begin.
func (c *conn) move() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return false
	}
	c.moving = true
	c.nc.SetDeadline(time.Time{})
	return true
}

// stop ends the connection: at once when hard or not yet in transmission,
// else by stopping its reader. Called with the server's lock held.
func (c *conn) stop(hard bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	if !c.moving || hard {
		closeNow(c.nc)
		return
	}
	c.nc.SetReadDeadline(time.Unix(1, 0))
}

// closeNow closes without TLS's farewell, which would wait for the peer.
func closeNow(nc net.Conn) {
	if t, ok := nc.(*tls.Conn); ok {
		t.NetConn().Close()
		return
	}
	nc.Close()
}

// linger says farewell and waits a moment for the client to close. Closing a
// socket with requests unread would destroy answers still on their way.
func (c *conn) linger(nc net.Conn) {
	w, ok := nc.(interface{ CloseWrite() error })
	if !ok || nc.SetDeadline(time.Now().Add(lingerTimeout)) != nil || w.CloseWrite() != nil {
		return
	}
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	io.Copy(io.Discard, nc)
}
