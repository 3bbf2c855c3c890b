package wire

// ListAllNodesResult holds the one node there is.
type ListAllNodesResult struct {
	Nodes              []Node `json:"nodes"`
	PendingNodes       []any  `json:"pendingNodes"`       // none here
	PendingActiveNodes []any  `json:"pendingActiveNodes"` // none here
}

// ListActiveNodesResult holds the one node there is.
type ListActiveNodesResult struct {
	Nodes []Node `json:"nodes"`
}

// Node is Element's object of that name.
type Node struct {
	AssociatedFServiceID      int64          `json:"associatedFServiceID"`
	AssociatedMasterServiceID int64          `json:"associatedMasterServiceID"`
	Attributes                map[string]any `json:"attributes"`
	ChassisName               string         `json:"chassisName"`
	CIP                       string         `json:"cip"` // there is no cluster network
	CIPI                      string         `json:"cipi"`
	CustomProtectionDomain    string         `json:"customProtectionDomainName"`
	FibreChannelPortGroup     *int64         `json:"fibreChannelTargetPortGroup"`
	MaintenanceMode           string         `json:"maintenanceMode"`
	MIP                       string         `json:"mip"` // where the API listens
	MIPI                      string         `json:"mipi"`
	Name                      string         `json:"name"`
	NodeID                    int64          `json:"nodeID"`
	NodeSlot                  string         `json:"nodeSlot"`
	PlatformInfo              Platform       `json:"platformInfo"`
	Role                      string         `json:"role"`
	SIP                       string         `json:"sip"` // where NBD listens
	SIPI                      string         `json:"sipi"`
	SoftwareVersion           string         `json:"softwareVersion"`
	UUID                      string         `json:"uuid"`
	VirtualNetworks           []any          `json:"virtualNetworks"`
}

// Platform describes the machine of a node.
type Platform struct {
	ChassisType           string `json:"chassisType"`
	Containerized         bool   `json:"containerized"`
	CPUModel              string `json:"cpuModel"`
	NodeMemoryGB          int64  `json:"nodeMemoryGB"`
	NodeType              string `json:"nodeType"`
	PlatformConfigVersion string `json:"platformConfigVersion"`
}

// GetClusterMasterNodeIDResult names the node that answers.
type GetClusterMasterNodeIDResult struct {
	NodeID int64 `json:"nodeID"`
}

// ListNodeStatsResult holds the counters of each node.
type ListNodeStatsResult struct {
	NodeStats NodeStatsNodes `json:"nodeStats"`
}

// NodeStatsNodes is the level between that Element has.
type NodeStatsNodes struct {
	Nodes []NodeStats `json:"nodes"`
}

// GetNodeStatsParams names a node.
type GetNodeStatsParams struct {
	NodeID Int `json:"nodeID" param:"required"`
}

// GetNodeStatsResult holds the counters of one node.
type GetNodeStatsResult struct {
	NodeStats NodeStats `json:"nodeStats"`
}

// NodeStats is Element's NodeStatsInfo object. What lockplate does not measure
// is 0. Storage bytes are those of NBD clients.
type NodeStats struct {
	CBytesIn                  int64             `json:"cBytesIn"`
	CBytesOut                 int64             `json:"cBytesOut"`
	Count                     int64             `json:"count"`
	CPU                       int64             `json:"cpu"`
	CPUTotal                  int64             `json:"cpuTotal"` // seconds of CPU that the gateway used
	MBytesIn                  int64             `json:"mBytesIn"`
	MBytesOut                 int64             `json:"mBytesOut"`
	NetworkUtilizationCluster int64             `json:"networkUtilizationCluster"`
	NetworkUtilizationStorage int64             `json:"networkUtilizationStorage"`
	NodeID                    int64             `json:"nodeID"`
	ReadLatencyUSecTotal      int64             `json:"readLatencyUSecTotal"`
	ReadOps                   uint64            `json:"readOps"`
	SBytesIn                  uint64            `json:"sBytesIn"`
	SBytesOut                 uint64            `json:"sBytesOut"`
	SSLoadHistogram           QuintileHistogram `json:"ssLoadHistogram"`
	Timestamp                 string            `json:"timestamp"`
	UsedMemory                int64             `json:"usedMemory"` // bytes resident in the gateway
	WriteLatencyUSecTotal     int64             `json:"writeLatencyUSecTotal"`
	WriteOps                  uint64            `json:"writeOps"`
}

// QuintileHistogram counts samples by percentage.
type QuintileHistogram struct {
	Bucket0       uint64 `json:"Bucket0"`
	Bucket1To19   uint64 `json:"Bucket1To19"`
	Bucket20To39  uint64 `json:"Bucket20To39"`
	Bucket40To59  uint64 `json:"Bucket40To59"`
	Bucket60To79  uint64 `json:"Bucket60To79"`
	Bucket80To100 uint64 `json:"Bucket80To100"`
}
