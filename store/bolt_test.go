package store_test

import (
	"path/filepath"
	"testing"

	"lockplate/store"
	"lockplate/store/storetest"
)

func openBolt(t testing.TB, path string) store.Store {
	t.Helper()
	st, err := store.OpenBolt(path, store.BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func TestBolt(t *testing.T) {
	storetest.TestStore(t, func(t *testing.T) store.Store {
		return openBolt(t, filepath.Join(t.TempDir(), "s.db"))
	})
}

func TestRetrying(t *testing.T) {
	storetest.TestStore(t, func(t *testing.T) store.Store {
		return storetest.Retrying(openBolt(t, filepath.Join(t.TempDir(), "s.db")))
	})
}
