package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// AuditOptions say where the audit log is kept. The zero value is one file in
// the state directory that grows for ever.
type AuditOptions struct {
	MaxSize int64  // of audit.log in bytes before a new one is begun, 0 = never
	Keep    int    // old files kept in the state directory, 0 = all
	Copy    string // a directory on other media with a copy of the log, "" = none
	Syslog  SyslogOptions
}

// Limits of the audit log.
const (
	maxAuditQueue = 4 << 20         // bytes of records that a sink may be behind
	auditWait     = 2 * time.Second // for a record to reach a sink that is not the file
)

// auditLine is a record as sinks get it.
type auditLine struct {
	text       []byte // with its newline
	prev, link auditLink
	after      string // of a "records missed" record: what it follows in its sink
}

// auditQueue holds records that a sink does not have for certain. One that is
// full takes no more until it is empty.
type auditQueue struct {
	lines []auditLine
	bytes int
	full  bool
}

func (q *auditQueue) add(l auditLine) {
	q.full = q.full || q.bytes+len(l.text) > maxAuditQueue
	if !q.full {
		q.lines = append(q.lines, l)
		q.bytes += len(l.text)
	}
}

func (q *auditQueue) clear() { *q = auditQueue{} }

// auditLog makes the chain of audit records and hands them to the sinks: the
// files of the state directory, and copies elsewhere. A record is made when at
// least one sink takes it. What only some sinks could take is handed to the
// others later; what none could is counted.
type auditLog struct {
	now    func() time.Time
	keep   int
	files  *auditFiles
	copies []*auditCopy

	mu      sync.Mutex
	begun   bool // the end of the chain is known
	last    auditLink
	queue   auditQueue // not durable in the files
	lost    int64      // records that no sink took
	missed  int64      // the same, since the start
	since   time.Time  // when the first of lost was
	pruned  string     // the newest old file, when excess ones were last looked for
	err     error      // why the files are down
	told    bool       // the log of the gateway says that no sink works
	damage  string     // what was found wrong with the log when it was opened
	refused refusedLogins
}

func newAuditLog(dir string, o AuditOptions, now func() time.Time) *auditLog {
	a := &auditLog{now: now, keep: o.Keep, files: &auditFiles{dir: dir, disk: newAuditDisk(), most: o.MaxSize}}
	if o.Copy != "" {
		a.addCopy("copy "+o.Copy, &auditFiles{dir: o.Copy, disk: newAuditDisk(), most: o.MaxSize})
	}
	if o.Syslog.Address != "" {
		a.addCopy("syslog "+o.Syslog.Address, newSyslogSink(o.Syslog))
	}
	return a
}

// up makes the files ready to be written. The caller holds mu.
func (a *auditLog) up() error {
	if a.files.ready() {
		return nil
	}
	damage, err := a.files.start()
	if err != nil {
		a.err = err
		return err
	}
	if !a.begun {
		a.last, a.begun = a.files.last, true
	}
	a.err = nil
	var entries []AuditEntry
	if damage != "" {
		a.damage = damage
		entries = append(entries, AuditEntry{
			Kind: AuditLog, Action: "damage found", Outcome: AuditFailed, Detail: map[string]string{"reason": damage},
		})
	}
	if err := a.replay(); err != nil {
		return err
	}
	if damage == "" && a.files.last != a.last {
		entries = append(entries, missedEntry("file", a.last.seq-a.files.last.seq, a.now(), a.files.last))
	}
	if a.lost > 0 {
		entries = append(entries, missedEntry(sinkAll, a.lost, a.since, auditLink{}))
	}
	for _, e := range entries {
		if err := a.append(e); err != nil {
			return err
		}
	}
	a.lost = 0
	return nil
}

// replay writes what the files could not take while they were down.
func (a *auditLog) replay() error {
	for _, l := range a.queue.lines {
		if l.link.seq <= a.files.last.seq {
			continue
		}
		if l.prev != a.files.last {
			break
		}
		if err := a.files.write(l); err != nil {
			a.err = err
			return err
		}
	}
	return nil
}

// missedEntry tells that a sink lacks records since a time; after is the last
// one that it has. Where no sink has them they have no numbers either.
func missedEntry(sink string, n int64, since time.Time, after auditLink) AuditEntry {
	e := AuditEntry{
		Kind: AuditLog, Action: actionMissed, Object: sink, Outcome: AuditFailed,
		Detail: map[string]string{"count": strconv.FormatInt(n, 10), "since": since.UTC().Format(time.RFC3339)},
	}
	if after.hash != "" {
		e.Detail[detailAfter] = after.String()
	}
	return e
}

// append makes the next record and hands it to the sinks. It fails if none of
// them works. The caller holds mu.
func (a *auditLog) append(e AuditEntry) error {
	if !a.begun {
		return a.err
	}
	l, err := marshalAudit(a.last, e, a.now().UTC())
	if err != nil {
		return err
	}
	if a.files.ready() {
		if err := a.files.write(l); err != nil {
			a.err = err
		}
	}
	if !a.files.ready() && a.copying() == nil {
		return a.err
	}
	a.last = l.link
	a.queue.add(l)
	for _, c := range a.copies {
		c.add(l)
	}
	return nil
}

// sync makes all records durable in the files. The caller holds mu.
func (a *auditLog) sync() error {
	if !a.files.ready() {
		return a.err
	}
	if err := a.files.sync(); err != nil {
		a.err = err
		return err
	}
	a.queue.clear()
	return nil
}

// copying gives a copy that works.
func (a *auditLog) copying() *auditCopy {
	for _, c := range a.copies {
		if c.state() == nil {
			return c
		}
	}
	return nil
}

// record appends an entry; durable also waits until a sink has it for certain.
// An entry that no sink takes is counted.
func (a *auditLog) record(e AuditEntry, durable bool) error {
	seq, err := a.take(e, durable)
	if err != nil && seq > 0 && a.copied(seq) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("%w (%w)", ErrAudit, err)
	}
	return nil
}

// take is record as far as the files go: with an error and a number, the
// copies may still get it.
func (a *auditLog) take(e AuditEntry, durable bool) (seq int64, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.up() // its error shows below, unless a copy works
	if err := a.append(e); err != nil {
		if a.lost == 0 {
			a.since = a.now()
		}
		a.lost++
		a.missed++
		return 0, err
	}
	if durable {
		err = a.sync()
	}
	return a.last.seq, err
}

// copied waits a little until any copy has record seq for certain.
func (a *auditLog) copied(seq int64) bool {
	end := time.Now().Add(auditWait)
	for _, c := range a.copies {
		if c.state() == nil && c.wait(seq, time.Until(end)) {
			return true
		}
	}
	return false
}

// flush makes everything durable, or tries to bring the files back. It fails
// if no sink works.
func (a *auditLog) flush() error {
	if e, ok := a.refused.take(); ok {
		a.record(e, false) // counted if it fails; the error comes again below
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.up()
	if err == nil {
		err = a.sync()
	}
	if err == nil {
		a.prune()
	}
	if err != nil && !(a.begun && a.copying() != nil) {
		return fmt.Errorf("%w (%w)", ErrAudit, err)
	}
	return nil
}

// prune removes old files beyond those to keep, once a durable record says
// so: it shows later that nobody else did. The caller holds mu.
func (a *auditLog) prune() {
	names, through, err := a.files.excess(a.keep)
	if err != nil || len(names) == 0 || names[len(names)-1] == a.pruned {
		return
	}
	a.pruned = names[len(names)-1] // what fails is tried again with the next file
	e := AuditEntry{Kind: AuditLog, Action: actionRemoved, Outcome: AuditBegun, Detail: map[string]string{
		"files": strconv.Itoa(len(names)), detailThrough: through.String(),
	}}
	if a.append(e) != nil || a.sync() != nil {
		return
	}
	for _, name := range names {
		if a.files.disk.remove(filepath.Join(a.files.dir, name)) != nil {
			return
		}
	}
}

// sinkState tells of a sink that does not work.
type sinkState struct {
	name string
	err  error
}

// down lists the sinks that do not work; all says that none does.
func (a *auditLog) down() (list []sinkState, all bool) {
	a.mu.Lock()
	err := a.err
	a.mu.Unlock()
	if err != nil {
		list = append(list, sinkState{"file " + filepath.Join(a.files.dir, auditFileName), err})
	}
	for _, c := range a.copies {
		if err := c.state(); err != nil && !errors.Is(err, errNotYet) {
			list = append(list, sinkState{c.name, err})
		}
	}
	return list, err != nil && a.copying() == nil
}

// damages lists what was wrong with logs when they were opened.
func (a *auditLog) damages() []string {
	a.mu.Lock()
	out := []string{a.damage}
	a.mu.Unlock()
	for _, c := range a.copies {
		out = append(out, c.damaged())
	}
	kept := out[:0]
	for _, d := range out {
		if d != "" {
			kept = append(kept, d)
		}
	}
	return kept
}

// isNews says, once each time the log goes down, that it is.
func (a *auditLog) isNews() bool {
	_, all := a.down()
	a.mu.Lock()
	defer a.mu.Unlock()
	was := a.told
	a.told = all
	return a.told && !was
}

// counts are the number of the last record, and how many no sink took.
func (a *auditLog) counts() (last, missed int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last.seq, a.missed
}

// run starts the copies.
func (a *auditLog) run() {
	for _, c := range a.copies {
		c.run()
	}
}

func (a *auditLog) close() {
	a.mu.Lock()
	if a.files.ready() {
		if e, ok := a.refused.take(); ok {
			a.append(e) // it fails only if sync does
		}
		a.sync()
	}
	a.files.down()
	a.err = cmp.Or(a.err, ErrClosed)
	a.mu.Unlock()
	for _, c := range a.copies {
		c.close()
	}
}
