package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// AuditRecord is one record of the audit log.
type AuditRecord struct {
	Seq  int64
	Time time.Time
	AuditEntry
	Line []byte // as it is in the log, with the newline
}

// AuditFilter chooses records; zero members do not matter.
type AuditFilter struct {
	After  int64 // records after this number
	Since  time.Time
	Actor  string // user name
	Action string // method or key operation
}

func (f *AuditFilter) wants(r *auditRecord) bool {
	return r.Seq > f.After && !r.Time.Before(f.Since) &&
		(f.Actor == "" || r.Actor == f.Actor) && (f.Action == "" || strings.EqualFold(r.Action, f.Action))
}

// AuditEach calls fn for the records of the log at path, and of the old files
// beside it, in order. It does not verify the chain: lines that are no records
// are passed over, and so is one that is being written. An error of fn ends it.
func AuditEach(path string, f AuditFilter, fn func(AuditRecord) error) error {
	path = auditLogPath(path)
	dir := filepath.Dir(path)
	old, err := auditOldFiles(dir)
	if err != nil {
		return fmt.Errorf("list audit log: %w", err)
	}
	for _, name := range append(old, filepath.Base(path)) {
		if seq, ok := auditOldSeq(name); ok && seq <= f.After {
			continue
		}
		err := f.each(filepath.Join(dir, name), fn)
		if errors.Is(err, os.ErrNotExist) && len(old) > 0 {
			continue // between two files
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// each is AuditEach for one file.
func (f *AuditFilter) each(path string, fn func(AuditRecord) error) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open audit log: %w", err)
	}
	defer file.Close()
	var stop error
	err = eachLine(io.Reader(file), func(_ int64, text []byte, whole bool) {
		r, _, err := parseAudit(text)
		if stop != nil || !whole || err != nil || !f.wants(&r) {
			return
		}
		e := AuditEntry{
			Kind: r.Kind, Actor: r.Actor, Role: r.Role, From: r.From, Action: r.Action, Object: r.Object,
			Outcome: r.Outcome, Detail: r.Detail,
		}
		stop = fn(AuditRecord{r.Seq, r.Time, e, append(bytes.Clone(text), '\n')})
	})
	if stop != nil {
		return stop
	}
	if err != nil {
		return fmt.Errorf("read audit log: %w", err)
	}
	return nil
}

// AuditExport copies the whole log at path into a new or empty directory, as
// one file and its head, which AuditVerify can check there. It gives the head
// as SEQ:HASH.
func AuditExport(path, dir string) (head string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make directory: %w", err)
	}
	f, err := os.OpenFile(AuditPath(dir), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("copy audit log: %w: %s, give a new directory", ErrExists, AuditPath(dir))
	}
	if err != nil {
		return "", fmt.Errorf("copy audit log: %w", err)
	}
	defer f.Close()
	last := auditStart()
	err = AuditEach(path, AuditFilter{}, func(r AuditRecord) error {
		_, last, _ = parseAudit(r.Line[:len(r.Line)-1])
		_, err := f.Write(r.Line)
		return err
	})
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, auditHeadFile), marshalAuditHead(last), 0o600)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return "", fmt.Errorf("copy audit log: %w", err)
	}
	return last.String(), nil
}
