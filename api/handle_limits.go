package api

import (
	"context"
	"math"
	"slices"

	"lockplate/api/wire"
	"lockplate/cluster"
)

// The limits that there are; the cluster refuses what is over them.
const (
	noLimit       = math.MaxInt32 // the largest number that every client can read
	maxVolumeName = 64            // characters
	maxVolumeSize = 1 << 60       // bytes
	minVolumeSize = 1 << 20       // smaller ones are rounded up to it
	maxAdmins     = 256
)

// getLimits tells the limits. What does not exist here has the limit 0.
func (s *Server) getLimits(ctx context.Context, _ identity, _ *wire.Empty) (wire.GetLimitsResult, error) {
	_, err := s.cluster.Info(ctx)
	return wire.GetLimitsResult{
		AccountCountMax: 1, AccountNameLengthMax: int64(len(accountName)), AccountNameLengthMin: int64(len(accountName)),
		ClusterAdminAccountMax: maxAdmins,
		VolumeCountMax:         noLimit, VolumesPerAccountCountMax: noLimit,
		VolumeNameLengthMin: 1, VolumeNameLengthMax: maxVolumeName,
		VolumeSizeMin: minVolumeSize, VolumeSizeMax: maxVolumeSize,
		QoSPolicyCountMax: cluster.MaxQoSPolicies,
		VolumeMinIOPSMin:  cluster.LeastMinIOPS, VolumeMinIOPSMax: cluster.MostMinIOPS,
		VolumeMaxIOPSMin: cluster.LeastIOPS, VolumeMaxIOPSMax: cluster.MostIOPS,
		VolumeBurstIOPSMin: cluster.LeastIOPS, VolumeBurstIOPSMax: cluster.MostIOPS,
	}, err
}

// getCurrentClusterAdmin tells who asks: a user, or on the socket whom the
// kernel says it is, who has no id.
func (s *Server) getCurrentClusterAdmin(ctx context.Context, who identity, _ *wire.Empty) (wire.GetCurrentClusterAdminResult, error) {
	users, err := s.cluster.Users(ctx)
	if err != nil {
		return wire.GetCurrentClusterAdminResult{}, err
	}
	i := slices.IndexFunc(users, func(u cluster.User) bool { return u.Name == who.name })
	if who.peer || i < 0 {
		return wire.GetCurrentClusterAdminResult{ClusterAdmin: wire.ClusterAdmin{
			Access: []string{wire.AccessAdministrator}, Attributes: map[string]any{}, AuthMethod: "Socket", Username: who.name,
		}}, nil
	}
	return wire.GetCurrentClusterAdminResult{ClusterAdmin: userShape(users[i])}, nil
}

// listDriveStats has a row for each drive that is asked for, and an error for
// each that does not exist.
func (s *Server) listDriveStats(ctx context.Context, _ identity, p *wire.ListDriveStatsParams) (wire.ListDriveStatsResult, error) {
	out := wire.ListDriveStatsResult{DriveStats: []wire.DriveStats{}, Errors: []any{}}
	drives, err := s.cluster.Drives(ctx)
	seen := map[wire.Int]bool{}
	for _, d := range drives {
		if seen[wire.Int(d.ID)] = true; wanted(p.Drives, wire.Int(d.ID)) {
			out.DriveStats = append(out.DriveStats, wire.DriveStats{
				DriveID: d.ID, Timestamp: wire.FormatTime(s.now()), TotalCapacity: d.Capacity, UsedCapacity: max(d.Capacity-d.Free, 0),
			})
		}
	}
	for _, id := range p.Drives {
		if !seen[id] {
			out.Errors = append(out.Errors, map[string]any{"driveID": id, "exceptionName": wire.ErrDriveNotFound})
		}
	}
	return out, err
}

// getDriveStats is one row of ListDriveStats.
func (s *Server) getDriveStats(ctx context.Context, who identity, p *wire.DriveIDParams) (wire.GetDriveStatsResult, error) {
	all, err := s.listDriveStats(ctx, who, &wire.ListDriveStatsParams{Drives: []wire.Int{p.DriveID}})
	if err == nil && len(all.DriveStats) == 0 {
		err = &cluster.NotFoundError{Kind: "drive", ID: itoa(int(p.DriveID))}
	}
	if err != nil {
		return wire.GetDriveStatsResult{}, err
	}
	return wire.GetDriveStatsResult{DriveStats: all.DriveStats[0]}, nil
}
