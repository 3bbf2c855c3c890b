package cluster

import (
	"context"
	"reflect"
)

// volumeEvent tells of a change of a volume and who asked for it. Element
// reports the calls of its API so, which is why these are API events.
func volumeEvent(ctx context.Context, r *volumeRecord, what string) Event {
	return Event{
		Type: EventAPI, Message: what, VolumeID: r.ID, DriveID: r.DriveID,
		Details: map[string]any{
			"volumeID": r.ID, "name": r.Name, "totalSize": r.Size, "access": r.Access, "user": actorOf(ctx).Name,
		},
	}
}

// changeEvents tell what is different about a volume after ModifyVolume.
func changeEvents(ctx context.Context, old, r *volumeRecord) []Event {
	var out []Event
	add := func(what, detail string, value any) {
		e := volumeEvent(ctx, r, what)
		e.Details[detail] = value
		out = append(out, e)
	}
	if r.Size != old.Size {
		add("Volume grown", "oldSize", old.Size)
	}
	switch {
	case r.Access == old.Access:
	case r.Access == AccessLocked:
		add("Volume locked", "oldAccess", old.Access)
	case old.Access == AccessLocked:
		add("Volume unlocked", "oldAccess", old.Access)
	default:
		add("Volume access changed", "oldAccess", old.Access)
	}
	rest := *r
	rest.Size, rest.Access = old.Size, old.Access
	if !reflect.DeepEqual(rest, *old) {
		add("Volume modified", "oldName", old.Name)
	}
	return out
}

// lockedEvent tells that volumes wait for the master key. That they are open
// again is told by unlock.
func (c *Cluster) lockedEvent(ctx context.Context) {
	m, err := c.keyManager()
	if err != nil || m.Locked() == nil {
		return
	}
	n := 0
	for _, v := range c.liveVolumes() {
		if r := v.record(); r.live() && r.Encrypted {
			n++
		}
	}
	c.note(ctx, Event{
		Type: EventEncryption, Severity: 2, Message: "Master key is not at hand, volumes are locked",
		Details: map[string]any{"keyID": m.Master().ID, "volumes": n, "reason": lockReason(m.Locked())},
	})
}
