package api

import (
	"context"
	"errors"

	"lockplate/api/wire"
	"lockplate/cluster"
)

// causeName is the one table from causes of failure to names; "" has none.
func causeName(cause error) string {
	switch cause {
	case cluster.ErrNoCluster:
		return wire.ErrNoCluster
	case cluster.ErrClusterExists:
		return wire.ErrClusterExists
	case cluster.ErrExists:
		return wire.ErrAlreadyExists
	case cluster.ErrNotExist:
		return wire.ErrNotFound
	case cluster.ErrInUse, cluster.ErrStateBusy:
		return wire.ErrInUse
	case cluster.ErrDenied, cluster.ErrRateLimited:
		return wire.ErrPermissionDenied
	case cluster.ErrLimit:
		return wire.ErrExceededLimit
	case cluster.ErrInvalid:
		return wire.ErrInvalidParameter
	case cluster.ErrState, cluster.ErrAudit:
		return wire.ErrNotPermitted
	case cluster.ErrNoSpace:
		return wire.ErrNoSpace
	case cluster.ErrReadOnly:
		return wire.ErrReadOnly
	case cluster.ErrPassphrase:
		return wire.ErrWrongPassphrase
	case cluster.ErrKey:
		return wire.ErrWrongKey
	case cluster.ErrKeyMissing:
		return wire.ErrKeyUnavailable
	case cluster.ErrDamaged:
		return wire.ErrIntegrity
	case cluster.ErrUnsupported:
		return wire.ErrUnsupportedFormat
	case cluster.ErrClosed:
		return wire.ErrRetry
	}
	return ""
}

// notFoundName maps NotFoundError.Kind.
func notFoundName(kind string) string {
	switch kind {
	case "volume":
		return wire.ErrVolumeNotFound
	case "drive":
		return wire.ErrDriveNotFound
	case "async":
		return wire.ErrAsyncNotFound
	case "user":
		return wire.ErrClusterAdminGone
	case "account":
		return wire.ErrAccountNotFound
	case "slot":
		return wire.ErrKeyslotNotFound
	case "QoS policy":
		return wire.ErrQoSPolicyNotFound
	}
	return wire.ErrNotFound
}

// wireError turns any error into what the client gets.
func wireError(err error) *wire.Error {
	if e := (*wire.Error)(nil); errors.As(err, &e) {
		return e
	}
	if e := (*cluster.NotFoundError)(nil); errors.As(err, &e) {
		if e.Kind == "async" { // this text is known from live clusters
			return fail(wire.ErrAsyncNotFound, "Async handle %s does not exist.", e.ID)
		}
		if e.Kind == "account" { // one Go SDK looks for the other name in the text
			return fail(wire.ErrAccountNotFound, "%s: %v", wire.ErrUnknownAccount, err)
		}
		return fail(notFoundName(e.Kind), "%v", err)
	}
	if e := (*cluster.InvalidError)(nil); errors.As(err, &e) {
		return fail(wire.ErrInvalidParameter, "%v", err)
	}
	if e := (*cluster.NoDriveEncryptionError)(nil); errors.As(err, &e) {
		return fail(wire.ErrNotPermitted, "%v", e) // beginning as on the product
	}
	if name := keyName(err); name != "" {
		return keyFail(name, err)
	}
	if name := causeName(cluster.Cause(err)); name != "" {
		return fail(name, "%v", err)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fail(wire.ErrRetry, "%v: it took too long, or the client went away; look before you try again", err)
	}
	return fail(wire.ErrInternal, "%v", err)
}
