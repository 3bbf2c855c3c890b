package keymgr

import (
	"context"
	"sync"
	"time"
)

// worker runs a Manager's rekey job and what is to be cleaned up, in one
// goroutine that lives while there is work. Its owner calls stop.
type worker struct {
	ctx    context.Context
	cancel context.CancelFunc
	work   func(context.Context) (again bool, err error)
	retry  time.Duration // wait after the first failure; doubles up to maxRetry

	mu      sync.Mutex
	running bool
	stopped bool
	kicked  chan struct{} // one in it: look again
	done    sync.WaitGroup
}

// maxRetry is the longest wait between two attempts.
const maxRetry = time.Minute

// newWorker gives a worker that does nothing until kicked. work does one piece
// and says whether to come again at once.
func newWorker(retry time.Duration, work func(context.Context) (bool, error)) *worker {
	w := &worker{work: work, retry: retry, kicked: make(chan struct{}, 1)}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// kick has the worker look for work now, even if it waits to try again.
func (w *worker) kick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	select {
	case w.kicked <- struct{}{}:
	default:
	}
	if !w.running {
		w.running = true
		w.done.Go(w.run)
	}
}

// stop ends the work where it is and waits for that.
func (w *worker) stop() {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	w.cancel()
	w.done.Wait()
}

// run works until there is nothing to do. The wait doubles with each failure in
// a row, and a kick cuts it short.
func (w *worker) run() {
	wait := w.retry
	for {
		again, err := w.work(w.ctx)
		switch {
		case w.ctx.Err() != nil:
			return
		case err != nil:
			w.pause(wait)
			wait = min(2*wait, maxRetry)
		case again:
			wait = w.retry
		case w.idle():
			return
		}
	}
}

// idle ends the goroutine unless it was kicked meanwhile.
func (w *worker) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.kicked:
		return false
	default:
		w.running = false
		return true
	}
}

// pause waits for d, a kick, or the end.
func (w *worker) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.kicked:
	case <-w.ctx.Done():
	}
}
