package api

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Limits of the server, with what they guard against.
const (
	maxSecureConns = 256 // connections over HTTPS
	maxLocalConns  = 256 // connections to the socket
	maxWorking     = 64  // requests at work; others wait
	maxHeader      = 16 << 10

	headerTime = 5 * time.Second  // TLS handshake and headers: slow peers
	readTime   = 20 * time.Second // the whole request
	writeTime  = 2 * time.Minute  // from header to end of answer
	idleTime   = 2 * time.Minute  // between requests
	// workTime is what a method may take: Element's SDK gives up after 30 s.
	workTime = 25 * time.Second
)

// front is one HTTP server with a bound on its connections.
type front struct {
	srv   *http.Server
	slots chan struct{}

	stop sync.Once
	done chan struct{} // closed at shutdown
}

// newFront sets every limit that net/http leaves open.
func newFront(s *Server, conns int) *front {
	f := &front{slots: make(chan struct{}, conns), done: make(chan struct{})}
	f.srv = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTime, ReadTimeout: readTime,
		WriteTimeout: writeTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		ConnContext: s.withPeer,
		ConnState:   f.connState,
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	return f
}

// serve runs until shutdown, then returns nil.
func (f *front) serve(ln net.Listener, wrap func(net.Listener) net.Listener) error {
	err := f.srv.Serve(wrap(&limitListener{ln, f}))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// shutdown stops accepting and waits for what is at work, but not past ctx.
func (f *front) shutdown(ctx context.Context) error {
	f.stop.Do(func() { close(f.done) })
	err := f.srv.Shutdown(ctx)
	if err != nil {
		f.srv.Close() // cut what did not end in time
	}
	return err
}

// connState gives the slot of a connection back when it ends.
func (f *front) connState(_ net.Conn, st http.ConnState) {
	if st == http.StateClosed || st == http.StateHijacked {
		<-f.slots
	}
}

// limitListener accepts only while there is a free slot. It does not wrap the
// connections, so that ConnContext sees what they are.
type limitListener struct {
	net.Listener
	f *front
}

func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.f.slots <- struct{}{}:
	case <-l.f.done:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.f.slots
	}
	return c, err
}

// ServeTLS serves HTTPS on ln until Shutdown, which makes it return nil. It
// closes ln.
func (s *Server) ServeTLS(ln net.Listener) error {
	if err := s.certs.reload(); err != nil {
		ln.Close()
		return err
	}
	cfg := &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: s.certs.get,
		NextProtos:     []string{"http/1.1"},
	}
	return s.secure.serve(ln, func(l net.Listener) net.Listener { return tls.NewListener(l, cfg) })
}

// ServeUnix serves plain HTTP on a Unix socket (see ListenUnix) until
// Shutdown, which makes it return nil. It closes ln.
func (s *Server) ServeUnix(ln net.Listener) error {
	return s.local.serve(ln, func(l net.Listener) net.Listener { return l })
}

// Reload reads the certificate files (again), and makes the self-signed pair
// if there is none: called before ServeTLS it is there when it returns. A pair that cannot be used leaves
// the old one in place and is an error. Changed files are noticed by
// themselves too, at the next connection.
func (s *Server) Reload() error { return s.certs.reload() }

// Shutdown stops accepting, waits for the requests at work, and makes the
// Serve calls return. Requests that outlast ctx are cut.
func (s *Server) Shutdown(ctx context.Context) error {
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, f := range []*front{s.secure, s.local} {
		wg.Go(func() { errs[i] = f.shutdown(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
