package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"lockplate/api/client"
	"lockplate/api/wire"
	"lockplate/blockdev"
	"lockplate/cluster"
	"lockplate/keymgr"
	"lockplate/store"
)

// apiName is the API name of an error, "" if it did not come from the API.
func apiName(err error) string {
	if e := (*client.Error)(nil); errors.As(err, &e) {
		return e.Name
	}
	return ""
}

// apiCode is the one table from API names to exit codes.
func apiCode(name string) int {
	switch name {
	case wire.ErrVolumeNotFound, wire.ErrDriveNotFound, wire.ErrAccountNotFound, wire.ErrUnknownAccount, wire.ErrAsyncNotFound,
		wire.ErrClusterAdminGone, wire.ErrKeyslotNotFound, wire.ErrQoSPolicyNotFound, wire.ErrNotFound, wire.ErrNoCluster,
		wire.ErrKeyServerNotFound, wire.ErrKeyProviderNotFound, wire.ErrKeyPairNotFound, wire.ErrMasterKeyNotFound:
		return exitNotFound
	case wire.ErrUnknownMethod, wire.ErrMissingParameter, wire.ErrInvalidParameter, wire.ErrParameterType,
		wire.ErrUnrecognizedEnum, wire.ErrExceededLimit, wire.ErrJSONParse:
		return exitUsage
	case wire.ErrWrongKey, wire.ErrKeyUnavailable, wire.ErrKmipKeyNotFound, wire.ErrKmipKeyConflict:
		return exitLocked
	case wire.ErrKmipConnection, wire.ErrKmipServer:
		return exitUnreachable
	case wire.ErrPermissionDenied, wire.ErrWrongPassphrase, wire.ErrKmipAuthentication:
		return exitDenied
	case wire.ErrIntegrity:
		return exitIntegrity
	case wire.ErrInUse, wire.ErrRetry, wire.ErrRekeyInProgress:
		return exitBusy
	case wire.ErrClusterExists, wire.ErrAlreadyExists, wire.ErrNotPermitted, wire.ErrNotEncrypted,
		wire.ErrKeyProviderActive, wire.ErrKeyServerInUse, wire.ErrKeyPairInUse:
		return exitConflict
	case wire.ErrNoSpace:
		return exitNoSpace
	case wire.ErrReadOnly:
		return exitReadOnly
	}
	return exitFailure
}

// apiHint is the way out of errors of the API: the gateway's own, else that of
// errors whose message does not tell it.
func apiHint(err error) string {
	if e := (*client.Error)(nil); errors.As(err, &e) && e.Hint != "" {
		return e.Hint
	}
	switch apiName(err) {
	case wire.ErrUnknownMethod:
		return "see 'lockplate api GetAPI'"
	case wire.ErrRetry:
		return "try again"
	case wire.ErrKeyPairNotFound:
		return "'lockplate kmip keypair' makes it"
	case wire.ErrKeyServerNotFound:
		return "see 'lockplate kmip server list'"
	case wire.ErrKeyProviderNotFound:
		return "see 'lockplate kmip provider list'"
	case wire.ErrMasterKeyNotFound:
		return "see 'lockplate key history'"
	case wire.ErrRekeyInProgress:
		return "see 'lockplate job list'"
	case wire.ErrNoSpace:
		return "free some space, or add a drive with 'lockplate drive add'"
	}
	return ""
}

// knownError pairs an error of the layers below with its exit code and the
// way out, "" where its text says it.
type knownError struct {
	err  error
	code int
	hint string
}

// knownErrors is the one table from local errors to exit codes. The first
// that matches counts, so errors of ours go before those of the system.
func knownErrors() []knownError {
	const restore = "keep a copy of the state directory, then 'lockplate restore' the last backup into an empty one"
	return []knownError{
		{client.ErrUnauthorized, exitDenied, ""},
		{client.ErrRateLimited, exitDenied, ""},
		{client.ErrUntrusted, exitDenied, "name its CA with --ca FILE or its SHA-256 with --fingerprint HEX"},
		{cluster.ErrStateBusy, exitBusy, "stop it, or use it: every command but serve speaks to it"},
		{cluster.ErrClusterExists, exitConflict, "it is there already; use another --state for another one"},
		{cluster.ErrNoCluster, exitNotFound, ""},
		{keymgr.ErrWrongPassphrase, exitDenied, "nothing was changed, try again"},
		{keymgr.ErrShares, exitLocked, ""},
		{keymgr.ErrNoShares, exitNotFound, ""},
		{keymgr.ErrWrongKey, exitLocked, "nothing was changed; give what the cluster was sealed with"},
		{keymgr.ErrSealerMissing, exitLocked, ""},
		{keymgr.ErrNotFound, exitLocked, ""},
		{keymgr.ErrPermissions, exitDenied, ""},
		{keymgr.ErrBadSealer, exitUsage, "see 'lockplate init --help'"},
		{keymgr.ErrNotEmpty, exitConflict, ""},
		{keymgr.ErrIntegrity, exitIntegrity, restore},
		{keymgr.ErrTruncated, exitIntegrity, ""},
		{keymgr.ErrNotBackup, exitIntegrity, "give the file that 'lockplate backup' wrote"},
		{store.ErrLocked, exitBusy, ""},
		{store.ErrCorrupt, exitIntegrity, ""},
		{store.ErrNoSpace, exitNoSpace, ""},
		{store.ErrReadOnly, exitReadOnly, ""},
		{blockdev.ErrNoSpace, exitNoSpace, ""},
		{blockdev.ErrReadOnly, exitReadOnly, ""},
		{blockdev.ErrBusy, exitBusy, ""},
		{unix.EADDRINUSE, exitBusy, ""},
		{unix.ENOSPC, exitNoSpace, "free some space"},
		{unix.EROFS, exitReadOnly, "use a place that can be written"},
		{fs.ErrPermission, exitDenied, "run as root or as a member of the group lockplate"},
		{client.ErrUnreachable, exitFailure, "start the daemon with 'lockplate serve', or say where it is with --state, --socket or --server"},
		{fs.ErrNotExist, exitNotFound, ""},
		{context.Canceled, exitSignal, ""},
	}
}

// causeCode is the exit code of errors that are known by their type.
func causeCode(err error) int {
	var notFound *cluster.NotFoundError
	var invalid *cluster.InvalidError
	var verify *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.As(err, &notFound):
		return exitNotFound
	case errors.As(err, &invalid):
		return exitUsage
	case errors.As(err, &verify), errors.As(err, &authority):
		return exitDenied
	}
	return exitFailure
}
