package api

import (
	"context"
	"crypto/sha1"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	"lockplate/api/wire"
	"lockplate/cluster"
)

// none answers a method that lists what is not here: an empty list, once
// there is a cluster.
func (s *Server) none(a wire.Absence) func(context.Context, identity, *wire.Empty) (map[string][]any, error) {
	return func(ctx context.Context, _ identity, _ *wire.Empty) (map[string][]any, error) {
		_, err := s.cluster.Info(ctx)
		return map[string][]any{a.Member: {}}, err
	}
}

// listServices has the gateway as the one service; that it answers shows that
// it is healthy.
func (s *Server) listServices(ctx context.Context, _ identity, _ *wire.Empty) (wire.ListServicesResult, error) {
	n, err := s.node(ctx)
	return wire.ListServicesResult{Services: []wire.DetailedService{{
		Service: wire.Service{
			AsyncResultIDs: []int64{}, DriveIDs: []int64{}, StartedDriveIDs: []int64{}, NodeID: n.NodeID,
			ServiceID: n.AssociatedMasterServiceID, ServiceType: wire.ServiceMaster, Status: wire.ServiceHealthy,
		},
		Node: n, Drive: map[string]any{}, Drives: []any{},
	}}}, err
}

// listStatsByVolume is ListVolumeStats for all volumes.
func (s *Server) listStatsByVolume(ctx context.Context, who identity, _ *wire.ListStatsByVolumeParams) (wire.ListVolumeStatsResult, error) {
	return s.listVolumeStats(ctx, who, &wire.ListVolumeStatsParams{})
}

// listStatsByAccount sums the volumes of each account. A row has no volume.
func (s *Server) listStatsByAccount(ctx context.Context, _ identity, p *wire.ListStatsByAccountParams) (wire.ListVolumeStatsResult, error) {
	out := wire.ListVolumeStatsResult{VolumeStats: []wire.VolumeStats{}}
	vols, err1 := s.cluster.Volumes(ctx)
	sum, err2 := s.totals(ctx)
	if !wanted(p.Accounts, accountID) {
		return out, firstError(err1, err2)
	}
	all := cluster.Volume{AccountID: accountID}
	for _, v := range vols {
		if v.State != cluster.VolumeDeleted {
			all.Size += v.Size
		}
	}
	out.VolumeStats = append(out.VolumeStats, statsShape(all, sum, s.now()))
	return out, firstError(err1, err2)
}

// getFeatureStatus tells that none of Element's optional features is on.
func (s *Server) getFeatureStatus(ctx context.Context, _ identity, p *wire.GetFeatureStatusParams) (wire.GetFeatureStatusResult, error) {
	out := wire.GetFeatureStatusResult{Features: []wire.FeatureStatus{}}
	known := wire.Features()
	if i := slices.IndexFunc(known, func(f string) bool { return strings.EqualFold(f, p.Feature) }); i >= 0 {
		known = known[i : i+1]
	} else if err := enum(p.Feature, known...); err != nil {
		return out, err
	}
	for _, f := range known {
		out.Features = append(out.Features, wire.FeatureStatus{Feature: f})
	}
	_, err := s.cluster.Info(ctx)
	return out, err
}

// getSSLCertificate tells which certificate a client sees now.
func (s *Server) getSSLCertificate(context.Context, identity, *wire.Empty) (wire.GetSSLCertificateResult, error) {
	pair, err := s.certs.get(nil)
	if err != nil {
		return wire.GetSSLCertificateResult{}, fail(wire.ErrNotPermitted, "certificate: the API is not served over HTTPS")
	}
	leaf := pair.Leaf
	return wire.GetSSLCertificateResult{
		Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})),
		Details: wire.SSLCertificateDetails{
			Issuer: leaf.Issuer.String(), Subject: leaf.Subject.String(),
			NotBefore: wire.FormatTime(leaf.NotBefore), NotAfter: wire.FormatTime(leaf.NotAfter),
			Serial:          fmt.Sprintf("%X", leaf.SerialNumber),
			SHA1Fingerprint: colons(sha1.Sum(leaf.Raw)), // what the format asks for; nothing here relies on it
		},
	}, nil
}

// colons writes a fingerprint as certificate tools do.
func colons(sum [sha1.Size]byte) string {
	return strings.ReplaceAll(fmt.Sprintf("% X", sum), " ", ":")
}
