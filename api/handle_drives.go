package api

import (
	"context"

	"lockplate/api/wire"
	"lockplate/cluster"
)

// listDrives lists the drives that the cluster knows, in service or not.
func (s *Server) listDrives(ctx context.Context, _ identity, _ *wire.Empty) (wire.ListDrivesResult, error) {
	out := wire.ListDrivesResult{Drives: []wire.Drive{}}
	info, err := s.cluster.Info(ctx)
	if err != nil {
		return out, err
	}
	drives, err := s.cluster.Drives(ctx)
	for _, d := range drives {
		out.Drives = append(out.Drives, driveShape(d, info.NodeID))
	}
	return out, err
}

// addDrives takes drives into service: known ones by id, new ones by URI.
func (s *Server) addDrives(ctx context.Context, _ identity, p *wire.AddDrivesParams) (wire.AsyncHandleResult, error) {
	add := make([]cluster.AddDrive, 0, len(p.Drives))
	for _, d := range p.Drives {
		if d.DriveID == 0 && d.URI == "" {
			return wire.AsyncHandleResult{}, missing("driveID")
		}
		if d.DriveID != 0 && d.URI != "" {
			return wire.AsyncHandleResult{}, fail(wire.ErrInvalidParameter, "drives: give driveID or uri, not both")
		}
		role, err := driveRole(d.Type)
		if err != nil {
			return wire.AsyncHandleResult{}, err
		}
		add = append(add, cluster.AddDrive{ID: int64(d.DriveID), URI: d.URI, Role: role})
	}
	if len(add) == 0 {
		return wire.AsyncHandleResult{}, fail(wire.ErrInvalidParameter, "drives: must name at least one")
	}
	h, err := s.cluster.AddDrives(ctx, add)
	return wire.AsyncHandleResult{AsyncHandle: h}, err
}

// driveRole maps Element's type of a drive; "" leaves it to the cluster.
func driveRole(kind string) (cluster.DriveRole, error) {
	switch kind {
	case wire.DriveBlock:
		return cluster.RoleBlock, nil
	case wire.DriveMetadata, wire.DriveSlice:
		return cluster.RoleMetadata, nil
	}
	return "", enum(kind)
}

// removeDrives takes drives out of service; they stay in the list as
// available.
func (s *Server) removeDrives(ctx context.Context, _ identity, p *wire.RemoveDrivesParams) (wire.AsyncHandleResult, error) {
	if len(p.Drives) == 0 {
		return wire.AsyncHandleResult{}, fail(wire.ErrInvalidParameter, "drives: must name at least one")
	}
	ids := make([]int64, 0, len(p.Drives))
	for _, id := range p.Drives {
		ids = append(ids, int64(id))
	}
	h, err := s.cluster.RemoveDrives(ctx, ids)
	return wire.AsyncHandleResult{AsyncHandle: h}, err
}

// forgetDrive drops an available drive from the list.
func (s *Server) forgetDrive(ctx context.Context, _ identity, p *wire.ForgetDriveParams) (wire.Empty, error) {
	return wire.Empty{}, s.cluster.ForgetDrive(ctx, int64(p.DriveID))
}
