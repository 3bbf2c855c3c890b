package api

import (
	"context"

	"lockplate/api/wire"
	"lockplate/cluster"
)

// space is what active drives of one role have.
type space struct{ total, used int64 }

// spaces sums the active drives: blocks for data, meta for detached headers.
// A drive that is failed adds nothing, since nothing can be stored there.
func (s *Server) spaces(ctx context.Context) (blocks, meta space, err error) {
	drives, err := s.cluster.Drives(ctx)
	for _, d := range drives {
		sum := &blocks
		if d.Role == cluster.RoleMetadata {
			sum = &meta
		}
		if d.Status == cluster.DriveActive {
			sum.total += d.Capacity
			sum.used += max(d.Capacity-d.Free, 0)
		}
	}
	return blocks, meta, err
}

// getClusterCapacity tells the space of the active drives. Blocks that are
// promised to volumes and not used yet count as zero blocks.
func (s *Server) getClusterCapacity(ctx context.Context, _ identity, _ *wire.Empty) (wire.GetClusterCapacityResult, error) {
	blocks, meta, err1 := s.spaces(ctx)
	t, err2 := s.totals(ctx)
	vols, err3 := s.cluster.Volumes(ctx)
	c := wire.ClusterCapacity{
		ActiveBlockSpace: blocks.used, Timestamp: wire.FormatTime(s.now()),
		MaxOverProvisionableSpace: blocks.total, MaxProvisionedSpace: blocks.total, // never promised twice
		MaxUsedSpace: blocks.total, UsedSpace: blocks.used,
		MaxUsedMetadataSpace: meta.total, UsedMetadataSpace: meta.used,
		NonZeroBlocks: blocks.used / blockSize, UniqueBlocks: blocks.used / blockSize,
		UniqueBlocksUsedSpace: blocks.used, TotalOps: t.ReadOps + t.WriteOps,
	}
	for _, v := range vols {
		c.ProvisionedSpace += v.Size
		c.ActiveSessions += int64(v.Connections)
	}
	c.ZeroBlocks = max(c.ProvisionedSpace-blocks.used, 0) / blockSize
	return wire.GetClusterCapacityResult{ClusterCapacity: c}, firstError(err1, err2, err3)
}

// getClusterStats sums the counters of all volumes since they were opened.
func (s *Server) getClusterStats(ctx context.Context, _ identity, _ *wire.Empty) (wire.GetClusterStatsResult, error) {
	t, err := s.totals(ctx)
	return wire.GetClusterStatsResult{ClusterStats: wire.ClusterStats{
		Timestamp: wire.FormatTime(s.now()), ClientQueueDepth: t.InFlight, ServicesCount: 1, ServicesTotal: 1,
		ReadOps: t.ReadOps, ReadBytes: t.ReadBytes, WriteOps: t.WriteOps, WriteBytes: t.WriteBytes,
		ReadLatencyUSec:      mean(t.ReadLatency, t.ReadOps),
		WriteLatencyUSec:     mean(t.WriteLatency, t.WriteOps),
		LatencyUSec:          mean(t.ReadLatency+t.WriteLatency, t.ReadOps+t.WriteOps),
		ReadLatencyUSecTotal: t.ReadLatency.Microseconds(),
		WriteLatencyUSecTot:  t.WriteLatency.Microseconds(),
		AverageIOPSize:       perOp(t.ReadBytes+t.WriteBytes, t.ReadOps+t.WriteOps),
	}}, err
}

// Stages of fullness begin when so many percent of the space are used.
const (
	awarePercent    = 85
	lowPercent      = 95
	criticalPercent = 99
)

// at is the bytes in use from which on a stage holds.
func (s space) at(percent int64) int64 { return s.total/100*percent + s.total%100*percent/100 }

// stage is 0 for the first stage. No drives at all are not full.
func (s space) stage() int {
	n := 0
	for _, percent := range []int64{awarePercent, lowPercent, criticalPercent, 100} {
		if s.total > 0 && s.used >= s.at(percent) {
			n++
		}
	}
	return n
}

// getFullThreshold tells how full the active drives are.
func (s *Server) getFullThreshold(ctx context.Context, _ identity, _ *wire.Empty) (wire.GetClusterFullThresholdResult, error) {
	names := []string{wire.StageHappy, wire.StageAware, wire.StageLow, wire.StageCritical, wire.StageConsumed}
	b, m, err := s.spaces(ctx)
	return wire.GetClusterFullThresholdResult{
		BlockFullness: names[b.stage()], MetadataFullness: names[m.stage()], Fullness: names[max(b.stage(), m.stage())],
		MaxMetadataOverProvision:  1,
		Stage2BlockThresholdBytes: b.at(awarePercent), Stage2MetadataThreshold: m.at(awarePercent),
		Stage3BlockThresholdBytes: b.at(lowPercent), Stage3MetadataThreshold: m.at(lowPercent),
		Stage3BlockThresholdPct: lowPercent, Stage3MetadataThresholdPct: lowPercent,
		Stage4BlockThresholdBytes: b.at(criticalPercent), Stage4MetadataThreshold: m.at(criticalPercent),
		Stage5BlockThresholdBytes: b.total, Stage5MetadataThreshold: m.total,
		SumTotalClusterBytes: b.total, SumUsedClusterBytes: b.used,
		SumTotalMetadataBytes: m.total, SumUsedMetadataBytes: m.used,
	}, err
}

// getEncryptionAtRest tells of encryption by the drives themselves.
func (s *Server) getEncryptionAtRest(ctx context.Context, _ identity, _ *wire.Empty) (wire.GetEncryptionAtRestInfoResult, error) {
	_, err := s.cluster.Info(ctx)
	return wire.GetEncryptionAtRestInfoResult{
		State: wire.EncryptionDisabled, Info: wire.EncryptionAtRestInfo{State: wire.EncryptionDisabled},
	}, err
}

// getVolumeStats is one row of ListVolumeStats.
func (s *Server) getVolumeStats(ctx context.Context, who identity, p *wire.VolumeIDParams) (wire.GetVolumeStatsResult, error) {
	all, err := s.listVolumeStats(ctx, who, &wire.ListVolumeStatsParams{VolumeIDs: []wire.Int{p.VolumeID}})
	if err == nil && len(all.VolumeStats) == 0 {
		err = &cluster.NotFoundError{Kind: "volume", ID: itoa(int(p.VolumeID))}
	}
	if err != nil {
		return wire.GetVolumeStatsResult{}, err
	}
	return wire.GetVolumeStatsResult{VolumeStats: all.VolumeStats[0]}, nil
}

// getVolumeCount counts the volumes that are not deleted.
func (s *Server) getVolumeCount(ctx context.Context, _ identity, _ *wire.Empty) (wire.GetVolumeCountResult, error) {
	vols, err := s.selectVolumes(ctx, &wire.ListVolumesParams{VolumeStatus: wire.VolumeActive})
	return wire.GetVolumeCountResult{Count: len(vols.Volumes)}, err
}

// The methods below are asked by exporters and SDKs for things that are not
// here. They answer what is true: there is none.

func (s *Server) listQoSHistograms(ctx context.Context, _ identity, _ *wire.VolumeIDsParams) (wire.ListVolumeQoSHistogramsResult, error) {
	_, err := s.cluster.Info(ctx)
	return wire.ListVolumeQoSHistogramsResult{QoSHistograms: []any{}}, err
}

func (s *Server) listAccessGroups(ctx context.Context, _ identity, p *wire.ListVolumeAccessGroupsParams) (wire.ListVolumeAccessGroupsResult, error) {
	_, err := s.cluster.Info(ctx)
	missing := make([]int64, 0, len(p.VolumeAccessGroups))
	for _, id := range p.VolumeAccessGroups {
		missing = append(missing, int64(id))
	}
	return wire.ListVolumeAccessGroupsResult{VolumeAccessGroups: []any{}, VolumeAccessGroupsNotFound: missing}, err
}

func (s *Server) listInitiators(ctx context.Context, _ identity, _ *wire.ListInitiatorsParams) (wire.ListInitiatorsResult, error) {
	_, err := s.cluster.Info(ctx)
	return wire.ListInitiatorsResult{Initiators: []any{}}, err
}
