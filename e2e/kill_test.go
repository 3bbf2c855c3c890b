package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// ledger knows what a volume may hold after a crash: every byte is what the
// last flush made durable or what a later write put there, acknowledged or not.
type ledger struct {
	durable []byte
	pending []write // since the last flush, in order
}

type write struct {
	off  int64
	data []byte
}

// flushed is called when a flush was acknowledged.
func (l *ledger) flushed() {
	for _, w := range l.pending {
		copy(l.durable[w.off:], w.data)
	}
	l.pending = nil
}

// check gives the first byte of got that may not be there, or -1.
func (l *ledger) check(got []byte) int64 {
	if bytes.Equal(got, l.durable) {
		return -1
	}
	bad := map[int64]bool{}
	for i := range got {
		if got[i] != l.durable[i] {
			bad[int64(i)] = true
		}
	}
	for _, w := range l.pending {
		for i, b := range w.data {
			if off := w.off + int64(i); got[off] == b {
				delete(bad, off)
			}
		}
	}
	first := int64(-1)
	for off := range bad {
		if first < 0 || off < first {
			first = off
		}
	}
	return first
}

func TestLedgerTellsLossFromDelay(t *testing.T) {
	l := &ledger{durable: []byte("aaaa")}
	l.pending = []write{{1, []byte("bb")}}
	for _, tt := range []struct {
		got  string
		want int64
	}{{"aaaa", -1}, {"abba", -1}, {"abaa", -1}, {"abbb", 3}, {"acba", 1}} {
		if got := l.check([]byte(tt.got)); got != tt.want {
			t.Errorf("check(%q) = %d, want %d", tt.got, got, tt.want)
		}
	}
	l.flushed()
	if got := l.check([]byte("aaaa")); got != 1 {
		t.Errorf("a flushed write was lost and check = %d, want 1", got)
	}
}

// writer keeps a client busy until the connection breaks: batches of writes at
// any place and of any length, side by side in one sector too, with a flush
// after some of them.
type writer struct {
	*client
	*ledger
	rng     *rand.Rand
	writes  int
	flushes int
}

func (w *writer) run() error {
	for {
		if err := w.batch(); err != nil {
			return err
		}
		if w.rng.IntN(3) > 0 {
			continue
		}
		if err := w.flush(); err != nil {
			return err
		}
		w.flushed()
		w.flushes++
	}
}

// batch has up to 16 writes in flight; neighbours may share a sector but not a
// byte, so that their order does not matter.
func (w *writer) batch() error {
	n := 1 + w.rng.IntN(16)
	off := w.rng.Int64N(w.size - 16*70000)
	for range n {
		length := 1 + w.rng.IntN(9000)
		if w.rng.IntN(8) == 0 {
			length = 4096 * (1 + w.rng.IntN(16))
			off = off &^ 4095
			off += 4096
		}
		p := make([]byte, length)
		for i := range p {
			p[i] = byte(w.rng.Uint32())
		}
		w.pending = append(w.pending, write{off, p})
		if err := w.send(cmdWrite, 0, off, p); err != nil {
			return err
		}
		off += int64(length)
	}
	for range n {
		if err := w.receive(); err != nil {
			return err
		}
		w.writes++
	}
	return nil
}

func TestKillNineLosesNoFlushedWrite(t *testing.T) {
	kills := 200
	if testing.Short() {
		kills = 20
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	g := newGateway(t)
	g.volume("vol", "8MiB")
	c := g.dial("vol")
	zero := make([]byte, c.size)
	for off := int64(0); off < c.size; off += 1 << 20 { // a new volume reads as noise
		must(t, c.writeAt(zero[off:off+1<<20], off))
	}
	must(t, c.flush())
	w := &writer{client: c, ledger: &ledger{durable: zero}, rng: rng}
	var reopen []time.Duration
	for i := range kills {
		if err := killUnder(g, w); err != nil {
			t.Fatalf("kill %d (seed %d): %v", i, seed, err)
		}
		took, err := reopenAndCheck(g, w)
		if err != nil {
			t.Fatalf("kill %d (seed %d): %v", i, seed, err)
		}
		reopen = append(reopen, took)
	}
	slices.Sort(reopen)
	p99 := reopen[len(reopen)*99/100]
	t.Logf("%d kills, %d writes and %d flushes acknowledged; reopen p50 %v, p99 %v, max %v", kills, w.writes, w.flushes, reopen[len(reopen)/2], p99, reopen[len(reopen)-1])
	if p99 >= time.Second {
		t.Errorf("reopen p99 is %v, want under 1 s", p99)
	}
	if w.flushes < kills {
		t.Errorf("only %d flushes in %d rounds: the writer hardly ran", w.flushes, kills)
	}
}

// killUnder lets the writer run 20 to 200 ms and then kills the server.
func killUnder(g *gateway, w *writer) error {
	after := time.Duration(20+w.rng.IntN(181)) * time.Millisecond
	broken := make(chan error, 1)
	go func() { broken <- w.run() }()
	select {
	case <-time.After(after):
	case err := <-broken:
		return fmt.Errorf("the connection broke before the kill: %w", err)
	}
	g.proc.kill()
	<-broken
	w.conn.Close()
	return nil
}

// reopenAndCheck starts again, times it to the first byte read, and compares
// the volume with the ledger.
func reopenAndCheck(g *gateway, w *writer) (time.Duration, error) {
	begin := time.Now()
	g.start()
	c, err := dial("unix", g.sock, "vol")
	if err != nil {
		return 0, err
	}
	if err := c.readAt(make([]byte, 4096), 0); err != nil {
		return 0, fmt.Errorf("first read: %w", err)
	}
	took := time.Since(begin)
	got, err := c.readAll()
	if err != nil {
		return 0, err
	}
	if bad := w.check(got); bad >= 0 {
		return 0, fmt.Errorf("byte %d is neither what was flushed nor what was written later", bad)
	}
	if err := c.flush(); err != nil {
		return 0, err
	}
	w.client, w.durable, w.pending = c, got, nil
	return took, nil
}
