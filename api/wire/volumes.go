package wire

// Status of a volume.
const (
	VolumeActive  = "active"
	VolumeDeleted = "deleted"
)

// CreateVolumeParams makes a volume. Only Name and TotalSize must be given.
type CreateVolumeParams struct {
	Name       string         `json:"name" param:"required"` // 1-64 characters
	AccountID  Int            `json:"accountID,omitempty"`   // default 1
	TotalSize  Int            `json:"totalSize" param:"required"`
	Enable512e bool           `json:"enable512e"`       // any alignment; false, the default: 4096-byte sectors
	Access     string         `json:"access,omitempty"` // readWrite (default), readOnly, locked
	Attributes map[string]any `json:"attributes,omitempty"`

	QOS                    *QOSParams `json:"qos,omitempty"`                    // default: no limit
	QOSPolicyID            *Int       `json:"qosPolicyID,omitempty"`            // not with qos
	AssociateWithQoSPolicy *bool      `json:"associateWithQoSPolicy,omitempty"` // false: qosPolicyID has no effect

	// Extensions.
	DriveID            Int      `json:"driveID,omitempty"` // default: the drive with the most space
	DetachedHeader     bool     `json:"detachedHeader,omitempty"`
	Discard            string   `json:"discard,omitempty"`    // off (default), pass, zero
	SectorSize         Int      `json:"sectorSize,omitempty"` // 512, 4096; default: as the drive does best
	RecoveryPassphrase Password `json:"recoveryPassphrase,omitempty"`
	RecoveryKDF        string   `json:"recoveryKDF,omitempty"` // argon2id (default), pbkdf2
}

// CreateVolumeResult holds the new volume.
type CreateVolumeResult struct {
	Volume   Volume         `json:"volume"`
	VolumeID int64          `json:"volumeID"`
	Curve    map[string]int `json:"curve,omitempty"` // see QOS
}

// AdoptVolumeParams takes an existing LUKS container into the cluster, opened
// with one of its passphrases (extension).
type AdoptVolumeParams struct {
	Name          string   `json:"name" param:"required"`
	DriveID       Int      `json:"driveID" param:"required"`
	Image         string   `json:"image,omitempty"` // on a drive with many images: which
	Passphrase    Password `json:"passphrase" param:"required"`
	HeaderDriveID Int      `json:"headerDriveID,omitempty"` // detached header: metadata drive
	HeaderImage   string   `json:"headerImage,omitempty"`
}

// ListVolumesParams selects volumes. VolumeIDs excludes Accounts,
// StartVolumeID and Limit.
type ListVolumesParams struct {
	VolumeIDs             []Int  `json:"volumeIDs,omitempty"`
	Accounts              []Int  `json:"accounts,omitempty"`
	StartVolumeID         Int    `json:"startVolumeID,omitempty"`
	Limit                 Int    `json:"limit,omitempty"`
	VolumeName            string `json:"volumeName,omitempty"`
	VolumeStatus          string `json:"volumeStatus,omitempty"` // active, deleted
	IsPaired              bool   `json:"isPaired,omitempty"`
	IncludeVirtualVolumes bool   `json:"includeVirtualVolumes,omitempty"` // there are none
}

// ListActiveVolumesParams selects volumes that are not deleted.
type ListActiveVolumesParams struct {
	StartVolumeID         Int  `json:"startVolumeID,omitempty"`
	Limit                 Int  `json:"limit,omitempty"`
	IncludeVirtualVolumes bool `json:"includeVirtualVolumes,omitempty"`
}

// ListDeletedVolumesParams has no selection.
type ListDeletedVolumesParams struct {
	IncludeVirtualVolumes bool `json:"includeVirtualVolumes,omitempty"`
}

// ListVolumesResult holds volumes, also of ListActiveVolumes and
// ListDeletedVolumes.
type ListVolumesResult struct {
	Volumes []Volume `json:"volumes"`
}

// ModifyVolumeParams changes what is given.
type ModifyVolumeParams struct {
	VolumeID   Int             `json:"volumeID" param:"required"`
	Name       *string         `json:"name,omitempty"`
	AccountID  *Int            `json:"accountID,omitempty"`
	TotalSize  *Int            `json:"totalSize,omitempty"` // only growing
	Enable512e *bool           `json:"enable512e,omitempty"`
	Access     *string         `json:"access,omitempty"`
	Attributes *map[string]any `json:"attributes,omitempty"`
	Discard    *string         `json:"discard,omitempty"` // extension

	QOS                    *QOSParams `json:"qos,omitempty"`                    // parts the volume from its policy
	QOSPolicyID            *Int       `json:"qosPolicyID,omitempty"`            // not with qos
	AssociateWithQoSPolicy *bool      `json:"associateWithQoSPolicy,omitempty"` // false: no policy; the values stay
}

// VolumeIDParams names one volume: DeleteVolume, RestoreDeletedVolume,
// PurgeDeletedVolume, ListVolumeRecoveryKeys.
type VolumeIDParams struct {
	VolumeID Int `json:"volumeID" param:"required"`
}

// VolumeResult holds one volume: ModifyVolume, DeleteVolume, AdoptVolume.
type VolumeResult struct {
	Volume Volume `json:"volume"`
}

// Volume is Element's object of that name.
type Volume struct {
	Access                      string         `json:"access"`
	AccountID                   int64          `json:"accountID"`
	Attributes                  map[string]any `json:"attributes"`
	BlockSize                   int            `json:"blockSize"`
	CreateTime                  string         `json:"createTime"`
	CurrentProtectionScheme     string         `json:"currentProtectionScheme"`
	DeleteTime                  string         `json:"deleteTime"` // "" unless deleted
	Enable512e                  bool           `json:"enable512e"`
	EnableSnapMirrorReplication bool           `json:"enableSnapMirrorReplication"`
	FifoSize                    int            `json:"fifoSize"`
	IQN                         string         `json:"iqn"` // "": there is no iSCSI
	LastAccessTime              *string        `json:"lastAccessTime"`
	LastAccessTimeIO            *string        `json:"lastAccessTimeIO"`
	MinFifoSize                 int            `json:"minFifoSize"`
	Name                        string         `json:"name"`
	PreviousProtectionScheme    *string        `json:"previousProtectionScheme"`
	PurgeTime                   string         `json:"purgeTime"` // "" unless deleted
	QOS                         QOS            `json:"qos"`
	QOSPolicyID                 *int64         `json:"qosPolicyID"`
	ScsiEUIDeviceID             string         `json:"scsiEUIDeviceID"`
	ScsiNAADeviceID             string         `json:"scsiNAADeviceID"`
	SliceCount                  int            `json:"sliceCount"`
	Status                      string         `json:"status"` // active, deleted
	TotalSize                   int64          `json:"totalSize"`
	VirtualVolumeID             *string        `json:"virtualVolumeID"`
	VolumeAccessGroups          []int64        `json:"volumeAccessGroups"`
	VolumeConsistencyGroupUUID  string         `json:"volumeConsistencyGroupUUID"`
	VolumeID                    int64          `json:"volumeID"`
	VolumePairs                 []any          `json:"volumePairs"`
	VolumeUUID                  string         `json:"volumeUUID"`
	Lockplate                   VolumeDetail   `json:"lockplate"`
}

// VolumeDetail is what lockplate knows beyond Element's members (extension).
type VolumeDetail struct {
	State         string `json:"state"`  // online, locked, offline, deleted
	Reason        string `json:"reason"` // why it is not online
	Encrypted     bool   `json:"encrypted"`
	Cipher        string `json:"cipher"`
	KeyBits       int    `json:"keyBits"`
	SectorSize    int    `json:"sectorSize"`
	DriveID       int64  `json:"driveID"`
	Path          string `json:"path"`
	HeaderDriveID int64  `json:"headerDriveID"` // 0: the header is attached
	HeaderPath    string `json:"headerPath"`
	Discard       string `json:"discard"`
	RecoveryKeys  int    `json:"recoveryKeys"`
	Adopted       bool   `json:"adopted"`
	Connections   int    `json:"connections"`
}

// ListVolumeStatsParams selects volumes; none means all that are active.
type ListVolumeStatsParams struct {
	VolumeIDs             []Int `json:"volumeIDs,omitempty"`
	IncludeVirtualVolumes bool  `json:"includeVirtualVolumes,omitempty"`
}

// ListVolumeStatsResult holds counters.
type ListVolumeStatsResult struct {
	VolumeStats []VolumeStats `json:"volumeStats"`
}

// VolumeStats is Element's object of that name. Counters run since the volume
// was opened; what lockplate does not measure is 0 or null.
type VolumeStats struct {
	AccountID            int64   `json:"accountID"`
	ActualIOPS           int64   `json:"actualIOPS"`
	AsyncDelay           *string `json:"asyncDelay"`
	AverageIOPSize       int64   `json:"averageIOPSize"`
	BurstIOPSCredit      int64   `json:"burstIOPSCredit"`
	ClientQueueDepth     int64   `json:"clientQueueDepth"`
	DesiredMetadataHosts *string `json:"desiredMetadataHosts"`
	LatencyUSec          int64   `json:"latencyUSec"` // averages over all requests
	MetadataHosts        *string `json:"metadataHosts"`
	NonZeroBlocks        int64   `json:"nonZeroBlocks"` // 4096 bytes each, allocated on the drive
	NormalizedIOPS       int64   `json:"normalizedIOPS"`
	ReadBytes            uint64  `json:"readBytes"`
	ReadBytesLastSample  uint64  `json:"readBytesLastSample"`
	ReadLatencyUSec      int64   `json:"readLatencyUSec"`
	ReadLatencyUSecTotal int64   `json:"readLatencyUSecTotal"`
	ReadOps              uint64  `json:"readOps"`
	ReadOpsLastSample    uint64  `json:"readOpsLastSample"`
	SamplePeriodMSec     int64   `json:"samplePeriodMSec"`
	Throttle             float64 `json:"throttle"`
	Timestamp            string  `json:"timestamp"`
	UnalignedReads       uint64  `json:"unalignedReads"`
	UnalignedWrites      uint64  `json:"unalignedWrites"`
	VolumeAccessGroups   []int64 `json:"volumeAccessGroups"`
	VolumeID             int64   `json:"volumeID"`
	VolumeSize           int64   `json:"volumeSize"`
	VolumeUtilization    float64 `json:"volumeUtilization"`
	WriteBytes           uint64  `json:"writeBytes"`
	WriteBytesLastSample uint64  `json:"writeBytesLastSample"`
	WriteLatencyUSec     int64   `json:"writeLatencyUSec"`
	WriteLatencyUSecTot  int64   `json:"writeLatencyUSecTotal"`
	WriteOps             uint64  `json:"writeOps"`
	WriteOpsLastSample   uint64  `json:"writeOpsLastSample"`
	ZeroBlocks           int64   `json:"zeroBlocks"` // the rest of the volume

	Lockplate VolumeStatsDetail `json:"lockplate"`
}

// VolumeStatsDetail are counters that Element does not have (extension).
type VolumeStatsDetail struct {
	TrimOps  uint64 `json:"trimOps"`
	ZeroOps  uint64 `json:"zeroOps"`
	FlushOps uint64 `json:"flushOps"`
	Errors   uint64 `json:"errors"`
}

// AddVolumeRecoveryKeyParams adds a passphrase that opens the volume without
// lockplate (extension).
type AddVolumeRecoveryKeyParams struct {
	VolumeID   Int      `json:"volumeID" param:"required"`
	Passphrase Password `json:"passphrase" param:"required"`
	KDF        string   `json:"kdf,omitempty"` // argon2id (default), pbkdf2
}

// AddVolumeRecoveryKeyResult tells which keyslot took the passphrase.
type AddVolumeRecoveryKeyResult struct {
	Slot int `json:"slot"`
}

// ListVolumeRecoveryKeysResult lists the keyslots of a volume (extension).
type ListVolumeRecoveryKeysResult struct {
	RecoveryKeys []RecoveryKey `json:"recoveryKeys"`
}

// RecoveryKey is one keyslot.
type RecoveryKey struct {
	Slot int    `json:"slot"`
	KDF  string `json:"kdf"`
}

// RemoveVolumeRecoveryKeyParams wipes a keyslot (extension). The last one
// needs Force.
type RemoveVolumeRecoveryKeyParams struct {
	VolumeID Int  `json:"volumeID" param:"required"`
	Slot     Int  `json:"slot" param:"required"`
	Force    bool `json:"force,omitempty"`
}
