package main

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"lockplate/api"
)

// listen opens an address. Sockets of the file system are for root, our own
// user and the group lockplate, and replace what a dead process left.
func listen(a address) (net.Listener, error) {
	ln, err := open(a)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, hint(fmt.Errorf("listen on %s: %w", a, err),
			"another process has it (see 'ss -lxntp'); stop that one or choose another address")
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", a, err)
	}
	return ln, nil
}

// open opens one listener.
func open(a address) (net.Listener, error) {
	if a.network == "unix" {
		return api.ListenUnix(a.at)
	}
	return net.Listen("tcp", a.at)
}

// listenAll opens a list of addresses, or none of them.
func listenAll(list []address) ([]net.Listener, error) {
	var out []net.Listener
	for _, a := range list {
		ln, err := listen(a)
		if err != nil {
			closeAll(out)
			return nil, err
		}
		out = append(out, ln)
	}
	return out, nil
}

// listenEverywhere opens every address of a plan, by use, and adds what was
// handed over. It opens all or none.
func listenEverywhere(plan map[string][]address, handed map[string][]net.Listener) (map[string][]net.Listener, error) {
	open := map[string][]net.Listener{}
	for _, use := range []string{useNBD, useAPI, useMetrics, usePprof} {
		own, err := listenAll(plan[use])
		if err != nil {
			for _, list := range open {
				closeAll(list)
			}
			return nil, fmt.Errorf("%s: %w", use, err)
		}
		open[use] = append(own, handed[use]...)
	}
	return open, nil
}

// closeAll closes listeners that will not be served.
func closeAll(list []net.Listener) {
	for _, ln := range list {
		ln.Close()
	}
}

// Uses of a listener; also the names of sockets that systemd hands over
// (FileDescriptorName= in the .socket unit).
const (
	useNBD     = "nbd"
	useAPI     = "api"
	useMetrics = "metrics"
	usePprof   = "pprof" // never handed over
)

// inherited gives the listeners that systemd handed over, by use. A name that
// is none of ours is for NBD, so that a plain socket unit works.
func inherited() (map[string][]net.Listener, error) {
	named, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("take over listeners: %w", err)
	}
	out := map[string][]net.Listener{}
	for name, list := range named {
		use := useNBD
		if s := strings.TrimSuffix(name, ".socket"); s == useAPI || s == useMetrics {
			use = s
		}
		for _, ln := range list {
			if ln == nil {
				return nil, usagef("take over listeners: %s is not a listening stream socket", name)
			}
			out[use] = append(out[use], ln)
		}
	}
	return out, nil
}
