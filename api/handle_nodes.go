package api

import (
	"context"
	"runtime"

	"lockplate/api/wire"
	"lockplate/cluster"
)

// node describes the one node there is.
func (s *Server) node(ctx context.Context) (wire.Node, error) {
	i, err := s.cluster.Info(ctx)
	if err != nil {
		return wire.Node{}, err
	}
	l := s.info().Listeners
	return wire.Node{
		AssociatedMasterServiceID: i.NodeID, Attributes: map[string]any{},
		CustomProtectionDomain: "__default__", MaintenanceMode: "Disabled",
		Name: i.NodeName, NodeID: i.NodeID, Role: "Storage", UUID: i.UUID,
		MIP: listenHost(l, "api"), SIP: listenHost(l, "nbd"),
		PlatformInfo: wire.Platform{
			ChassisType: runtime.GOOS, CPUModel: s.host().arch, NodeMemoryGB: s.host().memory >> 30,
			NodeType: "lockplate", PlatformConfigVersion: s.info().Version,
		},
		SoftwareVersion: elementVersion, VirtualNetworks: []any{},
	}, nil
}

// listAllNodes has the one node; none is pending.
func (s *Server) listAllNodes(ctx context.Context, _ identity, _ *wire.Empty) (wire.ListAllNodesResult, error) {
	n, err := s.node(ctx)
	return wire.ListAllNodesResult{Nodes: []wire.Node{n}, PendingNodes: []any{}, PendingActiveNodes: []any{}}, err
}

// listActiveNodes has the one node.
func (s *Server) listActiveNodes(ctx context.Context, _ identity, _ *wire.Empty) (wire.ListActiveNodesResult, error) {
	n, err := s.node(ctx)
	return wire.ListActiveNodesResult{Nodes: []wire.Node{n}}, err
}

// getMasterNode names the node that answers.
func (s *Server) getMasterNode(ctx context.Context, _ identity, _ *wire.Empty) (wire.GetClusterMasterNodeIDResult, error) {
	i, err := s.cluster.Info(ctx)
	return wire.GetClusterMasterNodeIDResult{NodeID: i.NodeID}, err
}

// nodeStats sums the I/O of all volumes, and what the process used.
func (s *Server) nodeStats(ctx context.Context) (wire.NodeStats, error) {
	i, err1 := s.cluster.Info(ctx)
	t, err2 := s.totals(ctx)
	h := s.host()
	return wire.NodeStats{
		NodeID: i.NodeID, Timestamp: wire.FormatTime(s.now()),
		CPUTotal: int64(h.cpu.Seconds()), UsedMemory: h.resident,
		ReadOps: t.ReadOps, WriteOps: t.WriteOps, SBytesIn: t.WriteBytes, SBytesOut: t.ReadBytes,
		ReadLatencyUSecTotal: t.ReadLatency.Microseconds(), WriteLatencyUSecTotal: t.WriteLatency.Microseconds(),
	}, firstError(err1, err2)
}

// listNodeStats has a row for the one node.
func (s *Server) listNodeStats(ctx context.Context, _ identity, _ *wire.Empty) (wire.ListNodeStatsResult, error) {
	n, err := s.nodeStats(ctx)
	return wire.ListNodeStatsResult{NodeStats: wire.NodeStatsNodes{Nodes: []wire.NodeStats{n}}}, err
}

// getNodeStats refuses any other node.
func (s *Server) getNodeStats(ctx context.Context, _ identity, p *wire.GetNodeStatsParams) (wire.GetNodeStatsResult, error) {
	n, err := s.nodeStats(ctx)
	if err == nil && int64(p.NodeID) != n.NodeID {
		err = &cluster.NotFoundError{Kind: "node", ID: itoa(int(p.NodeID))}
	}
	return wire.GetNodeStatsResult{NodeStats: n}, err
}

// totals sums the counters of all volumes.
func (s *Server) totals(ctx context.Context) (cluster.VolumeStats, error) {
	var t cluster.VolumeStats
	all, err := s.cluster.VolumeStats(ctx)
	for _, v := range all {
		t.ReadOps += v.ReadOps
		t.WriteOps += v.WriteOps
		t.ReadBytes += v.ReadBytes
		t.WriteBytes += v.WriteBytes
		t.ReadLatency += v.ReadLatency
		t.WriteLatency += v.WriteLatency
		t.InFlight += v.InFlight
		t.Allocated += v.Allocated
	}
	return t, err
}
