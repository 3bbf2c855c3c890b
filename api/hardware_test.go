package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lockplate/api/wire"
	"lockplate/blockdev"
	"lockplate/cluster"
)

// DriveHardware has a directory and a disk.
func (f *fake) DriveHardware(ctx context.Context) ([]cluster.DriveHardware, error) {
	drives, err := f.Drives(ctx)
	disk := blockdev.Hardware{
		Name: "sdb", Dev: 8<<8 | 16, Vendor: "ATA", Product: "M", Serial: "S1", Firmware: "0A80",
		Address: "6:0:0:0", State: "running", Size: 1 << 41, Rotational: true,
	}
	return []cluster.DriveHardware{
		{Drive: drives[0], SelfEncrypting: cluster.SelfEncryptingNone},
		{Drive: drives[1], SelfEncrypting: cluster.SelfEncryptingNone, Device: "/dev/sdb", Disk: disk},
	}, err
}

func (f *fake) EraseDrives(_ context.Context, ids []int64) (int64, error) { return 6, f.note(ids) }

func (f *fake) EnableDriveEncryption(_ context.Context, provider int64) error {
	return f.note(provider)
}

func (f *fake) DisableDriveEncryption(context.Context) error { return f.note("disable") }

// Every member that the SDK's DriveHardware has must be there: it fails
// without.
func TestDriveHardwareHasAllMembers(t *testing.T) {
	reply := newAPIRig(t).post(`{"method":"ListDriveHardware"}`)
	var got struct {
		Nodes []struct {
			Result struct {
				DriveHardware []map[string]any `json:"driveHardware"`
			} `json:"result"`
		} `json:"nodes"`
	}
	if err := json.Unmarshal(reply["result"], &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(`canonicalName connected dev devPath driveEncryptionCapability driveType
		lifeRemainingPercent lifetimeReadBytes lifetimeWriteBytes name path pathLink powerOnHours product reallocatedSectors
		reserveCapacityPercent scsiCompatId scsiState securityAtMaximum securityEnabled securityFrozen securityLocked
		securitySupported serial size slot uncorrectableErrors uuid vendor version`) {
		for _, d := range got.Nodes[0].Result.DriveHardware {
			if d[name] == nil {
				t.Errorf("no member %s", name)
			}
		}
	}
}

// What the drives can be asked for is what the SDK's objects have.
func TestDriveHardware(t *testing.T) {
	r := newAPIRig(t)
	nodes := resultOf[wire.ListDriveHardwareResult](t, r, "ListDriveHardware", `{"force":true}`).Nodes
	if len(nodes) != 1 || nodes[0].NodeID != 1 || len(nodes[0].Result.DriveHardware) != 2 {
		t.Fatalf("%+v", nodes)
	}
	dir, disk := nodes[0].Result.DriveHardware[0], nodes[0].Result.DriveHardware[1]
	if dir.Path != "/srv/d1" || dir.Size != 1<<40 || dir.Serial != "" || dir.Dev != 0 || !dir.Connected || dir.DriveType != "Block" {
		t.Errorf("directory: %+v", dir)
	}
	if disk.CanonicalName != "sdb" || disk.Dev != 2064 || disk.Size != 1<<41 || disk.Connected || disk.DriveType != "Slice" {
		t.Errorf("disk: %+v", disk)
	}
	got := resultOf[wire.GetDriveHardwareInfoResult](t, r, "GetDriveHardwareInfo", `{"driveID":"2"}`).DriveHardwareInfo
	want := wire.DriveHardwareInfo{
		BusInfo: "6:0:0:0", Description: "disk", Dev: "8:16", DevPath: "/dev/sdb", LogicalName: "/dev/sdb",
		Product: "M", Serial: "S1", Size: 1 << 41, UUID: someUUID, Version: "0A80",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestHardwareEncryptionParameters(t *testing.T) {
	r := newAPIRig(t)
	for _, c := range []struct {
		method, params string
		want           any
	}{
		{"EnableEncryptionAtRest", `{}`, int64(0)},
		{"EnableEncryptionAtRest", `{"keyProviderID":null}`, int64(0)},
		{"EnableEncryptionAtRest", `{"keyProviderID":"8"}`, int64(8)},
		{"DisableEncryptionAtRest", `{}`, "disable"},
		{"SecureEraseDrives", `{"drives":[1,"2"]}`, []int64{1, 2}},
	} {
		reply := r.post(`{"method":"` + c.method + `","params":` + c.params + `}`)
		if d := cmp.Diff(c.want, r.last); reply["error"] != nil || d != "" {
			t.Errorf("%s %s: %s\n%s", c.method, c.params, reply["error"], d)
		}
	}
	r.last = nil
	for _, c := range []struct{ method, params, name, message string }{
		{"EnableEncryptionAtRest", `{"keyProviderID":0}`, wire.ErrInvalidParameter, "keyProviderID"},
		{"EnableEncryptionAtRest", `{"keyProviderID":"x"}`, wire.ErrParameterType, "keyProviderID"},
		{"SecureEraseDrives", `{}`, wire.ErrMissingParameter, "Missing member=[drives]"},
		{"SecureEraseDrives", `{"drives":[]}`, wire.ErrInvalidParameter, "drives"},
		{"SecureEraseDrives", `{"drives":1}`, wire.ErrParameterType, "drives"},
		{"GetDriveHardwareInfo", `{}`, wire.ErrMissingParameter, "Missing member=[driveID]"},
		{"GetDriveHardwareInfo", `{"driveID":9}`, wire.ErrDriveNotFound, "9"},
	} {
		r.wantError(c.method+c.params, r.post(`{"method":"`+c.method+`","params":`+c.params+`}`), c.name, c.message)
	}
	if r.last != nil {
		t.Errorf("a bad value reached the cluster: %v", r.last)
	}
	r.err = &cluster.NoDriveEncryptionError{Why: "drive 1 is not"}
	for _, m := range []string{`EnableEncryptionAtRest","params":{}`, `DisableEncryptionAtRest"`, `SecureEraseDrives","params":{"drives":[1]}`} {
		if m[len(m)-1] == '"' {
			m += `,"params":{}`
		}
		r.wantError(m, r.post(`{"method":"`+m+`}`), wire.ErrNotPermitted, "Encryption is not supported: drive 1 is not")
	}
}

// Only an administrator switches encryption or erases drives; everybody may
// look at the hardware.
func TestHardwareMethodsByRole(t *testing.T) {
	r := newAPIRig(t)
	for method, allowed := range map[string]bool{
		"EnableEncryptionAtRest": false, "DisableEncryptionAtRest": false, "SecureEraseDrives": false,
		"ListDriveHardware": true, "GetHardwareConfig": true,
	} {
		reply := r.reply(r.do(http.MethodPost, endpoint, `{"method":"`+method+`","params":{}}`, asReader))
		if allowed && reply["error"] != nil {
			t.Errorf("%s: %s", method, reply["error"])
		}
		if !allowed {
			r.wantError(method, reply, wire.ErrPermissionDenied, "administrator")
		}
	}
}
