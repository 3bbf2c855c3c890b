package api

import (
	"context"
	"errors"

	"lockplate/api/wire"
	"lockplate/cluster"
)

// errorName pairs an error of the layers below with its name on the wire.
type errorName struct {
	err  error
	name string
}

// errorNames is the one table from errors to names. The first match counts.
func errorNames() []errorName {
	return []errorName{
		{cluster.ErrNoCluster, wire.ErrNoCluster},
		{cluster.ErrClusterExists, wire.ErrClusterExists},
		{cluster.ErrInUse, wire.ErrInUse},
		{cluster.ErrDenied, wire.ErrPermissionDenied},
		{cluster.ErrRateLimited, wire.ErrPermissionDenied},
		{cluster.ErrLimit, wire.ErrExceededLimit},
		{cluster.ErrState, wire.ErrNotPermitted},
		{cluster.ErrClosed, wire.ErrRetry},
		{context.DeadlineExceeded, wire.ErrRetry},
		{context.Canceled, wire.ErrRetry},
	}
}

// notFoundNames maps NotFoundError.Kind.
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
		return fail(notFoundName(e.Kind), "%v", err)
	}
	if e := (*cluster.InvalidError)(nil); errors.As(err, &e) {
		return fail(wire.ErrInvalidParameter, "%v", err)
	}
	for _, m := range errorNames() {
		if errors.Is(err, m.err) {
			return fail(m.name, "%v", err)
		}
	}
	return fail(wire.ErrInternal, "%v", err)
}
