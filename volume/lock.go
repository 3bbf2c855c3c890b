package volume

import (
	"context"
	"sync"
)

// keepSpans bounds the spans kept for reuse; more concurrent writes than this
// allocate theirs.
const keepSpans = 256

// rangeLock orders writes. A span of whole units is shared with other spans,
// but its first and last unit may be exclusive, which is what a partial write
// needs between its read and its write. Conflicting spans get their turn in
// the order they came, so nobody starves.
//
// It is the one lock of this package that is held over I/O. Nobody waits for
// a span while holding another, so there is no deadlock.
type rangeLock struct {
	mu        sync.Mutex
	unit      int64
	list      span // sentinel of all spans, granted and waiting, in order of arrival
	exclusive int  // spans in the list with an exclusive unit
	free      *span
	kept      int
}

// span is a range of bytes that is, or waits to be, locked.
type span struct {
	lo, hi     int64
	head, tail bool // first, last unit exclusive
	blockers   int  // conflicting spans that came earlier
	ready      chan struct{}
	prev, next *span
}

func (l *rangeLock) init(unit int64) {
	l.unit = unit
	l.list.prev, l.list.next = &l.list, &l.list
}

// lock waits for [lo, hi), whole units, or for the end of ctx.
func (l *rangeLock) lock(ctx context.Context, lo, hi int64, head, tail bool) (*span, error) {
	s, wait := l.enqueue(lo, hi, head, tail)
	if !wait {
		return s, nil
	}
	select {
	case <-s.ready:
		return s, nil
	case <-ctx.Done():
		l.unlock(s)
		return nil, ctx.Err()
	}
}

func (l *rangeLock) enqueue(lo, hi int64, head, tail bool) (s *span, wait bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s = l.take()
	s.lo, s.hi, s.head, s.tail = lo, hi, head, tail
	if l.exclusive > 0 || s.exclusive() {
		for e := l.list.next; e != &l.list; e = e.next {
			if l.conflict(e, s) {
				s.blockers++
			}
		}
	}
	if s.exclusive() {
		l.exclusive++
	}
	s.prev, s.next = l.list.prev, &l.list
	s.prev.next, s.next.prev = s, s
	return s, s.blockers > 0
}

// unlock releases a span, whether it was granted or still waits. A nil span is
// one that needed no lock.
func (l *rangeLock) unlock(s *span) {
	if s == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.exclusive > 0 {
		l.wake(s)
	}
	if s.exclusive() {
		l.exclusive--
	}
	s.prev.next, s.next.prev = s.next, s.prev
	l.keep(s)
}

// wake counts s off for the spans behind it that it blocks.
func (l *rangeLock) wake(s *span) {
	for e := s.next; e != &l.list; e = e.next {
		if !l.conflict(s, e) {
			continue
		}
		if e.blockers--; e.blockers == 0 {
			e.ready <- struct{}{}
		}
	}
}

func (s *span) exclusive() bool { return s.head || s.tail }

// conflict reports whether an exclusive unit of one span lies in the other.
func (l *rangeLock) conflict(a, b *span) bool {
	if a.hi <= b.lo || b.hi <= a.lo {
		return false
	}
	return l.excludes(a, b) || l.excludes(b, a)
}

func (l *rangeLock) excludes(a, b *span) bool {
	return a.head && b.lo <= a.lo || a.tail && b.hi >= a.hi
}

// take returns a span in its initial state.
func (l *rangeLock) take() *span {
	s := l.free
	if s == nil {
		return &span{ready: make(chan struct{}, 1)}
	}
	l.free, l.kept = s.next, l.kept-1
	s.next = nil
	return s
}

// keep puts a span aside for reuse. A token left by a grant that nobody took
// (the caller's context ended first) goes away here.
func (l *rangeLock) keep(s *span) {
	select {
	case <-s.ready:
	default:
	}
	if l.kept == keepSpans {
		return
	}
	*s = span{ready: s.ready, next: l.free}
	l.free, l.kept = s, l.kept+1
}

// lock takes the range lock for whole units. Where the unit is a byte nothing
// is ever read-modified-written, and no lock is needed (nil).
func (v *Volume) lock(ctx context.Context, lo, hi int64, head, tail bool) (*span, error) {
	if v.unit == 1 || lo == hi {
		return nil, nil
	}
	return v.locks.lock(ctx, lo, hi, head, tail)
}
