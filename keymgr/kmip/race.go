package kmip

import (
	"context"
	"time"
)

// entry is the state of one runner of a race.
type entry struct {
	err  error
	late bool // was still running, for longer than a stagger, when another won
}

// race runs do(0), and do(i+1) as soon as do(i) failed or has run for stagger,
// until one succeeds. The context of the others is then cancelled, and their
// late results are given to drop. It returns when all have ended, so do must
// heed its context. won is -1 when none succeeded; runs has an entry for each
// that was started.
func race[T any](ctx context.Context, n int, stagger time.Duration,
	do func(ctx context.Context, i int) (T, error), drop func(T),
) (value T, won int, runs []entry) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		i     int
		value T
		err   error
	}
	results := make(chan result, n)
	started := make([]time.Time, 0, n)
	start := func() {
		i := len(started)
		started = append(started, time.Now())
		runs = append(runs, entry{})
		go func() {
			v, err := do(ctx, i)
			results <- result{i, v, err}
		}()
	}
	won = -1
	timer := time.NewTimer(stagger)
	defer timer.Stop()
	start()
	for ended := 0; ended < len(started); {
		more := won < 0 && len(started) < n && ctx.Err() == nil
		select {
		case r := <-results:
			ended++
			runs[r.i].err = r.err
			switch {
			case r.err == nil && won >= 0:
				drop(r.value)
			case r.err == nil:
				value, won = r.value, r.i
				markLate(runs, started, r.i, stagger)
				cancel()
			case more:
				timer.Reset(stagger)
				start()
			}
		case <-timer.C:
			if more {
				timer.Reset(stagger)
				start()
			}
		}
	}
	return value, won, runs
}

// markLate marks those that the winner overtook by at least a stagger.
func markLate(runs []entry, started []time.Time, won int, stagger time.Duration) {
	for i := range runs {
		if runs[i].err == nil && i != won && time.Since(started[i]) >= stagger {
			runs[i].late = true
		}
	}
}
