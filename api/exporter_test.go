package api

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"
)

// What the public Prometheus exporter for SolidFire sends, at its API version
// and with Go's null for lists without elements; and that the times which it
// parses can be parsed.
func TestCallsOfThePrometheusExporter(t *testing.T) {
	r := newAPIRig(t)
	for method, params := range map[string]string{
		"ListVolumes": `{"includeVirtualVolumes":true}`, "ListVolumeStats": `{"volumeIDs":null,"includeVirtualVolumes":true}`,
		"ListClusterFaults": `{"faultTypes":"current","bestPractices":true}`, "ListVolumeQoSHistograms": `{"volumeIDs":null}`,
		"ListAllNodes": `{}`, "ListNodeStats": `{}`, "GetClusterCapacity": `{}`, "GetClusterStats": `{}`,
		"GetClusterFullThreshold": `{}`, "ListDrives": `{}`, "ListISCSISessions": `{}`, "ListBulkVolumeJobs": `{}`,
		"ListVirtualVolumeTasks": `{}`, "ListAccounts": `{}`, "ListClusterAdmins": `{}`, "ListInitiators": `{}`,
		"ListVolumeAccessGroups": `{}`, "ListAsyncResults": `{}`,
	} {
		w := r.do(http.MethodPost, "/json-rpc/11.3", `{"method":"`+method+`","params":`+params+`,"id":1}`, asAdmin)
		reply := r.reply(w)
		if reply["error"] != nil || string(reply["id"]) != "1" || reply["unusedParameters"] != nil {
			t.Errorf("%s: %s", method, w.Body)
			continue
		}
		var v any
		if err := json.Unmarshal(reply["result"], &v); err != nil {
			t.Fatal(err)
		}
		walk(v, func(name string, v any) {
			switch name {
			case "timestamp", "createTime", "lastAccessTime", "lastAccessTimeIO":
				if text, given := v.(string); given && !parses(text) {
					t.Errorf("%s: %s is %q, which is no time", method, name, text)
				}
			}
		})
	}
}

func parses(text string) bool {
	_, err := time.Parse(time.RFC3339, text)
	return err == nil
}
