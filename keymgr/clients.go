package keymgr

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"lockplate/keymgr/kmip"
)

// clients keeps one kmip.Client per key server, with its connections and what
// it learned of the server's health, for as long as the record is the same.
type clients struct {
	certificate func(text string) (*tls.Certificate, error)
	adjust      func(*kmip.Config)
	observer    Observer
	now         func() time.Time
	log         *slog.Logger

	mu     sync.Mutex
	open   map[int64]*client
	closed bool
}

// client is a kmip.Client with the record that it was made from.
type client struct {
	*kmip.Client
	rec serverRecord
}

// fresh makes a client that shares nothing; the caller closes it.
func (c *clients) fresh(r *serverRecord) (*kmip.Client, error) {
	cfg := kmip.Config{
		Addresses: r.Hostnames, Port: r.Port, CACertificates: []byte(r.CACertificate),
		Certificate: func() (*tls.Certificate, error) { return c.certificate(r.ClientCertificate) },
		Logger:      c.log, Now: c.now, Observer: c.observe(),
	}
	if c.adjust != nil {
		c.adjust(&cfg)
	}
	k, err := kmip.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("key server %d: %w", r.ID, err)
	}
	return k, nil
}

// observe translates for those who do not know package kmip.
func (c *clients) observe() kmip.Observer {
	o := kmip.Observer{Failover: c.observer.Failover}
	if tell := c.observer.Request; tell != nil {
		o.Request = func(operation string, class kmip.Class, took time.Duration) { tell(operation, string(class), took) }
	}
	return o
}

// of gives the client of a key server; it stays open until the record changes.
func (c *clients) of(r *serverRecord) (*kmip.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	old := c.open[r.ID]
	if old != nil && old.rec.sameWay(r) {
		return old.Client, nil
	}
	k, err := c.fresh(r)
	if err != nil {
		return nil, err
	}
	if old != nil {
		_ = old.Close() // never fails
	}
	if c.open == nil {
		c.open = map[int64]*client{}
	}
	c.open[r.ID] = &client{k, *r}
	return k, nil
}

// joined gives one client of all servers.
func (c *clients) joined(servers []serverRecord) (*kmip.Client, error) {
	if len(servers) == 0 {
		return nil, ErrNoServers
	}
	all := make([]*kmip.Client, len(servers))
	for i := range servers {
		var err error
		if all[i], err = c.of(&servers[i]); err != nil {
			return nil, err
		}
	}
	return kmip.Join(all...)
}

// remove closes the client of a key server that was deleted.
func (c *clients) remove(id int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.open[id]; k != nil {
		_ = k.Close() // never fails
		delete(c.open, id)
	}
}

// drop closes all clients; later ones are made anew.
func (c *clients) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.open {
		_ = k.Close() // never fails
	}
	c.open = nil
}

// close is drop for ever.
func (c *clients) close() {
	c.drop()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
}

// certificate is the client certificate as TLS needs it.
func (m *Manager) certificate(text string) (*tls.Certificate, error) {
	chain, err := kmip.ParseCertificates([]byte(text))
	if err != nil {
		return nil, err
	}
	s, err := m.keyPair()
	if err != nil {
		return nil, err
	}
	cert := &tls.Certificate{PrivateKey: s, Leaf: chain[0]}
	for _, c := range chain {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return cert, nil
}
