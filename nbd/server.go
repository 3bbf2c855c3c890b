package nbd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Server serves exports over NBD. Its methods may be called concurrently.
type Server struct {
	exports  Exports
	tls      *tls.Config
	require  bool // RequireTLS
	plain    bool // AllowPlainUnix
	limits   Limits
	log      *slog.Logger
	metrics  *metrics
	pool     bufferPool
	requests sync.Pool
	budget   *budget
	inflight atomic.Int64

	ctx    context.Context // of everything; ends when Shutdown gives up or is done
	cancel context.CancelFunc

	mu        sync.Mutex
	stopping  bool
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	wg        sync.WaitGroup // connections
}

// NewServer checks the configuration and makes a server. It starts nothing.
func NewServer(c Config) (*Server, error) {
	if c.Exports == nil {
		return nil, errors.New("nbd server: no exports given")
	}
	if c.RequireTLS && c.TLS == nil {
		return nil, errors.New("nbd server: TLS is required but there is no certificate")
	}
	s := &Server{
		exports:   c.Exports,
		require:   c.RequireTLS,
		plain:     c.AllowPlainUnix,
		limits:    c.Limits.withDefaults(),
		log:       c.Logger,
		listeners: map[net.Listener]struct{}{},
		conns:     map[*conn]struct{}{},
	}
	if s.limits.ConnBytes < maxPayloadBytes || s.limits.TotalBytes < s.limits.ConnBytes {
		return nil, fmt.Errorf("nbd server: limits must hold one request: ConnBytes %d, TotalBytes %d, at least %d each",
			s.limits.ConnBytes, s.limits.TotalBytes, maxPayloadBytes)
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if c.TLS != nil {
		s.tls = c.TLS.Clone()
		Harden(s.tls)
	}
	s.budget = newBudget(s.limits.TotalBytes)
	s.requests.New = func() any { return new(request) }
	s.ctx, s.cancel = context.WithCancel(context.Background())
	var err error
	if s.metrics, err = newMetrics(c.Registerer, s); err != nil {
		s.cancel()
		return nil, fmt.Errorf("nbd server: register metrics: %w", err)
	}
	return s, nil
}

// Harden sets what Config.TLS promises: TLS 1.3, or 1.2 where c asks for it by
// its MinVersion, then with forward secrecy and authenticated ciphers only.
func Harden(c *tls.Config) {
	// Small records serve browsers that show the beginning of a page; here they
	// would only cost.
	c.DynamicRecordSizingDisabled = true
	if c.MinVersion != tls.VersionTLS12 {
		c.MinVersion = tls.VersionTLS13
		return
	}
	c.CipherSuites = []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}

// Serve accepts connections until Shutdown is called, and then returns nil, or
// until ctx ends, and then cuts every connection of the server. It closes ln.
// It may be called for several listeners at once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	if !s.track(ln) {
		return ln.Close()
	}
	defer s.untrack(ln)
	stop := context.AfterFunc(ctx, s.cut)
	defer stop()
	backoff := time.Duration(0)
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			backoff = 0
			s.admit(nc)
		case s.isStopping():
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("nbd server: accept on %s: %w", ln.Addr(), err)
		default:
			backoff = min(max(2*backoff, acceptBackoffMin), acceptBackoffMax)
			s.log.Warn("accept failed", "listener", ln.Addr().String(), "err", err, "retry_in", backoff)
			s.metrics.acceptErrors.Inc()
			s.pause(backoff)
		}
	}
}

// pause waits for d or the end of the server.
func (s *Server) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.ctx.Done():
	}
}

// track remembers ln for Shutdown; false: it is too late.
func (s *Server) track(ln net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	s.listeners[ln] = struct{}{}
	return true
}

// untrack closes ln and forgets it.
func (s *Server) untrack(ln net.Listener) {
	s.mu.Lock()
	delete(s.listeners, ln)
	s.mu.Unlock()
	ln.Close()
}

// isStopping says whether Shutdown or the end of a context has begun.
func (s *Server) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// admit starts a connection, or closes it when there are too many.
func (s *Server) admit(nc net.Conn) {
	setSocketOptions(nc)
	c := &conn{srv: s, nc: nc, start: time.Now()}
	s.mu.Lock()
	full := len(s.conns) >= s.limits.Connections
	if full || s.stopping {
		s.mu.Unlock()
		if full {
			s.metrics.connection("", resultLimit)
			s.log.Warn("connection refused: too many", "client", remote(nc), "limit", s.limits.Connections)
		}
		nc.Close()
		return
	}
	s.conns[c] = struct{}{}
	s.wg.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.wg.Done()
		defer s.forget(c)
		c.serve()
	}()
}

// forget makes room for another connection.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// setSocketOptions sends small replies at once, lets a unix socket hold more
// than its default (TCP grows its buffer itself), and notices dead peers.
// None of it is needed, so that errors do not matter.
func setSocketOptions(nc net.Conn) {
	if u, ok := nc.(*net.UnixConn); ok {
		u.SetWriteBuffer(unixSendBytes)
	}
	if t, ok := nc.(*net.TCPConn); ok {
		t.SetNoDelay(true)
		t.SetKeepAliveConfig(net.KeepAliveConfig{
			Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount,
		})
	}
}

// remote names the peer for logs.
func remote(nc net.Conn) string {
	if a := nc.RemoteAddr(); a != nil && a.String() != "" {
		return a.String()
	}
	return "local"
}

// Shutdown stops accepting connections and reading requests, finishes and
// answers every request that was read, and closes the connections. No client
// is told ESHUTDOWN: one that reconnects sends again what was not answered.
// When ctx ends first, what is left is cut and the error is that of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop(false)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.wg.Wait()
	}()
	select {
	case <-done:
		s.cancel()
		return nil
	case <-ctx.Done():
		s.cut()
		<-done
		return fmt.Errorf("nbd server: connections cut in shutdown: %w", ctx.Err())
	}
}

// cut stops the server without regard to requests. The sockets are closed
// first, so that no client is told of the cancelling.
func (s *Server) cut() {
	s.stop(true)
	s.cancel()
	s.budget.wake()
}

// stop closes the listeners and has every connection end.
func (s *Server) stop(hard bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	for ln := range s.listeners {
		ln.Close()
	}
	for c := range s.conns {
		c.stop(hard)
	}
}

// newRequest takes a request from the pool and counts it.
func (s *Server) newRequest() *request {
	return s.requests.Get().(*request)
}

// dropRequest gives a request back to the pool.
func (s *Server) dropRequest(r *request) {
	r.reset()
	s.requests.Put(r)
}

// waitBudget waits for n bytes of the total; false: the session has broken
// while it waited. Whoever waits too long has stuck clients closed.
func (s *Server) waitBudget(ss *session, n int64) bool {
	t := time.AfterFunc(s.limits.StalledTimeout, func() { s.cutStuck() })
	defer t.Stop()
	return s.budget.wait(ss.held.Load, n, func() bool {
		ss.mu.Lock()
		defer ss.mu.Unlock()
		return ss.broken
	})
}

// cutStuck closes connections that hold memory for replies which their
// clients do not take, until nobody waits for memory any more.
func (s *Server) cutStuck() {
	if !s.budget.contended() || s.ctx.Err() != nil {
		return
	}
	now := time.Now()
	for _, ss := range s.sessions() {
		if d := ss.stuckFor(now); d >= s.limits.StalledTimeout && ss.held.Load() > 0 {
			s.log.Warn("connection closed: it takes no replies while others wait for memory",
				"client", remote(ss.nc), "volume", ss.openName, "stalled", d)
			s.metrics.protocolErrors.WithLabelValues("stalled").Inc()
			ss.abandon()
		}
	}
	time.AfterFunc(s.limits.StalledTimeout/4, func() { s.cutStuck() })
}

// sessions are the connections in transmission.
func (s *Server) sessions() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*session
	for c := range s.conns {
		if ss := c.session.Load(); ss != nil {
			all = append(all, ss)
		}
	}
	return all
}

// logFailure notes a request that the device failed.
func (s *Server) logFailure(ss *session, r *request, err error) {
	if !s.log.Enabled(ss.ctx, slog.LevelDebug) {
		return
	}
	s.log.Debug("request failed", "volume", ss.openName, "command", commandName(r.typ),
		"offset", r.off, "length", r.n, "errno", uint32(r.errno), "err", err)
}

// isStop says whether err comes of Shutdown waking a reader.
func isStop(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// isGone says whether err only means that the client left without DISC.
func isGone(err error) bool {
	return err == nil || errors.Is(err, io.EOF) || isStop(err)
}
