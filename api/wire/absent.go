package wire

// Absence is a method of Element that lists things which lockplate does not
// have. Its true answer is an empty list in Member.
type Absence struct{ Method, Member string }

// Absences lists them all: clients ask for these things as a matter of
// course, and take an unknown method for a failure.
func Absences() []Absence {
	return []Absence{
		{"ListISCSISessions", "sessions"}, // volumes are attached over NBD
		{"ListFibreChannelSessions", "sessions"},
		{"ListBulkVolumeJobs", "bulkVolumeJobs"},
		{"ListSyncJobs", "syncJobs"},
		{"ListPendingNodes", "pendingNodes"}, // there is one node, and it is active
		{"ListPendingActiveNodes", "pendingActiveNodes"},
		{"ListClusterPairs", "clusterPairs"},
		{"ListActivePairedVolumes", "volumes"},
		{"ListSnapshots", "snapshots"},
		{"ListGroupSnapshots", "groupSnapshots"},
		{"ListSchedules", "schedules"},
		{"ListBackupTargets", "backupTargets"},
		{"ListVirtualNetworks", "virtualNetworks"},
		{"ListVirtualVolumeTasks", "tasks"},
		{"ListStorageContainers", "storageContainers"},
		{"ListProtocolEndpoints", "protocolEndpoints"},
		{"ListIdpConfigurations", "idpConfigInfos"},
		{"ListVolumeStatsByVolumeAccessGroup", "volumeStats"},
	}
}
