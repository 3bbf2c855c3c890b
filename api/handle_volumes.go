package api

import (
	"context"
	"strconv"

	"lockplate/api/wire"
	"lockplate/cluster"
)

// maxListed is Element's limit on the volumes of one answer.
const maxListed = 10_000

// createVolume makes a volume. Members that have no meaning here come back as
// unusedParameters.
func (s *Server) createVolume(ctx context.Context, _ identity, p *wire.CreateVolumeParams) (wire.CreateVolumeResult, error) {
	err := firstError(checkAccess(p.Access), checkDiscard(p.Discard), checkKDF(p.RecoveryKDF), checkAttributes(p.Attributes))
	if err != nil {
		return wire.CreateVolumeResult{}, err
	}
	c := cluster.CreateVolume{
		Name: p.Name, AccountID: int64(p.AccountID), Size: int64(p.TotalSize), Emulate512: p.Enable512e,
		Access: cluster.Access(p.Access), DriveID: int64(p.DriveID), Detached: p.DetachedHeader,
		Discard: p.Discard, SectorSize: int(p.SectorSize), Attributes: p.Attributes,
		Passphrase: p.RecoveryPassphrase, PassphraseKDF: p.RecoveryKDF, QoS: qosChange(p.QOS),
	}
	if id := wantedPolicy(p.AssociateWithQoSPolicy, p.QOSPolicyID); id != nil {
		c.QoSPolicyID = *id
	}
	v, err := s.cluster.CreateVolume(ctx, c)
	return wire.CreateVolumeResult{Volume: volumeShape(v), VolumeID: v.ID}, err
}

// adoptVolume takes over a LUKS container that was made elsewhere.
func (s *Server) adoptVolume(ctx context.Context, _ identity, p *wire.AdoptVolumeParams) (wire.VolumeResult, error) {
	v, err := s.cluster.AdoptVolume(ctx, cluster.AdoptVolume{
		Name: p.Name, DriveID: int64(p.DriveID), Image: p.Image, Passphrase: p.Passphrase,
		HeaderDriveID: int64(p.HeaderDriveID), HeaderImage: p.HeaderImage,
	})
	return wire.VolumeResult{Volume: volumeShape(v)}, err
}

// modifyVolume changes the members that are given.
func (s *Server) modifyVolume(ctx context.Context, _ identity, p *wire.ModifyVolumeParams) (wire.VolumeResult, error) {
	m := cluster.ModifyVolume{
		Name: p.Name, Size: (*int64)(p.TotalSize), Access: (*cluster.Access)(p.Access),
		Emulate512: p.Enable512e, AccountID: (*int64)(p.AccountID), Discard: p.Discard, Attributes: p.Attributes,
		QoS: qosChange(p.QOS), QoSPolicyID: wantedPolicy(p.AssociateWithQoSPolicy, p.QOSPolicyID),
	}
	if err := checkModify(m); err != nil {
		return wire.VolumeResult{}, err
	}
	v, err := s.cluster.ModifyVolume(ctx, int64(p.VolumeID), m)
	return wire.VolumeResult{Volume: volumeShape(v)}, err
}

// checkModify refuses values that no volume can have.
func checkModify(m cluster.ModifyVolume) error {
	if m.Access != nil {
		if err := checkAccess(string(*m.Access)); err != nil {
			return err
		}
	}
	if m.Discard != nil {
		if err := checkDiscard(*m.Discard); err != nil {
			return err
		}
	}
	if m.Attributes != nil {
		return checkAttributes(*m.Attributes)
	}
	return nil
}

// deleteVolume puts a volume aside; it is purged later by itself.
func (s *Server) deleteVolume(ctx context.Context, _ identity, p *wire.VolumeIDParams) (wire.VolumeResult, error) {
	v, err := s.cluster.DeleteVolume(ctx, int64(p.VolumeID))
	return wire.VolumeResult{Volume: volumeShape(v)}, err
}

// restoreVolume takes a deleted volume back.
func (s *Server) restoreVolume(ctx context.Context, _ identity, p *wire.VolumeIDParams) (wire.Empty, error) {
	_, err := s.cluster.RestoreVolume(ctx, int64(p.VolumeID))
	return wire.Empty{}, err
}

// purgeVolume ends a deleted volume for good.
func (s *Server) purgeVolume(ctx context.Context, _ identity, p *wire.VolumeIDParams) (wire.Empty, error) {
	return wire.Empty{}, s.cluster.PurgeVolume(ctx, int64(p.VolumeID))
}

// listVolumes lists volumes, deleted ones too. A selection by ids excludes
// the others, as the product has it.
func (s *Server) listVolumes(ctx context.Context, _ identity, p *wire.ListVolumesParams) (wire.ListVolumesResult, error) {
	if len(p.VolumeIDs) > 0 && (len(p.Accounts) > 0 || p.StartVolumeID != 0 || p.Limit != 0) {
		return wire.ListVolumesResult{}, fail(wire.ErrInvalidParameter, "volumeIDs: cannot be combined with accounts, startVolumeID or limit")
	}
	if err := enum(p.VolumeStatus, wire.VolumeActive, wire.VolumeDeleted, "init"); err != nil {
		return wire.ListVolumesResult{}, err
	}
	return s.selectVolumes(ctx, p)
}

// listActiveVolumes lists the volumes that are not deleted.
func (s *Server) listActiveVolumes(ctx context.Context, _ identity, p *wire.ListActiveVolumesParams) (wire.ListVolumesResult, error) {
	return s.selectVolumes(ctx, &wire.ListVolumesParams{
		StartVolumeID: p.StartVolumeID, Limit: p.Limit, VolumeStatus: wire.VolumeActive,
	})
}

// listDeletedVolumes lists the volumes that are.
func (s *Server) listDeletedVolumes(ctx context.Context, _ identity, _ *wire.ListDeletedVolumesParams) (wire.ListVolumesResult, error) {
	return s.selectVolumes(ctx, &wire.ListVolumesParams{VolumeStatus: wire.VolumeDeleted})
}

// selectVolumes lists the volumes that pass every filter, by id.
func (s *Server) selectVolumes(ctx context.Context, p *wire.ListVolumesParams) (wire.ListVolumesResult, error) {
	out := wire.ListVolumesResult{Volumes: []wire.Volume{}}
	limit := int(min(p.Limit, maxListed))
	if limit < 0 {
		return out, fail(wire.ErrInvalidParameter, "limit: must not be negative")
	}
	if limit == 0 {
		limit = maxListed
	}
	all, err := s.cluster.Volumes(ctx)
	for _, v := range all {
		if len(out.Volumes) < limit && selected(v, p) {
			out.Volumes = append(out.Volumes, volumeShape(v))
		}
	}
	return out, err
}

// selected says whether v passes every filter. Nothing is paired here.
func selected(v cluster.Volume, p *wire.ListVolumesParams) bool {
	return wanted(p.VolumeIDs, wire.Int(v.ID)) && wanted(p.Accounts, wire.Int(v.AccountID)) &&
		v.ID >= int64(p.StartVolumeID) && !p.IsPaired &&
		(p.VolumeName == "" || p.VolumeName == v.Name) &&
		(p.VolumeStatus == "" || p.VolumeStatus == volumeStatus(v))
}

// listVolumeStats has a row for every volume that is not deleted; one that is
// not open has counted nothing.
func (s *Server) listVolumeStats(ctx context.Context, _ identity, p *wire.ListVolumeStatsParams) (wire.ListVolumeStatsResult, error) {
	out := wire.ListVolumeStatsResult{VolumeStats: []wire.VolumeStats{}}
	vols, err := s.cluster.Volumes(ctx)
	if err != nil {
		return out, err
	}
	counted, err := s.cluster.VolumeStats(ctx)
	if err != nil {
		return out, err
	}
	byID := map[int64]cluster.VolumeStats{}
	for _, c := range counted {
		byID[c.VolumeID] = c
	}
	now := s.now()
	for _, v := range vols {
		if v.State != cluster.VolumeDeleted && wanted(p.VolumeIDs, wire.Int(v.ID)) {
			out.VolumeStats = append(out.VolumeStats, statsShape(v, byID[v.ID], now))
		}
	}
	return out, nil
}

// addRecoveryKey adds a keyslot that any Linux host can open.
func (s *Server) addRecoveryKey(ctx context.Context, _ identity, p *wire.AddVolumeRecoveryKeyParams) (wire.AddVolumeRecoveryKeyResult, error) {
	if err := checkKDF(p.KDF); err != nil {
		return wire.AddVolumeRecoveryKeyResult{}, err
	}
	if len(p.Passphrase) == 0 {
		return wire.AddVolumeRecoveryKeyResult{}, fail(wire.ErrInvalidParameter, "passphrase: must not be empty")
	}
	slot, err := s.cluster.AddRecoveryKey(ctx, int64(p.VolumeID), p.Passphrase, p.KDF)
	return wire.AddVolumeRecoveryKeyResult{Slot: slot}, err
}

// listRecoveryKeys lists the keyslots of a volume.
func (s *Server) listRecoveryKeys(ctx context.Context, _ identity, p *wire.VolumeIDParams) (wire.ListVolumeRecoveryKeysResult, error) {
	out := wire.ListVolumeRecoveryKeysResult{RecoveryKeys: []wire.RecoveryKey{}}
	keys, err := s.cluster.RecoveryKeys(ctx, int64(p.VolumeID))
	for _, k := range keys {
		out.RecoveryKeys = append(out.RecoveryKeys, wire.RecoveryKey{Slot: k.Slot, KDF: k.KDF})
	}
	return out, err
}

// removeRecoveryKey asks for force before the last one goes: from then on only
// this cluster's key opens the volume.
func (s *Server) removeRecoveryKey(ctx context.Context, _ identity, p *wire.RemoveVolumeRecoveryKeyParams) (wire.Empty, error) {
	id, slot := int64(p.VolumeID), int(p.Slot)
	keys, err := s.cluster.RecoveryKeys(ctx, id)
	if err != nil {
		return wire.Empty{}, err
	}
	if len(keys) == 1 && keys[0].Slot == slot && !p.Force {
		return wire.Empty{}, fail(wire.ErrInvalidParameter,
			"slot: %s is the last recovery key; without it only this cluster can open the volume. Give force=true to remove it", strconv.Itoa(slot))
	}
	return wire.Empty{}, s.cluster.RemoveRecoveryKey(ctx, id, slot)
}
