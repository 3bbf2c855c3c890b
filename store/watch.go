package store

import (
	"context"
	"iter"
	"strings"
	"sync"
)

// maxBehind is how many changes a watcher may be behind before it is cut off.
const maxBehind = 4096

// feed hands committed changes to watchers. Its zero value is ready.
type feed struct {
	mu       sync.Mutex
	closed   bool
	watchers map[*watcher]struct{}
}

// watcher queues changes for one Watch. wake has room for one token, so that a
// publisher never waits.
type watcher struct {
	prefix string
	wake   chan struct{}

	mu    sync.Mutex
	queue []Change
	err   error // why no more will come
}

// Watch implements Store.
func (s *Bolt) Watch(ctx context.Context, prefix string) iter.Seq2[Change, error] {
	w := s.feed.add(prefix)
	stop := context.AfterFunc(ctx, func() { s.feed.remove(w) })
	return func(yield func(Change, error) bool) {
		defer stop()
		defer s.feed.remove(w)
		w.deliver(ctx, yield)
	}
}

func (f *feed) add(prefix string) *watcher {
	w := &watcher{prefix: prefix, wake: make(chan struct{}, 1)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		w.end(ErrClosed)
		return w
	}
	if f.watchers == nil {
		f.watchers = map[*watcher]struct{}{}
	}
	f.watchers[w] = struct{}{}
	return w
}

func (f *feed) remove(w *watcher) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.watchers, w)
}

// publish queues cs, whose values belong to the watchers from now on.
func (f *feed) publish(cs []Change) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.watchers {
		if !w.push(cs) {
			delete(f.watchers, w)
		}
	}
}

func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for w := range f.watchers {
		w.end(ErrClosed)
	}
	f.watchers = nil
}

// push adds what concerns w and says whether w is still to be served.
func (w *watcher) push(cs []Change) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range cs {
		if strings.HasPrefix(c.Key, w.prefix) {
			w.queue = append(w.queue, Change{c.Key, cloneValue(c.Value)})
		}
	}
	if len(w.queue) > maxBehind {
		w.queue, w.err = nil, ErrOverrun
	}
	w.signal()
	return w.err == nil
}

// cloneValue copies v, keeping nil and empty apart.
func cloneValue(v []byte) []byte {
	if v == nil {
		return nil
	}
	return append([]byte{}, v...)
}

func (w *watcher) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
	w.signal()
}

func (w *watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// deliver yields until ctx ends, w ends, or the loop is left.
func (w *watcher) deliver(ctx context.Context, yield func(Change, error) bool) {
	for ctx.Err() == nil {
		w.mu.Lock()
		cs, err := w.queue, w.err
		w.queue = nil
		w.mu.Unlock()
		for _, c := range cs {
			if ctx.Err() != nil || !yield(c, nil) {
				return
			}
		}
		if err != nil {
			yield(Change{}, err)
			return
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
		}
	}
}
