// Package keymgr holds master keys and the wraps of data keys.
package keymgr

import (
	"time"

	"lockplate/keymgr/shamir"
	"lockplate/store"
)

// ManagementType says where a key is made and kept.
type ManagementType string

// Management types, as Element spells them.
const (
	Internal ManagementType = "internal"
	External ManagementType = "external"
)

// MasterKey describes a master key; it holds no secret.
type MasterKey struct {
	ID         string // UUID
	Type       ManagementType
	ProviderID int64 // 0 unless external
	Created    time.Time
	State      State
	Destroyed  time.Time // zero while the key may exist somewhere
	Forgotten  time.Time // zero unless it was given up where it could not be destroyed
	Left       []string  // with Forgotten: addresses where it may still exist
	Sealed     bool      // protected by something that is not kept beside the data
	Sealer     string    // kind of sealer of an internal key
	Warning    string    // why Sealed is false
}

// Hooks connect the rekey job with its owner's list of jobs. Begin and End run
// inside transactions of this package, so that the job and what is known of it
// are one commit; as such they may run twice. Members may be nil.
type Hooks struct {
	// Begin gives the handle of a new job.
	Begin func(tx store.Tx, now time.Time) (handle int64, err error)
	// Progress is told of each step: Element's name of it and 0 to 100.
	Progress func(handle int64, state string, percent int)
	// Shared is told that a new internal master key was sealed for the recovery
	// shares of a set, too.
	Shared func(key, set string)
	// End is told of the result, or of errName (ErrName…) and errText.
	End func(tx store.Tx, handle int64, result map[string]any, errName, errText string) error
}

// Observer is told of requests to key servers, for metrics; members may be nil.
// They are called from several goroutines and must not wait.
type Observer struct {
	// Request ended at one address; class is "ok" or what there is to be fixed
	// (kmip.Class).
	Request func(operation, class string, took time.Duration)
	// Failover: a request was answered by another address than the first.
	Failover func(operation, from, to string)
}

// SealerOptions is what sealers may need to work.
type SealerOptions struct {
	StateDir       string
	CredentialsDir string
	// Passphrase asks for the passphrase, twice if confirm. nil: cannot ask.
	Passphrase func(confirm bool) ([]byte, error)
	// Shares collects recovery shares of the set that is wanted, for sealer
	// "shares"; the set is wiped after. nil: cannot ask.
	Shares func(want SharesInfo) (*shamir.Set, error)
	// Create allows making a key file that does not exist.
	Create bool
	// KDF are the costs for new passphrases; the zero value is the default.
	KDF Argon2
}
