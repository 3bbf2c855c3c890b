package api

import (
	"bytes"
	"cmp"
	"context"
	"net"
	"runtime"
	"slices"
	"strings"

	"lockplate/api/wire"
	"lockplate/cluster"
)

// maxBackup bounds the sealed backup that one answer carries.
const maxBackup = 256 << 20

// createCluster makes the cluster. Element's addresses and node list have no
// effect: those come from the configuration.
func (s *Server) createCluster(ctx context.Context, _ identity, p *wire.CreateClusterParams) (wire.Empty, error) {
	switch {
	case !p.AcceptEula:
		return wire.Empty{}, fail(wire.ErrInvalidParameter, "acceptEula: must be true")
	case p.Username != "" && len(p.Password) == 0:
		return wire.Empty{}, missing("password")
	case p.Username == "" && len(p.Password) != 0:
		return wire.Empty{}, missing("username")
	}
	if err := checkAttributes(p.Attributes); err != nil {
		return wire.Empty{}, err
	}
	return wire.Empty{}, s.cluster.Create(ctx, cluster.CreateParams{
		Name: p.Name, Seal: p.Seal, SealPassphrase: p.SealPassphrase,
		SoftwareEncryption: p.SoftwareEncryption == nil || *p.SoftwareEncryption,
		Username:           p.Username, Password: p.Password, Attributes: p.Attributes,
	})
}

// getAPI lists versions and methods; SDKs call it first, at an old version.
func (s *Server) getAPI(context.Context, identity, *wire.Empty) (wire.GetAPIResult, error) {
	return wire.GetAPIResult{
		CurrentVersion: wire.Version, SupportedVersions: wire.Versions(), Methods: s.methods.names,
	}, nil
}

// elementVersion is the release of Element whose shapes are served, where
// clients compare it.
const elementVersion = wire.Version + ".0.0"

// getClusterVersionInfo gives Element's number where clients compare it, and
// lockplate's own as the internal revision.
func (s *Server) getClusterVersionInfo(ctx context.Context, _ identity, _ *wire.Empty) (wire.GetClusterVersionInfoResult, error) {
	i, err := s.cluster.Info(ctx)
	if err != nil {
		return wire.GetClusterVersionInfoResult{}, err
	}
	return wire.GetClusterVersionInfoResult{
		ClusterAPIVersion: wire.Version, ClusterVersion: elementVersion,
		ClusterVersionInfo: []wire.NodeVersion{{
			NodeID: i.NodeID, NodeVersion: elementVersion, NodeInternalRevision: "lockplate " + s.info().Version,
		}},
		SoftwareVersionInfo: wire.SoftwareVersionInfo{CurrentVersion: elementVersion},
	}, nil
}

// getClusterInfo gives the addresses that the gateway listens on as the
// cluster's virtual ones.
func (s *Server) getClusterInfo(ctx context.Context, _ identity, _ *wire.Empty) (wire.GetClusterInfoResult, error) {
	i, err := s.cluster.Info(ctx)
	if err != nil {
		return wire.GetClusterInfoResult{}, err
	}
	l := s.info().Listeners
	return wire.GetClusterInfoResult{ClusterInfo: clusterInfoShape(i, listenHost(l, "api"), listenHost(l, "nbd"))}, nil
}

// listenHost is the host of the first TCP listener of a kind, or "".
func listenHost(ls []wire.Listener, kind string) string {
	for _, l := range ls {
		addr, tcp := strings.CutPrefix(l.Address, "tcp:")
		if host, _, err := net.SplitHostPort(addr); tcp && err == nil && l.Kind == kind {
			return host
		}
	}
	return ""
}

// getSoftwareEncryption tells which master key is in use and, as extension,
// whether something protects it at rest.
func (s *Server) getSoftwareEncryption(ctx context.Context, _ identity, _ *wire.Empty) (wire.GetSoftwareEncryptionAtRestInfoResult, error) {
	e, err := s.cluster.Encryption(ctx)
	if err != nil {
		return wire.GetSoftwareEncryptionAtRestInfoResult{}, err
	}
	return encryptionShape(e), nil
}

// listClusterFaults lists the faults that hold, those that held, or both, by
// id.
func (s *Server) listClusterFaults(ctx context.Context, _ identity, p *wire.ListClusterFaultsParams) (wire.ListClusterFaultsResult, error) {
	out := wire.ListClusterFaultsResult{Faults: []wire.Fault{}}
	if err := enum(p.FaultTypes, "current", "resolved", "all"); err != nil {
		return out, err
	}
	var all []cluster.Fault
	if p.FaultTypes != "resolved" {
		current, err := s.cluster.Faults(ctx)
		if err != nil {
			return out, err
		}
		all = current
	}
	if p.FaultTypes != "current" {
		resolved, err := s.cluster.FaultHistory(ctx)
		if err != nil {
			return out, err
		}
		all = append(all, resolved...)
	}
	slices.SortFunc(all, func(a, b cluster.Fault) int { return cmp.Compare(a.ID, b.ID) })
	for _, f := range all {
		out.Faults = append(out.Faults, faultShape(f))
	}
	return out, nil
}

// getAsyncResult ends a finished handle unless told to keep it. A caller who
// may change nothing, or who came by a link, never ends it.
func (s *Server) getAsyncResult(ctx context.Context, who identity, p *wire.GetAsyncResultParams) (wire.GetAsyncResultResult, error) {
	keep := p.KeepResult || who.readOnly()
	a, err := s.cluster.Async(ctx, int64(p.AsyncHandle), keep)
	if err != nil {
		return wire.GetAsyncResultResult{}, err
	}
	return asyncShape(a), nil
}

// listAsyncResults lists long work, done or not, and ends no handle.
func (s *Server) listAsyncResults(ctx context.Context, _ identity, p *wire.ListAsyncResultsParams) (wire.ListAsyncResultsResult, error) {
	out := wire.ListAsyncResultsResult{AsyncHandles: []wire.AsyncHandle{}}
	all, err := s.cluster.Asyncs(ctx)
	for _, a := range all {
		if wanted(p.AsyncResultTypes, a.Type) {
			out.AsyncHandles = append(out.AsyncHandles, asyncHandleShape(a))
		}
	}
	return out, err
}

// wanted says whether v passes a filter; no filter lets all pass.
func wanted[T comparable](filter []T, v T) bool {
	for _, f := range filter {
		if f == v {
			return true
		}
	}
	return len(filter) == 0
}

// getStoreBackup seals the whole store with a passphrase and sends it.
func (s *Server) getStoreBackup(ctx context.Context, _ identity, p *wire.GetStoreBackupParams) (wire.GetStoreBackupResult, error) {
	if len(p.Passphrase) == 0 {
		return wire.GetStoreBackupResult{}, fail(wire.ErrInvalidParameter, "passphrase: must not be empty")
	}
	var b bytes.Buffer
	if err := s.cluster.Backup(ctx, &b, p.Passphrase); err != nil {
		return wire.GetStoreBackupResult{}, err
	}
	if b.Len() > maxBackup {
		return wire.GetStoreBackupResult{}, fail(wire.ErrExceededLimit, "the backup has %d bytes, over %d: stop the gateway and copy the store", b.Len(), maxBackup)
	}
	return wire.GetStoreBackupResult{Backup: b.Bytes()}, nil
}

// checkStore reads every record and lists what is wrong.
func (s *Server) checkStore(ctx context.Context, _ identity, _ *wire.Empty) (wire.CheckStoreResult, error) {
	p, err := s.cluster.CheckStore(ctx)
	return wire.CheckStoreResult{Problems: list(p)}, err
}

// getGatewayInfo describes the process that answers.
func (s *Server) getGatewayInfo(context.Context, identity, *wire.Empty) (wire.GetGatewayInfoResult, error) {
	i := s.info()
	i.ClusterExists = s.cluster.Exists()
	i.Listeners = list(i.Listeners)
	if i.GoVersion == "" {
		i.GoVersion = runtime.Version()
	}
	return i, nil
}
