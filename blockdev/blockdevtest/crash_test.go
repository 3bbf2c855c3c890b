package blockdevtest_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"testing"

	"lockplate/blockdev"
	"lockplate/blockdev/blockdevtest"
)

var background = context.Background()

func put(t *testing.T, d blockdev.Device, off int64, b byte, n int, f blockdev.Flag) {
	t.Helper()
	if err := d.WriteAt(background, bytes.Repeat([]byte{b}, n), off, f); err != nil {
		t.Fatal(err)
	}
}

func flush(t *testing.T, d blockdev.Device) {
	t.Helper()
	if err := d.Flush(background); err != nil {
		t.Fatal(err)
	}
}

// sectors writes a device as one letter for each 512-byte sector, '.' for
// zeroes and '?' for a sector that is not of one value.
func sectors(t *testing.T, d blockdev.Device) string {
	t.Helper()
	p := make([]byte, d.Info().Size)
	if err := d.ReadAt(background, p, 0); err != nil {
		t.Fatal(err)
	}
	var out []byte
	for i := 0; i < len(p); i += 512 {
		switch s := p[i : i+512]; {
		case bytes.Count(s, s[:1]) != 512:
			out = append(out, '?')
		case s[0] == 0:
			out = append(out, '.')
		default:
			out = append(out, s[0])
		}
	}
	return string(out)
}

// contents gathers all states a crash disk shows, by what they hold.
func contents(t *testing.T, c *blockdevtest.Crash) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	names := map[string]bool{}
	c.States(func(name string, d blockdev.Device) bool {
		if names[name] {
			t.Errorf("two states are named %q", name)
		}
		names[name] = true
		found[sectors(t, d)] = true
		return true
	})
	return found
}

func wantStates(t *testing.T, got map[string]bool, want ...string) {
	t.Helper()
	for _, w := range want {
		if !got[w] {
			t.Errorf("state %q is missing", w)
		}
		delete(got, w)
	}
	for g := range got {
		t.Errorf("state %q cannot be", g)
	}
}

func TestCrashShowsUnflushedSubsets(t *testing.T) {
	c := blockdevtest.NewCrash(4*512, blockdevtest.CrashOptions{})
	put(t, c, 0, 'a', 512, 0)
	put(t, c, 512, 'b', 512, 0)
	flush(t, c)
	put(t, c, 0, 'c', 512, 0)
	wantStates(t, contents(t, c), "....", "a...", ".b..", "ab..", "cb..")
}

func TestCrashTearsAtSectors(t *testing.T) {
	c := blockdevtest.NewCrash(4*512, blockdevtest.CrashOptions{})
	put(t, c, 0, 'a', 3*512, blockdev.FUA)
	// Torn while under way; nothing is lost once acknowledged.
	wantStates(t, contents(t, c), "....", "a...", "aa..", ".aa.", "..a.", "aaa.")
}

func TestCrashHonoursFUA(t *testing.T) {
	c := blockdevtest.NewCrash(4*512, blockdevtest.CrashOptions{})
	put(t, c, 0, 'a', 512, 0)
	put(t, c, 512, 'b', 512, blockdev.FUA)
	put(t, c, 1024, 'c', 512, 0)
	wantStates(t, contents(t, c), "....", "a...", "ab..", ".b..", "abc.", ".bc.")
}

func TestCrashNewerCoversOlder(t *testing.T) {
	c := blockdevtest.NewCrash(2*512, blockdevtest.CrashOptions{})
	put(t, c, 0, 'a', 512, 0)
	put(t, c, 0, 'b', 512, 0)
	flush(t, c)
	wantStates(t, contents(t, c), "..", "a.", "b.")
}

func TestCrashMayUndoZeroAndTrim(t *testing.T) {
	c := blockdevtest.NewCrash(3*512, blockdevtest.CrashOptions{})
	put(t, c, 0, 'a', 3*512, 0)
	flush(t, c)
	c.Forget()
	if err := c.Zero(background, 0, 512, 0); err != nil {
		t.Fatal(err)
	}
	if err := c.Trim(background, 512, 512, 0); err != nil {
		t.Fatal(err)
	}
	wantStates(t, contents(t, c), "aaa", ".aa", ".?a", "a?a")
}

func TestCrashShowsEachSubsetOfMany(t *testing.T) {
	c := blockdevtest.NewCrash(6*512, blockdevtest.CrashOptions{})
	for i := range int64(6) {
		put(t, c, i*512, 'x', 512, 0)
	}
	flush(t, c)
	if got := len(contents(t, c)); got != 64 {
		t.Errorf("%d states of 6 sectors, want all 64", got)
	}
}

func TestCrashIsRepeatable(t *testing.T) {
	run := func(seed uint64) string {
		c := blockdevtest.NewCrash(64*512, blockdevtest.CrashOptions{Seed: seed})
		for i := range int64(20) {
			put(t, c, i*1024, byte('a'+i), 1024, 0)
		}
		var all string
		c.States(func(name string, d blockdev.Device) bool {
			all += name + sectors(t, d) + "\n"
			return true
		})
		return all
	}
	first := run(1)
	if run(1) != first {
		t.Error("the same seed gives other states")
	}
	if run(2) == first {
		t.Error("another seed gives the same states")
	}
}

func TestCrashStopsWhenTold(t *testing.T) {
	c := blockdevtest.NewCrash(64*512, blockdevtest.CrashOptions{})
	for i := range int64(3) {
		put(t, c, i*2048, 'a', 2048, blockdev.Flag(i&1))
		flush(t, c)
	}
	total := 0
	c.States(func(string, blockdev.Device) bool { total++; return true })
	for limit := 1; limit <= total; limit++ {
		n := 0
		c.States(func(string, blockdev.Device) bool { n++; return n < limit })
		if n != limit {
			t.Fatalf("told to stop after %d states, got %d", limit, n)
		}
	}
}

func TestCrashStateIsPrivate(t *testing.T) {
	c := blockdevtest.NewCrash(4*512, blockdevtest.CrashOptions{})
	put(t, c, 0, 'a', 512, 0)
	c.States(func(name string, d blockdev.Device) bool {
		put(t, d, 0, 'z', 4*512, 0)
		return true
	})
	if got := contents(t, c); got["zzzz"] || !got["a..."] {
		t.Errorf("writing to a state changed others: %v", got)
	}
}

func TestCrashFollowsGrowth(t *testing.T) {
	c := blockdevtest.NewCrash(512, blockdevtest.CrashOptions{})
	put(t, c, 0, 'a', 512, 0)
	if err := c.Resize(background, 1024); err != nil {
		t.Fatal(err)
	}
	put(t, c, 512, 'b', 512, 0)
	flush(t, c)
	wantStates(t, contents(t, c), ".", "a", "..", "a.", ".b", "ab")
}

// slot is a toy of a crash-safe record: two copies, each with a number and a
// checksum; the older is overwritten, then flushed. The variants are the
// mistakes that the crash disk is there to find.
type slot struct {
	d       blockdev.Device
	inPlace bool // overwrites its only copy
	noFlush bool // acknowledges without a flush
}

const slotBytes = 3 * 512

func (s slot) read(which int64) (seq uint64, ok bool) {
	p := make([]byte, slotBytes)
	if err := s.d.ReadAt(background, p, which*slotBytes); err != nil {
		return 0, false
	}
	sum := crc32.ChecksumIEEE(p[:slotBytes-4])
	return binary.BigEndian.Uint64(p), sum == binary.BigEndian.Uint32(p[slotBytes-4:])
}

// latest returns the newest valid record.
func (s slot) latest() uint64 {
	best := uint64(0)
	for which := range int64(2) {
		if seq, ok := s.read(which); ok {
			best = max(best, seq)
		}
	}
	return best
}

func (s slot) store(seq uint64) error {
	p := bytes.Repeat([]byte{byte(seq)}, slotBytes)
	binary.BigEndian.PutUint64(p, seq)
	binary.BigEndian.PutUint32(p[slotBytes-4:], crc32.ChecksumIEEE(p[:slotBytes-4]))
	which := int64(seq & 1)
	if s.inPlace {
		which = 0
	}
	if err := s.d.WriteAt(background, p, which*slotBytes, 0); err != nil || s.noFlush {
		return err
	}
	return s.d.Flush(background)
}

// lostStates counts the states in which the newest acknowledged record is not
// found.
func lostStates(t *testing.T, make func(d blockdev.Device) slot) (lost, states int) {
	t.Helper()
	c := blockdevtest.NewCrash(2*slotBytes, blockdevtest.CrashOptions{})
	s := make(c)
	acked := map[uint64]int{0: 0} // record → position at which it was acknowledged
	for seq := uint64(1); seq <= 5; seq++ {
		if err := s.store(seq); err != nil {
			t.Fatal(err)
		}
		acked[seq] = c.Pos()
	}
	c.Points(func(p blockdevtest.State) bool {
		want := uint64(0)
		for seq, pos := range acked {
			if pos <= p.Pos {
				want = max(want, seq)
			}
		}
		recovered := s
		recovered.d = p.Device
		if recovered.latest() < want {
			lost++
		}
		states++
		return true
	})
	return lost, states
}

func TestCrashFindsBrokenProtocols(t *testing.T) {
	for name, c := range map[string]struct {
		make func(blockdev.Device) slot
		bad  bool
	}{
		"two copies, flushed": {func(d blockdev.Device) slot { return slot{d: d} }, false},
		"one copy":            {func(d blockdev.Device) slot { return slot{d: d, inPlace: true} }, true},
		"no flush":            {func(d blockdev.Device) slot { return slot{d: d, noFlush: true} }, true},
	} {
		t.Run(name, func(t *testing.T) {
			lost, states := lostStates(t, c.make)
			if lost > 0 != c.bad {
				t.Errorf("%d of %d states lost the record, want some: %v", lost, states, c.bad)
			}
		})
	}
}

func ExampleCrash() {
	c := blockdevtest.NewCrash(1024, blockdevtest.CrashOptions{})
	_ = c.WriteAt(context.Background(), bytes.Repeat([]byte{1}, 1024), 0, 0)
	c.States(func(name string, _ blockdev.Device) bool {
		fmt.Println(name)
		return true
	})
	// Output:
	// after 0 requests
	// request 0 (write) cut after 1 units
	// request 0 (write) without its first 1 units
	// after 1 requests
	// before request 1, of 1 unflushed subset 0
	// before request 1, mixture 0
}
