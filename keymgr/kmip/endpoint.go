package kmip

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// settings are what all addresses of a server share.
type settings struct {
	roots          *x509.CertPool
	certificate    func() (*tls.Certificate, error)
	connectTimeout time.Duration
	requestTimeout time.Duration
	versions       []Version
	now            func() time.Time
	dial           func(ctx context.Context, network, address string) (net.Conn, error)
	resolve        func(ctx context.Context, host string) ([]netip.Addr, error)
	observer       Observer
}

// endpoint is one address of a key server: its connections, what is known of
// it, and its health.
type endpoint struct {
	*settings
	host, port string
	address    string        // both, for people
	slots      chan struct{} // one in it per connection in use

	mu       sync.Mutex
	closed   bool
	idle     []*conn
	version  Version    // negotiated; zero: not yet
	lastIP   netip.Addr // answered last, tried first
	failures int        // in a row
	badUntil time.Time
}

// conn is one connection that was authenticated, for one request at a time.
type conn struct {
	*tls.Conn
	raw   *wiping // below TLS
	from  *endpoint
	cert  *x509.Certificate // ours, as shown
	buf   []byte            // for answers; wiped after each
	timer *time.Timer       // closes it when it was idle for long
}

// healthy reports whether the address may be tried first, and else when.
func (p *endpoint) healthy(now time.Time) (bool, time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failures == 0 || !now.Before(p.badUntil), p.badUntil
}

func (p *endpoint) good() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures, p.badUntil = 0, time.Time{}
}

func (p *endpoint) bad(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait := maxBackoff
	if p.failures < 6 {
		wait = min(maxBackoff, minBackoff<<p.failures)
	}
	p.failures++
	p.badUntil = now.Add(wait)
}

// A session is the use of one connection, whose version is known.
type session struct {
	*conn
	version Version
}

// open gives a session within the connect timeout; the caller ends it. It may
// use an idle connection; if fresh, it makes one and has the server answer a
// request on it.
func (p *endpoint) open(ctx context.Context, fresh bool) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, p.connectTimeout)
	defer cancel()
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, &classified{ClassTimeout, StepConnect, fmt.Errorf("all %d connections are in use: %w", maxConns, ctx.Err())}
	}
	s, err := p.prepare(ctx, fresh)
	if err != nil {
		<-p.slots
		return nil, err
	}
	return s, nil
}

func (p *endpoint) prepare(ctx context.Context, fresh bool) (*session, error) {
	cert, leaf, err := p.clientCertificate()
	if err != nil {
		return nil, err
	}
	c, err := p.takeIdle(leaf)
	if err != nil {
		return nil, err
	}
	if c != nil && fresh {
		c.discard() // it may have died unnoticed
		c = nil
	}
	if c == nil {
		if c, err = p.connect(ctx, cert, leaf); err != nil {
			return nil, err
		}
	}
	v := p.knownVersion()
	if v == (Version{}) {
		if c, v, err = p.negotiate(ctx, c); err != nil {
			return nil, err
		}
		return &session{c, v}, nil
	}
	if fresh {
		a, _, err := c.exchange(ctx, query(), v)
		if a.wipe(); err != nil {
			c.discard()
			return nil, err
		}
	}
	return &session{c, v}, nil
}

// takeIdle gives the connection used last. Those that were made with another
// certificate are closed: it was replaced.
func (p *endpoint) takeIdle(leaf *x509.Certificate) (*conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	for len(p.idle) > 0 {
		c := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		c.timer.Stop()
		if bytes.Equal(c.cert.Raw, leaf.Raw) && !p.now().After(leaf.NotAfter) {
			return c, nil
		}
		c.discard()
	}
	return nil, nil
}

// end ends the use of a connection; only one that worked is kept.
func (s *session) end(worked bool) {
	c, p := s.conn, s.from
	<-p.slots
	p.mu.Lock()
	defer p.mu.Unlock()
	if !worked || p.closed || len(p.idle) >= maxIdle {
		c.discard()
		return
	}
	c.timer = time.AfterFunc(idleTimeout, func() { p.expire(c) })
	p.idle = append(p.idle, c)
}

func (p *endpoint) expire(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.idle, c); i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
		c.discard()
	}
}

// close closes what is idle; what is in use closes at its release.
func (p *endpoint) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.idle {
		c.timer.Stop()
		c.discard()
	}
	p.idle = nil
}

// discard closes without the TLS farewell, which could block, and zeroes all
// that was received.
func (c *conn) discard() {
	clear(c.buf)
	_ = c.raw.Close()
	c.raw.wipe()
}

// connect makes a connection: name, TCP, TLS.
func (p *endpoint) connect(ctx context.Context, cert *tls.Certificate, leaf *x509.Certificate) (*conn, error) {
	raw, err := p.reach(ctx)
	if err != nil {
		return nil, err
	}
	below := &wiping{Conn: raw}
	c := tls.Client(below, p.tlsConfig(p.host, cert))
	if err := handshake(ctx, c); err != nil {
		_ = raw.Close()
		class, step := classify(err, StepTLS)
		return nil, &classified{class, step, err}
	}
	return &conn{Conn: c, raw: below, from: p, cert: leaf, buf: make([]byte, 4096)}, nil
}

// reach makes the TCP connection. All addresses of a name are tried, one of
// them that drops packets does not stop the others.
func (p *endpoint) reach(ctx context.Context) (net.Conn, error) {
	ips, err := p.lookup(ctx)
	if err != nil {
		class, _ := classify(err, StepName)
		if class != ClassTimeout {
			class = ClassDNS
		}
		return nil, &classified{class, StepName, err}
	}
	raw, won, runs := race(ctx, len(ips), staggerFor(len(ips))/2, func(ctx context.Context, i int) (net.Conn, error) {
		return p.dial(ctx, "tcp", net.JoinHostPort(ips[i].String(), p.port))
	}, func(c net.Conn) { _ = c.Close() })
	if won < 0 {
		err := firstError(runs)
		class, step := classify(err, StepConnect)
		return nil, &classified{class, step, err}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastIP = ips[won]
	return raw, nil
}

// firstError is what the first runner says, unless that was only cancelled.
func firstError(runs []entry) error {
	for _, r := range runs {
		if r.err != nil && !errors.Is(r.err, context.Canceled) {
			return r.err
		}
	}
	return runs[0].err
}

func (p *endpoint) lookup(ctx context.Context) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(p.host); err == nil {
		return []netip.Addr{ip}, nil
	}
	ips, err := p.resolve(ctx, p.host)
	if err != nil {
		return nil, err
	}
	if len(ips) == 0 {
		return nil, &net.DNSError{Err: "no address", Name: p.host, IsNotFound: true}
	}
	ips = slices.Clone(ips[:min(len(ips), maxIPs)])
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(ips, p.lastIP); i > 0 {
		ips[0], ips[i] = ips[i], ips[0]
	}
	return ips, nil
}
