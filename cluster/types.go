// Package cluster is the gateway as a whole: boot, drives, volumes, users,
// jobs and faults. It is the only package that knows all parts; front ends
// (nbd, fusefs) and the API see volumes as plain block devices and the rest
// through the types below.
package cluster

import (
	"time"

	"lockplate/keymgr"
)

// Params of Create, the making of a cluster (Element: CreateCluster).
type CreateParams struct {
	Name               string // for display; "" takes the host's name
	Seal               string // sealer of the internal master key, see keymgr.ParseSealer
	SealPassphrase     []byte // for sealer "passphrase"; nil asks through Config.Sealer; wiped
	SoftwareEncryption bool   // encrypt every volume; cannot be changed later
	Username           string // first administrator, "" for none
	Password           []byte // wiped
	Attributes         map[string]any
}

// Info describes the cluster.
type Info struct {
	Name               string
	UUID               string
	Created            time.Time
	SoftwareEncryption bool
	NodeID             int64
	NodeName           string
	Attributes         map[string]any
}

// DriveStatus is Element's life cycle of a drive.
type DriveStatus string

// Drive states. A drive is known (available), serves volumes (active), or
// could not be used (failed).
const (
	DriveAvailable DriveStatus = "available"
	DriveActive    DriveStatus = "active"
	DriveErasing   DriveStatus = "erasing"
	DriveFailed    DriveStatus = "failed"
	DriveRemoving  DriveStatus = "removing"
)

// DriveRole says what a drive is for.
type DriveRole string

// Drive roles: volumes' data, or headers and journals (Element: block, volume).
const (
	RoleBlock    DriveRole = "block"
	RoleMetadata DriveRole = "metadata"
)

// Drive is one drive as it is now.
type Drive struct {
	ID       int64
	UUID     string
	URI      string
	Role     DriveRole
	Status   DriveStatus
	Reason   string // why it is failed, "" otherwise
	Capacity int64  // bytes
	Free     int64
	Serial   string
	Model    string
	Added    time.Time
	Volumes  []int64
}

// AddDrive names one drive to take into service: a known one by ID, or a new
// one by URI (which then gets an ID).
type AddDrive struct {
	ID   int64
	URI  string
	Role DriveRole // "" keeps, or block
}

// VolumeState says whether a volume can be attached.
type VolumeState string

// Volume states. Locked: its key cannot be had now. Offline: its drive or
// container cannot be used. Both heal when the cause goes.
const (
	VolumeOnline  VolumeState = "online"
	VolumeLocked  VolumeState = "locked"
	VolumeOffline VolumeState = "offline"
	VolumeDeleted VolumeState = "deleted"
)

// Access to a volume, with Element's spelling.
type Access string

// Access values that can be set.
const (
	AccessReadWrite Access = "readWrite"
	AccessReadOnly  Access = "readOnly"
	AccessLocked    Access = "locked" // nobody may attach
)

// Volume is one volume as it is now.
type Volume struct {
	ID             int64
	UUID           string
	Name           string
	AccountID      int64
	Size           int64 // bytes a client sees
	SectorSize     int   // of the cipher
	Emulate512     bool  // clients may use any alignment, else they are told 4096-byte sectors
	Access         Access
	State          VolumeState
	Reason         string // why it is not online, with the way out
	Encrypted      bool
	Cipher         string // "aes-xts-plain64", "" if not encrypted
	KeyBits        int    // 512 or 256
	DriveID        int64
	Path           string // file or device with the data
	HeaderPath     string // where the LUKS2 header is, if not in Path
	HeaderDriveID  int64  // metadata drive with the detached header, 0 = attached
	Discard        string // off, pass, zero
	RecoveryKeys   int    // keyslots that open it without lockplate
	Adopted        bool   // made elsewhere and taken over
	Created        time.Time
	Deleted, Purge time.Time // zero unless deleted
	Attributes     map[string]any
	Connections    int   // clients attached now
	QoS            QoS   // NoQoS if it was never set
	QoSPolicyID    int64 // 0 = none
}

// CreateVolume are the parameters of a new volume. Zero values take defaults.
type CreateVolume struct {
	Name          string // 1-64 characters of [A-Za-z0-9._-], unique among live volumes
	AccountID     int64  // 0 = 1
	Size          int64  // bytes, rounded up to whole MiB
	Emulate512    bool
	Access        Access
	DriveID       int64  // 0 = the active drive with the most free space
	Detached      bool   // LUKS2 header on a metadata drive
	Discard       string // off (default), pass, zero
	SectorSize    int    // 0 = as the drive does best
	Attributes    map[string]any
	Passphrase    []byte     // optional recovery passphrase; wiped
	PassphraseKDF string     // argon2id (default), pbkdf2
	QoS           *QoSChange // nil = no limit
	QoSPolicyID   int64      // 0 = none; not with QoS
}

// AdoptVolume takes an existing LUKS container into the cluster. A LUKS1
// container is taken read-only.
type AdoptVolume struct {
	Name       string
	DriveID    int64
	Image      string // name on a dir: drive, "" on a single one
	Passphrase []byte // wiped

	HeaderDriveID int64 // metadata drive with a detached header, 0 = attached
	HeaderImage   string
}

// ModifyVolume holds the members to change; nil keeps.
type ModifyVolume struct {
	Name        *string
	Size        *int64
	Access      *Access
	Emulate512  *bool
	AccountID   *int64
	Discard     *string
	Attributes  *map[string]any
	QoS         *QoSChange
	QoSPolicyID *int64 // 0 parts it from its policy and keeps the values; not with QoS
}

// RecoveryKey is one keyslot of a volume that opens it without lockplate.
type RecoveryKey struct {
	Slot int
	KDF  string // argon2id, argon2i, pbkdf2
}

// VolumeStats are I/O counters since the volume was opened.
type VolumeStats struct {
	VolumeID                            int64
	ReadOps, WriteOps, TrimOps, ZeroOps uint64
	FlushOps, Errors                    uint64
	ReadBytes, WriteBytes               uint64
	ReadLatency, WriteLatency           time.Duration // sums
	InFlight                            int64
	BurstCredit                         int64 // requests of 4 KiB beyond maxIOPS
	Allocated                           int64 // bytes that its data has on the drive, at most its size
}

// Role of an API user.
type Role string

// Roles. Administrators may do anything, readers only look.
const (
	RoleAdmin  Role = "administrator"
	RoleReader Role = "read"
)

// User is an API user (Element: cluster admin). The password is never shown.
type User struct {
	ID         int64
	Name       string
	Roles      []Role
	Attributes map[string]any
	Created    time.Time
}

// Async is the state of long work (Element: async result).
type Async struct {
	Handle   int64
	Type     string // DriveAdd, DriveRemoval, …
	Created  time.Time
	Updated  time.Time
	Done     bool
	Result   map[string]any // when done and successful
	ErrName  string         // when done and failed
	ErrText  string
	State    string // step while running, as Element names it; "" if it has none
	Progress int    // percent
}

// Fault is a condition that an administrator should know of.
type Fault struct {
	ID       int64
	Code     string // Element's
	Severity string // warning, error, critical
	Type     string // node, drive, cluster, service, volume
	Text     string // what, and how to recover
	DriveID  int64
	VolumeID int64
	Since    time.Time
	Resolved time.Time // zero while the condition holds
}

// Types of events, with Element's spelling.
const (
	EventEncryption = "encryptionAtRestEvent"
	EventDrive      = "driveEvent"
	EventAPI        = "apiEvent"
	EventService    = "serviceEvent"
)

// Event is something that happened, kept for a while (Element: event).
type Event struct {
	ID       int64
	Type     string
	Message  string
	Severity int // 0 information, 1 warning, 2 error, 3 critical
	DriveID  int64
	VolumeID int64
	Details  map[string]any
	Time     time.Time
}

// EventFilter chooses events; zero members do not matter.
type EventFilter struct {
	First, Last int64 // ids
	Type        string
	DriveID     int64
	From, To    time.Time
	Max         int // the newest so many; with First the next so many from there
}

// Encryption tells how software encryption at rest stands.
type Encryption struct {
	Enabled bool
	Version int
	Master  *keymgr.MasterKey // nil unless enabled
	Locked  error             // why the master key cannot be had now, nil when it is at hand

	// Shares are the recovery shares, nil if there are none.
	Shares *keymgr.SharesInfo

	// RekeyHandle is the job of the current or latest rekey, 0 if there was
	// none or its result was handed out.
	RekeyHandle int64
}
