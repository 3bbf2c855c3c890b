package kmip

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"sync"
	"time"
)

// Result is what Test found at one address.
type Result struct {
	Address string
	Err     error // nil: all is well; else an *Error whose Step failed

	Version     Version           // of KMIP
	TLS         string            // version and cipher suite
	Certificate *x509.Certificate // the server's
	Info        Info
	Took        time.Duration
}

// Test proves for each address, on a new connection, reach (name, connect),
// trust (tls, certificate, authentication) and function (result): a Query is
// answered, and a Locate for a name that nothing has. It leaves nothing behind
// on the server. All addresses are tested at once.
func (c *Client) Test(ctx context.Context) []Result {
	out := make([]Result, len(c.addresses))
	var wg sync.WaitGroup
	for i, p := range c.addresses {
		wg.Go(func() { out[i] = p.test(ctx) })
	}
	wg.Wait()
	return out
}

// Failed gives the errors in results as one, nil when there are none.
func Failed(results []Result) error {
	var all addressErrors
	for _, r := range results {
		if r.Err != nil {
			all = append(all, r.Err)
		}
	}
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return all
}

func (p *endpoint) test(ctx context.Context) Result {
	began := time.Now()
	r := Result{Address: p.address}
	p.setVersion(Version{}) // find it again, as for a server not known yet
	if err := p.probe(ctx, &r); err != nil {
		r.Err = p.wrap("Test", err)
	}
	r.Took = time.Since(began)
	class := ClassOf(r.Err)
	switch {
	case r.Err == nil:
		class = ClassOK
		p.good()
	case class != "" && class.aboutServer():
		p.bad(p.now())
	}
	if p.observer.Request != nil && class != "" {
		p.observer.Request("Test", class, r.Took)
	}
	return r
}

func (p *endpoint) probe(ctx context.Context, r *Result) (err error) {
	s, err := p.open(ctx, true)
	if err != nil {
		return err
	}
	alive := false
	defer func() { s.end(alive) }()
	r.Version = s.version
	state := s.ConnectionState()
	r.TLS = tls.VersionName(state.Version) + " " + tls.CipherSuiteName(state.CipherSuite)
	r.Certificate = state.PeerCertificates[0]
	for _, step := range []struct {
		request request
		parse   func(item) error
	}{
		{query(), func(m item) (err error) {
			r.Info, err = readInfo(m)
			r.Info.Version = s.version
			return err
		}},
		{locate(Search{Name: "lockplate/test/" + rand.Text()}), func(m item) error {
			_, err := readIDs(m)
			return err
		}},
	} {
		a, ok, err := s.exchange(ctx, step.request, s.version)
		if err == nil {
			err = step.parse(a.payload)
			a.wipe()
		}
		if alive = ok && err == nil; err != nil {
			return err
		}
	}
	return nil
}

// Lacks gives which of the operations that this package uses the server does
// not list; servers leave out what they can do, so it is no more than a hint.
func (i Info) Lacks() []string {
	var out []string
	for _, op := range []string{"Create", "Locate", "Activate", "Get", "GetAttributes", "Revoke", "Destroy"} {
		if !slices.Contains(i.Operations, op) {
			out = append(out, op)
		}
	}
	return out
}
