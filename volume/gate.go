package volume

import "sync/atomic"

// closing is added to the count of a gate once. Far from both ends of int64:
// callers that come too late still count up and down around it.
const closing = -1 << 62

// gate counts the requests in flight and lets close wait for them.
type gate struct {
	n       atomic.Int64 // requests in flight; below zero when closed
	closed  atomic.Bool
	drained chan struct{} // gets one token when the last request has left
}

func (g *gate) init() { g.drained = make(chan struct{}, 1) }

// enter admits a request unless the gate is closed.
func (g *gate) enter() bool {
	if g.n.Add(1) > 0 {
		return true
	}
	g.leave()
	return false
}

func (g *gate) leave() {
	if g.n.Add(-1) != closing {
		return
	}
	select {
	case g.drained <- struct{}{}:
	default: // a late caller came and went; the token is there already
	}
}

// close shuts the gate and waits until everyone has left. It returns false at
// once if the gate was closed before.
func (g *gate) close() bool {
	if !g.closed.CompareAndSwap(false, true) {
		return false
	}
	if g.n.Add(closing) != closing {
		<-g.drained
	}
	return true
}
