package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"lockplate/api/client"
	"lockplate/api/wire"
)

// call calls a method of a gateway and reads its result.
func call[R any](t *testing.T, c *client.Client, method, params string) R {
	t.Helper()
	var r R
	if err := c.Call(t.Context(), method, json.RawMessage(params), &r); err != nil {
		t.Fatalf("%s %s: %v", method, params, err)
	}
	return r
}

// wantRefusal fails unless ModifyVolume of volume 1 is refused by that name,
// with a message that speaks of the member.
func wantRefusal(t *testing.T, c *client.Client, params, name, member string) {
	t.Helper()
	err := c.Call(t.Context(), "ModifyVolume", json.RawMessage(`{"volumeID":1,`+params+`}`), nil)
	if !client.IsName(err, name) || !strings.Contains(err.Error(), member) {
		t.Errorf("%s: %v, want %s of %s", params, err, name, member)
	}
}

// volumeState are the members that Terraform's Element provider compares with
// what it was told, at each plan.
type volumeState struct {
	Name       string `json:"name"`
	Access     string `json:"access"`
	Enable512e bool   `json:"enable512e"`
	TotalSize  int64  `json:"totalSize"`
	QOS        struct {
		MinIOPS   int64 `json:"minIOPS"`
		MaxIOPS   int64 `json:"maxIOPS"`
		BurstIOPS int64 `json:"burstIOPS"`
	} `json:"qos"`
	QOSPolicyID *int64 `json:"qosPolicyID"`
}

// What Terraform sets is there at the next plan, and after each change.
func TestTerraformSeesNoDifference(t *testing.T) {
	g := startGateway(t)
	c := g.client(t, client.Options{Socket: g.socket})
	call[wire.Empty](t, c, "CreateCluster", `{"acceptEula":true,"seal":"file:`+g.dir+`/key"}`)
	h := call[wire.AsyncHandleResult](t, c, "AddDrives", `{"drives":[{"uri":"dir:`+g.dir+`/d1"}]}`)
	if _, err := c.WaitAsync(t.Context(), h.AsyncHandle, nil); err != nil {
		t.Fatal(err)
	}
	type answer struct {
		Volume   volumeState `json:"volume"`
		VolumeID int64       `json:"volumeID"`
	}
	same := func(what string, want volumeState, got ...volumeState) {
		t.Helper()
		list := call[struct{ Volumes []volumeState }](t, c, "ListVolumes", `{"volumeIDs":[1]}`).Volumes
		for _, v := range append(got, list...) {
			if v.Name != want.Name || v.Access != want.Access || v.Enable512e != want.Enable512e || v.TotalSize != want.TotalSize || v.QOS != want.QOS {
				t.Errorf("%s: %+v, want %+v", what, v, want)
			}
		}
		if len(list) != 1 {
			t.Errorf("%s: %d volumes", what, len(list))
		}
	}
	want := volumeState{Name: "v", Access: "readWrite", TotalSize: 2 << 20}
	want.QOS.MinIOPS, want.QOS.MaxIOPS, want.QOS.BurstIOPS = 500, 8000, 10_000
	made := call[answer](t, c, "CreateVolume",
		`{"name":"v","accountID":1,"totalSize":2097152,"enable512e":false,"qos":{"minIOPS":500,"maxIOPS":8000,"burstIOPS":10000}}`)
	same("created", want, made.Volume)

	want.QOS.MaxIOPS = 9000
	same("modified", want, call[answer](t, c, "ModifyVolume", `{"volumeID":1,"totalSize":2097152,"qos":{"minIOPS":500,"maxIOPS":9000,"burstIOPS":10000}}`).Volume)

	policy := call[wire.QoSPolicyResult](t, c, "CreateQoSPolicy", `{"name":"gold","qos":{"minIOPS":100,"maxIOPS":1000,"burstIOPS":2000}}`).QOSPolicy
	call[answer](t, c, "ModifyVolume", `{"volumeID":1,"qosPolicyID":1,"associateWithQoSPolicy":true}`)
	policy = call[wire.QoSPolicyResult](t, c, "ModifyQoSPolicy", `{"qosPolicyID":1,"qos":{"maxIOPS":1500}}`).QOSPolicy
	if policy.QOSPolicyID != 1 || len(policy.VolumeIDs) != 1 || policy.QOS.MaxIOPS != 1500 || policy.QOS.BurstIOPS != 2000 {
		t.Errorf("%+v", policy)
	}
	want.QOS.MinIOPS, want.QOS.MaxIOPS, want.QOS.BurstIOPS = 100, 1500, 2000
	same("by policy", want)
	call[wire.Empty](t, c, "DeleteQoSPolicy", `{"qosPolicyID":1}`)
	same("policy deleted", want)

	for params, member := range map[string]string{
		`"qos":{"minIOPS":49}`: "minIOPS", `"qos":{"maxIOPS":50}`: "maxIOPS", `"qos":{"burstIOPS":200}`: "burstIOPS",
		`"qos":{"maxIOPS":1000},"qosPolicyID":3`: "qosPolicyID",
	} {
		wantRefusal(t, c, params, wire.ErrInvalidParameter, member)
	}
	wantRefusal(t, c, `"qos":{"burstIOPS":200001}`, wire.ErrExceededLimit, "burstIOPS")
	wantRefusal(t, c, `"qosPolicyID":3`, wire.ErrQoSPolicyNotFound, "QoS policy 3")
	same("after refusals", want)
}
