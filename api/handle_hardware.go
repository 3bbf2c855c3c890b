package api

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"lockplate/api/wire"
	"lockplate/cluster"
)

// enableEncryptionAtRest has the drives lock themselves.
func (s *Server) enableEncryptionAtRest(ctx context.Context, _ identity, p *wire.EnableEncryptionAtRestParams) (wire.Empty, error) {
	var provider int64
	if p.KeyProviderID != nil {
		if provider = int64(*p.KeyProviderID); provider < 1 {
			return wire.Empty{}, fail(wire.ErrInvalidParameter, "keyProviderID: %d is not the number of a key provider", provider)
		}
	}
	return wire.Empty{}, s.cluster.EnableDriveEncryption(ctx, provider)
}

// disableEncryptionAtRest has the drives no longer lock themselves.
func (s *Server) disableEncryptionAtRest(ctx context.Context, _ identity, _ *wire.Empty) (wire.Empty, error) {
	return wire.Empty{}, s.cluster.DisableDriveEncryption(ctx)
}

// secureEraseDrives has drives forget their own keys.
func (s *Server) secureEraseDrives(ctx context.Context, _ identity, p *wire.DriveIDsParams) (wire.AsyncHandleResult, error) {
	if len(p.Drives) == 0 {
		return wire.AsyncHandleResult{}, fail(wire.ErrInvalidParameter, "drives: must name at least one")
	}
	ids := make([]int64, 0, len(p.Drives))
	for _, id := range p.Drives {
		ids = append(ids, int64(id))
	}
	h, err := s.cluster.EraseDrives(ctx, ids)
	return wire.AsyncHandleResult{AsyncHandle: h}, err
}

// listDriveHardware has the drives of the one node.
func (s *Server) listDriveHardware(ctx context.Context, _ identity, _ *wire.ListDriveHardwareParams) (wire.ListDriveHardwareResult, error) {
	i, err1 := s.cluster.Info(ctx)
	all, err2 := s.cluster.DriveHardware(ctx)
	rows := make([]wire.DriveHardware, 0, len(all))
	for _, d := range all {
		rows = append(rows, hardwareShape(d))
	}
	return wire.ListDriveHardwareResult{Nodes: []wire.NodeDriveHardware{
		{NodeID: i.NodeID, Result: wire.NodeDriveHardwareResult{DriveHardware: rows}},
	}}, firstError(err1, err2)
}

// hardwareShape gives the hardware of a drive as Element has it.
func hardwareShape(d cluster.DriveHardware) wire.DriveHardware {
	kind := wire.HardwareBlock
	if d.Role == cluster.RoleMetadata {
		kind = wire.HardwareSlice
	}
	_, place, _ := strings.Cut(d.URI, ":")
	name := d.Disk.Name
	if name == "" {
		name = place
	}
	return wire.DriveHardware{
		CanonicalName: d.Disk.Name, Connected: d.Status != cluster.DriveFailed,
		Dev: int64(d.Disk.Dev), DevPath: d.Device, DriveEncryptionCapability: d.SelfEncrypting, DriveType: kind,
		Name: name, Path: place, PathLink: d.Device, Product: d.Disk.Product, ScsiState: d.Disk.State,
		Serial: d.Disk.Serial, Size: hardwareSize(d), UUID: d.UUID, Vendor: d.Disk.Vendor, Version: d.Disk.Firmware,
		Lockplate: wire.DriveHardwareDetail{DriveID: d.ID, URI: d.URI, Address: d.Disk.Address, Rotational: d.Disk.Rotational},
	}
}

// hardwareSize is the disk's, or that of what serves as one.
func hardwareSize(d cluster.DriveHardware) int64 {
	if d.Disk.Size != 0 {
		return d.Disk.Size
	}
	return d.Capacity
}

// getDriveHardwareInfo is the hardware of one drive.
func (s *Server) getDriveHardwareInfo(ctx context.Context, _ identity, p *wire.DriveIDParams) (wire.GetDriveHardwareInfoResult, error) {
	all, err := s.cluster.DriveHardware(ctx)
	if err != nil {
		return wire.GetDriveHardwareInfoResult{}, err
	}
	i := slices.IndexFunc(all, func(d cluster.DriveHardware) bool { return d.ID == int64(p.DriveID) })
	if i < 0 {
		return wire.GetDriveHardwareInfoResult{}, &cluster.NotFoundError{Kind: "drive", ID: itoa(int(p.DriveID))}
	}
	return wire.GetDriveHardwareInfoResult{DriveHardwareInfo: hardwareInfoShape(all[i])}, nil
}

// hardwareInfoShape gives the hardware of one drive as Element has it.
func hardwareInfoShape(d cluster.DriveHardware) wire.DriveHardwareInfo {
	kind, place, _ := strings.Cut(d.URI, ":")
	out := wire.DriveHardwareInfo{
		BusInfo: d.Disk.Address, Description: kind, DevPath: d.Device, LogicalName: place,
		Product: d.Disk.Product, Serial: d.Disk.Serial, Size: hardwareSize(d), UUID: d.UUID, Version: d.Disk.Firmware,
	}
	if d.Disk.Dev != 0 {
		out.Dev = fmt.Sprintf("%d:%d", d.Disk.Major(), d.Disk.Minor())
	}
	return out
}

// getHardwareConfig describes the machine.
func (s *Server) getHardwareConfig(context.Context, identity, *wire.Empty) (wire.GetHardwareConfigResult, error) {
	h := s.host()
	return wire.GetHardwareConfigResult{HardwareConfig: wire.HardwareConfig{
		CPU:    wire.HardwareCPU{Architecture: h.arch, Model: h.cpuModel, Threads: h.threads},
		Memory: wire.HardwareMemory{TotalBytes: h.memory},
		Kernel: wire.HardwareKernel{Name: runtime.GOOS, Release: h.kernel},
	}}, nil
}
