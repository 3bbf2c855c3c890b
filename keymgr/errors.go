package keymgr

import "errors"

// Errors, by what can be done about them. Where one way out fits all cases the
// text names it; else the text around it does.
var (
	ErrNotFound  = errors.New("no such key")
	ErrExists    = errors.New("exists already")
	ErrNoMaster  = errors.New("the store has no current master key: make the cluster first, or restore a backup")
	ErrClosed    = errors.New("key manager is closed")
	ErrIntegrity = errors.New("record fails its integrity check, it was damaged or altered: " +
		"run 'lockplate store check', then restore the last backup")
	ErrFormat = errors.New("record has a version that this lockplate does not know: " +
		"use the version that wrote it, or a newer one")
	ErrStale = errors.New("the master key was replaced meanwhile: start again")

	ErrWrongPassphrase = errors.New("wrong passphrase")
	ErrWrongKey        = errors.New("not the key that was used to seal")
	ErrSealerMissing   = errors.New("what protects the master key is not there")
	ErrBadSealer       = errors.New("not a sealer: use file:/PATH, passphrase or credential:NAME")
	ErrPermissions     = errors.New("others may read the key file: chmod 600 it, " +
		"or mount its file system so that only its owner can read it")

	ErrMemlock = errors.New("cannot lock memory for keys: " +
		"raise the limit (ulimit -l, LimitMEMLOCK= in the systemd unit)")
	ErrMarshal = errors.New("a secret cannot be marshalled")

	ErrLocked  = errors.New("the master key is not at hand")
	ErrInvalid = errors.New("not a valid value")

	ErrNoKeyPair    = errors.New("there is no key pair: make it first, and have its certificate request signed")
	ErrKeyPairInUse = errors.New("the key pair is in use: " +
		"rekey to another key management and destroy the provider's old keys first")
	ErrNoKeyServer    = errors.New("no such key server")
	ErrNoKeyProvider  = errors.New("no such key provider")
	ErrProviderActive = errors.New("keys that were made there are not deleted: " +
		"rekey to another key management and destroy the provider's old keys first")
	ErrKeyServerInUse = errors.New("the last key server of an active key provider: " +
		"add another one to the provider first, or rekey to another key management and destroy the provider's old keys")
	ErrKeyServerAssigned = errors.New("the key server is in another key provider: remove it from there first")
	ErrNoServers         = errors.New("the key provider has no key servers: add one first")
	ErrChanged           = errors.New("the record was changed meanwhile: try again")

	ErrKeyInUse = errors.New("the master key is in use: only an old one can be destroyed")

	ErrNotEmpty  = errors.New("the store is not empty: restore only into a new state directory")
	ErrTruncated = errors.New("the backup ends too early: copy it again, or use another one")
	ErrNotBackup = errors.New("not a lockplate backup")
	ErrTooLarge  = errors.New("over the limit")
)
