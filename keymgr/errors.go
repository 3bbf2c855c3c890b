package keymgr

import "errors"

// endOfProvider is how a key provider comes out of use.
const endOfProvider = "rekey away from it ('lockplate key rekey'), then destroy each key of it that 'lockplate key history' lists " +
	"with 'lockplate key destroy KEYID', with --forget where its key servers are lost for good (API: ListMasterKeys, DestroyMasterKey)"

// allMustAnswer is what is needed to destroy a key, and the way round it.
const allMustAnswer = "all its key servers must answer; for those that are lost for good there is " +
	"'lockplate key destroy --forget KEYID' (API: DestroyMasterKey with forget)"

// lostKey is what is left to do when a master key is neither in memory nor to
// be had.
const lostKey = "a rekey needs the present key: bring its key server back. If that is lost for good, what opens a volume is its recovery key " +
	"or LUKS passphrase (cryptsetup open, or 'lockplate volume adopt' in a new cluster), or a backup from before, " +
	"whose master key can still be had ('lockplate restore')"

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
	ErrBadSealer       = errors.New("not a sealer: use file:/PATH, passphrase, credential:NAME or tpm2")
	ErrPermissions     = errors.New("others may read the key file: chmod 600 it, " +
		"or mount its file system so that only its owner can read it")

	ErrShares   = errors.New("these recovery shares do not open the cluster")
	ErrNoShares = errors.New("there are no recovery shares")
	ErrReseal   = errors.New("started from recovery shares, so there is nothing to seal new keys with: " +
		"run 'lockplate key reseal --seal SEALER' first")

	ErrMemlock = errors.New("cannot lock memory for keys: " +
		"raise the limit (ulimit -l, LimitMEMLOCK= in the systemd unit)")
	ErrMarshal = errors.New("a secret cannot be marshalled")

	ErrLocked  = errors.New("the master key is not at hand")
	ErrInvalid = errors.New("not a valid value")

	ErrNoKeyPair      = errors.New("there is no key pair: make it first, and have its certificate request signed")
	ErrKeyPairInUse   = errors.New("the key pair is in use by an active key provider: " + endOfProvider)
	ErrNoKeyServer    = errors.New("no such key server")
	ErrNoKeyProvider  = errors.New("no such key provider")
	ErrProviderActive = errors.New("the key provider is active, it holds master keys: " + endOfProvider)
	ErrKeyServerInUse = errors.New("the last key server of an active key provider: " +
		"add another one to the provider first, or end its use: " + endOfProvider)
	ErrKeysLacking = errors.New("the key server does not hold the key provider's master keys, and lockplate never copies keys: " +
		"have the key servers replicate them, or put this one in a key provider of its own and rekey to that")
	ErrKeyServerAssigned = errors.New("the key server is in another key provider: remove it from there first")
	ErrNoServers         = errors.New("the key provider has no key servers: add one first")
	ErrChanged           = errors.New("the record was changed meanwhile: try again")

	ErrKeyInUse = errors.New("the master key is in use: only an old one can be destroyed")

	ErrNotEmpty  = errors.New("the store is not empty: restore only into a new state directory")
	ErrTruncated = errors.New("the backup ends too early: copy it again, or use another one")
	ErrNotBackup = errors.New("not a lockplate backup")
	ErrTooLarge  = errors.New("over the limit")
)
