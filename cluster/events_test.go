package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"lockplate/store"
)

// failingStore can be read, but every change fails.
type failingStore struct{ store.Store }

func (failingStore) Update(context.Context, func(store.Tx) error) error { return store.ErrNoSpace }

func TestEventsAreBounded(t *testing.T) {
	st := newStore(t)
	const extra = 7
	err := st.Update(t.Context(), func(tx store.Tx) error {
		for i := range maxEvents + extra {
			if err := putEvent(tx, Event{Type: EventAPI, Message: fmt.Sprint(i)}, time.Unix(int64(i), 0)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = st.View(t.Context(), func(tx store.Tx) error {
		recs, err := scanRecords[eventRecord](tx, prefixEvent)
		if len(recs) != maxEvents || recs[0].ID != extra+1 {
			t.Errorf("%d events, the first is %d", len(recs), recs[0].ID)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestEventsTellOfDrivesAndFaults(t *testing.T) {
	r := withCluster(t)
	ctx := t.Context()
	mend := r.breakDrive("d1")
	r.current()
	mend()
	r.heal(ctx)
	r.current()
	r.restart()
	all, err := r.Events(ctx, EventFilter{})
	r.must(err)
	var got []string
	for i, e := range all {
		got = append(got, e.Message)
		if i > 0 && e.ID <= all[i-1].ID {
			t.Errorf("event %d comes after %d", e.ID, all[i-1].ID)
		}
	}
	want := "Cluster created, Drive added, Cluster fault raised: driveFailed, Cluster fault resolved: driveFailed"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("events %q, want %q", s, want)
	}
}

func TestEventFilter(t *testing.T) {
	r := withCluster(t)
	t0 := r.clock.now()
	for i := range 4 {
		r.clock.advance(time.Minute)
		r.note(t.Context(), Event{Type: EventAPI, Message: fmt.Sprint(i), DriveID: int64(i)})
	}
	all, err := r.Events(t.Context(), EventFilter{Type: EventAPI})
	r.must(err)
	first := all[0].ID
	for name, tc := range map[string]struct {
		f    EventFilter
		want string
	}{
		"type":    {EventFilter{Type: EventAPI}, "0 1 2 3"},
		"ids":     {EventFilter{First: first + 1, Last: first + 2}, "1 2"},
		"drive":   {EventFilter{Type: EventAPI, DriveID: 3}, "3"},
		"newest":  {EventFilter{Max: 2}, "2 3"},
		"next":    {EventFilter{First: first, Max: 2}, "0 1"},
		"time":    {EventFilter{From: t0.Add(2 * time.Minute), To: t0.Add(3 * time.Minute)}, "1 2"},
		"nothing": {EventFilter{First: first + 100}, ""},
	} {
		got, err := r.Events(t.Context(), tc.f)
		r.must(err)
		var s []string
		for _, e := range got {
			s = append(s, e.Message)
		}
		if strings.Join(s, " ") != tc.want {
			t.Errorf("%s: %q, want %q", name, s, tc.want)
		}
	}
	var invalid *InvalidError
	if _, err := r.Events(t.Context(), EventFilter{Max: -1}); !errors.As(err, &invalid) {
		t.Errorf("negative maximum = %v", err)
	}
}
