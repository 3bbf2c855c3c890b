package api

import (
	"errors"
	"strings"

	"lockplate/api/wire"
	"lockplate/keymgr"
)

// keyFailure pairs an error of keymgr with its name.
type keyFailure struct {
	err  error
	name string
}

// keyFailures is the one table from refusals of keymgr to names. The first
// that fits counts.
func keyFailures() []keyFailure {
	return []keyFailure{
		{keymgr.ErrInvalid, wire.ErrInvalidParameter},
		{keymgr.ErrNoKeyPair, wire.ErrKeyPairNotFound},
		{keymgr.ErrKeyPairInUse, wire.ErrKeyPairInUse},
		{keymgr.ErrNoKeyServer, wire.ErrKeyServerNotFound},
		{keymgr.ErrNoKeyProvider, wire.ErrKeyProviderNotFound},
		{keymgr.ErrProviderActive, wire.ErrKeyProviderActive},
		{keymgr.ErrKeyServerInUse, wire.ErrKeyServerInUse},
		{keymgr.ErrKeyServerAssigned, wire.ErrKeyServerInUse},
		{keymgr.ErrNoServers, wire.ErrNotPermitted},
		{keymgr.ErrKeyInUse, wire.ErrInUse},
		{keymgr.ErrChanged, wire.ErrRetry},
		{keymgr.ErrBadSealer, wire.ErrInvalidParameter},
		{keymgr.ErrShares, wire.ErrInvalidParameter},
		{keymgr.ErrNoShares, wire.ErrNotFound},
		{keymgr.ErrReseal, wire.ErrNotPermitted},
	}
}

// keyName names what keymgr refused or a key server failed at; "" is anything
// else.
func keyName(err error) string {
	for _, f := range keyFailures() {
		if errors.Is(err, f.err) {
			return f.name
		}
	}
	if e := (*keymgr.RekeyRunningError)(nil); errors.As(err, &e) {
		return wire.ErrRekeyInProgress
	}
	if name := keymgr.ErrorName(err); strings.HasPrefix(name, "xKmip") {
		return name
	}
	if errors.Is(err, keymgr.ErrLocked) {
		return wire.ErrKeyUnavailable
	}
	return ""
}

// keyFail is what the client gets of a failure of key management: the hint is
// part of the message too, for clients that know Element's members only.
func keyFail(name string, err error) *wire.Error {
	e := fail(name, "%v", err)
	hint := keymgr.Hint(err)
	if hint == "" {
		hint = keyAdvice(name)
	}
	if hint != "" {
		e.Message += wire.HintMark + hint
		e.Lockplate = &wire.ErrorDetails{Hint: hint}
	}
	return e
}

// keyAdvice is what to look at after a failure of a key server that has no hint
// of its own, by the three causes that Element knows.
func keyAdvice(name string) string {
	switch name {
	case wire.ErrKmipConnection:
		return "check that the key server is alive and reachable at this host and port"
	case wire.ErrKmipAuthentication:
		return "check the root CA and the client certificate, and that it was signed for the present key pair and is known to the key server"
	case wire.ErrKmipServer:
		return "look at the key server's log"
	case wire.ErrKmipKeyNotFound, wire.ErrKmipKeyConflict:
		return "check that it is the right key server, its backup and its replication"
	}
	return ""
}
