package cluster

import (
	"errors"

	"lockplate/blockdev"
	"lockplate/keymgr"
	"lockplate/store"
	"lockplate/volume/luks"
)

// Causes of failures that begin in a layer below. Cause finds the one that
// stands for an error, so that a caller need not know the layers.
var (
	ErrExists      = errors.New("exists already")
	ErrNotExist    = errors.New("does not exist")
	ErrNoSpace     = errors.New("no space left")
	ErrReadOnly    = errors.New("read-only")
	ErrPassphrase  = errors.New("wrong passphrase")
	ErrKey         = errors.New("not the right key")
	ErrKeyMissing  = errors.New("the key cannot be had")
	ErrDamaged     = errors.New("damaged or cut short")
	ErrUnsupported = errors.New("not supported")
	ErrInvalid     = errors.New("not a valid value")
)

// cause lists the errors below that one cause stands for.
type cause struct {
	cause error
	below []error
}

// causes is the one table from errors of the layers below to causes. The
// first row that fits counts.
func causes() []cause {
	return []cause{
		{ErrPassphrase, []error{luks.ErrWrongPassphrase, keymgr.ErrWrongPassphrase}},
		{ErrKey, []error{luks.ErrWrongKey, keymgr.ErrWrongKey}},
		{ErrKeyMissing, []error{keymgr.ErrLocked, keymgr.ErrNotFound, keymgr.ErrNoMaster, keymgr.ErrSealerMissing}},
		{ErrDamaged, []error{
			luks.ErrCorrupt, luks.ErrTruncated, keymgr.ErrIntegrity, keymgr.ErrTruncated,
			store.ErrCorrupt, store.ErrIO,
		}},
		{ErrUnsupported, []error{luks.ErrNotLUKS, luks.ErrUnsupported, keymgr.ErrFormat, store.ErrFormat, keymgr.ErrNotBackup}},
		{ErrNoSpace, []error{blockdev.ErrNoSpace, store.ErrNoSpace}},
		{ErrReadOnly, []error{blockdev.ErrReadOnly, luks.ErrReadOnly, store.ErrReadOnly}},
		{ErrInUse, []error{
			blockdev.ErrBusy, store.ErrLocked, luks.ErrChanged, keymgr.ErrStale, keymgr.ErrChanged,
			keymgr.ErrKeyInUse, keymgr.ErrKeyPairInUse, keymgr.ErrProviderActive, keymgr.ErrKeyServerInUse, keymgr.ErrKeyServerAssigned,
		}},
		{ErrExists, []error{blockdev.ErrExist, keymgr.ErrExists}},
		{ErrNotExist, []error{blockdev.ErrNotExist, luks.ErrNoKeyslot, keymgr.ErrNoKeyServer, keymgr.ErrNoKeyProvider, keymgr.ErrNoKeyPair}},
		{ErrLimit, []error{luks.ErrNoRoom, store.ErrTooLarge, keymgr.ErrTooLarge}},
		{ErrInvalid, []error{blockdev.ErrURI, blockdev.ErrName, keymgr.ErrBadSealer, keymgr.ErrPermissions, keymgr.ErrInvalid}},
		{ErrState, []error{blockdev.ErrNotSupported, keymgr.ErrNoServers}},
		{ErrClosed, []error{blockdev.ErrClosed, store.ErrClosed, keymgr.ErrClosed}},
	}
}

// Cause finds the sentinel of this package that stands for err, nil if none
// does.
func Cause(err error) error {
	own := []error{
		ErrNoCluster, ErrClusterExists, ErrInUse, ErrDenied, ErrRateLimited, ErrState,
		ErrLimit, ErrStateBusy, ErrClosed, ErrExists, ErrAudit, ErrDamaged,
	}
	for _, e := range own {
		if errors.Is(err, e) {
			return e
		}
	}
	for _, c := range causes() {
		for _, e := range c.below {
			if errors.Is(err, e) {
				return c.cause
			}
		}
	}
	return nil
}
