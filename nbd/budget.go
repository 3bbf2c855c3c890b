package nbd

import "sync"

// budget bounds the bytes of requests in flight over all connections.
//
// A connection may grow only while what it would hold is at most half of what
// it and the free part make up together. So connections that hold on to their
// share (clients that stopped reading their replies) can never take all: each
// further one gets less, and small requests of the others always find room.
type budget struct {
	mu      sync.Mutex
	total   int64
	used    int64
	waiters int
	freed   sync.Cond
}

// newBudget makes a budget of total bytes, all free.
func newBudget(total int64) *budget {
	b := &budget{total: total}
	b.freed.L = &b.mu
	return b
}

// fits says whether a connection that holds held bytes may take n more. One
// that holds nothing and asks while nobody holds anything always may.
func (b *budget) fits(held, n int64) bool {
	if b.used == 0 {
		return true
	}
	return 2*(held+n) <= b.total-b.used+held
}

// take takes n bytes for a connection holding held, if they are to be had.
func (b *budget) take(held, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.fits(held, n) {
		return false
	}
	b.used += n
	return true
}

// wait takes n bytes as soon as they are to be had; false when gaveUp says so
// first. It is called again whenever bytes are given back or wake is called.
func (b *budget) wait(held func() int64, n int64, gaveUp func() bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiters++
	defer func() { b.waiters-- }()
	for !b.fits(held(), n) {
		if gaveUp() {
			return false
		}
		b.freed.Wait()
	}
	b.used += n
	return true
}

// give gives n bytes back.
func (b *budget) give(n int64) {
	if n == 0 {
		return
	}
	b.mu.Lock()
	b.used -= n
	wake := b.waiters > 0
	b.mu.Unlock()
	if wake {
		b.freed.Broadcast()
	}
}

// wake makes waiters look again whether to give up.
func (b *budget) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.freed.Broadcast()
}

// inUse is the number of bytes taken.
func (b *budget) inUse() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// contended says whether somebody waits.
func (b *budget) contended() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiters > 0
}
