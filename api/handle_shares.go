package api

import (
	"context"

	"lockplate/api/wire"
	"lockplate/keymgr"
)

// resealKeys has another sealer protect the keys that are kept in the store.
func (s *Server) resealKeys(ctx context.Context, _ identity, p *wire.ResealKeysParams) (wire.Empty, error) {
	return wire.Empty{}, s.cluster.Reseal(ctx, p.Seal, p.SealPassphrase)
}

// createKeyShares makes recovery shares. This is the only time that they are
// shown.
func (s *Server) createKeyShares(ctx context.Context, _ identity, p *wire.CreateKeySharesParams) (out wire.CreateKeySharesResult, err error) {
	texts, err := s.cluster.CreateShares(ctx, int(p.Threshold), int(p.Shares), p.Replace)
	if err != nil {
		return out, err
	}
	for _, t := range texts {
		out.Shares = append(out.Shares, t)
	}
	e, err := s.cluster.Encryption(ctx)
	if k := sharesShape(e.Shares); k != nil {
		out.KeyShares = *k
	}
	return out, err
}

// getKeyShares describes the recovery shares.
func (s *Server) getKeyShares(ctx context.Context, _ identity, _ *wire.Empty) (wire.GetKeySharesResult, error) {
	e, err := s.cluster.Encryption(ctx)
	return wire.GetKeySharesResult{KeyShares: sharesShape(e.Shares)}, err
}

func sharesShape(i *keymgr.SharesInfo) *wire.KeyShares {
	if i == nil {
		return nil
	}
	return &wire.KeyShares{
		SetID: i.Set, Threshold: i.Threshold, Shares: i.Shares, CreatedTime: wire.FormatTime(i.Created), Covers: i.Covers,
	}
}

// verifyKeyShares proves that shares open the cluster.
func (s *Server) verifyKeyShares(ctx context.Context, _ identity, p *wire.VerifyKeySharesParams) (wire.Empty, error) {
	var texts [][]byte
	for _, t := range p.Shares {
		texts = append(texts, t)
	}
	return wire.Empty{}, s.cluster.VerifyShares(ctx, texts)
}

// removeKeyShares makes the recovery shares worthless.
func (s *Server) removeKeyShares(ctx context.Context, _ identity, _ *wire.Empty) (wire.Empty, error) {
	return wire.Empty{}, s.cluster.RemoveShares(ctx)
}
