package wire

// GetLimitsResult is Element's object of that name. What does not exist here
// has the limit 0; what has no limit has the largest number that every client
// can read.
type GetLimitsResult struct {
	AccountCountMax                        int64 `json:"accountCountMax"`
	AccountNameLengthMax                   int64 `json:"accountNameLengthMax"`
	AccountNameLengthMin                   int64 `json:"accountNameLengthMin"`
	BulkVolumeJobsPerNodeMax               int64 `json:"bulkVolumeJobsPerNodeMax"`
	BulkVolumeJobsPerVolumeMax             int64 `json:"bulkVolumeJobsPerVolumeMax"`
	CloneJobsPerVolumeMax                  int64 `json:"cloneJobsPerVolumeMax"`
	ClusterPairsCountMax                   int64 `json:"clusterPairsCountMax"`
	InitiatorNameLengthMax                 int64 `json:"initiatorNameLengthMax"`
	InitiatorCountMax                      int64 `json:"initiatorCountMax"`
	InitiatorsPerVolumeAccessGroupCountMax int64 `json:"initiatorsPerVolumeAccessGroupCountMax"`
	ISCSISessionsFromFibreChannelNodesMax  int64 `json:"iscsiSessionsFromFibreChannelNodesMax"`
	QoSPolicyCountMax                      int64 `json:"qosPolicyCountMax"`
	SecretLengthMax                        int64 `json:"secretLengthMax"`
	ScheduleNameLengthMax                  int64 `json:"scheduleNameLengthMax"`
	SecretLengthMin                        int64 `json:"secretLengthMin"`
	SnapshotNameLengthMax                  int64 `json:"snapshotNameLengthMax"`
	SnapshotsPerVolumeMax                  int64 `json:"snapshotsPerVolumeMax"`
	VolumeAccessGroupCountMax              int64 `json:"volumeAccessGroupCountMax"`
	VolumeAccessGroupLunMax                int64 `json:"volumeAccessGroupLunMax"`
	VolumeAccessGroupNameLengthMax         int64 `json:"volumeAccessGroupNameLengthMax"`
	VolumeAccessGroupNameLengthMin         int64 `json:"volumeAccessGroupNameLengthMin"`
	VolumeAccessGroupsPerInitiatorCountMax int64 `json:"volumeAccessGroupsPerInitiatorCountMax"`
	VolumeAccessGroupsPerVolumeCountMax    int64 `json:"volumeAccessGroupsPerVolumeCountMax"`
	InitiatorAliasLengthMax                int64 `json:"initiatorAliasLengthMax"`
	VolumeBurstIOPSMax                     int64 `json:"volumeBurstIOPSMax"`
	VolumeBurstIOPSMin                     int64 `json:"volumeBurstIOPSMin"`
	VolumeCountMax                         int64 `json:"volumeCountMax"`
	VolumeMaxIOPSMax                       int64 `json:"volumeMaxIOPSMax"`
	VolumeMaxIOPSMin                       int64 `json:"volumeMaxIOPSMin"`
	VolumeMinIOPSMax                       int64 `json:"volumeMinIOPSMax"`
	VolumeMinIOPSMin                       int64 `json:"volumeMinIOPSMin"`
	VolumeNameLengthMax                    int64 `json:"volumeNameLengthMax"`
	VolumeNameLengthMin                    int64 `json:"volumeNameLengthMin"`
	VolumeSizeMax                          int64 `json:"volumeSizeMax"`
	VolumeSizeMin                          int64 `json:"volumeSizeMin"`
	VolumesPerAccountCountMax              int64 `json:"volumesPerAccountCountMax"`
	VolumesPerGroupSnapshotMax             int64 `json:"volumesPerGroupSnapshotMax"`
	VolumesPerVolumeAccessGroupCountMax    int64 `json:"volumesPerVolumeAccessGroupCountMax"`
	ClusterAdminAccountMax                 int64 `json:"clusterAdminAccountMax"`
	FibreChannelVolumeAccessMax            int64 `json:"fibreChannelVolumeAccessMax"`
	VirtualVolumesPerAccountCountMax       int64 `json:"virtualVolumesPerAccountCountMax"`
	VirtualVolumeCountMax                  int64 `json:"virtualVolumeCountMax"`
}

// GetCurrentClusterAdminResult tells who asks.
type GetCurrentClusterAdminResult struct {
	ClusterAdmin ClusterAdmin `json:"clusterAdmin"`
}

// DriveIDParams names one drive.
type DriveIDParams struct {
	DriveID Int `json:"driveID" param:"required"`
}

// GetDriveStatsResult holds the numbers of one drive.
type GetDriveStatsResult struct {
	DriveStats DriveStats `json:"driveStats"`
}

// ListDriveStatsParams select drives; none means all.
type ListDriveStatsParams struct {
	Drives []Int `json:"drives,omitempty"`
}

// ListDriveStatsResult holds the numbers of drives, and an error for each that
// could not be asked.
type ListDriveStatsResult struct {
	DriveStats []DriveStats `json:"driveStats"`
	Errors     []any        `json:"errors"` // objects
}

// DriveStats is Element's object of that name. Only capacities are known here;
// the rest is 0.
type DriveStats struct {
	ActiveSessions         int64  `json:"activeSessions"`
	DriveID                int64  `json:"driveID"`
	FailedDieCount         int64  `json:"failedDieCount"`
	LifeRemainingPercent   int64  `json:"lifeRemainingPercent"`
	LifetimeReadBytes      int64  `json:"lifetimeReadBytes"`
	LifetimeWriteBytes     int64  `json:"lifetimeWriteBytes"`
	PowerOnHours           int64  `json:"powerOnHours"`
	ReadBytes              int64  `json:"readBytes"`
	ReadOps                int64  `json:"readOps"`
	ReallocatedSectors     int64  `json:"reallocatedSectors"`
	ReserveCapacityPercent int64  `json:"reserveCapacityPercent"`
	Timestamp              string `json:"timestamp"`
	TotalCapacity          int64  `json:"totalCapacity"`
	UsedCapacity           int64  `json:"usedCapacity"`
	UsedMemory             int64  `json:"usedMemory"`
	WriteBytes             int64  `json:"writeBytes"`
	WriteOps               int64  `json:"writeOps"`
}
