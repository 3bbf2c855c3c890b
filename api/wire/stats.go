package wire

// GetClusterCapacityResult tells how much space there is.
type GetClusterCapacityResult struct {
	ClusterCapacity ClusterCapacity `json:"clusterCapacity"`
}

// ClusterCapacity is Element's object of that name. Space is of the active
// drives, in bytes; a block has 4096. Nothing is compressed or deduplicated,
// so every block used is unique. What lockplate does not measure is 0.
type ClusterCapacity struct {
	ActiveBlockSpace             int64  `json:"activeBlockSpace"`
	ActiveSessions               int64  `json:"activeSessions"` // NBD connections
	AverageIOPS                  int64  `json:"averageIOPS"`
	ClusterRecentIOSize          int64  `json:"clusterRecentIOSize"`
	CurrentIOPS                  int64  `json:"currentIOPS"`
	MaxIOPS                      int64  `json:"maxIOPS"`
	MaxOverProvisionableSpace    int64  `json:"maxOverProvisionableSpace"`
	MaxProvisionedSpace          int64  `json:"maxProvisionedSpace"`
	MaxUsedMetadataSpace         int64  `json:"maxUsedMetadataSpace"`
	MaxUsedSpace                 int64  `json:"maxUsedSpace"`
	NonZeroBlocks                int64  `json:"nonZeroBlocks"`
	PeakActiveSessions           int64  `json:"peakActiveSessions"`
	PeakIOPS                     int64  `json:"peakIOPS"`
	ProvisionedSpace             int64  `json:"provisionedSpace"` // deleted volumes count until they are purged
	SnapshotNonZeroBlocks        int64  `json:"snapshotNonZeroBlocks"`
	Timestamp                    string `json:"timestamp"`
	TotalOps                     uint64 `json:"totalOps"`
	UniqueBlocks                 int64  `json:"uniqueBlocks"`
	UniqueBlocksUsedSpace        int64  `json:"uniqueBlocksUsedSpace"`
	UsedMetadataSpace            int64  `json:"usedMetadataSpace"`
	UsedMetadataSpaceInSnapshots int64  `json:"usedMetadataSpaceInSnapshots"`
	UsedSpace                    int64  `json:"usedSpace"`
	ZeroBlocks                   int64  `json:"zeroBlocks"`
}

// GetClusterStatsResult sums the counters of all volumes.
type GetClusterStatsResult struct {
	ClusterStats ClusterStats `json:"clusterStats"`
}

// ClusterStats is Element's object of that name. What lockplate does not
// measure is 0.
type ClusterStats struct {
	ActualIOPS           int64   `json:"actualIOPS"`
	AverageIOPSize       int64   `json:"averageIOPSize"`
	ClientQueueDepth     int64   `json:"clientQueueDepth"`
	ClusterUtilization   float64 `json:"clusterUtilization"`
	LatencyUSec          int64   `json:"latencyUSec"`
	NormalizedIOPS       int64   `json:"normalizedIOPS"`
	ReadBytes            uint64  `json:"readBytes"`
	ReadBytesLastSample  uint64  `json:"readBytesLastSample"`
	ReadLatencyUSec      int64   `json:"readLatencyUSec"`
	ReadLatencyUSecTotal int64   `json:"readLatencyUSecTotal"`
	ReadOps              uint64  `json:"readOps"`
	ReadOpsLastSample    uint64  `json:"readOpsLastSample"`
	SamplePeriodMsec     int64   `json:"samplePeriodMsec"` // spelled so here, unlike in VolumeStats
	ServicesCount        int64   `json:"servicesCount"`
	ServicesTotal        int64   `json:"servicesTotal"`
	Timestamp            string  `json:"timestamp"`
	UnalignedReads       uint64  `json:"unalignedReads"`
	UnalignedWrites      uint64  `json:"unalignedWrites"`
	WriteBytes           uint64  `json:"writeBytes"`
	WriteBytesLastSample uint64  `json:"writeBytesLastSample"`
	WriteLatencyUSec     int64   `json:"writeLatencyUSec"`
	WriteLatencyUSecTot  int64   `json:"writeLatencyUSecTotal"`
	WriteOps             uint64  `json:"writeOps"`
	WriteOpsLastSample   uint64  `json:"writeOpsLastSample"`
}

// Stages of fullness, in order.
const (
	StageHappy    = "stage1Happy"
	StageAware    = "stage2Aware"
	StageLow      = "stage3Low"
	StageCritical = "stage4Critical"
	StageConsumed = "stage5CompletelyConsumed"
)

// GetClusterFullThresholdResult tells how full the active drives are, and at
// how many used bytes the next stage begins. Thresholds counted in nodes are
// 0: there is one node.
type GetClusterFullThresholdResult struct {
	BlockFullness              string `json:"blockFullness"`
	Fullness                   string `json:"fullness"` // the worse of the two
	MaxMetadataOverProvision   int64  `json:"maxMetadataOverProvisionFactor"`
	MetadataFullness           string `json:"metadataFullness"`
	SliceReserveUsedThreshold  int64  `json:"sliceReserveUsedThresholdPct"`
	Stage2AwareThreshold       int64  `json:"stage2AwareThreshold"`
	Stage2BlockThresholdBytes  int64  `json:"stage2BlockThresholdBytes"`
	Stage2MetadataThreshold    int64  `json:"stage2MetadataThresholdBytes"`
	Stage3BlockThresholdBytes  int64  `json:"stage3BlockThresholdBytes"`
	Stage3BlockThresholdPct    int64  `json:"stage3BlockThresholdPercent"`
	Stage3LowThreshold         int64  `json:"stage3LowThreshold"`
	Stage3MetadataThreshold    int64  `json:"stage3MetadataThresholdBytes"`
	Stage3MetadataThresholdPct int64  `json:"stage3MetadataThresholdPercent"`
	Stage4BlockThresholdBytes  int64  `json:"stage4BlockThresholdBytes"`
	Stage4CriticalThreshold    int64  `json:"stage4CriticalThreshold"`
	Stage4MetadataThreshold    int64  `json:"stage4MetadataThresholdBytes"`
	Stage5BlockThresholdBytes  int64  `json:"stage5BlockThresholdBytes"`
	Stage5MetadataThreshold    int64  `json:"stage5MetadataThresholdBytes"`
	SumTotalClusterBytes       int64  `json:"sumTotalClusterBytes"`
	SumTotalMetadataBytes      int64  `json:"sumTotalMetadataClusterBytes"`
	SumUsedClusterBytes        int64  `json:"sumUsedClusterBytes"`
	SumUsedMetadataBytes       int64  `json:"sumUsedMetadataClusterBytes"`
}

// VolumeIDsParams selects volumes.
type VolumeIDsParams struct {
	VolumeIDs []Int `json:"volumeIDs,omitempty"`
}

// ListVolumeQoSHistogramsResult is always empty: how near volumes come to
// their quality of service is in lockplate's metrics. (A row would also
// stop the Python SDK, which declares its members as arrays.)
type ListVolumeQoSHistogramsResult struct {
	QoSHistograms []any `json:"qosHistograms"`
}

// GetVolumeStatsResult holds the counters of one volume.
type GetVolumeStatsResult struct {
	VolumeStats VolumeStats `json:"volumeStats"`
}

// GetVolumeCountResult counts the volumes that are not deleted.
type GetVolumeCountResult struct {
	Count int `json:"count"`
}

// ListVolumeAccessGroupsResult is always empty: who may attach is for the NBD
// listener to say.
type ListVolumeAccessGroupsResult struct {
	VolumeAccessGroups         []any   `json:"volumeAccessGroups"`
	VolumeAccessGroupsNotFound []int64 `json:"volumeAccessGroupsNotFound"` // all that were asked for
}

// ListVolumeAccessGroupsParams selects access groups.
type ListVolumeAccessGroupsParams struct {
	StartVolumeAccessGroupID Int   `json:"startVolumeAccessGroupID,omitempty"`
	Limit                    Int   `json:"limit,omitempty"`
	VolumeAccessGroups       []Int `json:"volumeAccessGroups,omitempty"`
}

// ListInitiatorsParams selects initiators.
type ListInitiatorsParams struct {
	StartInitiatorID Int   `json:"startInitiatorID,omitempty"`
	Limit            Int   `json:"limit,omitempty"`
	Initiators       []Int `json:"initiators,omitempty"`
}

// ListInitiatorsResult is always empty: there is no iSCSI.
type ListInitiatorsResult struct {
	Initiators []any `json:"initiators"`
}
