// Package storetest is the conformance suite of store.Store: TestStore runs it
// on an implementation. Retrying wraps a store so that every Update function
// runs twice, as it may with a store that detects conflicts.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"lockplate/store"
)

// TestStore runs the suite. open returns an empty store, which has at most the
// format record; the suite closes it.
func TestStore(t *testing.T, open func(t *testing.T) store.Store) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, store.Store)
	}{
		{"GetPutDelete", testBasics},
		{"ScanByPrefixInOrder", testScan},
		{"ScanSeesStateAtItsStart", testScanWhileChanging},
		{"ValuesAreCopies", testCopies},
		{"FailedUpdateChangesNothing", testRollback},
		{"PanicChangesNothing", testPanic},
		{"EndedContextChangesNothing", testContext},
		{"BadKeysAndValuesRefused", testLimits},
		{"IgnoredPutErrorFailsUpdate", testStickyError},
		{"ViewIsReadOnly", testViewReadOnly},
		{"ViewIsASnapshot", testSnapshot},
		{"ConcurrentUpdatesAllCount", testConcurrent},
		{"WatchYieldsChangesInOrder", testWatch},
		{"WatchEndsWithContext", testWatchContext},
		{"WatchEndsWithStore", testWatchClose},
		{"SlowWatcherIsToldSo", testWatchOverrun},
		{"ClosedStoreRefuses", testClosed},
		{"RandomOperationsMatchModel", testModel},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := open(t)
			defer st.Close()
			c.run(t, st)
		})
	}
}

// Put sets records in one Update.
func Put(t testing.TB, st store.Store, kv ...string) {
	t.Helper()
	update(t, st, func(tx store.Tx) error {
		for i := 0; i < len(kv); i += 2 {
			if err := tx.Put(kv[i], []byte(kv[i+1])); err != nil {
				return err
			}
		}
		return nil
	})
}

// Dump returns all records but the format record.
func Dump(t testing.TB, st store.Store) map[string]string {
	t.Helper()
	out := map[string]string{}
	view(t, st, func(tx store.Tx) error {
		clear(out)
		for k, v := range tx.Scan("") {
			if k != store.KeyFormat {
				out[k] = string(v)
			}
		}
		return nil
	})
	return out
}

func update(t testing.TB, st store.Store, fn func(store.Tx) error) {
	t.Helper()
	if err := st.Update(t.Context(), fn); err != nil {
		t.Fatalf("update: %v", err)
	}
}

func view(t testing.TB, st store.Store, fn func(store.Tx) error) {
	t.Helper()
	if err := st.View(t.Context(), fn); err != nil {
		t.Fatalf("view: %v", err)
	}
}

func wantDump(t *testing.T, st store.Store, want map[string]string) {
	t.Helper()
	if got := Dump(t, st); !maps.Equal(got, want) {
		t.Fatalf("store has %v, want %v", got, want)
	}
}

func testBasics(t *testing.T, st store.Store) {
	Put(t, st, "a/1", "one", "a/2", "", "ключ/ü", "\x00\xff")
	view(t, st, func(tx store.Tx) error {
		for k, want := range map[string]string{"a/1": "one", "a/2": "", "ключ/ü": "\x00\xff"} {
			if v, err := tx.Get(k); err != nil || string(v) != want || v == nil {
				t.Errorf("%s = %q, %v, want %q", k, v, err, want)
			}
		}
		if v, err := tx.Get("a"); v != nil || !errors.Is(err, store.ErrNotFound) {
			t.Errorf("missing key: %q, %v", v, err)
		}
		return nil
	})
	update(t, st, func(tx store.Tx) error {
		if err := tx.Delete("a/1"); err != nil {
			return err
		}
		if _, err := tx.Get("a/1"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("deleted in the same transaction, still there: %v", err)
		}
		return tx.Delete("never/was")
	})
	wantDump(t, st, map[string]string{"a/2": "", "ключ/ü": "\x00\xff"})
}

func scan(tx store.Tx, prefix string) []string {
	var keys []string
	for k, v := range tx.Scan(prefix) {
		keys = append(keys, k+"="+string(v))
	}
	return keys
}

func testScan(t *testing.T, st store.Store) {
	Put(t, st, "v/10", "c", "v/1", "a", "v/2", "d", "w", "x", "v", "0", "v/1/x", "b")
	want := []string{"v/1=a", "v/1/x=b", "v/10=c", "v/2=d"}
	view(t, st, func(tx store.Tx) error {
		if got := scan(tx, "v/"); !slices.Equal(got, want) {
			t.Errorf("scan: %v, want %v", got, want)
		}
		if got := scan(tx, "nothing/"); got != nil {
			t.Errorf("scan of nothing: %v", got)
		}
		for k := range tx.Scan("v/") {
			if k != "v/1" {
				t.Errorf("left loop goes on with %s", k)
			}
			break
		}
		return nil
	})
}

func testScanWhileChanging(t *testing.T, st store.Store) {
	want := map[string]string{}
	update(t, st, func(tx store.Tx) error {
		for i := range 100 {
			if err := tx.Put(fmt.Sprintf("s/%03d", i), bytes.Repeat([]byte{'x'}, 100)); err != nil {
				return err
			}
		}
		return nil
	})
	update(t, st, func(tx store.Tx) error {
		n := 0
		clear(want)
		for k := range tx.Scan("s/") {
			n++
			want["t/"+k[2:]] = k
			if err := errors.Join(tx.Delete(k), tx.Put("t/"+k[2:], []byte(k)), tx.Put(k+"/new", nil), tx.Delete(k+"/new")); err != nil {
				return err
			}
		}
		if n != 100 {
			t.Errorf("loop saw %d records, want 100", n)
		}
		return nil
	})
	wantDump(t, st, want)
}

func testCopies(t *testing.T, st store.Store) {
	val := []byte("mine")
	update(t, st, func(tx store.Tx) error {
		copy(val, "mine")
		if err := tx.Put("k", val); err != nil {
			return err
		}
		copy(val, "gone")
		return nil
	})
	var kept [][]byte
	view(t, st, func(tx store.Tx) error {
		v, err := tx.Get("k")
		kept = append(kept, v)
		for _, v := range tx.Scan("k") {
			kept = append(kept, v)
		}
		return err
	})
	for _, v := range kept {
		if string(v) != "mine" {
			t.Errorf("value %q, want %q", v, "mine")
		}
		copy(v, "HARM")
	}
	wantDump(t, st, map[string]string{"k": "mine"})
}

func testRollback(t *testing.T, st store.Store) {
	Put(t, st, "k", "old")
	boom := errors.New("boom")
	err := st.Update(t.Context(), func(tx store.Tx) error {
		return errors.Join(tx.Put("k", []byte("new")), tx.Put("l", nil), boom)
	})
	if !errors.Is(err, boom) {
		t.Errorf("update returned %v, want the function's error", err)
	}
	if err := st.View(t.Context(), func(store.Tx) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("view returned %v, want the function's error", err)
	}
	wantDump(t, st, map[string]string{"k": "old"})
}

func testPanic(t *testing.T, st store.Store) {
	func() {
		defer func() {
			if r := recover(); r != "boom" {
				t.Errorf("recovered %v, want the function's panic", r)
			}
		}()
		_ = st.Update(t.Context(), func(tx store.Tx) error {
			_ = tx.Put("k", nil)
			panic("boom")
		})
	}()
	wantDump(t, st, map[string]string{})
	Put(t, st, "after", "works")
}

func testContext(t *testing.T, st store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	err := st.Update(ctx, func(tx store.Tx) error {
		cancel()
		return tx.Put("k", nil)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("update that ended inside: %v", err)
	}
	ran := func(store.Tx) error { t.Error("function ran"); return nil }
	if err := st.Update(ctx, ran); !errors.Is(err, context.Canceled) {
		t.Errorf("update: %v", err)
	}
	if err := st.View(ctx, ran); !errors.Is(err, context.Canceled) {
		t.Errorf("view: %v", err)
	}
	wantDump(t, st, map[string]string{})
}

func testLimits(t *testing.T, st store.Store) {
	long := strings.Repeat("k", store.MaxKey)
	Put(t, st, long, strings.Repeat("v", store.MaxValue))
	view(t, st, func(tx store.Tx) error {
		if v, err := tx.Get(long); len(v) != store.MaxValue || err != nil {
			t.Errorf("largest record: %d bytes, %v", len(v), err)
		}
		return nil
	})
	for _, key := range []string{"", long + "k", "/a", "a/", "a//b", "a\x00", "\xff"} {
		for name, op := range map[string]func(store.Tx) error{
			"put":    func(tx store.Tx) error { return tx.Put(key, nil) },
			"delete": func(tx store.Tx) error { return tx.Delete(key) },
		} {
			if err := st.Update(t.Context(), op); !errors.Is(err, store.ErrKey) {
				t.Errorf("%s %.20q: %v, want ErrKey", name, key, err)
			}
		}
	}
	err := st.Update(t.Context(), func(tx store.Tx) error { return tx.Put("k", make([]byte, store.MaxValue+1)) })
	if !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("value over the limit: %v", err)
	}
}

func testStickyError(t *testing.T, st store.Store) {
	err := st.Update(t.Context(), func(tx store.Tx) error {
		_ = tx.Put("", nil)
		return tx.Put("k", nil)
	})
	if !errors.Is(err, store.ErrKey) {
		t.Errorf("update: %v, want ErrKey", err)
	}
	wantDump(t, st, map[string]string{})
}

func testViewReadOnly(t *testing.T, st store.Store) {
	Put(t, st, "k", "v")
	view(t, st, func(tx store.Tx) error {
		if err := tx.Put("k", nil); !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("put in a view: %v", err)
		}
		if err := tx.Delete("k"); !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("delete in a view: %v", err)
		}
		return nil
	})
	wantDump(t, st, map[string]string{"k": "v"})
}

func testSnapshot(t *testing.T, st store.Store) {
	Put(t, st, "a", "1", "b", "1")
	inside, wrote := make(chan struct{}), make(chan error)
	go func() {
		<-inside
		wrote <- st.Update(t.Context(), func(tx store.Tx) error {
			return errors.Join(tx.Put("a", []byte("2")), tx.Put("b", []byte("2")))
		})
	}()
	view(t, st, func(tx store.Tx) error {
		if v, _ := tx.Get("a"); string(v) != "1" {
			t.Errorf("a = %q before", v)
		}
		close(inside)
		if err := <-wrote; err != nil {
			t.Errorf("update beside a view: %v", err)
		}
		if v, _ := tx.Get("b"); string(v) != "1" {
			t.Errorf("b = %q in a view that began before the change", v)
		}
		return nil
	})
	wantDump(t, st, map[string]string{"a": "2", "b": "2"})
}

func testConcurrent(t *testing.T, st store.Store) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				err := st.Update(t.Context(), func(tx store.Tx) error {
					v, err := tx.Get("n")
					if err != nil && !errors.Is(err, store.ErrNotFound) {
						return err
					}
					return tx.Put("n", append(v, '.'))
				})
				if err != nil {
					t.Errorf("update: %v", err)
				}
			}
		})
	}
	wg.Wait()
	wantDump(t, st, map[string]string{"n": strings.Repeat(".", 80)})
}

func testClosed(t *testing.T, st store.Store) {
	if err := errors.Join(st.Close(), st.Close()); err != nil {
		t.Fatalf("close twice: %v", err)
	}
	ran := func(store.Tx) error { t.Error("function ran"); return nil }
	if err := st.View(t.Context(), ran); !errors.Is(err, store.ErrClosed) {
		t.Errorf("view: %v", err)
	}
	if err := st.Update(t.Context(), ran); !errors.Is(err, store.ErrClosed) {
		t.Errorf("update: %v", err)
	}
	for _, err := range st.Watch(t.Context(), "") {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("watch: %v", err)
		}
	}
}

// testModel compares random transactions, some of them failing, with a map.
func testModel(t *testing.T, st store.Store) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	model := map[string]string{}
	for i := range 200 {
		type op struct {
			key, val string
			del      bool
		}
		var ops []op
		for range 1 + rng.IntN(20) {
			n := rng.IntN(300)
			if rng.IntN(10) == 0 {
				n = rng.IntN(20000)
			}
			ops = append(ops, op{fmt.Sprintf("m/%d", rng.IntN(60)), strings.Repeat(string(rune('a'+rng.IntN(26))), n), rng.IntN(3) == 0})
		}
		fail := rng.IntN(5) == 0
		next := maps.Clone(model)
		err := st.Update(t.Context(), func(tx store.Tx) error {
			for _, o := range ops {
				if o.del {
					delete(next, o.key)
					_ = tx.Delete(o.key)
				} else {
					next[o.key] = o.val
					_ = tx.Put(o.key, []byte(o.val))
				}
			}
			if fail {
				return errors.New("boom")
			}
			return nil
		})
		if (err != nil) != fail {
			t.Fatalf("seed %d, step %d: %v", seed, i, err)
		}
		if !fail {
			model = next
		}
		if got := Dump(t, st); !maps.Equal(got, model) {
			t.Fatalf("seed %d, step %d: store differs from model", seed, i)
		}
	}
}
