package wire

// ListServicesResult holds the one service there is.
type ListServicesResult struct {
	Services []DetailedService `json:"services"`
}

// DetailedService is a service with the node and the drives that it runs on.
type DetailedService struct {
	Service Service        `json:"service"`
	Node    Node           `json:"node"`
	Drive   map[string]any `json:"drive"`  // {}: the service is not of one drive
	Drives  []any          `json:"drives"` // none, likewise
}

// Service is Element's object of that name.
type Service struct {
	AssociatedBV     int64   `json:"associatedBV"`
	AssociatedTS     int64   `json:"associatedTS"`
	AssociatedVS     int64   `json:"associatedVS"`
	AsyncResultIDs   []int64 `json:"asyncResultIDs"`
	DriveID          int64   `json:"driveID"`
	DriveIDs         []int64 `json:"driveIDs"`
	FirstTimeStartup bool    `json:"firstTimeStartup"`
	IPCPort          int     `json:"ipcPort"`   // 0: there is none
	ISCSIPort        int     `json:"iscsiPort"` // 0: there is none
	NodeID           int64   `json:"nodeID"`
	ServiceID        int64   `json:"serviceID"`
	ServiceType      string  `json:"serviceType"`
	StartedDriveIDs  []int64 `json:"startedDriveIDs"`
	Status           string  `json:"status"`
}

// ServiceMaster and ServiceHealthy are how the service that answers is called.
const (
	ServiceMaster  = "master"
	ServiceHealthy = "healthy"
)

// ListStatsByVolumeParams has no selection.
type ListStatsByVolumeParams struct {
	IncludeVirtualVolumes bool `json:"includeVirtualVolumes,omitempty"`
}

// ListStatsByAccountParams selects accounts; none means all.
type ListStatsByAccountParams struct {
	Accounts              []Int `json:"accounts,omitempty"`
	IncludeVirtualVolumes bool  `json:"includeVirtualVolumes,omitempty"`
}

// GetFeatureStatusParams may name one feature.
type GetFeatureStatusParams struct {
	Feature string `json:"feature,omitempty"`
}

// GetFeatureStatusResult tells which of Element's optional features are on.
type GetFeatureStatusResult struct {
	Features []FeatureStatus `json:"features"`
}

// FeatureStatus is the state of one feature.
type FeatureStatus struct {
	Enabled bool   `json:"enabled"`
	Feature string `json:"feature"`
}

// Features are the names of Element's optional features. lockplate has none
// of them.
func Features() []string {
	return []string{"vvols", "SnapMirror", "FipsDrives", "Fips", "MultiFactorAuthentication"}
}

// GetSSLCertificateResult is the certificate with which the API is served.
type GetSSLCertificateResult struct {
	Certificate string                `json:"certificate"` // PEM
	Details     SSLCertificateDetails `json:"details"`
}

// SSLCertificateDetails is what the certificate says.
type SSLCertificateDetails struct {
	Issuer          string `json:"issuer"`
	NotAfter        string `json:"notAfter"`
	NotBefore       string `json:"notBefore"`
	Serial          string `json:"serial"` // hexadecimal
	SHA1Fingerprint string `json:"sha1Fingerprint"`
	Subject         string `json:"subject"`
}
