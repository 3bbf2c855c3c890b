package api

import (
	"context"

	"lockplate/api/wire"
	"lockplate/cluster"
)

// The one account that all volumes belong to.
const (
	accountID   = 1
	accountName = "lockplate"
)

// account describes the one account, with its volumes that are not deleted.
func (s *Server) account(ctx context.Context) (wire.Account, error) {
	a := wire.Account{
		AccountID: accountID, Username: accountName, Status: wire.AccountActive,
		Attributes: map[string]any{}, Volumes: []int64{},
	}
	vols, err := s.cluster.Volumes(ctx)
	for _, v := range vols {
		if v.AccountID == accountID && v.State != cluster.VolumeDeleted {
			a.Volumes = append(a.Volumes, v.ID)
		}
	}
	return a, err
}

// listAccounts has the one account, unless the filters leave it out.
func (s *Server) listAccounts(ctx context.Context, _ identity, p *wire.ListAccountsParams) (wire.ListAccountsResult, error) {
	out := wire.ListAccountsResult{Accounts: []wire.Account{}}
	if p.Limit != nil && *p.Limit < 0 {
		return out, fail(wire.ErrInvalidParameter, "limit: must not be negative")
	}
	a, err := s.account(ctx)
	if p.StartAccountID <= accountID && (p.Limit == nil || *p.Limit > 0) {
		out.Accounts = append(out.Accounts, a)
	}
	return out, err
}

// getAccountByID refuses any other account.
func (s *Server) getAccountByID(ctx context.Context, _ identity, p *wire.GetAccountByIDParams) (wire.GetAccountResult, error) {
	if p.AccountID != accountID {
		return wire.GetAccountResult{}, &cluster.NotFoundError{Kind: "account", ID: itoa(int(p.AccountID))}
	}
	a, err := s.account(ctx)
	return wire.GetAccountResult{Account: a}, err
}

// getAccountByName refuses any other account, with the name of the error that
// provisioners wait for before they make one. One Go SDK looks for the name in
// the message.
func (s *Server) getAccountByName(ctx context.Context, _ identity, p *wire.GetAccountByNameParams) (wire.GetAccountResult, error) {
	if p.Username != accountName {
		return wire.GetAccountResult{}, fail(wire.ErrUnknownAccount, "%s: account %s does not exist; there is one, %q", wire.ErrUnknownAccount, clip(p.Username), accountName)
	}
	a, err := s.account(ctx)
	return wire.GetAccountResult{Account: a}, err
}

// listVolumesForAccount lists the volumes of the one account.
func (s *Server) listVolumesForAccount(ctx context.Context, _ identity, p *wire.ListVolumesForAccountParams) (wire.ListVolumesResult, error) {
	if p.AccountID != accountID {
		return wire.ListVolumesResult{}, &cluster.NotFoundError{Kind: "account", ID: itoa(int(p.AccountID))}
	}
	return s.selectVolumes(ctx, &wire.ListVolumesParams{
		Accounts: []wire.Int{p.AccountID}, StartVolumeID: p.StartVolumeID, Limit: p.Limit,
	})
}
