package wire

// AccountActive is the status of an account that can be used.
const AccountActive = "active"

// ListAccountsParams selects accounts.
type ListAccountsParams struct {
	StartAccountID           Int  `json:"startAccountID,omitempty"`
	Limit                    *Int `json:"limit,omitempty"`
	IncludeStorageContainers bool `json:"includeStorageContainers,omitempty"`
}

// ListAccountsResult holds the one account there is.
type ListAccountsResult struct {
	Accounts []Account `json:"accounts"`
}

// GetAccountByIDParams names an account by its id.
type GetAccountByIDParams struct {
	AccountID Int `json:"accountID" param:"required"`
}

// GetAccountByNameParams names an account by its user name.
type GetAccountByNameParams struct {
	Username string `json:"username" param:"required"`
}

// GetAccountResult holds one account.
type GetAccountResult struct {
	Account Account `json:"account"`
}

// Account is Element's object of that name. The two secrets are of iSCSI's
// CHAP; they must be there for Element's SDK and are always "".
type Account struct {
	AccountID          int64          `json:"accountID"`
	Attributes         map[string]any `json:"attributes"`
	EnableChap         bool           `json:"enableChap"`
	InitiatorSecret    string         `json:"initiatorSecret"`
	Status             string         `json:"status"`
	StorageContainerID *string        `json:"storageContainerID"`
	TargetSecret       string         `json:"targetSecret"`
	Username           string         `json:"username"`
	Volumes            []int64        `json:"volumes"`
}

// ListVolumesForAccountParams selects the volumes of an account.
type ListVolumesForAccountParams struct {
	AccountID             Int  `json:"accountID" param:"required"`
	StartVolumeID         Int  `json:"startVolumeID,omitempty"`
	Limit                 Int  `json:"limit,omitempty"`
	IncludeVirtualVolumes bool `json:"includeVirtualVolumes,omitempty"`
}
