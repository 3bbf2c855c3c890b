package storetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"

	"lockplate/store"
)

func watched(c store.Change) string {
	if c.Value == nil {
		return c.Key + " deleted"
	}
	return c.Key + "=" + string(c.Value)
}

func testWatch(t *testing.T, st store.Store) {
	Put(t, st, "w/before", "1")
	seq := st.Watch(t.Context(), "w/")
	update(t, st, func(tx store.Tx) error {
		return errors.Join(tx.Put("w/a", []byte("1")), tx.Put("x", nil), tx.Put("w/e", nil), tx.Put("w/a", []byte("2")))
	})
	_ = st.Update(t.Context(), func(tx store.Tx) error {
		return errors.Join(tx.Put("w/lost", nil), errors.New("boom"))
	})
	update(t, st, func(tx store.Tx) error { return errors.Join(tx.Delete("w/a"), tx.Delete("w/never")) })
	var got []string
	for c, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, watched(c))
		if len(got) == 3 {
			break
		}
	}
	slices.Sort(got[:2]) // one transaction: no order between its keys
	if want := []string{"w/a=2", "w/e=", "w/a deleted"}; !slices.Equal(got, want) {
		t.Errorf("watch saw %q, want %q", got, want)
	}
}

func testWatchContext(t *testing.T, st store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seq := st.Watch(ctx, "")
	Put(t, st, "k", "v")
	for c, err := range seq {
		if err != nil || c.Key != "k" {
			t.Errorf("watch: %v, %v", c, err)
		}
		cancel() // the loop must end by itself now
	}
}

func testWatchClose(t *testing.T, st store.Store) {
	seq := st.Watch(t.Context(), "")
	Put(t, st, "k", "v")
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	var last error
	n := 0
	for _, err := range seq {
		n, last = n+1, err
	}
	if n != 2 || !errors.Is(last, store.ErrClosed) {
		t.Errorf("watch yielded %d times and ended with %v, want the change and ErrClosed", n, last)
	}
}

func testWatchOverrun(t *testing.T, st store.Store) {
	seq := st.Watch(t.Context(), "o/")
	for range 50 {
		update(t, st, func(tx store.Tx) error {
			for i := range 100 {
				if err := tx.Put(fmt.Sprintf("o/%d", i), nil); err != nil {
					return err
				}
			}
			return nil
		})
	}
	next, stop := iter.Pull2(seq)
	defer stop()
	for {
		_, err, ok := next()
		if errors.Is(err, store.ErrOverrun) {
			break
		}
		if !ok || err != nil {
			t.Fatalf("watcher that never read: %v, %v, want ErrOverrun", ok, err)
		}
	}
	if _, _, ok := next(); ok {
		t.Error("watch goes on after its error")
	}
}
