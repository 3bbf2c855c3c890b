package volume

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func newLock() *rangeLock {
	l := new(rangeLock)
	l.init(10)
	return l
}

func TestSpanConflicts(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b span
		want bool
	}{
		{"whole units share", span{lo: 0, hi: 50}, span{lo: 0, hi: 50}, false},
		{"edge unit against whole", span{lo: 0, hi: 50}, span{lo: 40, hi: 50, head: true}, true},
		{"two edges in one unit", span{lo: 0, hi: 10, tail: true}, span{lo: 0, hi: 10, head: true}, true},
		{"apart", span{lo: 0, hi: 10, head: true, tail: true}, span{lo: 10, hi: 20, head: true}, false},
		{"head beyond the other", span{lo: 0, hi: 50, head: true}, span{lo: 10, hi: 20}, false},
		{"tail beyond the other", span{lo: 0, hi: 50, tail: true}, span{lo: 10, hi: 20}, false},
		{"tail within the other", span{lo: 0, hi: 50, tail: true}, span{lo: 20, hi: 90}, true},
		{"head within the other", span{lo: 30, hi: 50, head: true}, span{lo: 20, hi: 40}, true},
		{"middles share", span{lo: 0, hi: 50, head: true, tail: true}, span{lo: 10, hi: 40}, false},
		{"head in the other's middle", span{lo: 20, hi: 90, head: true}, span{lo: 0, hi: 50, tail: true}, true},
	} {
		l := newLock()
		if l.conflict(&c.a, &c.b) != c.want || l.conflict(&c.b, &c.a) != c.want {
			t.Errorf("%s: conflict is not %v both ways", c.name, c.want)
		}
	}
}

func TestConflictingSpansAreServedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLock()
		first, err := l.lock(t.Context(), 0, 10, true, false)
		mustDo(t, err)
		order := make(chan int, 3)
		release := make(chan bool)
		for i := range 3 { // alone, shared, alone: the shared one must not overtake
			go func() {
				s, err := l.lock(t.Context(), 0, 10+10*int64(i%2), i != 1, false)
				if err != nil {
					t.Error(err)
				}
				order <- i
				<-release
				l.unlock(s)
			}()
			synctest.Wait()
		}
		if len(order) != 0 {
			t.Fatal("granted against a span that is held alone")
		}
		l.unlock(first)
		for want := range 3 {
			synctest.Wait()
			if len(order) != 1 {
				t.Fatalf("%d spans granted, want one", len(order))
			}
			if got := <-order; got != want {
				t.Errorf("turn %d went to %d", want, got)
			}
			release <- true
		}
		synctest.Wait()
		assertIdle(t, l)
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLock()
		held, err := l.lock(t.Context(), 0, 10, true, false)
		mustDo(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		gone, granted := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := l.lock(ctx, 0, 30, true, true)
			gone <- err
		}()
		synctest.Wait()
		go func() { // behind the one that will give up, not in conflict with the held one
			s, err := l.lock(t.Context(), 20, 30, false, false)
			l.unlock(s)
			granted <- err
		}()
		synctest.Wait()
		if len(granted) != 0 {
			t.Error("overtook a waiting span")
		}
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled wait: %v", err)
		}
		mustDo(t, <-granted)
		l.unlock(held)
		assertIdle(t, l)
	})
}

// A grant that nobody took must not be taken for the next one.
func TestGrantThatCameTooLateIsForgotten(t *testing.T) {
	l := newLock()
	first, _ := l.enqueue(0, 10, true, false)
	gaveUp, wait := l.enqueue(0, 10, true, false)
	if !wait {
		t.Fatal("two spans hold one unit alone")
	}
	l.unlock(first) // grants
	l.unlock(gaveUp)
	for range 2 {
		if s, _ := l.enqueue(0, 10, true, false); len(s.ready) != 0 {
			t.Error("a reused span holds an old grant")
		}
	}
}

func assertIdle(t *testing.T, l *rangeLock) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.list.next != &l.list || l.list.prev != &l.list || l.exclusive != 0 {
		t.Errorf("spans are left: exclusive %d", l.exclusive)
	}
	if l.kept > keepSpans {
		t.Errorf("%d spans kept", l.kept)
	}
}

// Many lockers, some of which give up: per unit, writers alone or sharers.
func TestRangeLockExcludes(t *testing.T) {
	const units = 12
	l := newLock()
	var state [units]atomic.Int64 // sharers, or -1
	var wg sync.WaitGroup
	for w := range 8 {
		rng := rand.New(rand.NewPCG(5, uint64(w)))
		wg.Go(func() {
			for range 4000 {
				lo := rng.Int64N(units)
				hi := lo + 1 + rng.Int64N(units-lo)
				head, tail := rng.IntN(3) == 0, rng.IntN(3) == 0
				ctx, cancel := context.WithCancel(t.Context())
				if rng.IntN(4) == 0 {
					go cancel()
				}
				s, err := l.lock(ctx, lo*10, hi*10, head, tail)
				if err == nil {
					hold(t, state[lo:hi], head, tail)
					l.unlock(s)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	assertIdle(t, l)
}

func hold(t *testing.T, units []atomic.Int64, head, tail bool) {
	alone := func(i int) bool { return i == 0 && head || i == len(units)-1 && tail }
	for i := range units {
		if alone(i) {
			if !units[i].CompareAndSwap(0, -1) {
				t.Error("a unit to be held alone is in use")
			}
		} else if units[i].Add(1) <= 0 {
			t.Error("a unit is shared that is held alone")
		}
	}
	for i := range units {
		if alone(i) {
			units[i].Add(1)
		} else {
			units[i].Add(-1)
		}
	}
}
