package api

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"lockplate/api/wire"
	"lockplate/cluster"
)

func TestQoSReachesTheCluster(t *testing.T) {
	r := newAPIRig(t)
	all := &cluster.QoSChange{
		MinIOPS: new(int64(500)), MaxIOPS: new(int64(8000)), BurstIOPS: new(int64(10_000)), BurstTime: new(int64(30)),
	}
	const given = `"qos":{"minIOPS":500,"maxIOPS":"8000","burstIOPS":1e4,"burstTime":30,"curve":{"4096":100}}`
	created := cluster.CreateVolume{Name: "v", Size: 1, Emulate512: true}
	with := func(p cluster.CreateVolume, q *cluster.QoSChange, policy int64) cluster.CreateVolume {
		p.QoS, p.QoSPolicyID = q, policy
		return p
	}
	none := new(int64)
	for _, c := range []struct {
		method, params string
		want           any
	}{
		{"CreateVolume", `{"name":"v","totalSize":1,"enable512e":true,` + given + `}`, with(created, all, 0)},
		{"CreateVolume", `{"name":"v","totalSize":1,"enable512e":true,"qos":null,"qosPolicyID":0,"associateWithQoSPolicy":true}`, created},
		{"CreateVolume", `{"name":"v","totalSize":1,"enable512e":true,"qos":{},"qosPolicyID":"2"}`, with(created, nil, 2)},
		{"CreateVolume", `{"name":"v","totalSize":1,"enable512e":true,"qosPolicyID":2,"associateWithQoSPolicy":false}`, created},
		{"ModifyVolume", `{"volumeID":7,` + given + `}`, cluster.ModifyVolume{QoS: all}},
		{"ModifyVolume", `{"volumeID":7,"qosPolicyID":2}`, cluster.ModifyVolume{QoSPolicyID: new(int64(2))}},
		{"ModifyVolume", `{"volumeID":7,"qosPolicyID":2,"associateWithQoSPolicy":false}`, cluster.ModifyVolume{QoSPolicyID: none}},
		{"ModifyVolume", `{"volumeID":7,"associateWithQoSPolicy":true}`, cluster.ModifyVolume{}},
		{"CreateQoSPolicy", `{"name":"gold",` + given + `}`, []any{"gold", *all}},
		{"CreateQoSPolicy", `{"name":"gold","qos":{}}`, []any{"gold", cluster.QoSChange{}}},
		{"ModifyQoSPolicy", `{"qosPolicyID":2,"name":"tin",` + given + `}`, []any{int64(2), new("tin"), all}},
		{"ModifyQoSPolicy", `{"qosPolicyID":"2"}`, []any{int64(2), (*string)(nil), (*cluster.QoSChange)(nil)}},
		{"DeleteQoSPolicy", `{"qosPolicyID":2}`, int64(2)},
	} {
		reply := r.post(`{"method":"` + c.method + `","params":` + c.params + `}`)
		if d := cmp.Diff(c.want, r.last); reply["error"] != nil || d != "" {
			t.Errorf("%s %s: %s\n%s", c.method, c.params, reply["error"], d)
		}
	}
	r.wantError("no qos", r.post(`{"method":"CreateQoSPolicy","params":{"name":"x"}}`), wire.ErrMissingParameter, "qos")
	r.wantError("bad qos", r.post(`{"method":"ModifyVolume","params":{"volumeID":7,"qos":5}}`), wire.ErrParameterType, "qos")
	r.wantError("bad member", r.post(`{"method":"ModifyVolume","params":{"volumeID":7,"qos":{"maxIOPS":"many"}}}`), wire.ErrParameterType, "qos")
}
