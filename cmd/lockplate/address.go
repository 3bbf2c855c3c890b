package main

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
)

// address is where a listener is: tcp:HOST:PORT or unix:PATH.
type address struct{ network, at string }

func (a address) String() string { return a.network + ":" + a.at }

// parseAddress reads a listen address. The path of a socket is made absolute,
// since it is told to clients elsewhere.
func parseAddress(s string) (address, error) {
	network, at, _ := strings.Cut(s, ":")
	switch network {
	case "tcp":
		if _, port, err := net.SplitHostPort(at); err == nil && port != "" {
			return address{network, at}, nil
		}
	case "unix":
		if at != "" {
			return unixAddress(at)
		}
	}
	return address{}, hint(usagef("%q is not a listen address", s), "write tcp:HOST:PORT, unix:PATH or none")
}

// unixAddress is the address of a socket, if the kernel can take its path.
func unixAddress(path string) (address, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return address{}, fmt.Errorf("socket path: %w", err)
	}
	if len(abs) >= maxSocketPath {
		return address{}, hint(usagef("socket path %q is longer than the %d bytes that the kernel takes", abs, maxSocketPath-1), "use a shorter path")
	}
	return address{"unix", abs}, nil
}

// maxSocketPath is the size of sun_path in struct sockaddr_un, unix(7).
const maxSocketPath = 108

// parseAddresses reads a list; "none" alone is the empty list.
func parseAddresses(list []string) ([]address, error) {
	if slices.Contains(list, "none") {
		if len(list) > 1 {
			return nil, usagef("listen address none cannot stand beside others")
		}
		return nil, nil
	}
	var out []address
	for _, s := range list {
		a, err := parseAddress(s)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// local says whether only this machine can reach a listener's address.
func (a address) local() bool {
	if a.network == "unix" {
		return true
	}
	host, _, err := net.SplitHostPort(a.at)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// addressOf is the address of an open listener.
func addressOf(ln net.Listener) address {
	if u, ok := ln.Addr().(*net.UnixAddr); ok {
		return address{"unix", u.Name}
	}
	return address{"tcp", ln.Addr().String()}
}

// checkPlaintext refuses NBD that strangers could read on the way.
func checkPlaintext(a address, secure, allowed bool) error {
	if secure || allowed || a.local() {
		return nil
	}
	return hint(usage(fmt.Errorf("NBD on %s would send all data in clear over the network", a)),
		"give nbd_cert and nbd_key for TLS, or allow_plaintext if the network is trusted")
}
