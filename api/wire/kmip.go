package wire

// CreatePublicPrivateKeyPairParams name the cluster in its certificate signing
// request.
type CreatePublicPrivateKeyPairParams struct {
	CommonName         string `json:"commonName,omitempty"`
	Country            string `json:"country,omitempty"` // two letters
	EmailAddress       string `json:"emailAddress,omitempty"`
	Locality           string `json:"locality,omitempty"`
	Organization       string `json:"organization,omitempty"`
	OrganizationalUnit string `json:"organizationalUnit,omitempty"`
	State              string `json:"state,omitempty"`
}

// GetClientCertificateSignRequestResult holds the request, PEM.
type GetClientCertificateSignRequestResult struct {
	SignRequest string `json:"clientCertificateSignRequest"`
}

// KeyServerKmip is Element's object of that name. The two pointers are null
// together: exactly when the server is in no provider.
type KeyServerKmip struct {
	KeyServerID       int64    `json:"keyServerID"`
	KeyProviderID     *int64   `json:"keyProviderID"`
	ProviderIsActive  *bool    `json:"kmipAssignedProviderIsActive"`
	Name              string   `json:"kmipKeyServerName"`
	Hostnames         []string `json:"kmipKeyServerHostnames"`
	Port              int      `json:"kmipKeyServerPort"`
	CACertificate     string   `json:"kmipCaCertificate"`
	ClientCertificate string   `json:"kmipClientCertificate"`
}

// CreateKeyServerKmipParams describe a key server. It is not contacted.
type CreateKeyServerKmipParams struct {
	CACertificate     string   `json:"kmipCaCertificate" param:"required"`
	ClientCertificate string   `json:"kmipClientCertificate" param:"required"`
	Hostnames         []string `json:"kmipKeyServerHostnames" param:"required"`
	Name              string   `json:"kmipKeyServerName" param:"required"`
	Port              *Int     `json:"kmipKeyServerPort,omitempty"` // default 5696
}

// ModifyKeyServerKmipParams change what is given.
type ModifyKeyServerKmipParams struct {
	KeyServerID       Int       `json:"keyServerID" param:"required"`
	CACertificate     *string   `json:"kmipCaCertificate,omitempty"`
	ClientCertificate *string   `json:"kmipClientCertificate,omitempty"`
	Hostnames         *[]string `json:"kmipKeyServerHostnames,omitempty"`
	Name              *string   `json:"kmipKeyServerName,omitempty"`
	Port              *Int      `json:"kmipKeyServerPort,omitempty"`
}

// KeyServerIDParams name one key server: DeleteKeyServerKmip, GetKeyServerKmip,
// RemoveKeyServerFromProviderKmip, TestKeyServerKmip.
type KeyServerIDParams struct {
	KeyServerID Int `json:"keyServerID" param:"required"`
}

// KeyServerResult holds one key server.
type KeyServerResult struct {
	KeyServer KeyServerKmip `json:"kmipKeyServer"`
}

// ListKeyServersKmipParams select key servers; the filters combine. A server
// without provider counts as inactive.
type ListKeyServersKmipParams struct {
	KeyProviderID    *Int  `json:"keyProviderID,omitempty"`
	ProviderIsActive *bool `json:"kmipAssignedProviderIsActive,omitempty"`
	HasProvider      *bool `json:"kmipHasProviderAssigned,omitempty"`
}

// ListKeyServersKmipResult holds key servers.
type ListKeyServersKmipResult struct {
	KeyServers []KeyServerKmip `json:"kmipKeyServers"`
}

// KeyProviderKmip is Element's object of that name.
type KeyProviderKmip struct {
	KeyProviderID int64   `json:"keyProviderID"`
	Name          string  `json:"keyProviderName"`
	IsActive      bool    `json:"keyProviderIsActive"` // keys made there are in use
	KeyServerIDs  []int64 `json:"keyServerIDs"`
	Capabilities  string  `json:"kmipCapabilities"`
}

// CreateKeyProviderKmipParams name a new provider.
type CreateKeyProviderKmipParams struct {
	Name string `json:"keyProviderName" param:"required"`
}

// KeyProviderIDParams name one provider: DeleteKeyProviderKmip,
// GetKeyProviderKmip, TestKeyProviderKmip.
type KeyProviderIDParams struct {
	KeyProviderID Int `json:"keyProviderID" param:"required"`
}

// KeyProviderResult holds one provider.
type KeyProviderResult struct {
	KeyProvider KeyProviderKmip `json:"kmipKeyProvider"`
}

// AddKeyServerToProviderKmipParams say which server joins which provider.
type AddKeyServerToProviderKmipParams struct {
	KeyProviderID Int `json:"keyProviderID" param:"required"`
	KeyServerID   Int `json:"keyServerID" param:"required"`
}

// ListKeyProvidersKmipParams select providers; the filters combine.
type ListKeyProvidersKmipParams struct {
	IsActive  *bool `json:"keyProviderIsActive,omitempty"`
	HasServer *bool `json:"kmipKeyProviderHasServerAssigned,omitempty"`
}

// ListKeyProvidersKmipResult holds providers.
type ListKeyProvidersKmipResult struct {
	KeyProviders []KeyProviderKmip `json:"kmipKeyProviders"`
}

// Kinds of key management, as answers have them.
const (
	KeyInternal = "internal"
	KeyExternal = "external"
)

// RekeyMasterKeyParams say where the new master key comes from; nothing given
// means from where the present one does. Any case is understood.
type RekeyMasterKeyParams struct {
	KeyManagementType string `json:"keyManagementType,omitempty"` // internal, external
	KeyProviderID     *Int   `json:"keyProviderID,omitempty"`     // external needs it, internal forbids it
}

// States of master keys that a client may look for (extension). The others
// are those of a rekey under way.
const (
	KeyCurrent        = "current"
	KeyDecommissioned = "decommissioned" // not in use; it may open old backups
	KeyDestroyed      = "destroyed"      // gone for good, only the record is left
	KeyForgotten      = "forgotten"      // given up; it may exist where it could not be destroyed
)

// ListMasterKeysResult is the history of master keys, newest first
// (extension).
type ListMasterKeysResult struct {
	MasterKeys []MasterKey `json:"masterKeys"`
}

// MasterKey is one master key, present or past (extension).
type MasterKey struct {
	KeyID             string `json:"keyID"`
	KeyManagementType string `json:"keyManagementType"`
	KeyProviderID     *int64 `json:"keyProviderID,omitempty"`
	KeyCreatedTime    string `json:"keyCreatedTime"`
	State             string `json:"state"`
	DestroyedTime     string `json:"destroyedTime"` // "" while it may exist

	ForgottenTime string   `json:"forgottenTime,omitempty"` // of one that was given up
	MayExistAt    []string `json:"mayExistAt,omitempty"`    // addresses that did not destroy it then
}

// DestroyMasterKeyParams name a decommissioned master key to destroy
// (extension).
type DestroyMasterKeyParams struct {
	KeyID  string `json:"keyID" param:"required"`
	Forget bool   `json:"forget,omitempty"` // give it up where a key server does not answer
}

// DestroyMasterKeyResult names the addresses at which the key was given up
// (extension).
type DestroyMasterKeyResult struct {
	MayExistAt []string `json:"mayExistAt,omitempty"`
}
