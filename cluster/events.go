package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"lockplate/store"
)

// maxEvents is how many events are kept: each new one drops the one so many
// before it.
const maxEvents = 5000

// eventRecord is an event in the store.
type eventRecord struct {
	ID       int64          `json:"id"`
	Type     string         `json:"type"`
	Message  string         `json:"message"`
	Severity int            `json:"severity,omitempty"`
	DriveID  int64          `json:"driveID,omitempty"`
	VolumeID int64          `json:"volumeID,omitempty"`
	Details  map[string]any `json:"details,omitempty"`
	Time     time.Time      `json:"time"`
}

func (r *eventRecord) event() Event {
	return Event(*r)
}

// putEvent records an event as part of tx, so that it is kept exactly if what
// it tells of is.
func putEvent(tx store.Tx, e Event, now time.Time) error {
	id, err := nextID(tx, "event")
	if err != nil {
		return err
	}
	e.ID, e.Time = id, now
	if err := putRecord(tx, recordKey(prefixEvent, id), eventRecord(e)); err != nil {
		return err
	}
	if id <= maxEvents {
		return nil
	}
	return tx.Delete(recordKey(prefixEvent, id-maxEvents))
}

// note records an event that belongs to no transaction. If that fails, the log
// has it.
func (c *Cluster) note(ctx context.Context, e Event) {
	err := c.store.Update(ctx, func(tx store.Tx) error { return putEvent(tx, e, c.now()) })
	if err != nil {
		c.log.Warn("event cannot be recorded", "event", e.Message, "err", err)
	}
}

// faultLevel is the log level of an event's severity.
func faultLevel(e Event) slog.Level {
	switch e.Severity {
	case 0:
		return slog.LevelInfo
	case 1:
		return slog.LevelWarn
	}
	return slog.LevelError
}

// Events lists what happened, oldest first.
func (c *Cluster) Events(ctx context.Context, f EventFilter) ([]Event, error) {
	if _, err := c.require(); err != nil {
		return nil, err
	}
	if f.Max < 0 {
		return nil, &InvalidError{"maxEvents", "must not be negative"}
	}
	var recs []eventRecord
	err := c.store.View(ctx, func(tx store.Tx) (err error) {
		recs, err = scanRecords[eventRecord](tx, prefixEvent)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	out := make([]Event, 0, len(recs))
	for i := range recs {
		if e := recs[i].event(); f.wants(&e) {
			out = append(out, e)
		}
	}
	switch {
	case f.Max <= 0 || len(out) <= f.Max:
	case f.First > 0: // a client that pages on from an id must miss none
		out = slices.Clone(out[:f.Max])
	default:
		out = slices.Clone(out[len(out)-f.Max:])
	}
	return out, nil
}

func (f *EventFilter) wants(e *Event) bool {
	switch {
	case e.ID < f.First, f.Last != 0 && e.ID > f.Last:
	case f.Type != "" && e.Type != f.Type:
	case f.DriveID != 0 && e.DriveID != f.DriveID:
	case e.Time.Before(f.From), !f.To.IsZero() && e.Time.After(f.To):
	default:
		return true
	}
	return false
}
