package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"lockplate/api/wire"
)

// Errors of the way to the gateway.
var (
	ErrUnreachable  = errors.New("cannot reach the gateway")
	ErrUnauthorized = errors.New("the gateway refused user name or password")
	ErrRateLimited  = errors.New("too many failed logins: wait a minute and try again")
	ErrUntrusted    = errors.New("the gateway's certificate is not trusted")
	ErrProtocol     = errors.New("unexpected answer")
)

// Error is a failure that the gateway reports. Name is one of wire.Err….
type Error struct {
	Code    int
	Name    string
	Message string // without the hint
	Hint    string // what to do, "" if the gateway does not say
}

// fromWire takes the hint out of the message.
func fromWire(w *wire.Error) *Error {
	e := &Error{Code: w.Code, Name: w.Name, Message: w.Message}
	if w.Lockplate != nil {
		e.Hint = w.Lockplate.Hint
		e.Message = strings.TrimSuffix(e.Message, wire.HintMark+e.Hint)
	}
	return e
}

// Error gives the message, and the name for those who look it up.
func (e *Error) Error() string {
	return fmt.Sprintf("%s (%s)", strings.TrimSpace(e.Message), e.Name)
}

// fromAsync is fromWire for long work, whose error has Element's members only: a
// hint is known by how it begins. Text of key servers before it is quoted.
func fromAsync(w *wire.AsyncError) *Error {
	e := &Error{Code: wire.CodeError, Name: w.Name, Message: w.Message}
	if i := strings.LastIndex(w.Message, wire.HintMark+`step "`); i >= 0 {
		e.Message, e.Hint = w.Message[:i], w.Message[i+len(wire.HintMark):]
	}
	return e
}

// IsName says whether err is the gateway's error of that name.
func IsName(err error, name string) bool {
	e := (*Error)(nil)
	return errors.As(err, &e) && e.Name == name
}

// explain turns a failed request into one of our errors with a way out.
func (c *Client) explain(ctx context.Context, err error) error {
	var verify *tls.CertificateVerificationError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ErrUntrusted):
		return unwrapURL(err)
	case errors.As(err, &verify):
		return fmt.Errorf("%w: %w; give the CA file or the certificate's fingerprint", ErrUntrusted, verify.Err)
	case os.IsTimeout(err):
		return fmt.Errorf("%w at %s: no answer within %v", ErrUnreachable, c.where(), c.opt.Timeout)
	}
	return fmt.Errorf("%w at %s: %w; %s", ErrUnreachable, c.where(), unwrapURL(err), c.hint(err))
}

// where is the address for messages.
func (c *Client) where() string {
	if c.opt.Socket != "" {
		return c.opt.Socket
	}
	return c.opt.Server
}

// hint is the way out of a failed connection.
func (c *Client) hint(err error) string {
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return "run as root or as a member of the group lockplate"
	case c.opt.Socket != "":
		return "is 'lockplate serve' running with this state directory?"
	}
	return "is 'lockplate serve' running there, and does its API listen on that address?"
}

// unwrapURL drops the request line that net/http puts before an error.
func unwrapURL(err error) error {
	type urlError interface {
		error
		Unwrap() error
		Timeout() bool
		Temporary() bool
	}
	if u, ok := err.(urlError); ok && strings.HasPrefix(u.Error(), "Post ") {
		return u.Unwrap()
	}
	return err
}

// checkStatus turns an HTTP status other than 200 into an error.
func (c *Client) checkStatus(r *http.Response) error {
	switch r.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusUnauthorized:
		if c.opt.User == "" {
			return fmt.Errorf("%w: none were given; name a user, or use the socket as root or group lockplate", ErrUnauthorized)
		}
		return fmt.Errorf("%w (user %q)", ErrUnauthorized, c.opt.User)
	case http.StatusTooManyRequests:
		return ErrRateLimited
	case http.StatusServiceUnavailable:
		return fmt.Errorf("%w: the gateway cannot check passwords now, see its log", ErrUnreachable)
	}
	return fmt.Errorf("%w: HTTP %s from %s: is it a lockplate gateway?", ErrProtocol, r.Status, c.where())
}
