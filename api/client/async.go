package client

import (
	"context"
	"encoding/json"
	"time"

	"lockplate/api/wire"
)

// Pauses between two looks at long work: short first, since most is done at
// once.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = time.Second
)

// WaitAsync polls an async handle until its work is complete, then ends the
// handle and returns the last state seen. Work that failed is an *Error beside
// it. progress, if not nil, is called with every state, one call at a time.
func (c *Client) WaitAsync(ctx context.Context, handle int64, progress func(wire.GetAsyncResultResult)) (wire.GetAsyncResultResult, error) {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		var r wire.GetAsyncResultResult
		// Keep it until it has been read, so that a lost answer loses nothing.
		err := c.Call(ctx, wire.MethodGetAsyncResult, wire.GetAsyncResultParams{AsyncHandle: wire.Int(handle), KeepResult: true}, &r)
		if err != nil {
			return r, err
		}
		if progress != nil {
			progress(r)
		}
		if r.Status == wire.AsyncComplete {
			return r, c.endAsync(ctx, handle, r)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return r, ctx.Err()
		}
	}
}

// endAsync lets the gateway forget a complete handle and gives its outcome.
func (c *Client) endAsync(ctx context.Context, handle int64, r wire.GetAsyncResultResult) error {
	err := c.Call(ctx, wire.MethodGetAsyncResult, wire.GetAsyncResultParams{AsyncHandle: wire.Int(handle)}, nil)
	if r.Error != nil {
		return fromAsync(r.Error)
	}
	if err != nil && !IsName(err, wire.ErrAsyncNotFound) { // somebody else read it: as good
		return err
	}
	return nil
}

// Percent is how far long work is, 0 to 100.
func Percent(r wire.GetAsyncResultResult) int {
	if r.Status == wire.AsyncComplete {
		return 100
	}
	switch p := r.Details["percentComplete"].(type) {
	case float64:
		return int(p)
	case json.Number:
		n, _ := p.Int64() // not a number: 0
		return int(n)
	}
	return 0
}
