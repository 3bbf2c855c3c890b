package api

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"lockplate/api/wire"
	"lockplate/cluster"
)

// resultOf calls a method and reads its result.
func resultOf[R any](t *testing.T, r *apiRig, method, params string) R {
	t.Helper()
	reply := r.post(`{"method":"` + method + `","params":` + params + `}`)
	var v R
	if err := json.Unmarshal(reply["result"], &v); err != nil || reply["error"] != nil {
		t.Fatalf("%s %s: %v %s", method, params, err, reply["error"])
	}
	return v
}

// Space that a failed drive has is no space, and what is promised to volumes
// is never over what there is.
func TestCapacityIsOfActiveDrives(t *testing.T) {
	c := resultOf[wire.GetClusterCapacityResult](t, newAPIRig(t), "GetClusterCapacity", "{}").ClusterCapacity
	if c.MaxUsedSpace != 1<<40 || c.UsedSpace != 1<<39 || c.MaxUsedMetadataSpace != 0 {
		t.Errorf("space: %+v", c)
	}
	if c.ProvisionedSpace != 3<<30 || c.MaxProvisionedSpace != c.MaxUsedSpace || c.TotalOps != 30 {
		t.Errorf("provisioned: %+v", c)
	}
	// the factors that exporters derive: no deduplication, no compression
	if c.NonZeroBlocks+c.SnapshotNonZeroBlocks != c.UniqueBlocks || c.UniqueBlocks*blockSize != c.UniqueBlocksUsedSpace {
		t.Errorf("blocks: %+v", c)
	}
}

func TestStagesOfFullness(t *testing.T) {
	for _, c := range []struct {
		total, used int64
		want        int
	}{
		{0, 0, 0},
		{1000, 0, 0},
		{1000, 849, 0},
		{1000, 850, 1},
		{1000, 950, 2},
		{1000, 990, 3},
		{1000, 999, 3},
		{1000, 1000, 4},
		{1 << 60, 1<<60 - 1, 3},
		{1 << 60, 1 << 60, 4},
	} {
		if got := (space{c.total, c.used}).stage(); got != c.want {
			t.Errorf("%d of %d: stage %d, want %d", c.used, c.total, got, c.want)
		}
	}
}

func TestOneNodeOneAccount(t *testing.T) {
	r := newAPIRig(t)
	if n := resultOf[wire.GetNodeStatsResult](t, r, "GetNodeStats", `{"nodeID":"1"}`).NodeStats; n.NodeID != 1 || n.ReadOps != 10 || n.CPUTotal != 90 {
		t.Errorf("%+v", n)
	}
	if v := resultOf[wire.ListVolumesResult](t, r, "ListVolumesForAccount", `{"accountID":1,"startVolumeID":8}`).Volumes; len(v) != 1 || v[0].VolumeID != 8 {
		t.Errorf("%+v", v)
	}
	for params, want := range map[string]int{`{}`: 1, `{"startAccountID":1,"limit":1}`: 1, `{"startAccountID":2}`: 0, `{"limit":0}`: 0} {
		if a := resultOf[wire.ListAccountsResult](t, r, "ListAccounts", params).Accounts; len(a) != want {
			t.Errorf("%s: %+v", params, a)
		}
	}
	if n := resultOf[wire.GetVolumeCountResult](t, r, "GetVolumeCount", "{}").Count; n != 2 {
		t.Errorf("%d volumes, want 2", n)
	}
	for _, c := range []struct{ method, params, name, message string }{
		{"GetNodeStats", `{"nodeID":2}`, wire.ErrNotFound, "2"},
		{"GetAccountByID", `{"accountID":2}`, wire.ErrAccountNotFound, "xUnknownAccount: account 2"},
		{"ListVolumesForAccount", `{"accountID":2}`, wire.ErrAccountNotFound, "2"},
		{"GetAccountByName", `{"username":"bob"}`, wire.ErrUnknownAccount, "xUnknownAccount: account bob"},
		{"ListAccounts", `{"limit":-1}`, wire.ErrInvalidParameter, "limit"},
		{"GetVolumeStats", `{"volumeID":99}`, wire.ErrVolumeNotFound, "99"},
		{"GetVolumeStats", `{"volumeID":8}`, wire.ErrVolumeNotFound, "8"}, // deleted
	} {
		r.wantError(c.method, r.post(`{"method":"`+c.method+`","params":`+c.params+`}`), c.name, c.message)
	}
}

// Without a cluster even the methods with empty answers say so.
func TestEmptyListsNeedACluster(t *testing.T) {
	r := newAPIRig(t)
	r.err = cluster.ErrNoCluster
	for _, a := range wire.Absences() {
		r.wantError(a.Method, r.post(`{"method":"`+a.Method+`"}`), wire.ErrNoCluster, "init")
	}
	for _, m := range []string{
		"ListVolumeQoSHistograms", "ListServices", "ListVolumeStatsByAccount", "GetFeatureStatus",
		"ListInitiators", "ListVolumeAccessGroups", "GetEncryptionAtRestInfo", "ListAllNodes", "ListAccounts",
		"GetClusterCapacity", "GetClusterStats", "GetClusterFullThreshold", "ListNodeStats",
	} {
		r.wantError(m, r.post(`{"method":"`+m+`"}`), wire.ErrNoCluster, "init")
	}
}

func TestHostUsage(t *testing.T) {
	h := readHost()
	if h.memory < 1<<26 || h.resident < int64(os.Getpagesize()) || h.resident > h.memory || h.arch == "" {
		t.Errorf("%+v", h)
	}
	if h.kernel == "" || h.threads < 1 {
		t.Errorf("%+v", h)
	}
	if got := modelOf([]byte("processor\t: 0\nmodel name\t: Some: CPU\nmodel name\t: other\n")); got != "Some: CPU" {
		t.Errorf("model %q", got)
	}
	if modelOf([]byte("processor\t: 0\n")) != "" {
		t.Error("no model is none")
	}
	if got := residentBytes([]byte("12 3 4\n")); got != 3*int64(os.Getpagesize()) {
		t.Errorf("%d bytes", got)
	}
	if residentBytes([]byte("x")) != 0 || residentBytes([]byte("1 x")) != 0 {
		t.Error("nonsense is 0")
	}
}

func TestWhoAsks(t *testing.T) {
	r := newAPIRig(t)
	if a := resultOf[wire.GetCurrentClusterAdminResult](t, r, "GetCurrentClusterAdmin", `{}`).ClusterAdmin; a.Username != "ann" || a.ClusterAdminID != 1 || a.AuthMethod != "Cluster" {
		t.Errorf("%+v", a)
	}
	root, err := r.srv.getCurrentClusterAdmin(t.Context(), identity{name: "uid:0", admin: true, peer: true}, nil)
	if a := root.ClusterAdmin; err != nil || a.Username != "uid:0" || a.ClusterAdminID != 0 || a.AuthMethod != "Socket" {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestDriveStats(t *testing.T) {
	r := newAPIRig(t)
	l := resultOf[wire.ListDriveStatsResult](t, r, "ListDriveStats", `{"drives":["1",9]}`)
	if len(l.DriveStats) != 1 || l.DriveStats[0].UsedCapacity != 1<<39 || l.DriveStats[0].TotalCapacity != 1<<40 || len(l.Errors) != 1 {
		t.Errorf("%+v", l)
	}
	if l := resultOf[wire.ListDriveStatsResult](t, r, "ListDriveStats", `{}`); len(l.DriveStats) != 2 || len(l.Errors) != 0 {
		t.Errorf("%+v", l)
	}
	r.wantError("unknown", r.post(`{"method":"GetDriveStats","params":{"driveID":9}}`), wire.ErrDriveNotFound, "9")
}

// The limits that are told are those that hold: one over each is refused.
func TestLimitsHold(t *testing.T) {
	l := resultOf[wire.GetLimitsResult](t, newAPIRig(t), "GetLimits", `{}`)
	c, err := cluster.Open(t.Context(), cluster.Config{State: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	if err := c.Create(t.Context(), cluster.CreateParams{}); err != nil {
		t.Fatal(err)
	}
	var invalid *cluster.InvalidError
	for _, v := range []cluster.CreateVolume{
		{Name: strings.Repeat("n", int(l.VolumeNameLengthMax)+1), Size: l.VolumeSizeMin},
		{Name: "", Size: l.VolumeSizeMin},
		{Name: "v", Size: l.VolumeSizeMax + 1},
	} {
		if _, err := c.CreateVolume(t.Context(), v); !errors.As(err, &invalid) {
			t.Errorf("name of %d, size %d: %v, want it refused for its value", len(v.Name), v.Size, err)
		}
	}
	allowed := cluster.CreateVolume{Name: strings.Repeat("n", int(l.VolumeNameLengthMax)), Size: l.VolumeSizeMax}
	if _, err := c.CreateVolume(t.Context(), allowed); err == nil || errors.As(err, &invalid) {
		t.Errorf("%v: only a drive may be missing", err)
	}
}
