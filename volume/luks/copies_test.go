package luks

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"lockplate/blockdev"
)

// resized moves the container on dev to a header of another size, as
// cryptsetup --luks2-metadata-size would have made it.
func resized(t *testing.T, hdrSize int64) *blockdev.Mem {
	t.Helper()
	src, _ := newContainer(t, 20<<20, Options{Label: "sized"})
	c, err := readCopies(context.Background(), src)
	if err != nil {
		t.Fatal(err)
	}
	tree := c.copy[0].tree
	cfg := section(tree, "config")
	cfg["json_size"], cfg["keyslots_size"] = decimal(hdrSize-binSize), decimal(headerArea-2*hdrSize)
	area, err := marshalJSON(tree, int(hdrSize-binSize))
	if err != nil {
		t.Fatal(err)
	}
	bin := *c.copy[0].bin
	bin.hdrSize = hdrSize
	dst := blockdev.NewMem(20 << 20)
	if err := (&copies{}).write(context.Background(), dst, bin, area, nil); err != nil {
		t.Fatal(err)
	}
	return dst
}

func TestEveryHeaderSizeAndLostCopy(t *testing.T) {
	ctx := context.Background()
	for size := int64(minHdrSize); size <= maxHdrSize; size *= 2 {
		for _, lost := range []int64{0, size} {
			dev := resized(t, size)
			before := reread(t, dev)
			put(t, dev, lost, make([]byte, 100)) // magic and all
			h, err := Read(ctx, dev)
			if err != nil {
				t.Fatalf("size %d, copy at %d lost: %v", size, lost, err)
			}
			if h.Label != "sized" || h.UUID != before.UUID || len(h.Warnings) != 1 || !strings.Contains(h.Warnings[0], "repaired") {
				t.Errorf("size %d, copy at %d lost: label %q, warnings %q", size, lost, h.Label, h.Warnings)
			}
			if fixed, err := Repair(ctx, dev); !fixed || err != nil {
				t.Errorf("repair: %v, %v", fixed, err)
			}
			addSlot(t, dev, reread(t, dev), "x")
			wantKey(t, dev, reread(t, dev), "x", testKey(64, 1))
			if fixed, err := Repair(ctx, dev); fixed || err != nil {
				t.Errorf("repair of what is whole: %v, %v", fixed, err)
			}
		}
	}
}

func TestNewestIntactCopyWins(t *testing.T) {
	ctx := context.Background()
	for _, off := range []int64{0, minHdrSize} {
		dev, h := newContainer(t, 20<<20, Options{})
		old := contents(t, dev, off, minHdrSize)
		if _, err := h.SetToken(ctx, dev, Token{Volume: "new"}); err != nil {
			t.Fatal(err)
		}
		put(t, dev, off, old)
		h, err := Read(ctx, dev)
		if err != nil {
			t.Fatal(err)
		}
		if h.Epoch != 2 || h.Token == nil || len(h.Warnings) != 1 || !strings.Contains(h.Warnings[0], "not up to date") {
			t.Errorf("stale copy at %d: epoch %d, token %v, warnings %q", off, h.Epoch, h.Token, h.Warnings)
		}
		put(t, dev, minHdrSize-off, make([]byte, 4096)) // now the newer is lost
		if h, err = Read(ctx, dev); err != nil || h.Epoch != 1 {
			t.Errorf("newer copy lost: %v, %v", h, err)
		}
	}
}

func TestBothCopiesLost(t *testing.T) {
	ctx := context.Background()
	dev, _ := newContainer(t, 20<<20, Options{})
	put(t, dev, 5000, []byte("x"))
	put(t, dev, minHdrSize+5000, []byte("x"))
	if _, err := Read(ctx, dev); !errors.Is(err, ErrCorrupt) {
		t.Errorf("both damaged: %v", err)
	}
	if fixed, err := Repair(ctx, dev); fixed || !errors.Is(err, ErrCorrupt) {
		t.Errorf("repair without a good copy: %v, %v", fixed, err)
	}
	if _, err := Read(ctx, blockdev.NewMem(20<<20)); !errors.Is(err, ErrNotLUKS) {
		t.Errorf("blank device: %v", err)
	}
	for _, size := range []int64{0, 512, 4096, 10000} {
		if _, err := Read(ctx, blockdev.NewMem(size)); !errors.Is(err, ErrNotLUKS) {
			t.Errorf("blank device of %d bytes: %v", size, err)
		}
	}
}

func TestTruncatedImage(t *testing.T) {
	dev, _ := newContainer(t, 20<<20, Options{})
	whole := contents(t, dev, 0, 20<<20)
	for _, n := range []int64{4096, 8192, 16384, 20000, 32768, 100_000, 16<<20 - 512} {
		_, err := Read(context.Background(), fromBytes(t, whole[:n], 0))
		if !errors.Is(err, ErrTruncated) {
			t.Errorf("first %d bytes: %v", n, err)
		}
	}
	h, err := Read(context.Background(), fromBytes(t, whole[:16<<20], 0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.DataSize(16 << 20); !errors.Is(err, ErrTruncated) {
		t.Errorf("no data: %v", err)
	}
}

func TestChangedBySomebodyElse(t *testing.T) {
	ctx := context.Background()
	dev, h := newContainer(t, 20<<20, Options{})
	addSlot(t, dev, h, "theirs")
	before := contents(t, dev, 0, 20<<20)
	for name, change := range changes(ctx, dev, h) {
		if err := change(); !errors.Is(err, ErrChanged) {
			t.Errorf("%s on an old snapshot: %v", name, err)
		}
	}
	if !bytes.Equal(before, contents(t, dev, 0, 20<<20)) {
		t.Error("a refused change wrote something")
	}
}

// changes are all methods that write.
func changes(ctx context.Context, dev blockdev.Device, h *Header) map[string]func() error {
	return map[string]func() error{
		"add":    func() error { _, _, err := h.AddKeyslot(ctx, dev, testKey(64, 1), []byte("p"), FastKDF()); return err },
		"remove": func() error { _, err := h.RemoveKeyslot(ctx, dev, 0); return err },
		"token":  func() error { _, err := h.SetToken(ctx, dev, Token{}); return err },
		"size":   func() error { _, err := h.SetSegmentSize(ctx, dev, 4096); return err },
	}
}

func TestChecksumOfOtherHash(t *testing.T) {
	dev, _ := newContainer(t, 20<<20, Options{})
	c, err := readCopies(context.Background(), dev)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{"sha1": nil, "sha512": nil, "whirlpool": ErrUnsupported} {
		bin := *c.copy[0].bin
		bin.algorithm = name
		if name == "whirlpool" { // cannot be sealed: patch the name in
			for _, off := range []int64{0, minHdrSize} {
				put(t, dev, off+offAlgorithm, append([]byte(name), 0))
			}
		} else if err := (&copies{}).write(context.Background(), dev, bin, c.copy[0].area, nil); err != nil {
			t.Fatal(err)
		}
		_, err := Read(context.Background(), dev)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSaltIsNewOnEveryWrite(t *testing.T) {
	dev, h := newContainer(t, 20<<20, Options{})
	seen := map[string]bool{}
	for range 3 {
		for _, off := range []int64{0, minHdrSize} {
			salt := string(contents(t, dev, off+offSalt, 64))
			if seen[salt] {
				t.Error("a salt came twice")
			}
			seen[salt] = true
		}
		h = addSlot(t, dev, h, "x")
	}
}

func TestSequenceIDDoesNotWrap(t *testing.T) {
	ctx := context.Background()
	dev, _ := newContainer(t, 20<<20, Options{})
	c, err := readCopies(ctx, dev)
	if err != nil {
		t.Fatal(err)
	}
	bin := *c.copy[0].bin
	bin.seq = 1<<64 - 1
	if err := c.write(ctx, dev, bin, c.copy[0].area, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := reread(t, dev).SetToken(ctx, dev, Token{}); !errors.Is(err, ErrNoRoom) {
		t.Errorf("last sequence id: %v", err)
	}
	if got := binary.BigEndian.Uint64(contents(t, dev, offSeq, 8)); got != 1<<64-1 {
		t.Errorf("sequence id is now %d", got)
	}
}
