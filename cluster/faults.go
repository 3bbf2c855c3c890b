package cluster

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// faultTable gives a condition that holds an id and the time since when, and
// forgets it when it ends.
type faultTable struct {
	mu   sync.Mutex
	last int64
	open map[string]Fault
}

// update takes the conditions that hold now, by key, and returns them as
// faults in order of their ids.
func (t *faultTable) update(keys []string, now map[string]Fault, at time.Time) []Fault {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := map[string]Fault{}
	var out []Fault
	for _, k := range keys {
		f := now[k]
		if old, ok := t.open[k]; ok {
			f.ID, f.Since = old.ID, old.Since
		} else {
			t.last++
			f.ID, f.Since = t.last, at
		}
		next[k] = f
		out = append(out, f)
	}
	t.open = next
	return out
}

func idString(id int64) string { return strconv.FormatInt(id, 10) }

// Faults lists the conditions that hold now. They are derived from the state
// of drives and volumes, so they clear by themselves.
func (c *Cluster) Faults(ctx context.Context) ([]Fault, error) {
	if _, err := c.require(); err != nil {
		return nil, err
	}
	var keys []string
	now := map[string]Fault{}
	add := func(key string, f Fault) {
		keys = append(keys, key)
		now[key] = f
	}
	for _, d := range c.liveDrives() {
		if s := d.status(ctx); s.Status == DriveFailed {
			add("drive/"+idString(s.ID), Fault{
				Code: "driveFailed", Severity: "error", Type: "drive", DriveID: s.ID,
				Text: fmt.Sprintf("Drive %d (%s) cannot be used: %s. Check that it is connected and mounted; it is tried again by itself.", s.ID, s.URI, s.Reason),
			})
		}
	}
	for _, v := range c.liveVolumes() {
		s := v.status()
		if s.State == VolumeOnline && s.Reason != "" {
			add("degraded/"+idString(s.ID), Fault{
				Code: "volumesDegraded", Severity: "warning", Type: "volume", VolumeID: s.ID, DriveID: s.DriveID,
				Text: fmt.Sprintf("Volume %q: %s.", s.Name, s.Reason),
			})
		}
		if s.State == VolumeOffline || s.State == VolumeLocked && s.Access != AccessLocked {
			add("volume/"+idString(s.ID), Fault{
				Code: "volumesOffline", Severity: "error", Type: "volume", VolumeID: s.ID, DriveID: s.DriveID,
				Text: fmt.Sprintf("Volume %q is %s: %s. It is tried again by itself.", s.Name, s.State, s.Reason),
			})
		}
	}
	return c.faults.update(keys, now, c.now()), nil
}
