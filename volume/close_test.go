package volume

import (
	"context"
	"testing"

	"lockplate/blockdev"
	"lockplate/cipher"
)

// The key is wiped after the last request that uses it, and only then.
func TestCloseLetsTheKeyBeWiped(t *testing.T) {
	key := make([]byte, 64)
	key[0] = 1
	x, err := cipher.NewXTS(key, 4096)
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	v, err := Open(blockdev.NewMem(1<<20), x, Options{OnClose: func() { calls++; x.Wipe() }})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.ReadAt(context.Background(), make([]byte, 10), 5); err != nil || calls != 0 {
		t.Fatalf("read = %v, OnClose called %d times before Close", err, calls)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	_ = v.Close()
	if calls != 1 {
		t.Errorf("OnClose called %d times, want once", calls)
	}
}
