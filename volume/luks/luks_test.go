package luks

import (
	"bytes"
	"context"
	"errors"
	"testing"
)

func TestFormatReadUnlock(t *testing.T) {
	ctx := context.Background()
	tok := &Token{Cluster: "c-1", Volume: "v-1", Drive: "d-1"}
	dev, _ := newContainer(t, 20<<20, Options{Label: "vol", SectorSize: 4096, Token: tok})
	h := reread(t, dev)
	if h.Version != 2 || h.Label != "vol" || h.SectorSize != 4096 || h.DataOffset != 16<<20 || h.SegmentSize != 0 ||
		h.Cipher != "aes-xts-plain64" || *h.Token != *tok || len(h.UUID) != 36 || len(h.Keyslots) != 0 {
		t.Fatalf("header %+v", h)
	}
	key := testKey(64, 1)
	if err := h.VerifyKey(key); err != nil {
		t.Error(err)
	}
	if err := h.VerifyKey(testKey(64, 2)); !errors.Is(err, ErrWrongKey) {
		t.Errorf("other key: %v", err)
	}
	if _, _, err := h.Unlock(ctx, dev, []byte("x")); !errors.Is(err, ErrNoKeyslot) {
		t.Errorf("unlock without keyslots: %v", err)
	}
	h, slot, err := h.AddKeyslot(ctx, dev, key, []byte("one"), FastKDF())
	if err != nil || slot != 0 {
		t.Fatal(slot, err)
	}
	_, slot, err = h.AddKeyslot(ctx, dev, key, []byte("two"), KDF{Memory: 64, Iterations: 1, Parallel: 2})
	if err != nil || slot != 1 {
		t.Fatal(slot, err)
	}
	h = reread(t, dev)
	for i, pass := range []string{"one", "two"} {
		got, slot, err := h.Unlock(ctx, dev, []byte(pass))
		if err != nil || slot != i || !bytes.Equal(got, key) {
			t.Errorf("%s: slot %d, %v", pass, slot, err)
		}
	}
	if _, _, err := h.Unlock(ctx, dev, []byte("three")); !errors.Is(err, ErrWrongPassphrase) {
		t.Errorf("wrong passphrase: %v", err)
	}
	if n, err := h.DataSize(20 << 20); n != 4<<20 || err != nil {
		t.Error(n, err)
	}
}

func TestUnlockFollowsPriorities(t *testing.T) {
	dev, h := newContainer(t, 20<<20, Options{})
	for range 4 {
		h = addSlot(t, dev, h, "same")
	}
	for _, c := range []struct {
		priority []any // by keyslot, nil = not stated
		want     int
	}{
		{[]any{nil, nil, nil, nil}, 0},
		{[]any{0, nil, nil, nil}, 1},
		{[]any{0, 1, 2, 2}, 2},
		{[]any{0, 0, 0, 1}, 3},
		{[]any{0, 0, 0, 0}, 0},
	} {
		rewrite(t, dev, func(tree object) {
			for i, p := range c.priority {
				k := at(tree, "keyslots", decimal(int64(i)))
				delete(k, "priority")
				if p != nil {
					k["priority"] = p
				}
			}
		})
		if slot := wantKey(t, dev, reread(t, dev), "same", testKey(64, 1)); slot != c.want {
			t.Errorf("priorities %v: keyslot %d opened, want %d", c.priority, slot, c.want)
		}
	}
}
