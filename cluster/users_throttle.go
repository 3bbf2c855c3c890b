package cluster

import (
	"sync"
	"time"
)

// allowance is how many failures are free, and how long each takes to be
// forgotten.
type allowance struct {
	burst int
	every time.Duration
}

// Failed logins are counted three ways. The pair stops guessing from one
// place. The address stops trying many names. The name stops guessing from
// many places; it is wide, since whoever fills it keeps the owner out too (who
// still has the Unix socket).
func failureAllowances() [3]allowance {
	return [3]allowance{
		{burst: 5, every: 10 * time.Second}, // address and name
		{burst: 20, every: 3 * time.Second}, // address
		{burst: 100, every: time.Second},    // name
	}
}

// maxThrottled bounds the memory of a throttle.
const maxThrottled = 4096

// throttle counts failures per key and forgets them with time.
type throttle struct {
	now   func() time.Time
	limit [3]allowance

	mu   sync.Mutex
	seen map[throttleKey]time.Time // when all failures will be forgotten
}

// throttleKey is an address, a name, or both; which says which.
type throttleKey struct {
	which      int
	from, name string
}

func newThrottle(now func() time.Time) *throttle {
	return &throttle{now: now, limit: failureAllowances(), seen: map[throttleKey]time.Time{}}
}

func throttleKeys(from, name string) [3]throttleKey {
	if len(name) > maxUserName {
		name = name[:maxUserName]
	}
	return [3]throttleKey{{0, from, name}, {1, from, ""}, {2, "", name}}
}

// allowed says whether this caller may try now.
func (t *throttle) allowed(from, name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	for i, k := range throttleKeys(from, name) {
		free := time.Duration(t.limit[i].burst) * t.limit[i].every
		if t.seen[k].Sub(now) > free-t.limit[i].every {
			return false
		}
	}
	return true
}

// failed counts one failure.
func (t *throttle) failed(from, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	for i, k := range throttleKeys(from, name) {
		end, ok := t.seen[k]
		if !ok && len(t.seen) >= maxThrottled {
			t.shrink(now)
		}
		if end.Before(now) {
			end = now
		}
		most := now.Add(time.Duration(t.limit[i].burst) * t.limit[i].every)
		if end = end.Add(t.limit[i].every); end.After(most) {
			end = most
		}
		t.seen[k] = end
	}
}

// shrink drops what is forgotten, and if that is nothing, the entry nearest
// to it.
func (t *throttle) shrink(now time.Time) {
	var first throttleKey
	var firstEnd time.Time
	for k, end := range t.seen {
		if end.Before(now) {
			delete(t.seen, k)
		} else if firstEnd.IsZero() || end.Before(firstEnd) {
			first, firstEnd = k, end
		}
	}
	if len(t.seen) >= maxThrottled {
		delete(t.seen, first)
	}
}
