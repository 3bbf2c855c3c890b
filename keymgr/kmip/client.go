package kmip

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Config says how to reach one key server.
type Config struct {
	// Addresses are host names or IP addresses of the one server, best first;
	// each may have a port of its own ("host:port", "[::1]:5696").
	Addresses []string
	Port      int // of addresses without one; 0: DefaultPort

	// CACertificates are what the server's certificate must descend from; the
	// forms are those of ParseCertificates. To change them make a new Client.
	CACertificates []byte
	// Certificate gives our certificate and key at every new connection. When
	// it gives another certificate, older connections are not used any more.
	Certificate func() (*tls.Certificate, error)

	ConnectTimeout time.Duration // name, TCP, TLS and version; 0: 5 s
	RequestTimeout time.Duration // one request with its answer; 0: 10 s
	Versions       []Version     // allowed, best first; nil: AllVersions

	Logger   *slog.Logger // nil: none
	Observer Observer
	Now      func() time.Time // for certificates and health; nil: time.Now

	// For tests: nil is net.Dialer's DialContext and net.Resolver's
	// LookupNetIP. Dial gets an IP address and port.
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Observer is told of events; members may be nil. They are called from several
// goroutines and must not wait.
type Observer struct {
	// Request ends at one address; class is "ok" or that of its Error.
	Request func(operation string, class Class, d time.Duration)
	// Failover: a request was answered by another address than the first.
	Failover func(operation, from, to string)
}

// ClassOK is what an Observer gets for a request that went well.
const ClassOK Class = "ok"

// Client is one key server, or several that hold the same keys (Join). Its
// methods may be called from several goroutines.
type Client struct {
	addresses []*endpoint
	log       *slog.Logger
	observer  Observer
	owner     bool // Close closes the addresses
	fresh     bool // never use a connection that was used before
}

// New checks the configuration, without contacting anybody: ErrConfig.
func New(c Config) (*Client, error) {
	s, err := newSettings(c)
	if err != nil {
		return nil, err
	}
	client := &Client{log: c.Logger, observer: c.Observer, owner: true}
	if client.log == nil {
		client.log = slog.New(slog.DiscardHandler)
	}
	switch n := len(c.Addresses); {
	case n == 0:
		return nil, fmt.Errorf("%w: no address given", ErrConfig)
	case n > maxAddresses:
		return nil, fmt.Errorf("%w: %d addresses, at most %d may be", ErrConfig, n, maxAddresses)
	case c.Port < 0 || c.Port > 65535:
		return nil, fmt.Errorf("%w: port %d is not one of 1 to 65535", ErrConfig, c.Port)
	}
	for _, a := range c.Addresses {
		p, err := newEndpoint(s, a, c.Port)
		if err != nil {
			return nil, err
		}
		if slices.Contains(client.Addresses(), p.address) {
			return nil, fmt.Errorf("%w: address %s is given twice", ErrConfig, p.address)
		}
		client.addresses = append(client.addresses, p)
	}
	return client, nil
}

func newSettings(c Config) (*settings, error) {
	roots, err := ParseCertificates(c.CACertificates)
	if err != nil {
		return nil, fmt.Errorf("CA: %w", err)
	}
	if c.Certificate == nil {
		return nil, fmt.Errorf("%w: no client certificate given", ErrConfig)
	}
	s := &settings{
		roots:          x509.NewCertPool(),
		certificate:    c.Certificate,
		connectTimeout: c.ConnectTimeout,
		requestTimeout: c.RequestTimeout,
		versions:       c.Versions,
		now:            c.Now,
		dial:           c.Dial,
		resolve:        c.Resolve,
		observer:       c.Observer,
	}
	for _, cert := range roots {
		s.roots.AddCert(cert)
	}
	return s, s.setDefaults()
}

func (s *settings) setDefaults() error {
	if s.connectTimeout == 0 {
		s.connectTimeout = defaultConnectTimeout
	}
	if s.requestTimeout == 0 {
		s.requestTimeout = defaultRequestTimeout
	}
	if s.connectTimeout < 0 || s.requestTimeout < 0 {
		return fmt.Errorf("%w: a timeout is negative", ErrConfig)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.dial == nil {
		s.dial = (&net.Dialer{}).DialContext
	}
	if s.resolve == nil {
		s.resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if s.versions == nil {
		s.versions = AllVersions()
	}
	for _, v := range s.versions {
		if !slices.Contains(AllVersions(), v) {
			return fmt.Errorf("%w: version %v of KMIP is not known", ErrConfig, v)
		}
	}
	if len(s.versions) == 0 {
		return fmt.Errorf("%w: no version of KMIP is allowed", ErrConfig)
	}
	return nil
}

func newEndpoint(s *settings, address string, port int) (*endpoint, error) {
	if port == 0 {
		port = DefaultPort
	}
	host, own, err := net.SplitHostPort(address)
	if err != nil { // no port in it
		host, own = strings.TrimSuffix(strings.TrimPrefix(address, "["), "]"), strconv.Itoa(port)
	}
	n, err := strconv.ParseUint(own, 10, 16)
	switch {
	case err != nil || n == 0:
		return nil, fmt.Errorf("%w: port %.20q is not one of 1 to 65535", ErrConfig, own)
	case host == "" || len(host) > 253 || strings.ContainsFunc(host, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r) || strings.ContainsRune("/@\\[]?#", r)
	}):
		return nil, fmt.Errorf("%w: %.260q is not a host name or IP address", ErrConfig, host)
	}
	return &endpoint{
		settings: s, host: host, port: own, address: net.JoinHostPort(host, own),
		slots: make(chan struct{}, maxConns),
	}, nil
}

// Join makes one Client of the servers of a provider, best first. Closing it
// does not close them, and it works only while they are open.
func Join(servers ...*Client) (*Client, error) {
	if len(servers) == 0 || len(servers) > MaxServers {
		return nil, fmt.Errorf("%w: %d key servers, where 1 to %d may be", ErrConfig, len(servers), MaxServers)
	}
	joined := &Client{log: servers[0].log, observer: servers[0].observer}
	for _, s := range servers {
		joined.addresses = append(joined.addresses, s.addresses...)
	}
	return joined, nil
}

// Addresses gives "host:port" of every address, best first.
func (c *Client) Addresses() []string {
	out := make([]string, len(c.addresses))
	for i, p := range c.addresses {
		out[i] = p.address
	}
	return out
}

// Each gives a Client for every address alone, in the order of Addresses:
// what must be true on each host is asked on each host. They share connections
// with c and need no Close.
func (c *Client) Each() []*Client {
	out := make([]*Client, len(c.addresses))
	for i, p := range c.addresses {
		out[i] = &Client{addresses: []*endpoint{p}, log: c.log, observer: c.observer, fresh: c.fresh}
	}
	return out
}

// Fresh gives a Client for the same addresses, each request of which goes over
// a connection of its own: what a server says there is no echo of a state that
// the old connection may have. It needs no Close.
func (c *Client) Fresh() *Client {
	f := *c
	f.owner, f.fresh = false, true
	return &f
}

// At gives a Client for one of Addresses alone; ErrInput.
func (c *Client) At(address string) (*Client, error) {
	for _, one := range c.Each() {
		if one.addresses[0].address == address {
			return one, nil
		}
	}
	return nil, fmt.Errorf("%w: %.260q is no address of this key server", ErrInput, address)
}

// Close closes the connections. Requests in progress end by themselves, later
// ones fail with ErrClosed.
func (c *Client) Close() error {
	if c.owner {
		for _, p := range c.addresses {
			p.close()
		}
	}
	return nil
}

// order gives the addresses to try: healthy ones as configured, then those
// that failed, the one whose time is up first before the others.
func (c *Client) order() []*endpoint {
	type ranked struct {
		*endpoint
		until time.Time
	}
	var bad []ranked
	out := make([]*endpoint, 0, len(c.addresses))
	for _, p := range c.addresses {
		if ok, until := p.healthy(p.now()); ok {
			out = append(out, p)
		} else {
			bad = append(bad, ranked{p, until})
		}
	}
	slices.SortStableFunc(bad, func(a, b ranked) int { return a.until.Compare(b.until) })
	for _, b := range bad {
		out = append(out, b.endpoint)
	}
	return out
}
