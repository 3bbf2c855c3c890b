// Package keymgrtest is the conformance suite of keymgr.KeySource.
package keymgrtest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/google/uuid"

	"lockplate/keymgr"
)

// keyBytes is the size of every master key.
const keyBytes = 32

// TestSource runs the suite. open returns a view of one and the same source,
// as after a restart, each time it is called in a test.
func TestSource(t *testing.T, open func(t *testing.T) func() keymgr.KeySource) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, func() keymgr.KeySource)
	}{
		{"CreatedKeyIsFetchedAgain", testFetch},
		{"KeysDiffer", testDiffer},
		{"UnknownKeyIsNotFound", testUnknown},
		{"RetireTwice", testRetire},
		{"CheckPasses", testCheck},
		{"EndedContext", testContext},
		{"ConcurrentUse", testConcurrent},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

func create(t *testing.T, s keymgr.KeySource) keymgr.Ref {
	t.Helper()
	id := uuid.NewString()
	r, err := s.Create(t.Context(), keymgr.Spec{ID: id, Name: "lockplate/test/mk/" + id})
	if err != nil {
		t.Fatal(err)
	}
	if r.ID != id {
		t.Fatalf("created %s, asked for %s", r.ID, id)
	}
	return r
}

// fetch returns the bytes of a key, which is for tests only.
func fetch(t *testing.T, s keymgr.KeySource, r keymgr.Ref) string {
	t.Helper()
	k, err := s.Fetch(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Destroy()
	if k.Len() != keyBytes {
		t.Errorf("key has %d bytes, want %d", k.Len(), keyBytes)
	}
	return string(k.Bytes())
}

func testFetch(t *testing.T, open func() keymgr.KeySource) {
	s := open()
	r := create(t, s)
	first := fetch(t, s, r)
	if fetch(t, s, r) != first {
		t.Error("second fetch gives another key")
	}
	if fetch(t, open(), r) != first {
		t.Error("after a restart the key is another one")
	}
	if first == string(make([]byte, keyBytes)) {
		t.Error("key is all zero")
	}
}

func testDiffer(t *testing.T, open func() keymgr.KeySource) {
	s := open()
	seen := map[string]bool{}
	for range 5 {
		seen[fetch(t, s, create(t, s))] = true
	}
	if len(seen) != 5 {
		t.Errorf("5 creates gave %d keys", len(seen))
	}
}

func testUnknown(t *testing.T, open func() keymgr.KeySource) {
	_, err := open().Fetch(t.Context(), keymgr.Ref{ID: uuid.NewString()})
	if !errors.Is(err, keymgr.ErrNotFound) {
		t.Errorf("fetch: %v, want ErrNotFound", err)
	}
}

func testRetire(t *testing.T, open func() keymgr.KeySource) {
	s := open()
	r, other := create(t, s), create(t, s)
	want := fetch(t, s, other)
	for range 2 {
		if err := s.Retire(t.Context(), r); err != nil {
			t.Errorf("retire: %v", err)
		}
	}
	if err := s.Retire(t.Context(), keymgr.Ref{ID: uuid.NewString()}); err != nil {
		t.Errorf("retire a key that is gone: %v", err)
	}
	if fetch(t, s, other) != want {
		t.Error("retiring one key changed another")
	}
}

func testCheck(t *testing.T, open func() keymgr.KeySource) {
	s := open()
	r := create(t, s)
	want := fetch(t, s, r)
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("check: %v", err)
	}
	if fetch(t, s, r) != want {
		t.Error("check changed a key")
	}
}

func testContext(t *testing.T, open func() keymgr.KeySource) {
	s := open()
	r := create(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Create(ctx, keymgr.Spec{ID: uuid.NewString()}); !errors.Is(err, context.Canceled) {
		t.Errorf("create: %v", err)
	}
	if k, err := s.Fetch(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("fetch: %v, %v", k, err)
	}
	if err := s.Retire(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("retire: %v", err)
	}
	fetch(t, s, r)
}

func testConcurrent(t *testing.T, open func() keymgr.KeySource) {
	s := open()
	r := create(t, s)
	want := fetch(t, s, r)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			id := uuid.NewString()
			if _, err := s.Create(t.Context(), keymgr.Spec{ID: id, Name: id}); err != nil {
				t.Errorf("create: %v", err)
			}
			k, err := s.Fetch(t.Context(), r)
			if err != nil {
				t.Errorf("fetch: %v", err)
				return
			}
			defer k.Destroy()
			if string(k.Bytes()) != want {
				t.Error("fetched another key")
			}
		})
	}
	wg.Wait()
}
