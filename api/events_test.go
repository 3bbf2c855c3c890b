package api

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"lockplate/api/wire"
	"lockplate/cluster"
)

func TestFaultsBySet(t *testing.T) {
	r := newAPIRig(t)
	for params, want := range map[string][]int64{
		`{}`: {1, 2, 3}, `{"faultTypes":"all"}`: {1, 2, 3}, `{"faultTypes":"current"}`: {2, 3}, `{"faultTypes":"resolved"}`: {1},
	} {
		got := []int64{}
		for _, f := range resultOf[wire.ListClusterFaultsResult](t, r, "ListClusterFaults", params).Faults {
			got = append(got, f.ClusterFaultID)
			if f.Resolved != (f.ClusterFaultID == 1) || f.Resolved != (f.ResolvedDate != "") {
				t.Errorf("%s: %+v", params, f)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", params, got, want)
		}
	}
	for params, want := range map[string]cluster.FaultSet{
		`{}`: cluster.FaultsResolved, `{"faultTypes":"current"}`: cluster.FaultsCurrent, `{"faultTypes":"all"}`: cluster.FaultsAll,
	} {
		resultOf[wire.Empty](t, r, "ClearClusterFaults", params)
		if r.last != want {
			t.Errorf("%s: %v, want %v", params, r.last, want)
		}
	}
	r.wantError("an unknown set", r.post(`{"method":"ClearClusterFaults","params":{"faultTypes":"some"}}`), wire.ErrUnrecognizedEnum, "some")
}

func TestEventFilters(t *testing.T) {
	r := newAPIRig(t)
	at := func(h int) time.Time { return time.Date(2026, 1, 2, h, 0, 0, 0, time.UTC) }
	for _, c := range []struct {
		params string
		want   cluster.EventFilter
	}{
		{`{}`, cluster.EventFilter{}},
		{`{"maxEvents":"5","startEventID":2,"endEventID":9,"eventType":"driveEvent","driveID":3}`, cluster.EventFilter{Max: 5, First: 2, Last: 9, Type: "driveEvent", DriveID: 3}},
		{`{"startReportTime":"2026-01-02T01:00:00Z","startPublishTime":"2026-01-02T02:00:00.000000Z"}`, cluster.EventFilter{From: at(2)}},
		{`{"endReportTime":"2026-01-02T05:00:00Z","endPublishTime":"2026-01-02T04:00:00Z"}`, cluster.EventFilter{To: at(4)}},
		{`{"endPublishTime":"2026-01-02T04:00:00Z","nodeID":1}`, cluster.EventFilter{To: at(4)}},
		{`{"endReportTime":"2026-01-02T05:00:00Z"}`, cluster.EventFilter{To: at(5)}},
	} {
		if e := resultOf[wire.ListEventsResult](t, r, "ListEvents", c.params).Events; len(e) != 2 || r.filter != c.want {
			t.Errorf("%s: %d events by %+v, want %+v", c.params, len(e), r.filter, c.want)
		}
	}
	for _, other := range []string{`{"nodeID":2}`, `{"serviceID":1}`} {
		if e := resultOf[wire.ListEventsResult](t, r, "ListEvents", other).Events; len(e) != 0 {
			t.Errorf("%s: %+v", other, e)
		}
	}
	r.wantError("a bad time", r.post(`{"method":"ListEvents","params":{"startReportTime":"yesterday"}}`), wire.ErrInvalidParameter, "startReportTime")
}

// The SDK declares the details of events as text; it holds an object.
func TestEventDetailsAreTextWithAnObject(t *testing.T) {
	e := resultOf[wire.ListEventsResult](t, newAPIRig(t), "ListEvents", `{}`).Events
	var details map[string]any
	if e[0].Details != nil || e[1].Details == nil || json.Unmarshal([]byte(*e[1].Details), &details) != nil || details["code"] != "driveFailed" {
		t.Errorf("%+v", e)
	}
}
