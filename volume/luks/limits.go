package luks

import "errors"

// Numbers of the specifications.
const (
	binSize      = 4096               // binary header, before the JSON area
	minHdrSize   = 16 << 10           // smallest LUKS2 header (binary + JSON), bytes
	maxHdrSize   = 4 << 20            // largest
	maxKeyslots  = 32                 // LUKS2 keyslots and tokens
	afStripes    = 4000               // anti-forensic stripes of every new keyslot
	areaSector   = 512                // keyslot areas are encrypted in these
	areaAlign    = 4096               // keyslot areas start and end on these
	saltBytes    = 32                 // of keyslots and digests
	digestRounds = 1000               // PBKDF2 rounds of a new digest: the key is random
	headerArea   = 16 << 20           // default room for both copies and all keyslots
	luks1Slots   = 8                  // keyslots of a LUKS1 header
	luks1Active  = 0x00ac71f3         // LUKS1 keyslot in use
	luks1Size    = 592                // LUKS1 header, bytes
	plainLimit   = int64(1<<32) * 512 // aes-xts-plain: the sector number wraps here
)

// Limits of this implementation, checked before memory is asked for or time
// is spent. A header beyond them is refused.
const (
	maxJSONDepth  = 16        // nesting; what cryptsetup writes has 4
	maxJSONValues = 1 << 16   // members and elements in all
	maxKeyBytes   = 512       // of any key named in a header
	maxAFBytes    = 4 << 20   // key bytes times stripes
	maxAreaBytes  = 128 << 20 // keyslot region of a header, as in cryptsetup
	maxSegments   = 32
	maxSaltBytes  = 1024

	// MaxPBKDF2Rounds is the highest PBKDF2 cost accepted, some ten seconds.
	MaxPBKDF2Rounds = 1 << 26
	// MaxArgon2Memory is the highest Argon2 memory accepted, in KiB (4 GiB).
	MaxArgon2Memory = 4 << 20
	// MaxArgon2Work is the highest product of Argon2 memory in KiB and passes
	// accepted: 128 GiB of memory traffic, some minutes.
	MaxArgon2Work = 128 << 20
	// MaxArgon2Threads is the highest Argon2 parallelism accepted.
	MaxArgon2Threads = 64
)

// Errors of reading a header.
var (
	// ErrNotLUKS: neither copy of a header, nor a LUKS1 header, is there.
	ErrNotLUKS = errors.New("not a LUKS container")
	// ErrCorrupt: a header is there and no copy of it is intact.
	ErrCorrupt = errors.New("LUKS header is damaged")
	// ErrTruncated: the device ends before the header or the data does.
	ErrTruncated = errors.New("LUKS container is cut short")
	// ErrUnsupported: well-formed, but needs what this package does not do.
	ErrUnsupported = errors.New("LUKS feature not supported")
)

// Errors of keys and passphrases.
var (
	// ErrWrongKey: the volume key does not match the header's digest.
	ErrWrongKey = errors.New("wrong volume key for this container")
	// ErrWrongPassphrase: no keyslot opens with the passphrase.
	ErrWrongPassphrase = errors.New("wrong passphrase: no keyslot opens with it")
	// ErrNoKeyslot: the container, or the number given, has no keyslot.
	ErrNoKeyslot = errors.New("no such keyslot")
)

// Errors of changing a header.
var (
	// ErrNoRoom: keyslots, keyslot areas or the JSON area are used up, or the
	// device is too small for a header.
	ErrNoRoom = errors.New("no room in the LUKS header")
	// ErrChanged: the header on disk is not the one this snapshot was read from.
	ErrChanged = errors.New("LUKS header was changed by somebody else, read it again")
	// ErrReadOnly: LUKS1 headers are never written.
	ErrReadOnly = errors.New("LUKS1 headers are read-only here (cryptsetup convert makes LUKS2 of them)")
)
