package blockdevtest

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"lockplate/blockdev"
)

// State is one thing that a power cut may have left.
type State struct {
	Name   string        // says how it came about; the same in every run
	Device *blockdev.Mem // a copy of its own: recovery may write to it
	// Pos: the requests recorded before this position had completed when the
	// power failed; the one at it may have been under way.
	Pos int
	// Flushed: the requests before this position are all on the disk.
	Flushed int
}

// States produces every state that Points does, with a name and the device.
func (c *Crash) States(yield func(name string, dev blockdev.Device) bool) {
	c.Points(func(s State) bool { return yield(s.Name, s.Device) })
}

// Points produces, until yield returns false, every state that a power cut may
// have left, within the bounds of the options:
//
//   - every prefix of the requests;
//   - every request cut at its 512-byte edges, from the front and from the
//     back, on all that came before;
//   - for each run of requests between flushes, subsets of those that may be
//     missing, and random mixtures in which requests are missing and torn.
func (c *Crash) Points(yield func(State) bool) {
	c.mu.Lock()
	log := slices.Clone(c.log)
	w := &walk{o: c.o, log: log, r: newRand(c.o.Seed), yield: yield}
	w.all, w.durable = c.base.Clone(), c.base.Clone()
	c.mu.Unlock()
	w.run()
}

// walk replays the log and branches off states on the way.
type walk struct {
	o     CrashOptions
	log   []record
	r     *rand.Rand
	yield func(State) bool

	all     *blockdev.Mem // base and log[:pos]
	durable *blockdev.Mem // base and log[:flushed]
	flushed int
}

// emit yields a state; make changes a fresh copy of from into it.
func (w *walk) emit(name string, pos int, from *blockdev.Mem, change func(*blockdev.Mem)) bool {
	m := from.Clone()
	change(m)
	return w.yield(State{Name: name, Device: m, Pos: pos, Flushed: w.flushed})
}

func (w *walk) run() {
	for pos, r := range w.log {
		name := fmt.Sprintf("after %d requests", pos)
		if !w.emit(name, pos, w.all, func(*blockdev.Mem) {}) {
			return
		}
		// Later in the run there are more subsets, so the last moment before a
		// barrier holds them all; a FUA write is a barrier for itself.
		if (r.op == OpFlush || r.fua) && !w.reorder(pos) {
			return
		}
		if !w.tear(pos, r) {
			return
		}
		r.apply(w.all, nil)
		if r.op == OpFlush {
			w.durable, w.flushed = w.all.Clone(), pos+1
		}
	}
	end := len(w.log)
	_ = w.emit(fmt.Sprintf("after %d requests", end), end, w.all, func(*blockdev.Mem) {}) && w.reorder(end)
}

// tear cuts the request at pos, which is under way.
func (w *walk) tear(pos int, r record) bool {
	if r.op == OpFlush || r.op == OpResize {
		return true
	}
	for _, k := range w.choose(r.units()-1, w.o.Tears/2) {
		edge := k + 1
		front := fmt.Sprintf("request %d (%s) cut after %d units", pos, r.op, edge)
		if !w.emit(front, pos, w.all, func(m *blockdev.Mem) {
			r.apply(m, func(u int64) bool { return u < edge })
		}) {
			return false
		}
		back := fmt.Sprintf("request %d (%s) without its first %d units", pos, r.op, edge)
		if !w.emit(back, pos, w.all, func(m *blockdev.Mem) {
			r.apply(m, func(u int64) bool { return u >= edge })
		}) {
			return false
		}
	}
	return true
}

// choose returns all of 0..n-1, or limit of them, ascending.
func (w *walk) choose(n int64, limit int) []int64 {
	if n <= 0 || limit <= 0 {
		return nil
	}
	if n <= int64(limit) {
		all := make([]int64, n)
		for i := range all {
			all[i] = int64(i)
		}
		return all
	}
	picked := map[int64]bool{}
	list := make([]int64, 0, limit)
	for len(list) < limit {
		if k := w.r.Int64N(n); !picked[k] {
			picked[k] = true
			list = append(list, k)
		}
	}
	slices.Sort(list)
	return list
}

// reorder shows the moment before log[pos] with some of the unflushed requests
// missing: all subsets if that is few, else random ones, some of them torn.
func (w *walk) reorder(pos int) bool {
	var loose []int
	for i := w.flushed; i < pos; i++ {
		if w.log[i].lost() {
			loose = append(loose, i)
		}
	}
	if len(loose) == 0 {
		return true
	}
	if len(loose) < 31 && 1<<len(loose) <= w.o.Reorders {
		return w.subsets(pos, loose)
	}
	for k := range w.o.Reorders {
		if !w.mixture(pos, k, w.r.IntN(2) == 0) {
			return false
		}
	}
	return true
}

// subsets yields all subsets of the loose requests but the full one, which the
// prefix is, and then as many torn mixtures as the bound leaves room for.
func (w *walk) subsets(pos int, loose []int) bool {
	count := 1<<len(loose) - 1
	for set := range count {
		present := map[int]bool{}
		for bit, i := range loose {
			present[i] = set>>bit&1 == 1
		}
		name := fmt.Sprintf("before request %d, of %d unflushed subset %b", pos, len(loose), set)
		if !w.emit(name, pos, w.durable, func(m *blockdev.Mem) {
			w.replay(m, pos, func(i int) func(int64) bool {
				if present[i] {
					return nil
				}
				return none
			})
		}) {
			return false
		}
	}
	for k := range min(count, w.o.Reorders-count) {
		if !w.mixture(pos, k, true) {
			return false
		}
	}
	return true
}

// mixture yields one random state: each loose request is there, missing, or,
// if torn, there in part; and of the request under way there is a part.
func (w *walk) mixture(pos, k int, torn bool) bool {
	name := fmt.Sprintf("before request %d, mixture %d", pos, k)
	return w.emit(name, pos, w.durable, func(m *blockdev.Mem) {
		w.replay(m, pos, func(int) func(int64) bool {
			switch pick := w.r.IntN(3); {
			case pick == 0:
				return none
			case pick == 1 && torn:
				return func(int64) bool { return w.r.IntN(2) == 0 }
			}
			return nil
		})
		if torn && pos < len(w.log) && w.log[pos].op != OpResize {
			w.log[pos].apply(m, func(int64) bool { return w.r.IntN(2) == 0 })
		}
	})
}

func none(int64) bool { return false }

// replay applies the unflushed requests before pos; keep is asked for the
// units of those that may be missing.
func (w *walk) replay(m *blockdev.Mem, pos int, keep func(i int) func(int64) bool) {
	for i := w.flushed; i < pos; i++ {
		if r := w.log[i]; r.lost() {
			r.apply(m, keep(i))
		} else {
			r.apply(m, nil)
		}
	}
}
