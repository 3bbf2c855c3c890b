package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// AuditReport is what AuditVerify found.
type AuditReport struct {
	Files       int
	Records     int64
	First, Last time.Time
	FirstSeq    int64 // number of the first record, 0 if there is none
	// LastSeq and LastHash are the head of the chain. Kept elsewhere, they
	// prove later that nothing up to there was changed.
	LastSeq  int64
	LastHash string
	// Notes tell of records that are not here, but a record says why: the log
	// could not be written, or was kept for so long only.
	Notes    []string
	Problems []string // empty: the log is whole
}

func (r *AuditReport) bad(format string, a ...any) {
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, fmt.Sprintf(format, a...))
	}
}

func (r *AuditReport) note(format string, a ...any) {
	if len(r.Notes) < maxProblems {
		r.Notes = append(r.Notes, fmt.Sprintf(format, a...))
	}
}

// auditWalk is a look at all files of a log, in order.
type auditWalk struct {
	*AuditReport
	path    string // of audit.log
	head    auditLink
	hasHead bool
	known   *auditLink // a head that was kept elsewhere

	last      auditLink
	started   bool
	headSeen  bool
	knownSeen bool
	base      auditLink       // what the first record follows, if it is not record 1
	removed   map[string]bool // ends of old files that a record says were removed
}

// AuditVerify reads an audit log (audit.log, the old files beside it and the
// head) and tells whether any record was altered, removed or moved. The
// gateway may be running. With known, the head that an earlier run reported as
// SEQ:HASH, it also proves that nothing up to there was changed since.
func AuditVerify(path, known string) (AuditReport, error) {
	w := &auditWalk{AuditReport: &AuditReport{}, path: auditLogPath(path), last: auditStart(), removed: map[string]bool{}}
	if known != "" {
		l, err := parseAuditLink(known)
		if err != nil {
			return *w.AuditReport, &InvalidError{"head", err.Error()}
		}
		w.known = &l
	}
	err := w.run()
	return *w.AuditReport, err
}

// auditLogPath is the path of the audit.log that a directory, or one of the
// old files, stands for.
func auditLogPath(path string) string {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return AuditPath(path)
	}
	if _, old := auditOldSeq(filepath.Base(path)); old {
		return AuditPath(filepath.Dir(path))
	}
	return path
}

func (w *auditWalk) run() (err error) {
	dir := filepath.Dir(w.path)
	w.head, w.hasHead, err = readAuditHead(dir) // first: the log may grow meanwhile
	if errors.Is(err, ErrDamaged) {
		w.bad("%v", err)
	} else if err != nil {
		return fmt.Errorf("read head of the audit log: %w", err)
	}
	w.headSeen = !w.hasHead || w.head == w.last
	old, err := auditOldFiles(dir)
	if err != nil {
		return fmt.Errorf("list audit log: %w", err)
	}
	for _, name := range append(old, filepath.Base(w.path)) {
		err := w.file(dir, name)
		// A crash may come between the end of one file and the next.
		if errors.Is(err, os.ErrNotExist) && w.Files > 0 {
			continue
		}
		if err != nil {
			return err
		}
	}
	w.conclude()
	return nil
}

// file looks at the records of one file.
func (w *auditWalk) file(dir, name string) error {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return fmt.Errorf("open audit log: %w", err)
	}
	defer f.Close()
	w.Files++
	ends, old := auditOldSeq(name)
	err = eachLine(io.Reader(f), func(n int64, text []byte, whole bool) {
		w.line(fmt.Sprintf("%s line %d", name, n), text, whole, old)
	})
	if err != nil {
		return fmt.Errorf("read audit log: %w", err)
	}
	if old && w.last.seq != ends {
		w.bad("%s ends with record %d, but its name says %d: its end was cut off", name, w.last.seq, ends)
	}
	return nil
}

func (w *auditWalk) line(at string, text []byte, whole, old bool) {
	rec, link, err := parseAudit(text)
	switch {
	case !whole && !old && (!w.hasHead || w.last.seq >= w.head.seq):
		return // being written, or by a crash: it was never durable
	case !whole:
		w.bad("%s is cut short", at)
		return
	case err != nil:
		w.bad("%s %v", at, err)
		return
	case rec.follows(w.last):
		w.note("record %d says that the records after %d, %s of them, could not be written here: look for them in another copy of the log",
			link.seq, w.last.seq, rec.Detail["count"])
	case !w.started && link.seq > 1:
		w.base = auditLink{link.seq - 1, rec.Prev}
	case link.seq > w.last.seq+1:
		w.bad("%s is record %d, but follows record %d: records %d to %d are missing (an old file that ends with the last of them would be %s)",
			at, link.seq, w.last.seq, w.last.seq+1, link.seq-1, auditOldName(link.seq-1))
	case link.seq != w.last.seq+1:
		w.bad("%s is record %d, but follows record %d: records were removed, moved or repeated", at, link.seq, w.last.seq)
	case rec.Prev != w.last.hash:
		w.bad("%s does not follow the record before it: one of them was replaced", at)
	}
	w.take(&rec, link)
}

// take counts a record.
func (w *auditWalk) take(rec *auditRecord, link auditLink) {
	if !w.started {
		w.First, w.FirstSeq, w.started = rec.Time, link.seq, true
	}
	w.Records++
	w.Last, w.last = rec.Time, link
	w.headSeen = w.headSeen || link == w.head
	w.knownSeen = w.knownSeen || w.known != nil && link == *w.known
	if rec.Kind == AuditLog && rec.Action == actionRemoved {
		w.removed[rec.Detail[detailThrough]] = true
	}
	if rec.Kind == AuditLog && rec.Action == actionMissed && rec.Object == sinkAll {
		w.note("record %d says that %s records since %s could not be written anywhere", link.seq, rec.Detail["count"], rec.Detail["since"])
	}
}

// conclude judges beginning and end.
func (w *auditWalk) conclude() {
	w.LastSeq, w.LastHash = w.last.seq, w.last.hash
	atBase := w.known != nil && *w.known == w.base
	switch {
	case w.base.seq == 0 || atBase:
	case w.removed[w.base.String()]:
		w.note("records 1 to %d were removed by the gateway, as audit_keep says", w.base.seq)
	default:
		w.bad("the log begins with record %d: records 1 to %d are missing (an old file that ends with the last of them would be %s)",
			w.base.seq+1, w.base.seq, auditOldName(w.base.seq))
	}
	switch {
	case !w.hasHead && w.Records > 0:
		w.bad("%s is missing, so records at the end may be missing", auditHeadFile)
	case !w.headSeen:
		w.bad("the log should have record %d with hash %s: it was cut short or replaced", w.head.seq, w.head.hash)
	}
	switch {
	case w.known == nil || w.knownSeen || atBase || *w.known == auditStart():
	case w.known.seq > w.last.seq:
		w.bad("the log ends with record %d, but the head given is record %d: it was cut short", w.last.seq, w.known.seq)
	case w.known.seq < w.FirstSeq:
		w.bad("the log begins with record %d, after the head given, which is record %d", w.FirstSeq, w.known.seq)
	default:
		w.bad("record %d is not the one of the head given: the log was rewritten", w.known.seq)
	}
}
