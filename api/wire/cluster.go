package wire

import (
	"encoding/json"
	"fmt"
)

// CreateClusterParams makes the cluster. Element's mvip, svip and nodes are
// taken and have no effect: addresses come from the configuration.
type CreateClusterParams struct {
	MVIP       string         `json:"mvip,omitempty"`
	SVIP       string         `json:"svip,omitempty"`
	Username   string         `json:"username,omitempty"` // "": only the Unix socket can manage
	Password   Password       `json:"password,omitempty"`
	Nodes      []string       `json:"nodes,omitempty"`
	AcceptEula bool           `json:"acceptEula" param:"required"` // must be true
	Attributes map[string]any `json:"attributes,omitempty"`
	// SoftwareEncryption nil means true. It cannot be changed later.
	SoftwareEncryption *bool `json:"enableSoftwareEncryptionAtRest,omitempty"`

	Name           string   `json:"name,omitempty"` // extension
	Seal           string   `json:"seal,omitempty"` // extension: "file:PATH", "passphrase", "credential:NAME", "tpm2"
	SealPassphrase Password `json:"sealPassphrase,omitempty"`
}

// GetAPIResult tells versions and methods. On the wire the methods are in a
// member that is named like the current version.
type GetAPIResult struct {
	CurrentVersion    string
	SupportedVersions []string
	Methods           []string
}

// MarshalJSON writes Element's shape.
func (r GetAPIResult) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{
		"currentVersion":    r.CurrentVersion,
		"supportedVersions": r.SupportedVersions,
		r.CurrentVersion:    r.Methods,
	})
}

// UnmarshalJSON reads Element's shape.
func (r *GetAPIResult) UnmarshalJSON(b []byte) error {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	if err := json.Unmarshal(m["currentVersion"], &r.CurrentVersion); err != nil {
		return fmt.Errorf("currentVersion: %w", err)
	}
	if err := json.Unmarshal(m["supportedVersions"], &r.SupportedVersions); err != nil {
		return fmt.Errorf("supportedVersions: %w", err)
	}
	return json.Unmarshal(m[r.CurrentVersion], &r.Methods)
}

// GetClusterVersionInfoResult tells versions in Element's numbers.
type GetClusterVersionInfoResult struct {
	ClusterAPIVersion   string              `json:"clusterAPIVersion"`
	ClusterVersion      string              `json:"clusterVersion"`
	ClusterVersionInfo  []NodeVersion       `json:"clusterVersionInfo"`
	SoftwareVersionInfo SoftwareVersionInfo `json:"softwareVersionInfo"`
}

// NodeVersion is the version of one node.
type NodeVersion struct {
	NodeID               int64  `json:"nodeID"`
	NodeVersion          string `json:"nodeVersion"`
	NodeInternalRevision string `json:"nodeInternalRevision"` // lockplate's own version
}

// SoftwareVersionInfo tells of a running upgrade; there never is one here.
type SoftwareVersionInfo struct {
	CurrentVersion string `json:"currentVersion"`
	NodeID         int64  `json:"nodeID"`
	PackageName    string `json:"packageName"`
	PendingVersion string `json:"pendingVersion"`
	StartTime      string `json:"startTime"`
}

// GetClusterInfoResult holds the cluster's description.
type GetClusterInfoResult struct {
	ClusterInfo ClusterInfo `json:"clusterInfo"`
}

// ClusterInfo is Element's ClusterInfo object.
type ClusterInfo struct {
	Name                          string         `json:"name"`
	UUID                          string         `json:"uuid"`
	UniqueID                      string         `json:"uniqueID"` // 4 letters or digits
	MVIP                          string         `json:"mvip"`     // where the API listens
	SVIP                          string         `json:"svip"`     // where NBD listens
	MVIPNodeID                    int64          `json:"mvipNodeID"`
	SVIPNodeID                    int64          `json:"svipNodeID"`
	MVIPInterface                 string         `json:"mvipInterface"`
	SVIPInterface                 string         `json:"svipInterface"`
	MVIPVlanTag                   string         `json:"mvipVlanTag"`
	SVIPVlanTag                   string         `json:"svipVlanTag"`
	Ensemble                      []string       `json:"ensemble"`
	RepCount                      int            `json:"repCount"`
	Attributes                    map[string]any `json:"attributes"`
	DefaultProtectionScheme       string         `json:"defaultProtectionScheme"`
	EnabledProtectionSchemes      []string       `json:"enabledProtectionSchemes"`
	SupportedProtectionSchemes    []string       `json:"supportedProtectionSchemes"`
	EncryptionAtRestState         string         `json:"encryptionAtRestState"` // hardware
	SoftwareEncryptionAtRestState string         `json:"softwareEncryptionAtRestState"`
}

// States of encryption at rest, software and hardware.
const (
	EncryptionEnabled  = "enabled"
	EncryptionDisabled = "disabled"
)

// GetSoftwareEncryptionAtRestInfoResult tells which master key is in use.
// State and Status are always equal: sources differ on the name.
type GetSoftwareEncryptionAtRestInfoResult struct {
	MasterKeyInfo      *EncryptionKeyInfo `json:"masterKeyInfo,omitempty"`
	RekeyAsyncResultID *int64             `json:"rekeyMasterKeyAsyncResultID,omitempty"`
	State              string             `json:"state"`
	Status             string             `json:"status"`
	Version            int                `json:"version"`
	Lockplate          *KeyProtection     `json:"lockplate,omitempty"`
}

// GetEncryptionAtRestInfoResult tells of hardware encryption at rest, that of
// drives which encrypt by themselves: disabled, no drive has a key of its own.
type GetEncryptionAtRestInfoResult struct {
	AuthenticationKeyInfo *EncryptionKeyInfo `json:"authenticationKeyInfo,omitempty"`
	State                 string             `json:"state"`
	// Info repeats the state where one of the Go SDKs looks for it.
	Info EncryptionAtRestInfo `json:"encryptionAtRestInfo"`
}

// EncryptionAtRestInfo is the state of hardware encryption as an object.
type EncryptionAtRestInfo struct {
	State string `json:"state"`
}

// EncryptionKeyInfo is Element's object of that name.
type EncryptionKeyInfo struct {
	KeyCreatedTime    string `json:"keyCreatedTime,omitempty"`
	KeyID             string `json:"keyID,omitempty"`   // UUID
	KeyManagementType string `json:"keyManagementType"` // internal, external
	KeyProviderID     *int64 `json:"keyProviderID,omitempty"`
}

// KeyProtection tells how an internal master key is protected, and whether the
// key is at hand (extension).
type KeyProtection struct {
	Sealed  bool   `json:"sealed"` // by something not kept beside the data
	Sealer  string `json:"sealer,omitempty"`
	Warning string `json:"warning,omitempty"` // why Sealed is false, or what is to be done about the sealer
	Locked  string `json:"locked,omitempty"`  // why the key cannot be had now

	Shares *KeyShares `json:"shares,omitempty"` // nil: there are no recovery shares
}

// ListClusterFaultsParams selects faults.
type ListClusterFaultsParams struct {
	FaultTypes    string `json:"faultTypes,omitempty"` // current, resolved, all (default)
	BestPractices bool   `json:"bestPractices,omitempty"`
}

// ListClusterFaultsResult holds faults.
type ListClusterFaultsResult struct {
	Faults []Fault `json:"faults"`
}

// Fault is Element's ClusterFaultInfo object.
type Fault struct {
	BlocksUpgrade       bool           `json:"blocksUpgrade"`
	ClusterFaultID      int64          `json:"clusterFaultID"`
	Code                string         `json:"code"`
	Data                map[string]any `json:"data"`
	Date                string         `json:"date"`
	Details             string         `json:"details"` // stable: exporters use it as a label
	DriveID             int64          `json:"driveID"`
	DriveIDs            []int64        `json:"driveIDs"`
	ExternalSource      string         `json:"externalSource"`
	NetworkInterface    string         `json:"networkInterface"`
	NodeHardwareFaultID int64          `json:"nodeHardwareFaultID"`
	NodeID              int64          `json:"nodeID"`
	Resolved            bool           `json:"resolved"`
	ResolvedDate        string         `json:"resolvedDate"` // "" while current
	ServiceID           int64          `json:"serviceID"`
	Severity            string         `json:"severity"`
	Type                string         `json:"type"`
}

// GetGatewayInfoResult describes this process (extension).
type GetGatewayInfoResult struct {
	Version       string     `json:"version"`
	GoVersion     string     `json:"goVersion"`
	Engine        string     `json:"engine"` // what does the encryption
	StartTime     string     `json:"startTime"`
	StateDir      string     `json:"stateDir,omitempty"`
	ClusterExists bool       `json:"clusterExists"`
	Listeners     []Listener `json:"listeners"`
}

// Listener is one address that the gateway listens on.
type Listener struct {
	Kind    string `json:"kind"`    // nbd, api, metrics
	Address string `json:"address"` // tcp:HOST:PORT or unix:PATH
	TLS     bool   `json:"tls"`
}

// GetStoreBackupParams asks for a backup sealed with the passphrase.
type GetStoreBackupParams struct {
	Passphrase Password `json:"passphrase" param:"required"`
}

// GetStoreBackupResult holds the sealed backup.
type GetStoreBackupResult struct {
	Backup []byte `json:"backup"` // base64 on the wire
}

// CheckStoreResult lists what is wrong with the store; empty is good.
type CheckStoreResult struct {
	Problems []string `json:"problems"`
}
