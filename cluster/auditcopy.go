package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	auditRetry = time.Second     // between tries to bring a copy back
	auditHang  = 5 * time.Second // without an answer a copy counts as down
)

// errNotYet is the state of a copy that was not tried yet.
var errNotYet = errors.New("was not opened yet")

// auditSink is where a copy of the log goes. A sink that is not ready is
// started before use; after an error of write or sync it is not ready.
type auditSink interface {
	ready() bool
	start() (damage string, err error)
	end() (last auditLink, known bool)
	write(l auditLine) error
	sync() error // returns when all that was written is there for certain
	down()
}

func (a *auditFiles) end() (auditLink, bool) { return a.last, true }

// auditCopy feeds a sink from a goroutine of its own, so that one that hangs
// stops nobody. What it lacks it reads from the files of the state directory
// if it is no more in the queue.
type auditCopy struct {
	name string
	log  *auditLog
	to   auditSink // used by the goroutine only

	gap   bool      // records that the sink lacks cannot be had; waits for the record that says so
	since time.Time // when the sink was last complete

	mu      sync.Mutex
	queue   auditQueue
	sent    int64 // number of the last record that is there for certain
	err     error
	busy    time.Time // since when the sink is at work, zero if it is not
	damage  string
	changed chan struct{} // closed at each change of sent and err

	kick, stop, done chan struct{}
}

func (a *auditLog) addCopy(name string, to auditSink) *auditCopy {
	c := &auditCopy{
		name: name, log: a, to: to, since: a.now(), err: errNotYet,
		changed: make(chan struct{}), kick: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	a.copies = append(a.copies, c)
	return c
}

// add hands over a record. It never waits.
func (c *auditCopy) add(l auditLine) {
	c.mu.Lock()
	c.queue.add(l)
	c.mu.Unlock()
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// state is why the sink does not work.
func (c *auditCopy) state() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.busy.IsZero() && time.Since(c.busy) > auditHang {
		return fmt.Errorf("does not answer since %s", c.busy.UTC().Format(time.RFC3339))
	}
	return c.err
}

func (c *auditCopy) damaged() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.damage
}

// wait waits until the sink has record seq, and tells whether it does.
func (c *auditCopy) wait(seq int64, most time.Duration) bool {
	t := time.NewTimer(most)
	defer t.Stop()
	for {
		c.mu.Lock()
		sent, err, changed := c.sent, c.err, c.changed
		c.mu.Unlock()
		if sent >= seq || err != nil {
			return sent >= seq
		}
		select {
		case <-changed:
		case <-t.C:
			return false
		}
	}
}

// run starts the goroutine; close ends it.
func (c *auditCopy) run() {
	c.done = make(chan struct{})
	go func() {
		defer close(c.done)
		t := time.NewTicker(auditRetry)
		defer t.Stop()
		for {
			c.round()
			select {
			case <-c.kick:
			case <-t.C:
			case <-c.stop:
				c.round()
				c.to.down()
				return
			}
		}
	}()
}

// close hands over what is left, but does not wait for a sink that hangs.
func (c *auditCopy) close() {
	close(c.stop)
	if c.done == nil {
		return
	}
	t := time.NewTimer(auditWait)
	defer t.Stop()
	select {
	case <-c.done:
	case <-t.C:
	}
}

// round brings the sink up to date, or notes why that cannot be.
func (c *auditCopy) round() {
	c.mu.Lock()
	c.busy = time.Now()
	lines := c.queue.lines
	c.mu.Unlock()
	err := c.serve(lines)
	if err == nil {
		c.since = c.log.now()
	} else {
		c.to.down()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy, c.err = time.Time{}, err
	if end, known := c.to.end(); err == nil && known {
		c.sent = end.seq
	}
	if n := len(lines); err == nil && n > 0 {
		rest := c.queue.lines[n:]
		c.queue.clear() // if it was full, what it lacks is read from the files
		for _, l := range rest {
			c.queue.add(l)
		}
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *auditCopy) serve(lines []auditLine) error {
	if !c.to.ready() {
		if err := c.open(); err != nil {
			return err
		}
	}
	for _, l := range lines {
		if err := c.give(l); err != nil {
			return err
		}
	}
	return c.to.sync()
}

// open starts the sink and gives it what it lacks of the log.
func (c *auditCopy) open() error {
	damage, err := c.to.start()
	if err != nil {
		return err
	}
	end, known := c.to.end()
	if !known {
		return nil
	}
	last, begun := c.log.head()
	if !begun {
		return errors.New("the log of the state directory cannot be read yet")
	}
	switch {
	case end.seq > last.seq: // a power failure took the end of the log, not of the copy
		c.miss(end)
	case end.seq == last.seq && end.hash != last.hash:
		damage = fmt.Sprintf("record %d is another one than in the log", end.seq)
		c.miss(end)
	case end.seq < last.seq:
		if err := c.refill(0); err != nil {
			return err
		}
		if now, _ := c.to.end(); now == end { // none of the log follows what it has
			c.miss(end)
		}
	}
	if damage != "" {
		c.mu.Lock()
		c.damage = c.name + ": " + damage
		c.mu.Unlock()
	}
	return nil
}

// give hands one record to the sink, and before it those that it lacks.
func (c *auditCopy) give(l auditLine) error {
	end, known := c.to.end()
	switch {
	case !known || l.prev == end || l.after == end.String():
		c.gap = false
		return c.to.write(l)
	case c.gap || l.link.seq <= end.seq:
		return nil
	}
	if err := c.refill(l.link.seq - 1); err != nil {
		return err
	}
	if end, _ = c.to.end(); end == l.prev {
		return c.to.write(l)
	}
	c.miss(end)
	return nil
}

// miss asks for the record that says which ones the sink lacks: what comes
// before it in the queue is passed over.
func (c *auditCopy) miss(end auditLink) {
	c.gap = true
	last, _ := c.log.head()
	// An error means that the record will be asked for again: the sink is
	// opened anew by then, since no other worked.
	if c.log.record(missedEntry(c.name, max(last.seq-end.seq, 0), c.since, end), false) != nil {
		c.gap = false
	}
}

// head is the end of the chain.
func (a *auditLog) head() (last auditLink, begun bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last, a.begun
}

// errEnough ends a walk over the log.
var errEnough = errors.New("enough")

// refill copies records that follow the sink's last one from the state
// directory, up to number most, 0 for all.
func (c *auditCopy) refill(most int64) error {
	dir := c.log.files.dir
	old, err := auditOldFiles(dir)
	if err != nil {
		return nil // no worse than that the records are missing
	}
	for _, name := range append(old, auditFileName) {
		end, _ := c.to.end()
		if seq, ok := auditOldSeq(name); ok && seq <= end.seq {
			continue
		}
		err := c.refillFrom(filepath.Join(dir, name), most)
		if errors.Is(err, errEnough) || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *auditCopy) refillFrom(path string, most int64) error {
	f, err := os.Open(path)
	if err != nil {
		return errEnough
	}
	defer f.Close()
	var bad error
	err = eachLine(io.Reader(f), func(_ int64, text []byte, whole bool) {
		end, _ := c.to.end()
		if bad != nil || !whole {
			return
		}
		r, link, err := parseAudit(text)
		switch {
		case err != nil || most > 0 && link.seq > most:
			bad = errEnough
		case r.Prev == end.hash && r.Seq == end.seq+1, r.follows(end):
			bad = c.to.write(auditLine{text: append(append([]byte{}, text...), '\n'), prev: end, link: link})
		case link.seq > end.seq:
			bad = errEnough // a gap, or another history
		}
	})
	return errors.Join(bad, err)
}
