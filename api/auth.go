package api

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"

	"lockplate/cluster"
)

// identity is who makes a request.
type identity struct {
	name  string // for the log: a user name, or "uid:N" on the socket
	from  string // address without port, or "unix"
	full  string // the same, but for IPv6 all of the address
	admin bool
	peer  bool // known by the kernel, not by a password
	get   bool // came as a GET: a link could have made it
	// setup: no credentials, but root of this machine and there is no cluster
	// yet. Only methods that say so may be called.
	setup bool
}

// readOnly says that this request must change nothing.
func (i identity) readOnly() bool { return !i.admin || i.get }

// errUnauthenticated means that no or no valid credentials came.
var errUnauthenticated = errors.New("no credentials")

type peerKey struct{}

// identify says who makes the request: on the socket by what the kernel says
// of the peer, else by HTTP basic authentication.
func (s *Server) identify(r *http.Request) (identity, error) {
	who := identity{get: r.Method == http.MethodGet}
	p, local := r.Context().Value(peerKey{}).(peer)
	if local {
		who.name, who.from = p.name, "unix"
		if p.admin {
			who.admin, who.peer = true, true
			return who, nil
		}
		who.from = p.name
	} else {
		who.from, who.full = callerAddress(r.RemoteAddr), fullAddress(r.RemoteAddr)
		if !s.cluster.Exists() && s.trusted(r) {
			who.setup = true
			return who, nil
		}
	}
	return s.basic(r, who)
}

// basic proves the user name and password of a request.
func (s *Server) basic(r *http.Request, who identity) (identity, error) {
	name, password, ok := r.BasicAuth()
	if !ok {
		return who, errUnauthenticated
	}
	who.name = name
	u, err := s.cluster.Authenticate(cluster.WithActor(r.Context(), who.actor()), name, []byte(password), who.from)
	if err != nil {
		return who, err
	}
	who.admin = slices.Contains(u.Roles, cluster.RoleAdmin)
	return who, nil
}

// actor is the caller as the audit log shows it.
func (i identity) actor() cluster.Actor {
	a := cluster.Actor{Name: i.name, Role: string(cluster.RoleReader), From: cmp.Or(i.full, i.from)}
	switch {
	case i.setup:
		a.Name, a.Role = "root", "setup"
	case i.admin:
		a.Role = string(cluster.RoleAdmin)
	}
	return a
}

// fullAddress is the address of a caller without its port.
func fullAddress(remote string) string {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return remote
	}
	return ap.Addr().Unmap().String()
}

// callerAddress is what failures are counted by: an IPv4 address, or the /64
// of an IPv6 one, since a single host has all of it.
func callerAddress(remote string) string {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return remote
	}
	a := ap.Addr().Unmap().WithZone("")
	if a.Is4() || a.IsLoopback() {
		return a.String()
	}
	p, _ := a.Prefix(64) // 64 is always valid for IPv6
	return p.String()
}

// withPeer notes the credentials of a socket's peer in the context of its
// connection.
func (s *Server) withPeer(ctx context.Context, c net.Conn) context.Context {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	p, err := peerOf(u)
	if err != nil {
		s.log.Warn("api peer credentials", "err", err)
		p = peer{name: "unix"}
	}
	return context.WithValue(ctx, peerKey{}, p)
}
