package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
)

// gatewayStatus is everything on one screen: the results of the methods that
// each member names.
type gatewayStatus struct {
	Gateway    wire.GetGatewayInfoResult                   `json:"gateway"`
	Cluster    *wire.ClusterInfo                           `json:"clusterInfo"` // null before 'lockplate init'
	Encryption *wire.GetSoftwareEncryptionAtRestInfoResult `json:"softwareEncryptionAtRest"`
	Drives     []wire.Drive                                `json:"drives"`
	Volumes    []wire.Volume                               `json:"volumes"`
	Faults     []wire.Fault                                `json:"faults"`
}

// statusCommand asks several methods and shows it all on one screen.
func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show keys, drives, volumes and faults on one screen", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.status(c.Context())
			if err != nil {
				return err
			}
			return a.show(s, s.text)
		},
	}
}

// status asks for everything. Before there is a cluster only the gateway itself
// can tell something.
func (a *app) status(ctx context.Context) (*gatewayStatus, error) {
	s := &gatewayStatus{Drives: []wire.Drive{}, Volumes: []wire.Volume{}, Faults: []wire.Fault{}}
	g, err := call[wire.GetGatewayInfoResult](ctx, a, wire.MethodGetGatewayInfo, wire.Empty{})
	if err != nil {
		return nil, err
	}
	if s.Gateway = g.Value; !s.Gateway.ClusterExists {
		return s, nil
	}
	info, err1 := call[wire.GetClusterInfoResult](ctx, a, wire.MethodGetClusterInfo, wire.Empty{})
	enc, err2 := call[wire.GetSoftwareEncryptionAtRestInfoResult](ctx, a, wire.MethodGetSoftwareEncrypt, wire.Empty{})
	drives, err3 := call[wire.ListDrivesResult](ctx, a, wire.MethodListDrives, wire.Empty{})
	vols, err4 := call[wire.ListVolumesResult](ctx, a, wire.MethodListVolumes, wire.ListVolumesParams{VolumeStatus: wire.VolumeActive})
	faults, err5 := call[wire.ListClusterFaultsResult](ctx, a, wire.MethodListClusterFaults, wire.ListClusterFaultsParams{FaultTypes: "current"})
	s.Cluster, s.Encryption = &info.Value.ClusterInfo, &enc.Value
	s.Drives, s.Volumes, s.Faults = drives.Value.Drives, vols.Value.Volumes, faults.Value.Faults
	return s, errors.Join(err1, err2, err3, err4, err5)
}

func (s *gatewayStatus) text(w io.Writer) {
	fmt.Fprintf(w, "lockplate %s, cipher engine %s, since %s\n", s.Gateway.Version, s.Gateway.Engine, s.Gateway.StartTime)
	for _, l := range s.Gateway.Listeners {
		tls := ""
		if l.TLS {
			tls = " (TLS)"
		}
		fmt.Fprintf(w, "  %-8s %s%s\n", l.Kind, l.Address, tls)
	}
	if s.Cluster == nil {
		fmt.Fprintln(w, "\nno cluster yet: run 'lockplate init'")
		return
	}
	fmt.Fprintf(w, "\nCLUSTER %s (%s)\n", s.Cluster.Name, s.Cluster.UUID)
	keyStatusText(w, *s.Encryption)
	fmt.Fprintf(w, "\nDRIVES %d\n", len(s.Drives))
	if len(s.Drives) > 0 {
		driveTable(w, s.Drives)
	}
	fmt.Fprintf(w, "\nVOLUMES %d\n", len(s.Volumes))
	if len(s.Volumes) > 0 {
		volumeTable(w, s.Volumes)
	}
	fmt.Fprintf(w, "\nFAULTS %d\n", len(s.Faults))
	for _, f := range s.Faults {
		fmt.Fprintf(w, "  %s %s: %s\n", f.Severity, f.Code, f.Details)
	}
}
