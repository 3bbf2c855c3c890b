package api

import (
	"strings"
	"time"

	"lockplate/api/wire"
	"lockplate/cluster"
)

// Element's numbers where lockplate has nothing to say.
const (
	blockSize        = 4096
	protectionScheme = "singleHelix" // one copy: the drive keeps others, if any
)

// someTime is FormatTime for members that must not be "": some clients refuse
// the whole answer then.
func someTime(t time.Time) string {
	if t.IsZero() {
		t = time.Unix(0, 0)
	}
	return wire.FormatTime(t)
}

// object is m, or an empty object: clients want no null there.
func object(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}

// list is s, or an empty array.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// volumeShape gives a volume as Element has it. Members that speak of what is
// not here (iSCSI, replication, snapshots) are empty.
func volumeShape(v cluster.Volume) wire.Volume {
	return wire.Volume{
		Access: string(v.Access), AccountID: v.AccountID, Attributes: object(v.Attributes),
		BlockSize: blockSize, CreateTime: someTime(v.Created),
		CurrentProtectionScheme: protectionScheme,
		DeleteTime:              wire.FormatTime(v.Deleted), Enable512e: v.Emulate512,
		Name: v.Name, PurgeTime: wire.FormatTime(v.Purge),
		QOS: qosShape(v.QoS), QOSPolicyID: policyID(v.QoSPolicyID),
		SliceCount: 1, Status: volumeStatus(v), TotalSize: v.Size,
		VolumeAccessGroups: []int64{}, VolumeConsistencyGroupUUID: v.UUID, // a group of its own
		VolumeID: v.ID, VolumePairs: []any{}, VolumeUUID: v.UUID,
		Lockplate: volumeDetail(v),
	}
}

// volumeStatus maps to Element's life cycle; whether a volume can be attached
// now is told by lockplate.state.
func volumeStatus(v cluster.Volume) string {
	if v.State == cluster.VolumeDeleted {
		return wire.VolumeDeleted
	}
	return wire.VolumeActive
}

// volumeDetail is what Element has no member for.
func volumeDetail(v cluster.Volume) wire.VolumeDetail {
	return wire.VolumeDetail{
		State: string(v.State), Reason: v.Reason, Encrypted: v.Encrypted, Cipher: v.Cipher,
		KeyBits: v.KeyBits, SectorSize: v.SectorSize, DriveID: v.DriveID, Path: v.Path,
		HeaderDriveID: v.HeaderDriveID, HeaderPath: v.HeaderPath, Discard: v.Discard,
		RecoveryKeys: v.RecoveryKeys, Adopted: v.Adopted, Connections: v.Connections,
	}
}

// driveShape gives a drive as Element has it. No drive has a key of its own
// yet, hence keyID zero.
func driveShape(d cluster.Drive, node int64) wire.Drive {
	kind := wire.DriveBlock
	if d.Role == cluster.RoleMetadata {
		kind = wire.DriveMetadata
	}
	return wire.Drive{
		Attributes: map[string]any{}, Capacity: d.Capacity, DriveFailureDetail: d.Reason,
		DriveID: d.ID, DriveSecurityFaultReason: "none", KeyID: wire.NoKey, NodeID: node,
		Serial: d.Serial, Status: string(d.Status), Type: kind, UsableCapacity: d.Capacity,
		Lockplate: wire.DriveDetail{
			URI: d.URI, UUID: d.UUID, Role: string(d.Role), Reason: d.Reason, Free: d.Free,
			Model: d.Model, Volumes: list(d.Volumes), Added: wire.FormatTime(d.Added),
		},
	}
}

// faultShape gives a fault as Element has it. Nothing in details may
// change while it lasts: exporters make a label of it.
func faultShape(f cluster.Fault) wire.Fault {
	out := wire.Fault{
		ClusterFaultID: f.ID, Code: f.Code, Date: wire.FormatTimeMicro(f.Since), Details: f.Text,
		DriveID: f.DriveID, DriveIDs: []int64{}, Severity: f.Severity, Type: f.Type,
		Resolved: !f.Resolved.IsZero(), ResolvedDate: wire.FormatTimeMicro(f.Resolved),
	}
	if f.DriveID != 0 {
		out.DriveIDs = []int64{f.DriveID}
	}
	if f.VolumeID != 0 {
		out.Data = map[string]any{"volumeID": f.VolumeID}
	}
	return out
}

// userShape gives a user as Element has it.
func userShape(u cluster.User) wire.ClusterAdmin {
	roles := make([]string, 0, len(u.Roles))
	for _, r := range u.Roles {
		roles = append(roles, string(r))
	}
	return wire.ClusterAdmin{
		Access: roles, Attributes: object(u.Attributes), AuthMethod: "Cluster",
		ClusterAdminID: u.ID, Username: u.Name,
	}
}

// asyncShape gives long work as GetAsyncResult does: details while it runs,
// then exactly one of result and error.
func asyncShape(a cluster.Async) wire.GetAsyncResultResult {
	out := wire.GetAsyncResultResult{
		Status: wire.AsyncRunning, ResultType: a.Type,
		CreateTime: someTime(a.Created), LastUpdateTime: someTime(a.Updated),
	}
	switch {
	case !a.Done:
		out.Details = map[string]any{"percentComplete": a.Progress}
		if a.State != "" {
			out.Details["state"] = a.State
		}
		return out
	case a.ErrName != "":
		out.Error = &wire.AsyncError{Name: a.ErrName, Message: a.ErrText}
	default:
		out.Result = object(a.Result)
	}
	out.Status = wire.AsyncComplete
	return out
}

// asyncHandleShape gives long work as ListAsyncResults does.
func asyncHandleShape(a cluster.Async) wire.AsyncHandle {
	return wire.AsyncHandle{
		AsyncResultID: a.Handle, Completed: a.Done, Success: a.Done && a.ErrName == "",
		CreateTime: someTime(a.Created), LastUpdateTime: someTime(a.Updated),
		ResultType: a.Type, Data: map[string]any{},
	}
}

// encryptionShape sends "state" and "status" with the same value: the sources
// differ on the name.
func encryptionShape(e cluster.Encryption) wire.GetSoftwareEncryptionAtRestInfoResult {
	out := wire.GetSoftwareEncryptionAtRestInfoResult{State: onOff(e.Enabled), Status: onOff(e.Enabled), Version: e.Version}
	if e.RekeyHandle != 0 {
		out.RekeyAsyncResultID = &e.RekeyHandle
	}
	m := e.Master
	if m == nil {
		return out
	}
	out.MasterKeyInfo = &wire.EncryptionKeyInfo{
		KeyCreatedTime: wire.FormatTime(m.Created), KeyID: m.ID, KeyManagementType: string(m.Type),
	}
	if m.ProviderID != 0 {
		out.MasterKeyInfo.KeyProviderID = &m.ProviderID
	}
	out.Lockplate = &wire.KeyProtection{Sealed: m.Sealed, Sealer: m.Sealer, Warning: m.Warning}
	out.Lockplate.Shares = sharesShape(e.Shares)
	if e.Locked != nil {
		out.Lockplate.Locked = e.Locked.Error()
	}
	return out
}

// onOff names the state of encryption.
func onOff(on bool) string {
	if on {
		return wire.EncryptionEnabled
	}
	return wire.EncryptionDisabled
}

// clusterInfoShape describes the cluster; api and nbd are the hosts that
// listen, "" if none does.
func clusterInfoShape(i cluster.Info, api, nbd string) wire.ClusterInfo {
	schemes := []string{protectionScheme}
	return wire.ClusterInfo{
		Name: i.Name, UUID: i.UUID, UniqueID: uniqueID(i.UUID), MVIP: api, SVIP: nbd,
		MVIPNodeID: i.NodeID, SVIPNodeID: i.NodeID, MVIPVlanTag: "0", SVIPVlanTag: "0",
		Ensemble: []string{api}, RepCount: 1, Attributes: object(i.Attributes),
		DefaultProtectionScheme: protectionScheme, EnabledProtectionSchemes: schemes,
		SupportedProtectionSchemes:    schemes,
		EncryptionAtRestState:         wire.EncryptionDisabled,
		SoftwareEncryptionAtRestState: onOff(i.SoftwareEncryption),
	}
}

// uniqueID is Element's short name of a cluster: four letters or digits.
func uniqueID(uuid string) string {
	s := strings.ReplaceAll(uuid, "-", "")
	return s[:min(len(s), 4)]
}

// statsShape gives the counters of a volume; what is not measured is 0.
func statsShape(v cluster.Volume, s cluster.VolumeStats, now time.Time) wire.VolumeStats {
	blocks := (s.Allocated + blockSize - 1) / blockSize
	return wire.VolumeStats{
		AccountID: v.AccountID, VolumeID: v.ID, VolumeSize: v.Size, Timestamp: wire.FormatTime(now),
		VolumeAccessGroups: []int64{}, ClientQueueDepth: s.InFlight, BurstIOPSCredit: s.BurstCredit,
		NonZeroBlocks: blocks, ZeroBlocks: max(v.Size/blockSize-blocks, 0),
		ReadOps: s.ReadOps, ReadBytes: s.ReadBytes, WriteOps: s.WriteOps, WriteBytes: s.WriteBytes,
		ReadLatencyUSec:      mean(s.ReadLatency, s.ReadOps),
		WriteLatencyUSec:     mean(s.WriteLatency, s.WriteOps),
		LatencyUSec:          mean(s.ReadLatency+s.WriteLatency, s.ReadOps+s.WriteOps),
		ReadLatencyUSecTotal: s.ReadLatency.Microseconds(),
		WriteLatencyUSecTot:  s.WriteLatency.Microseconds(),
		AverageIOPSize:       perOp(s.ReadBytes+s.WriteBytes, s.ReadOps+s.WriteOps),
		Lockplate: wire.VolumeStatsDetail{
			TrimOps: s.TrimOps, ZeroOps: s.ZeroOps, FlushOps: s.FlushOps, Errors: s.Errors,
		},
	}
}

// mean is the microseconds of one operation.
func mean(sum time.Duration, ops uint64) int64 {
	return perOp(uint64(max(sum.Microseconds(), 0)), ops)
}

// perOp is a mean that is 0 without operations.
func perOp(sum, ops uint64) int64 {
	if ops == 0 {
		return 0
	}
	return int64(sum / ops)
}
