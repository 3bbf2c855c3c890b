package keymgr

import (
	"fmt"
	"math/bits"
	"sync"

	"golang.org/x/sys/unix"
)

// Locked memory. A page of its own for each key, as memguard gives, would reach
// the usual limit of 8 MiB locked memory at about 600 volumes, and memguard
// ends the process there. So secrets share locked regions, in slots of 64
// bytes: 100,000 data keys fit. The price is that a slice kept after Destroy
// may show another secret, where memguard would fault; see Secret.Bytes.
//
//	guard page | regionBytes of slots | guard page
//
// Regions are locked (never swapped), not in core dumps, and not inherited by a
// forked child. An overrun in either direction meets a guard page.
const (
	slotBytes   = 64
	regionBytes = 64 << 10
	regionSlots = regionBytes / slotBytes
	maxSecret   = regionBytes
)

// arena hands out slots. Its zero value is ready.
type arena struct {
	mu      sync.Mutex
	regions []*region
}

// locked is the only arena, and a variable of the package against the house
// rule: like the heap, locked memory belongs to the process, whose limit it
// comes from, and a Secret is as easily made as a slice.
var locked arena

type region struct {
	whole []byte // with guard pages
	slots []byte
	used  [regionSlots / 64]uint64
	live  int // slots in use
}

// block is a run of slots.
type block struct {
	r     *region
	first int
	n     int
}

func (b block) bytes(n int) []byte {
	off := b.first * slotBytes
	return b.r.slots[off : off+n : off+n]
}

// alloc returns zeroed slots for n bytes.
func (a *arena) alloc(n int) (block, error) {
	if n < 1 || n > maxSecret {
		return block{}, fmt.Errorf("secret of %d bytes: %w", n, ErrTooLarge)
	}
	want := (n + slotBytes - 1) / slotBytes
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.regions {
		if first := r.find(want); first >= 0 {
			return r.take(first, want), nil
		}
	}
	r, err := newRegion()
	if err != nil {
		return block{}, err
	}
	a.regions = append(a.regions, r)
	return r.take(0, want), nil
}

// free wipes b and gives it back. One empty region is kept for the next.
func (a *arena) free(b block) {
	clear(b.bytes(b.n * slotBytes))
	a.mu.Lock()
	defer a.mu.Unlock()
	b.r.mark(b.first, b.n, false)
	if b.r.live > 0 {
		return
	}
	for i, r := range a.regions {
		if r == b.r && len(a.regions) > 1 {
			a.regions = append(a.regions[:i], a.regions[i+1:]...)
			_ = unix.Munmap(r.whole) // cannot fail for a mapping of ours; the lock goes with it
			return
		}
	}
}

// find returns the first of n free slots in a row, -1 if there are none.
func (r *region) find(n int) int {
	for i, run := 0, 0; i < regionSlots; i++ {
		w := r.used[i/64]
		if i%64 == 0 && w == ^uint64(0) {
			i, run = i+63, 0
			continue
		}
		if w>>(i%64)&1 == 1 {
			run = 0
			continue
		}
		if run++; run == n {
			return i - n + 1
		}
	}
	return -1
}

func (r *region) take(first, n int) block {
	r.mark(first, n, true)
	return block{r, first, n}
}

func (r *region) mark(first, n int, used bool) {
	for i := first; i < first+n; i++ {
		if used {
			r.used[i/64] |= 1 << (i % 64)
		} else {
			r.used[i/64] &^= 1 << (i % 64)
		}
	}
	r.live = 0
	for _, w := range r.used {
		r.live += bits.OnesCount64(w)
	}
}

func newRegion() (*region, error) {
	guard := unix.Getpagesize()
	whole, err := unix.Mmap(-1, 0, regionBytes+2*guard, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("%w: map: %w", ErrMemlock, err)
	}
	slots := whole[guard : guard+regionBytes : guard+regionBytes]
	if err := protect(slots); err != nil {
		_ = unix.Munmap(whole)
		return nil, fmt.Errorf("%w: %w", ErrMemlock, err)
	}
	return &region{whole: whole, slots: slots}, nil
}

func protect(slots []byte) error {
	if err := unix.Mprotect(slots, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		return fmt.Errorf("mprotect: %w", err)
	}
	for _, advice := range []int{unix.MADV_DONTDUMP, unix.MADV_DONTFORK} {
		if err := unix.Madvise(slots, advice); err != nil {
			return fmt.Errorf("madvise: %w", err)
		}
	}
	if err := unix.Mlock(slots); err != nil {
		return fmt.Errorf("mlock: %w", err)
	}
	return nil
}
