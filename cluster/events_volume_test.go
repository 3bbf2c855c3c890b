package cluster

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// Every change of a volume or drive is an event, with what it is about and who
// asked for it.
func TestEventsTellOfVolumes(t *testing.T) {
	t.Parallel()
	r := withCluster(t)
	ctx := WithActor(t.Context(), Actor{Name: "ann"})
	v, err := r.CreateVolume(ctx, CreateVolume{Name: "v", Size: mib})
	r.must(err)
	size, locked, open, name := int64(2*mib), AccessLocked, AccessReadWrite, "w"
	for _, m := range []ModifyVolume{{Size: &size}, {Access: &locked}, {Access: &open}, {Name: &name}, {Name: &name}} {
		_, err := r.ModifyVolume(ctx, v.ID, m)
		r.must(err)
	}
	_, err = r.DeleteVolume(ctx, v.ID)
	r.must(err)
	_, err = r.RestoreVolume(ctx, v.ID)
	r.must(err)
	_, err = r.DeleteVolume(ctx, v.ID)
	r.must(err)
	r.must(r.PurgeVolume(ctx, v.ID))
	_, err = r.RemoveDrives(ctx, []int64{1})
	r.must(err)
	all, err := r.Events(ctx, EventFilter{})
	r.must(err)
	var got []string
	for _, e := range all {
		b, err := json.Marshal(e.Details)
		r.must(err)
		if e.Type == EventAPI && (e.VolumeID != v.ID || e.DriveID != 1) {
			t.Errorf("event %+v is not about volume and drive", e)
		}
		if e.Type == EventAPI || e.Type == EventDrive {
			got = append(got, fmt.Sprintf("%s %s %s", e.Type, e.Message, b))
		}
	}
	is := func(what, name, access, more string, size int) string {
		return fmt.Sprintf(`apiEvent Volume %s {"access":"%s","name":"%s",%s"totalSize":%d,"user":"ann","volumeID":1}`, what, access, name, more, size)
	}
	uri := r.drive[1].record().URI
	want := []string{
		`driveEvent Drive added {"driveID":1,"role":"block","uri":"` + uri + `"}`,
		is("created", "v", "readWrite", "", mib),
		is("grown", "v", "readWrite", `"oldSize":1048576,`, 2*mib),
		is("locked", "v", "locked", `"oldAccess":"readWrite",`, 2*mib),
		is("unlocked", "v", "readWrite", `"oldAccess":"locked",`, 2*mib),
		is("modified", "w", "readWrite", `"oldName":"v",`, 2*mib),
		is("deleted", "w", "readWrite", "", 2*mib),
		is("restored", "w", "readWrite", "", 2*mib),
		is("deleted", "w", "readWrite", "", 2*mib),
		is("purged", "w", "readWrite", "", 2*mib),
		`driveEvent Drive removed {"driveID":1,"role":"block","uri":"` + uri + `"}`,
	}
	if a, b := strings.Join(got, "\n"), strings.Join(want, "\n"); a != b {
		t.Errorf("events\n%s\nwant\n%s", a, b)
	}
}

// wantEvents checks that events about keys with these messages came in this order.
func (r *rig) wantEvents(want ...string) {
	r.t.Helper()
	all, err := r.Events(r.t.Context(), EventFilter{Type: EventEncryption})
	r.must(err)
	for _, e := range all {
		if len(want) > 0 && e.Message == want[0] {
			want = want[1:]
		}
	}
	if len(want) > 0 {
		r.t.Errorf("no event %q in %+v", want[0], all)
	}
}
