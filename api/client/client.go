// Package client calls the management API of a gateway, over its Unix socket
// or over HTTPS. Every command of lockplate but the daemon itself goes
// through it.
//
//	c, err := client.New(client.Options{Socket: "/var/lib/lockplate/api.sock"})
//	var r wire.ListVolumesResult
//	err = c.Call(ctx, wire.MethodListVolumes, nil, &r)
//
// Errors are, by what the caller can do about them: *Error, the gateway's own
// answer; ErrUnreachable, ErrUnauthorized, ErrRateLimited, ErrUntrusted,
// ErrProtocol, each wrapped with what was tried and a way out.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"lockplate/api/wire"
)

// Limits of a call.
const (
	maxReply    = 512 << 20 // bytes; a sealed backup may be large
	dialTime    = 5 * time.Second
	defaultTime = 60 * time.Second // of one call: the gateway answers within 25 s
	defaultPort = "10811"
)

// Options say where the gateway is and how to prove who is who. Give Socket
// or Server.
type Options struct {
	Socket string // path of the Unix socket
	Server string // "https://host:port"; the port may be left out

	User     string
	Password wire.Password // not kept in any error; the caller wipes it

	// Trust in the certificate of Server, first one given counts: the SHA-256
	// of the certificate in hex (colons allowed), a file of root certificates,
	// a file that need not exist (the self-signed one of the state directory,
	// trusted beside the system's roots), the system's roots.
	Fingerprint string
	CAFile      string
	LocalCert   string

	Timeout time.Duration // of one call; 0: a minute
}

// Client calls one gateway. Its methods may be called concurrently.
type Client struct {
	opt  Options
	url  string
	http *http.Client
}

// New makes a client. It does not connect.
func New(o Options) (*Client, error) {
	if o.Timeout == 0 {
		o.Timeout = defaultTime
	}
	t := &http.Transport{
		MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second,
		TLSHandshakeTimeout: dialTime, DialContext: (&net.Dialer{Timeout: dialTime}).DialContext,
		Proxy: http.ProxyFromEnvironment,
	}
	c := &Client{opt: o, http: &http.Client{
		Transport: t, Timeout: o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	switch {
	case (o.Socket == "") == (o.Server == ""):
		return nil, errors.New("give either a socket or a server")
	case o.Socket != "":
		c.url = "http://lockplate"
		t.Proxy = nil
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "unix", o.Socket)
		}
	default:
		base, err := serverURL(o.Server)
		if err != nil {
			return nil, err
		}
		c.url = base
		if t.TLSClientConfig, err = trust(o); err != nil {
			return nil, err
		}
	}
	c.url += wire.Path + "/" + wire.Version
	return c, nil
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Call runs a method. params is a struct or map that makes a JSON object, or
// nil; result a pointer to decode the result into (a *json.RawMessage takes it
// as sent), or nil.
func (c *Client) Call(ctx context.Context, method string, params, result any) error {
	if err := c.call(ctx, method, params, result); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

func (c *Client) call(ctx context.Context, method string, params, result any) error {
	body, err := json.Marshal(wire.Request{Method: method, Params: params, ID: json.RawMessage("1")})
	if err != nil {
		return fmt.Errorf("encode parameters: %w", err)
	}
	resp, err := c.post(ctx, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := c.checkStatus(resp); err != nil {
		return err
	}
	var reply wire.Reply
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxReply)).Decode(&reply); err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return decode(&reply, result)
}

func (c *Client) post(ctx context.Context, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json-rpc")
	if c.opt.User != "" {
		req.SetBasicAuth(c.opt.User, string(c.opt.Password))
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	return resp, nil
}

// decode takes a reply apart.
func decode(r *wire.Reply, result any) error {
	switch {
	case r.Error != nil:
		return fromWire(r.Error)
	case r.Result == nil:
		return fmt.Errorf("%w: neither result nor error", ErrProtocol)
	case result == nil:
		return nil
	}
	if err := json.Unmarshal(r.Result, result); err != nil {
		return fmt.Errorf("%w: decode result: %w", ErrProtocol, err)
	}
	return nil
}
