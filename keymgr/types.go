// Package keymgr holds master keys and the wraps of data keys.
package keymgr

import "time"

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
	Sealed     bool   // protected by something that is not kept beside the data
	Sealer     string // kind of sealer of an internal key
	Warning    string // why Sealed is false
}

// SealerOptions is what sealers may need to work.
type SealerOptions struct {
	StateDir       string
	CredentialsDir string
	// Passphrase asks for the passphrase, twice if confirm. nil: cannot ask.
	Passphrase func(confirm bool) ([]byte, error)
	// Create allows making a key file that does not exist.
	Create bool
	// KDF are the costs for new passphrases; the zero value is the default.
	KDF Argon2
}
