package cluster

import (
	"context"
	"errors"
	"sync"
	"time"
)

// How long a drive may take to answer: a look at it, and to be opened where an
// administrator or the start waits for it (a disk may have to spin up). One
// that is silent for hangTime is taken for lost, and not before: a disk that
// tries a bad sector again or a busy share is often slow, and comes back.
const (
	lookTime = 2 * time.Second
	openTime = 20 * time.Second
	hangTime = 60 * time.Second
)

// errStalled is what a drive is asked that hangs.
var errStalled = errors.New("it does not answer; a disk or network share hangs")

// driveLook asks a drive in a goroutine of its own, one question at a time, so
// that one that hangs (calls to a dead NFS server cannot be interrupted) holds
// up one goroutine and nobody else. Once a question is late everybody is told
// so at once until it is answered. The zero value is ready.
type driveLook struct {
	mu    sync.Mutex
	busy  chan struct{} // closed when the question is answered; nil: none is asked
	since time.Time     // when it was asked
	late  bool          // and its time is over
}

// enter waits until it may ask.
func (l *driveLook) enter(most time.Duration) error {
	t := time.NewTimer(most)
	defer t.Stop()
	for {
		l.mu.Lock()
		busy, late := l.busy, l.late
		if busy == nil {
			l.busy, l.since = make(chan struct{}), time.Now()
			l.mu.Unlock()
			return nil
		}
		l.mu.Unlock()
		if late {
			return errStalled
		}
		select {
		case <-busy:
		case <-t.C:
			return errStalled
		}
	}
}

func (l *driveLook) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.busy)
	l.busy, l.late = nil, false
}

// giveUp says that a question is late, unless it was answered just now.
func (l *driveLook) giveUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.late = l.busy != nil
}

// silence is for how long a late question has waited for its answer.
func (l *driveLook) silence() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.late {
		return 0
	}
	return time.Since(l.since)
}

// look asks for at most so long, else it is errStalled. An answer that comes
// later is dropped; ask sees by its context that this is so.
func look[T any](ctx context.Context, l *driveLook, most time.Duration, ask func(context.Context) (T, error)) (T, error) {
	type answer struct {
		v   T
		err error
	}
	var none T
	if err := l.enter(most); err != nil {
		return none, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), most)
	got := make(chan answer, 1)
	go func() {
		defer cancel()
		v, err := ask(ctx)
		l.leave()
		got <- answer{v, err}
	}()
	select {
	case a := <-got:
		return a.v, a.err
	case <-ctx.Done():
	}
	select {
	case a := <-got: // done is when the answer came, too
		return a.v, a.err
	default:
		l.giveUp()
		return none, errStalled
	}
}

// after does what must not overlap with a question: at once, or when a late
// one is answered.
func (l *driveLook) after(do func() error) error {
	if l.enter(lookTime) == nil {
		defer l.leave()
		return do()
	}
	go func() {
		for l.enter(lookTime) != nil {
			l.await()
		}
		defer l.leave()
		do()
	}()
	return nil
}

// await waits until no question is asked.
func (l *driveLook) await() {
	l.mu.Lock()
	busy := l.busy
	l.mu.Unlock()
	if busy != nil {
		<-busy
	}
}
