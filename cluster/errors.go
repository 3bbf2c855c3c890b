package cluster

import "errors"

// Errors, by what the caller can do about them. Each text names the way out.
var (
	ErrNoCluster     = errors.New("no cluster yet: run 'lockplate init' first")
	ErrClusterExists = errors.New("a cluster exists already")
	ErrInUse         = errors.New("in use")
	ErrDenied        = errors.New("wrong user name or password")
	ErrRateLimited   = errors.New("too many failed logins: try again later")
	ErrState         = errors.New("not possible in the present state")
	ErrLimit         = errors.New("limit exceeded")
	ErrStateBusy     = errors.New("state directory is in use by another lockplate process")
	ErrClosed        = errors.New("the gateway is shutting down")
)

// NotFoundError says that an object with this id or name does not exist.
type NotFoundError struct {
	Kind string // volume, drive, async, user, account, slot
	ID   string
}

func (e *NotFoundError) Error() string { return e.Kind + " " + e.ID + " does not exist" }

// InvalidError says which parameter has a value that cannot be used, and why.
type InvalidError struct{ Param, Reason string }

func (e *InvalidError) Error() string { return e.Param + ": " + e.Reason }
