package cluster

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"lockplate/store"
)

// given makes the change that sets all but burstTime.
func given(least, most, burst int64) *QoSChange {
	return &QoSChange{MinIOPS: &least, MaxIOPS: &most, BurstIOPS: &burst}
}

// limited fails unless the volume is held to maxIOPS; 0: to nothing.
func limited(t *testing.T, r *rig, id, maxIOPS int64) {
	t.Helper()
	v, err := r.liveVolume(id)
	r.must(err)
	var got int64
	if l := v.limit.Load(); l != nil {
		got = l.qos.MaxIOPS
	}
	if got != maxIOPS {
		t.Errorf("volume %d is held to %d, want %d", id, got, maxIOPS)
	}
}

func TestQoSIsCheckedAndNamesTheMember(t *testing.T) {
	for _, c := range []struct {
		change QoSChange
		base   *QoS
		member string // "" = fine
		limit  bool
		want   QoS
	}{
		{change: QoSChange{}, want: NoQoS()},
		{change: *given(500, 10_000, 10_000), want: QoS{500, 10_000, 10_000, 60}},
		{change: *given(50, 100, 200_000), want: QoS{50, 100, 200_000, 60}},
		{change: QoSChange{MaxIOPS: new(int64(1000))}, want: QoS{50, 1000, 1000, 60}},
		{change: QoSChange{BurstIOPS: new(int64(1000))}, want: QoS{50, 1000, 1000, 60}},
		{change: QoSChange{MaxIOPS: new(int64(150))}, base: &QoS{50, 100, 200, 9}, want: QoS{50, 150, 200, 9}},
		{change: QoSChange{BurstTime: new(int64(5))}, base: &QoS{50, 100, 200, 9}, want: QoS{50, 100, 200, 5}},
		{change: QoSChange{MaxIOPS: new(int64(250))}, base: &QoS{50, 100, 200, 9}, member: "burstIOPS"},
		{change: *given(49, 100, 100), member: "minIOPS"},
		{change: *given(15_001, 20_000, 20_000), member: "minIOPS", limit: true},
		{change: *given(50, 99, 100), member: "maxIOPS"},
		{change: *given(50, 200_001, 200_001), member: "maxIOPS", limit: true},
		{change: *given(50, 100, 99), member: "burstIOPS"},
		{change: *given(50, 100, 200_001), member: "burstIOPS", limit: true},
		{change: *given(200, 100, 300), member: "maxIOPS"},
		{change: *given(50, 300, 200), member: "burstIOPS"},
		{change: QoSChange{BurstTime: new(int64(0))}, member: "burstTime"},
		{change: QoSChange{BurstTime: new(int64(3601))}, member: "burstTime", limit: true},
		{change: QoSChange{MinIOPS: new(int64(-1 << 63))}, member: "minIOPS"},
	} {
		got, err := c.change.over(c.base)
		switch {
		case c.member == "" && (err != nil || *got != c.want):
			t.Errorf("%+v: %+v, %v", c.want, got, err)
		case c.member != "" && (err == nil || !strings.HasPrefix(err.Error(), c.member+": ")):
			t.Errorf("%s: %v", c.member, err)
		case c.member != "" && errors.Is(err, ErrLimit) != c.limit:
			t.Errorf("%s: %v is of the wrong kind", c.member, err)
		}
	}
}

func TestVolumeKeepsItsQoS(t *testing.T) {
	r := withCluster(t)
	plain := r.create(CreateVolume{Name: "plain", Size: mib})
	v := r.create(CreateVolume{Name: "v", Size: mib, QoS: given(500, 8000, 10_000)})
	want := QoS{500, 8000, 10_000, 60}
	if v.QoS != want || plain.QoS != NoQoS() {
		t.Errorf("made with %+v, and %+v without", v.QoS, plain.QoS)
	}
	limited(t, r, v.ID, 8000)
	limited(t, r, plain.ID, 0)
	r.restart()
	got, err := r.Volume(t.Context(), v.ID)
	if r.must(err); got.QoS != want {
		t.Errorf("after a restart: %+v", got.QoS)
	}
	limited(t, r, v.ID, 8000)
	got, err = r.ModifyVolume(t.Context(), v.ID, ModifyVolume{QoS: given(50, MostIOPS, MostIOPS)})
	if r.must(err); got.QoS != NoQoS() {
		t.Errorf("lifted: %+v", got.QoS)
	}
	limited(t, r, v.ID, 0)
	if _, err := r.ModifyVolume(t.Context(), v.ID, ModifyVolume{QoS: given(50, 500, 400), Name: new("w")}); err == nil {
		t.Error("a burst below maxIOPS was taken")
	}
	if got, _ = r.Volume(t.Context(), v.ID); got.Name != "v" || got.QoS != NoQoS() {
		t.Errorf("a change that was refused left %s, %+v", got.Name, got.QoS)
	}
	if _, err := r.CreateVolume(t.Context(), CreateVolume{Name: "x", Size: mib, QoS: given(1, 2, 3)}); err == nil {
		t.Error("a volume was made with minIOPS 1")
	}
}

// The same values again, or another change of the volume, do not take away
// credit that was saved.
func TestUnchangedQoSKeepsItsCredit(t *testing.T) {
	r := withCluster(t)
	v := r.create(CreateVolume{Name: "v", Size: mib, QoS: given(50, 1000, 2000)})
	live, err := r.liveVolume(v.ID)
	r.must(err)
	before := live.limit.Load()
	_, err = r.ModifyVolume(t.Context(), v.ID, ModifyVolume{Name: new("w"), QoS: given(50, 1000, 2000)})
	if r.must(err); live.limit.Load() != before {
		t.Error("the limiter was made anew")
	}
}

func TestPolicyGovernsItsVolumes(t *testing.T) {
	r := withCluster(t)
	ctx := t.Context()
	p, err := r.CreateQoSPolicy(ctx, "gold", *given(100, 5000, 6000))
	r.must(err)
	v := r.create(CreateVolume{Name: "v", Size: mib, QoSPolicyID: p.ID})
	w := r.create(CreateVolume{Name: "w", Size: mib, QoS: given(50, 300, 300)})
	if v.QoSPolicyID != p.ID || v.QoS != p.QoS || w.QoSPolicyID != 0 {
		t.Errorf("made with %+v and %+v", v, w)
	}
	w, err = r.ModifyVolume(ctx, w.ID, ModifyVolume{QoSPolicyID: &p.ID})
	if r.must(err); w.QoS != p.QoS {
		t.Errorf("given the policy: %+v", w.QoS)
	}
	r.restart()
	p, err = r.ModifyQoSPolicy(ctx, p.ID, new("platinum"), &QoSChange{MaxIOPS: new(int64(5500))})
	r.must(err)
	if p.Name != "platinum" || p.QoS != (QoS{100, 5500, 6000, 60}) || !slices.Equal(p.Volumes, []int64{v.ID, w.ID}) {
		t.Errorf("modified: %+v", p)
	}
	limited(t, r, v.ID, 5500)
	limited(t, r, w.ID, 5500)
	// values of its own part a volume from its policy
	w, err = r.ModifyVolume(ctx, w.ID, ModifyVolume{QoS: &QoSChange{MaxIOPS: new(int64(5600))}})
	if r.must(err); w.QoSPolicyID != 0 || w.QoS != (QoS{100, 5600, 6000, 60}) {
		t.Errorf("parted: %+v", w)
	}
	if _, err := r.CreateVolume(ctx, CreateVolume{Name: "x", Size: mib, QoSPolicyID: 9}); err == nil {
		t.Error("a policy that does not exist was taken")
	}
	if _, err := r.ModifyVolume(ctx, v.ID, ModifyVolume{QoS: &QoSChange{}, QoSPolicyID: &p.ID}); err == nil {
		t.Error("qos and policy were taken together")
	}
	if bad, err := r.CheckStore(ctx); err != nil || len(bad) > 0 {
		t.Errorf("store: %v %v", bad, err)
	}
}

func TestDeletedPolicyLeavesItsValues(t *testing.T) {
	r := withCluster(t)
	ctx := t.Context()
	p, err := r.CreateQoSPolicy(ctx, "gold", *given(100, 5000, 6000))
	r.must(err)
	v := r.create(CreateVolume{Name: "v", Size: mib, QoSPolicyID: p.ID})
	gone := r.create(CreateVolume{Name: "gone", Size: mib, QoSPolicyID: p.ID})
	_, err = r.DeleteVolume(ctx, gone.ID)
	r.must(err)
	if p, _ = r.QoSPolicy(ctx, p.ID); !slices.Equal(p.Volumes, []int64{v.ID}) {
		t.Errorf("a deleted volume is listed: %v", p.Volumes)
	}
	r.must(r.DeleteQoSPolicy(ctx, p.ID))
	r.restart()
	_, err = r.RestoreVolume(ctx, gone.ID)
	r.must(err)
	for _, id := range []int64{v.ID, gone.ID} {
		got, err := r.Volume(ctx, id)
		if r.must(err); got.QoS != p.QoS || got.QoSPolicyID != 0 {
			t.Errorf("volume %d has %+v, policy %d", id, got.QoS, got.QoSPolicyID)
		}
		limited(t, r, id, 5000)
	}
	var missing *NotFoundError
	if err := r.DeleteQoSPolicy(ctx, p.ID); !errors.As(err, &missing) {
		t.Errorf("deleted twice: %v", err)
	}
	again, err := r.CreateQoSPolicy(ctx, "gold", QoSChange{})
	if r.must(err); again.ID == p.ID {
		t.Error("an id was given twice")
	}
	all, err := r.QoSPolicies(ctx)
	if r.must(err); len(all) != 1 || all[0].ID != again.ID {
		t.Errorf("policies: %+v", all)
	}
}

func TestPolicyNamesAreChecked(t *testing.T) {
	r := withCluster(t)
	for _, name := range []string{"", strings.Repeat("x", maxPolicyName+1), "\xff"} {
		if _, err := r.CreateQoSPolicy(t.Context(), name, QoSChange{}); err == nil {
			t.Errorf("name %q was taken", name)
		}
	}
	if _, err := r.ModifyQoSPolicy(t.Context(), 7, nil, nil); err == nil {
		t.Error("an unknown policy was modified")
	}
}

// A record of a volume as it was written before there was QoS. It must be read
// as it is, and written back without new members, so that an older gateway
// reads it too.
const recordWithoutQoS = `{"id":1,"uuid":"6f1c2e0a-30d5-4d8e-9c43-0f6a5b7d8e91","name":"v","accountID":1,"size":1048576,` +
	`"emulate512":true,"access":"readWrite","encrypted":true,"driveID":1,"image":"6f1c2e0a-30d5-4d8e-9c43-0f6a5b7d8e91",` +
	`"discard":"off","luksVersion":2,"luksUUID":"6f1c2e0a-30d5-4d8e-9c43-0f6a5b7d8e91","created":"2026-01-02T03:04:05Z"}`

func TestRecordsWithoutQoSAreRead(t *testing.T) {
	var r volumeRecord
	if err := parseRecord([]byte(recordWithoutQoS), &r); err != nil || r.QoS != nil || r.QoSPolicyID != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if b, err := json.Marshal(r); err != nil || string(b) != recordWithoutQoS {
		t.Errorf("written back as %s, %v", b, err)
	}
	r.QoS, r.QoSPolicyID = &QoS{50, 100, 200, 60}, 3
	b, err := json.Marshal(r)
	want := strings.TrimSuffix(recordWithoutQoS, "}") + `,"qos":{"minIOPS":50,"maxIOPS":100,"burstIOPS":200,"burstTime":60},"qosPolicyID":3}`
	if err != nil || string(b) != want {
		t.Errorf("with QoS: %s, %v", b, err)
	}
}

// A volume whose policy is not there is a fault of the store, not of the boot.
func TestVolumeOfAMissingPolicyIsServedAndReported(t *testing.T) {
	r := withCluster(t)
	p, err := r.CreateQoSPolicy(t.Context(), "gold", QoSChange{})
	r.must(err)
	v := r.create(CreateVolume{Name: "v", Size: mib, QoSPolicyID: p.ID})
	r.must(r.store.Update(t.Context(), func(tx store.Tx) error { return tx.Delete(recordKey(prefixPolicy, p.ID)) }))
	r.restart()
	if got, err := r.Volume(t.Context(), v.ID); err != nil || got.State != VolumeOnline || got.QoS != NoQoS() {
		t.Errorf("%+v, %v", got, err)
	}
	if bad, err := r.CheckStore(t.Context()); err != nil || len(bad) != 1 || !strings.Contains(bad[0], "QoS policy 1") {
		t.Errorf("store: %q, %v", bad, err)
	}
}
