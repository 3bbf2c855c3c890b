package luks

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"lockplate/blockdev"
	"lockplate/blockdev/blockdevtest"
)

// smallArea keeps the crash disks small: room for three keyslots.
const smallArea = 1 << 20

// crashCase is one change of a header under power cuts.
type crashCase struct {
	before func(t *testing.T, dev blockdev.Device) // on the disk when it begins
	change func(ctx context.Context, dev blockdev.Device, h *Header) error
	after  func(t *testing.T, name string, dev blockdev.Device, h *Header) // checks the new header
}

func crashCases() map[string]crashCase {
	add := crashCase{
		change: func(ctx context.Context, dev blockdev.Device, h *Header) error {
			_, _, err := h.AddKeyslot(ctx, dev, testKey(64, 1), []byte("new"), FastKDF())
			return err
		},
		after: func(t *testing.T, name string, dev blockdev.Device, h *Header) {
			wantKey(t, dev, h, "new", testKey(64, 1))
		},
	}
	token := crashCase{
		change: func(ctx context.Context, dev blockdev.Device, h *Header) error {
			_, err := h.SetToken(ctx, dev, Token{"c", "v", "d"})
			return err
		},
		after: func(t *testing.T, name string, _ blockdev.Device, h *Header) {
			if h.Token == nil || *h.Token != (Token{"c", "v", "d"}) {
				t.Errorf("%s: token %v", name, h.Token)
			}
		},
	}
	cases := map[string]crashCase{"add keyslot": add, "set token": token, "remove keyslot": removeCase()}
	for name, off := range map[string]int64{"primary": 0, "secondary": minHdrSize} {
		c := token
		c.before = func(t *testing.T, dev blockdev.Device) { put(t, dev, off+binSize, bytes.Repeat([]byte{'x'}, 4096)) }
		cases["set token with damaged "+name] = c
		c.before = func(t *testing.T, dev blockdev.Device) { put(t, dev, off, make([]byte, minHdrSize)) }
		cases["set token with lost "+name] = c
		c.before = func(t *testing.T, dev blockdev.Device) { staleCopy(t, dev, off) }
		cases["set token with stale "+name] = c
	}
	repair := crashCase{
		before: func(t *testing.T, dev blockdev.Device) { put(t, dev, 0, make([]byte, binSize)) },
		change: func(ctx context.Context, dev blockdev.Device, _ *Header) error {
			_, err := Repair(ctx, dev)
			return err
		},
	}
	cases["repair"] = repair
	return cases
}

func removeCase() crashCase {
	return crashCase{
		change: func(ctx context.Context, dev blockdev.Device, h *Header) error {
			_, err := h.RemoveKeyslot(ctx, dev, 1)
			return err
		},
		after: func(t *testing.T, name string, dev blockdev.Device, h *Header) {
			if slices.Contains(h.Keyslots, Keyslot{1, PBKDF2}) {
				t.Errorf("%s: removed keyslot is still listed", name)
			}
		},
	}
}

// staleCopy puts one copy back to where it was one change ago.
func staleCopy(t *testing.T, dev blockdev.Device, off int64) {
	t.Helper()
	old := contents(t, dev, off, minHdrSize)
	h := reread(t, dev)
	if _, err := h.SetToken(context.Background(), dev, Token{"before", "", ""}); err != nil {
		t.Fatal(err)
	}
	put(t, dev, off, old)
}

// TestEveryCrashLeavesAHeader cuts the power at every request and 512-byte
// edge of every kind of change. The old or the new header must be there, open
// with the old passphrase, be repaired without loss, and take the change again.
func TestEveryCrashLeavesAHeader(t *testing.T) {
	for name, c := range crashCases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tears, seeds := 96, uint64(6)
			if raceEnabled {
				tears, seeds = 8, 1
			}
			runCrash(t, c, blockdevtest.CrashOptions{Tears: tears, Align: 4096})
			for seed := range seeds { // few tears, many mixtures of torn requests
				runCrash(t, c, blockdevtest.CrashOptions{Tears: 1, Align: 4096, Seed: seed + 1})
			}
		})
	}
}

// runCrash makes one change on a crash disk and checks its states.
func runCrash(t *testing.T, c crashCase, o blockdevtest.CrashOptions) {
	t.Helper()
	ctx := context.Background()
	crash := blockdevtest.NewCrash(smallArea+4096, o)
	h, err := Format(ctx, crash, testKey(64, 1), Options{DataOffset: smallArea})
	if err != nil {
		t.Fatal(err)
	}
	addSlot(t, crash, addSlot(t, crash, h, "old"), "second")
	if c.before != nil {
		c.before(t, crash)
	}
	crash.Forget()
	if h, err = Read(ctx, crash); err != nil {
		t.Fatal(err)
	}
	if err := c.change(ctx, crash, h); err != nil {
		t.Fatal(err)
	}
	end := crash.Pos()
	crash.Points(func(s blockdevtest.State) bool {
		checkCrash(t, c, s, h, s.Flushed == end)
		return !t.Failed()
	})
}

// checkCrash checks one state; done says that the change had been acknowledged.
func checkCrash(t *testing.T, c crashCase, s blockdevtest.State, old *Header, done bool) {
	t.Helper()
	ctx := context.Background()
	h, err := Read(ctx, s.Device)
	if err != nil {
		t.Errorf("%s: %v", s.Name, err)
		return
	}
	isNew := h.Epoch == old.Epoch+1
	if !isNew && (h.Epoch != old.Epoch || !bytes.Equal(h.area, old.area)) {
		t.Errorf("%s: header of epoch %d is neither old nor new", s.Name, h.Epoch)
	}
	if c.after != nil && done && !isNew {
		t.Errorf("%s: the old header is back after the change was acknowledged", s.Name)
	}
	wantKey(t, s.Device, h, "old", testKey(64, 1))
	if isNew && c.after != nil {
		c.after(t, s.Name, s.Device, h)
	}
	if _, err := Repair(ctx, s.Device); err != nil {
		t.Errorf("%s: repair: %v", s.Name, err)
		return
	}
	again := reread(t, s.Device)
	if again.Epoch != h.Epoch || !bytes.Equal(again.area, h.area) {
		t.Errorf("%s: repair changed the header", s.Name)
	}
	if err := c.change(ctx, s.Device, again); err != nil && !errors.Is(err, ErrNoKeyslot) && !errors.Is(err, ErrNoRoom) {
		t.Errorf("%s: the change does not work any more: %v", s.Name, err)
	}
}

// TestFormatOverOldHeaderCrash formats over a container that has been changed
// often: at no moment may parts of both be taken for one header.
func TestFormatOverOldHeaderCrash(t *testing.T) {
	ctx := context.Background()
	crash := blockdevtest.NewCrash(2<<20, blockdevtest.CrashOptions{Tears: 400, Seed: 2})
	old, err := Format(ctx, crash, testKey(64, 1), Options{DataOffset: smallArea, UUID: "old"})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		old = addSlotAndRemove(t, crash, old)
	}
	crash.Forget()
	if _, err := Format(ctx, crash, testKey(64, 2), Options{DataOffset: smallArea, UUID: "new"}); err != nil {
		t.Fatal(err)
	}
	end, seen := crash.Pos(), map[string]int{}
	crash.Points(func(s blockdevtest.State) bool {
		h, err := Read(ctx, s.Device)
		switch {
		case errors.Is(err, ErrNotLUKS), errors.Is(err, ErrCorrupt):
			seen["none"]++
		case err != nil:
			t.Errorf("%s: %v", s.Name, err)
		case h.UUID == "old" && h.VerifyKey(testKey(64, 1)) == nil, h.UUID == "new" && h.VerifyKey(testKey(64, 2)) == nil:
			seen[h.UUID]++
		default:
			t.Errorf("%s: header %q with a foreign key", s.Name, h.UUID)
		}
		if s.Flushed == end && (err != nil || h.UUID != "new") {
			t.Errorf("%s: the new header is not durable", s.Name)
		}
		return !t.Failed()
	})
	if seen["old"] == 0 || seen["none"] == 0 || seen["new"] == 0 {
		t.Errorf("states seen: %v", seen)
	}
}

func addSlotAndRemove(t *testing.T, dev blockdev.Device, h *Header) *Header {
	t.Helper()
	h = addSlot(t, dev, h, "gone")
	h, err := h.RemoveKeyslot(context.Background(), dev, 0)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestEveryFailedRequestIsReported fails each request of each change in turn.
func TestEveryFailedRequestIsReported(t *testing.T) {
	ctx := context.Background()
	for name, c := range crashCases() {
		t.Run(name, func(t *testing.T) {
			mem, h := newContainer(t, smallArea+4096, Options{DataOffset: smallArea})
			addSlot(t, mem, addSlot(t, mem, h, "old"), "second")
			if c.before != nil {
				c.before(t, mem)
			}
			for _, op := range []blockdevtest.Op{blockdevtest.OpWrite, blockdevtest.OpFlush} {
				for n := 1; ; n++ {
					dev := blockdevtest.NewFaulty(mem.Clone())
					h, err := Read(ctx, dev)
					if err != nil {
						t.Fatal(err)
					}
					dev.Arm(blockdevtest.Fault{Op: op, N: n})
					err = c.change(ctx, dev, h)
					if dev.Fired() == 0 {
						break
					}
					if !errors.Is(err, blockdevtest.ErrInjected) {
						t.Errorf("%v number %d failed, the change says %v", op, n, err)
					}
					dev.Disarm()
					if h, err = Read(ctx, dev); err != nil {
						t.Fatalf("%v number %d failed: %v", op, n, err)
					}
					wantKey(t, dev, h, "old", testKey(64, 1))
				}
			}
		})
	}
}
