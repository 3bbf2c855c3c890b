package wire

// ResealKeysParams name the sealer that is to protect the keys kept in the store
// (extension).
type ResealKeysParams struct {
	Seal           string   `json:"seal" param:"required"`    // as CreateCluster takes it
	SealPassphrase Password `json:"sealPassphrase,omitempty"` // or PIN
}

// KeyShares describes the recovery shares (extension).
type KeyShares struct {
	SetID       string `json:"setID"`     // on each of its shares
	Threshold   int    `json:"threshold"` // shares that are needed
	Shares      int    `json:"shares"`    // that were made
	CreatedTime string `json:"createdTime"`
	Covers      bool   `json:"covers"` // they open all that the sealer opens now
}

// CreateKeySharesParams say how many recovery shares to make (extension).
type CreateKeySharesParams struct {
	Threshold Int  `json:"threshold" param:"required"`
	Shares    Int  `json:"shares" param:"required"`
	Replace   bool `json:"replace,omitempty"` // the set that there is
}

// CreateKeySharesResult holds the shares; they are not kept (extension).
type CreateKeySharesResult struct {
	KeyShares KeyShares  `json:"keyShares"`
	Shares    []Password `json:"shares"`
}

// GetKeySharesResult describes the recovery shares, null if there are none
// (extension).
type GetKeySharesResult struct {
	KeyShares *KeyShares `json:"keyShares"`
}

// VerifyKeySharesParams hold recovery shares, at least as many as are needed
// (extension).
type VerifyKeySharesParams struct {
	Shares []Password `json:"shares" param:"required"`
}
