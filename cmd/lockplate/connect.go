package main

import (
	"context"
	"os"
	"path/filepath"

	"lockplate/api"
	"lockplate/api/client"
)

// Where things are unless told otherwise.
const (
	defaultState  = "/var/lib/lockplate"
	systemSocket  = "/run/lockplate/" + apiSocket
	apiSocket     = "api.sock"
	defaultConfig = "/etc/lockplate/lockplate.toml"
)

// state is the state directory: flag, environment, default.
func (a *app) state() string {
	return firstOf(a.opt.state, a.env("LOCKPLATE_STATE"), defaultState)
}

// socket is the path of the API socket. The system service also has one that
// the group lockplate can reach; it is preferred when nothing is said.
func (a *app) socket() string {
	if s := firstOf(a.opt.socket, a.env("LOCKPLATE_SOCKET")); s != "" {
		return s
	}
	if a.opt.state == "" && a.env("LOCKPLATE_STATE") == "" {
		if _, err := os.Stat(systemSocket); err == nil {
			return systemSocket
		}
	}
	return filepath.Join(a.state(), apiSocket)
}

// connect makes the client of the daemon that flags and environment name, and
// asks for the password if one is needed.
func (a *app) connect(ctx context.Context) (*client.Client, error) {
	if a.client != nil {
		return a.client, nil
	}
	o, err := a.clientOptions(ctx)
	if err != nil {
		return nil, err
	}
	c, err := client.New(o)
	if err != nil {
		return nil, usage(err)
	}
	a.client = c
	return c, nil
}

// clientOptions judges how to reach the daemon: HTTPS if --server is given, else
// the socket.
func (a *app) clientOptions(ctx context.Context) (client.Options, error) {
	if a.opt.server == "" {
		if a.opt.user != "" || a.opt.password.given() || a.opt.ca != "" || a.opt.fingerprint != "" {
			return client.Options{}, usagef("--user, --password-file, --password-fd, --ca and --fingerprint need --server")
		}
		return client.Options{Socket: a.socket()}, nil
	}
	if a.opt.socket != "" {
		return client.Options{}, usagef("--server and --socket exclude each other")
	}
	if a.opt.user == "" {
		return client.Options{}, usagef("--server needs --user")
	}
	p, err := a.secret(ctx, &a.opt.password, "password of "+a.opt.user, false)
	return client.Options{
		Server: a.opt.server, User: a.opt.user, Password: p,
		CAFile: a.opt.ca, Fingerprint: a.opt.fingerprint, LocalCert: api.CertPath(a.state()),
	}, err
}

// firstOf is the first that is not empty.
func firstOf(s ...string) string {
	for _, v := range s {
		if v != "" {
			return v
		}
	}
	return ""
}
