package api

import (
	"context"
	"encoding/json"
	"time"

	"lockplate/api/wire"
	"lockplate/cluster"
)

// listEvents lists what happened, oldest first. There is one node and there
// are no services with ids, so another node or a service has no events.
func (s *Server) listEvents(ctx context.Context, _ identity, p *wire.ListEventsParams) (wire.ListEventsResult, error) {
	out := wire.ListEventsResult{EventQueueType: wire.EventQueue, Events: []wire.Event{}}
	f, err := eventFilter(p)
	if err != nil {
		return out, err
	}
	i, err := s.cluster.Info(ctx)
	if err != nil || p.NodeID != 0 && int64(p.NodeID) != i.NodeID || p.ServiceID != 0 {
		return out, err
	}
	events, err := s.cluster.Events(ctx, f)
	for _, e := range events {
		out.Events = append(out.Events, eventShape(e, i.NodeID))
	}
	return out, err
}

// eventFilter reads the filters. An event is published when it is reported, so
// the later of the two starts counts, and the earlier of the two ends.
func eventFilter(p *wire.ListEventsParams) (cluster.EventFilter, error) {
	f := cluster.EventFilter{
		First: int64(p.StartEventID), Last: int64(p.EndEventID), Type: p.EventType,
		DriveID: int64(p.DriveID), Max: int(p.MaxEvents),
	}
	from, err1 := parseTime("startReportTime", p.StartReportTime)
	from2, err2 := parseTime("startPublishTime", p.StartPublishTime)
	to, err3 := parseTime("endReportTime", p.EndReportTime)
	to2, err4 := parseTime("endPublishTime", p.EndPublishTime)
	if f.From = from; from2.After(from) {
		f.From = from2
	}
	if f.To = to; to.IsZero() || !to2.IsZero() && to2.Before(to) {
		f.To = to2
	}
	return f, firstError(err1, err2, err3, err4)
}

// parseTime reads a time in Element's form; "" is none.
func parseTime(param, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text) // takes fractions of seconds too
	if err != nil {
		return t, fail(wire.ErrInvalidParameter, "%s: %s is not a time such as 2021-01-01T22:29:18Z", param, clip(text))
	}
	return t, nil
}

// eventShape gives an event as Element has it. Its details are text that holds
// an object: the SDK declares them so and refuses an object.
func eventShape(e cluster.Event, node int64) wire.Event {
	out := wire.Event{
		DriveID: e.DriveID, DriveIDs: []int64{}, EventID: e.ID, EventInfoType: e.Type, Message: e.Message,
		NodeID: node, Severity: e.Severity,
		TimeOfPublish: wire.FormatTimeMicro(e.Time), TimeOfReport: wire.FormatTimeMicro(e.Time),
	}
	if e.DriveID != 0 {
		out.DriveIDs = []int64{e.DriveID}
	}
	if b, err := json.Marshal(e.Details); err == nil && len(e.Details) > 0 {
		text := string(b)
		out.Details = &text
	}
	return out
}

// clearClusterFaults drops faults from the list. Current ones come back if
// their condition holds.
func (s *Server) clearClusterFaults(ctx context.Context, _ identity, p *wire.ClearClusterFaultsParams) (wire.Empty, error) {
	if err := enum(p.FaultTypes, "current", "resolved", "all"); err != nil {
		return wire.Empty{}, err
	}
	which := cluster.FaultsResolved
	if p.FaultTypes != "" {
		which = cluster.FaultSet(p.FaultTypes)
	}
	return wire.Empty{}, s.cluster.ClearFaults(ctx, which)
}
