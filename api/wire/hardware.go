package wire

// EnableEncryptionAtRestParams has drives lock themselves, with keys made at a
// key provider if one is given.
type EnableEncryptionAtRestParams struct {
	KeyProviderID *Int `json:"keyProviderID,omitempty"`
}

// DriveIDsParams names drives: SecureEraseDrives.
type DriveIDsParams struct {
	Drives []Int `json:"drives" param:"required"`
}

// ListDriveHardwareParams is empty but for Element's Force, which asks to go
// on without nodes that do not answer; there is one node.
type ListDriveHardwareParams struct {
	Force bool `json:"force,omitempty"`
}

// ListDriveHardwareResult has the drives of each node.
type ListDriveHardwareResult struct {
	Nodes []NodeDriveHardware `json:"nodes"`
}

// NodeDriveHardware is what one node answers.
type NodeDriveHardware struct {
	NodeID int64                   `json:"nodeID"`
	Result NodeDriveHardwareResult `json:"result"`
}

// NodeDriveHardwareResult holds the drives of one node.
type NodeDriveHardwareResult struct {
	DriveHardware []DriveHardware `json:"driveHardware"`
}

// DriveHardware is Element's object of that name. What the kernel does not
// tell of a disk is "" or 0, as are wear, lifetime counters and slots, which
// are not asked for.
type DriveHardware struct {
	CanonicalName             string `json:"canonicalName"`
	Connected                 bool   `json:"connected"`
	Dev                       int64  `json:"dev"` // device number
	DevPath                   string `json:"devPath"`
	DriveEncryptionCapability string `json:"driveEncryptionCapability"` // none, sed, fips
	DriveType                 string `json:"driveType"`                 // Slice, Block
	LifeRemainingPercent      int64  `json:"lifeRemainingPercent"`
	LifetimeReadBytes         int64  `json:"lifetimeReadBytes"`
	LifetimeWriteBytes        int64  `json:"lifetimeWriteBytes"`
	Name                      string `json:"name"`
	Path                      string `json:"path"`
	PathLink                  string `json:"pathLink"`
	PowerOnHours              int64  `json:"powerOnHours"`
	Product                   string `json:"product"`
	ReallocatedSectors        int64  `json:"reallocatedSectors"`
	ReserveCapacityPercent    int64  `json:"reserveCapacityPercent"`
	ScsiCompatID              string `json:"scsiCompatId"`
	ScsiState                 string `json:"scsiState"`
	SecurityAtMaximum         bool   `json:"securityAtMaximum"`
	SecurityEnabled           bool   `json:"securityEnabled"`
	SecurityFrozen            bool   `json:"securityFrozen"`
	SecurityLocked            bool   `json:"securityLocked"`
	SecuritySupported         bool   `json:"securitySupported"` // the state of locks can be asked for
	Serial                    string `json:"serial"`
	Size                      int64  `json:"size"` // bytes
	Slot                      int    `json:"slot"`
	UncorrectableErrors       int64  `json:"uncorrectableErrors"`
	UUID                      string `json:"uuid"`
	Vendor                    string `json:"vendor"`
	Version                   string `json:"version"` // of the firmware

	Lockplate DriveHardwareDetail `json:"lockplate"`
}

// DriveHardwareDetail is what Element has no member for (extension).
type DriveHardwareDetail struct {
	DriveID    int64  `json:"driveID"`
	URI        string `json:"uri"`
	Address    string `json:"address"` // on the bus
	Rotational bool   `json:"rotational"`
}

// Types of drives as ListDriveHardware spells them.
const (
	HardwareBlock = "Block"
	HardwareSlice = "Slice"
)

// GetDriveHardwareInfoResult holds the hardware of one drive.
type GetDriveHardwareInfoResult struct {
	DriveHardwareInfo DriveHardwareInfo `json:"driveHardwareInfo"`
}

// DriveHardwareInfo is Element's object of that name; see DriveHardware.
type DriveHardwareInfo struct {
	BusInfo                  string `json:"businfo"`
	Description              string `json:"description"` // disk, dir, file, mem
	Dev                      string `json:"dev"`         // MAJOR:MINOR
	DevPath                  string `json:"devpath"`
	DriveSecurityAtMaximum   bool   `json:"driveSecurityAtMaximum"`
	DriveSecurityFrozen      bool   `json:"driveSecurityFrozen"`
	DriveSecurityLocked      bool   `json:"driveSecurityLocked"`
	LogicalName              string `json:"logicalname"`
	Product                  string `json:"product"`
	SecurityFeatureEnabled   bool   `json:"securityFeatureEnabled"`
	SecurityFeatureSupported bool   `json:"securityFeatureSupported"`
	Serial                   string `json:"serial"`
	Size                     int64  `json:"size"`
	UUID                     string `json:"uuid"`
	Version                  string `json:"version"`
}

// GetHardwareConfigResult describes the machine. Element leaves the object
// free.
type GetHardwareConfigResult struct {
	HardwareConfig HardwareConfig `json:"hardwareConfig"`
}

// HardwareConfig is the machine that the gateway runs on.
type HardwareConfig struct {
	CPU    HardwareCPU    `json:"cpu"`
	Memory HardwareMemory `json:"memory"`
	Kernel HardwareKernel `json:"kernel"`
}

// HardwareCPU is the processor as Go and the kernel see it.
type HardwareCPU struct {
	Architecture string `json:"architecture"`
	Model        string `json:"model"`   // "" where the kernel does not tell
	Threads      int    `json:"threads"` // that the gateway may use
}

// HardwareMemory is the memory of the machine, in bytes.
type HardwareMemory struct {
	TotalBytes int64 `json:"totalBytes"`
}

// HardwareKernel names the operating system's kernel.
type HardwareKernel struct {
	Name    string `json:"name"`
	Release string `json:"release"`
}
