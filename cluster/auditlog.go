package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrAudit says that the audit log cannot be written. Nothing may be changed
// without a record of it.
var ErrAudit = errors.New("the audit log cannot be written, so nothing may be changed: " +
	"make room on the file system of the state directory, or remount it for writing")

// auditSink is the part of *os.File that the log needs.
type auditSink interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Sync() error
	Stat() (os.FileInfo, error)
}

// auditLog writes the audit log of a state directory. A failure leaves it
// down; every use tries to bring it back.
type auditLog struct {
	dir  string
	now  func() time.Time
	open func(path string) (auditSink, error)

	mu      sync.Mutex
	f, head auditSink // nil while down
	size    int64
	last    auditLink
	synced  int64  // number of the last durable record
	lost    int64  // records that could not be written since the log went down
	err     error  // why it is down
	damage  string // what was found wrong with the log when it was opened
	told    bool   // the log of the gateway says that it is down

	refused refusedLogins
}

// refusedLogins counts logins that are refused without a look at the password:
// they come as fast as a client can send, so the log gets their number.
type refusedLogins struct {
	mu   sync.Mutex
	n    int64
	name string // the latest
	from string
}

func newAuditLog(dir string, now func() time.Time) *auditLog {
	return &auditLog{dir: dir, now: now, open: func(path string) (auditSink, error) {
		return os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	}}
}

// up makes the log ready to be written. The caller holds mu.
func (a *auditLog) up() error {
	if a.f != nil {
		return nil
	}
	before := a.last.seq
	damage, err := a.start()
	if err != nil {
		a.down(err)
		return err
	}
	if gone := before - a.last.seq; gone > 0 {
		a.lost += gone // written, but not durable when the log went down
	}
	a.err, a.told = nil, false
	var entries []AuditEntry
	if damage != "" {
		a.damage = damage
		entries = append(entries, AuditEntry{
			Kind: AuditLog, Action: "damage found", Outcome: AuditFailed, Detail: map[string]string{"reason": damage},
		})
	}
	if a.lost > 0 {
		entries = append(entries, AuditEntry{
			Kind: AuditLog, Action: "records lost", Outcome: AuditFailed,
			Detail: map[string]string{"count": strconv.FormatInt(a.lost, 10)},
		})
	}
	for _, e := range entries {
		if err := a.write(e); err != nil {
			return err
		}
	}
	a.lost = 0
	return nil
}

// start opens the files, finds the end of the chain, and tells what is wrong
// with it.
func (a *auditLog) start() (damage string, err error) {
	head, hasHead, err := readAuditHead(a.dir)
	if err != nil && !errors.Is(err, ErrDamaged) {
		return "", err
	}
	if err != nil {
		damage = err.Error()
	}
	if a.f, err = a.open(filepath.Join(a.dir, auditFile)); err != nil {
		return "", err
	}
	if a.head, err = a.open(filepath.Join(a.dir, auditHeadFile)); err != nil {
		return "", err
	}
	if !hasHead {
		err = syncDir(a.dir) // the names of new files must last, too
	}
	if err != nil {
		return "", err
	}
	last, bad, err := a.findEnd()
	switch {
	case err != nil:
		return "", err
	case damage != "":
	case bad != nil:
		damage = "the last record " + bad.Error()
	case !hasHead && a.size > 0:
		damage = auditHeadFile + " is missing"
	case head.seq > last.seq || head.seq == last.seq && head.hash != last.hash:
		damage = fmt.Sprintf("the log ends with record %d, its head says record %d: it was cut short or replaced", last.seq, head.seq)
	}
	last.seq = max(last.seq, head.seq)
	a.last, a.synced = last, head.seq
	return damage, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// findEnd finds the last whole record, and where the next one goes. What a
// crash left of a line is cut off when that is written. bad is what is wrong
// with the last record.
func (a *auditLog) findEnd() (last auditLink, bad, err error) {
	st, err := a.f.Stat()
	if err != nil {
		return last, nil, err
	}
	tail := make([]byte, min(st.Size(), 2*maxAuditLine))
	if _, err := a.f.ReadAt(tail, st.Size()-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return last, nil, err
	}
	end := bytes.LastIndexByte(tail, '\n') + 1
	a.size = st.Size() - int64(len(tail)-end)
	if end == 0 {
		return auditStart(), nil, nil
	}
	begin := bytes.LastIndexByte(tail[:end-1], '\n') + 1
	_, last, bad = parseAudit(tail[begin : end-1])
	if bad != nil {
		last = auditStart()
	}
	return last, bad, nil
}

// inPlace makes sure that the file is still the one of that name: records
// written to a removed file would be gone.
func (a *auditLog) inPlace() error {
	is, err := a.f.Stat()
	if err != nil {
		return err
	}
	named, err := os.Lstat(filepath.Join(a.dir, auditFile))
	if err == nil && !os.SameFile(is, named) {
		err = errors.New("audit.log was removed or replaced while in use")
	}
	return err
}

// down closes the files and remembers why. The caller holds mu.
func (a *auditLog) down(err error) {
	for _, f := range []auditSink{a.f, a.head} {
		if f != nil {
			f.Close()
		}
	}
	a.f, a.head, a.err = nil, nil, err
}

// write appends one record. The caller holds mu, the log is up.
func (a *auditLog) write(e AuditEntry) error {
	line, next, err := marshalAudit(a.last, e, a.now().UTC())
	if err != nil {
		return err
	}
	if err = a.f.Truncate(a.size); err == nil {
		_, err = a.f.WriteAt(line, a.size)
	}
	if err != nil {
		a.down(err)
		return err
	}
	a.size += int64(len(line))
	a.last = next
	return nil
}

// sync makes what was written durable. The caller holds mu, the log is up.
func (a *auditLog) sync() error {
	err := a.inPlace()
	if err == nil && a.synced == a.last.seq {
		return nil
	}
	if err == nil {
		err = a.f.Sync()
	}
	if err == nil {
		_, err = a.head.WriteAt(marshalAuditHead(a.last), 0)
	}
	if err == nil {
		err = a.head.Sync()
	}
	if err != nil {
		a.down(err)
		return err
	}
	a.synced = a.last.seq
	return nil
}

// record appends an entry; durable also waits until it is on disk. An entry
// that cannot be written is counted.
func (a *auditLog) record(e AuditEntry, durable bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.up()
	if err == nil {
		err = a.write(e)
	}
	if err != nil {
		a.lost++
	} else if durable {
		err = a.sync()
	}
	if err != nil {
		return fmt.Errorf("%w (%w)", ErrAudit, err)
	}
	return nil
}

// flush makes everything durable, or tries to bring the log back.
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
	if err != nil {
		return fmt.Errorf("%w (%w)", ErrAudit, err)
	}
	return nil
}

// state tells what was wrong with the log when it was opened, and why it is
// down.
func (a *auditLog) state() (damage string, down error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.damage, a.err
}

// count is the number of the last record.
func (a *auditLog) count() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last.seq
}

// isNews says, once each time the log goes down, that it is.
func (a *auditLog) isNews() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	was := a.told
	a.told = a.err != nil
	return a.told && !was
}

func (a *auditLog) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.f != nil {
		if e, ok := a.refused.take(); ok {
			a.write(e)
		}
	}
	if a.f != nil {
		a.sync()
	}
	a.down(ErrClosed)
}

func (r *refusedLogins) add(name, from string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
	r.name, r.from = name, from
}

func (r *refusedLogins) take() (AuditEntry, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.n
	r.n = 0
	return AuditEntry{
		Kind: AuditLogin, Actor: r.name, From: r.from, Action: "login", Outcome: AuditDenied,
		Detail: map[string]string{"reason": "rate limited", "count": strconv.FormatInt(n, 10)},
	}, n > 0
}

// actorKey is the context key of the actor.
type actorKey struct{}

// WithActor says on whose behalf calls with this context are made: the audit
// log shows it beside the keys that are used.
func WithActor(ctx context.Context, name, from string) context.Context {
	return context.WithValue(ctx, actorKey{}, [2]string{name, from})
}

// Audit records an administrative call, or a login that failed elsewhere than
// in Authenticate. When it returns nil the record is durable. Errors: ErrAudit,
// on which the caller must not do what the entry tells of.
func (c *Cluster) Audit(_ context.Context, e AuditEntry) error { return c.audit.record(e, true) }

// auditKey records the use of a key. It is durable within a second.
func (c *Cluster) auditKey(ctx context.Context, action, object string, cause error) {
	actor, _ := ctx.Value(actorKey{}).([2]string)
	e := AuditEntry{Kind: AuditKey, Actor: actor[0], From: actor[1], Action: action, Object: object, Outcome: AuditOK}
	if cause != nil {
		e.Outcome, e.Detail = AuditFailed, map[string]string{"reason": cause.Error()}
	}
	if err := c.audit.record(e, false); err != nil {
		c.log.Error("use of a key is not in the audit log", "action", action, "object", object, "err", err)
	}
}

// mayChange refuses administrative changes that could not be audited.
func (c *Cluster) mayChange() error { return c.audit.flush() }
