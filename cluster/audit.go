package cluster

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The audit log is a file of JSON lines. Each has the number of the record,
// the hash of the line before, and as its last member the hash of itself:
//
//	{"seq":N,"time":…,"prev":HASH,"kind":…,…,"hash":HASH}
//
// HASH is the SHA-256, in hex, of all bytes of the line before `,"hash":`. A
// file beside it, the head, has number and hash of the last record that is
// known to be durable, so that a log cut short at the end of a line is found.
// Whoever can write both files can forge both: what must hold against an
// administrator is a copy of the head kept elsewhere (docs/THREATS).
const (
	auditFile     = "audit.log"
	auditHeadFile = "audit.head"
	auditMagic    = "lockplate-audit-1"

	maxAuditLine = 16 << 10 // bytes
	maxAuditText = 256      // bytes of a member given by a caller
	maxProblems  = 100      // in a report
)

// AuditPath is the path of the audit log in a state directory.
func AuditPath(state string) string { return filepath.Join(state, auditFile) }

// Kinds of audit records.
const (
	AuditAdmin = "admin" // a call that changes something
	AuditLogin = "login" // a login that was refused
	AuditKey   = "key"   // a key was made, used or destroyed
	AuditLog   = "log"   // about the audit log itself
)

// Outcomes of what an audit record tells of.
const (
	AuditBegun  = "begun"
	AuditOK     = "ok"
	AuditFailed = "failed"
	AuditDenied = "denied"
)

// AuditEntry is what a caller tells the audit log. It must hold no secret.
// Long texts are cut.
type AuditEntry struct {
	Kind    string
	Actor   string // user name; "" is the gateway itself
	From    string // where the actor is
	Action  string // method or key operation
	Object  string // what it is done to
	Outcome string
	Detail  map[string]string
}

// auditRecord is a line of the log, but for its own hash.
type auditRecord struct {
	Seq     int64             `json:"seq"`
	Time    time.Time         `json:"time"`
	Prev    string            `json:"prev"`
	Kind    string            `json:"kind"`
	Actor   string            `json:"actor,omitempty"`
	From    string            `json:"from,omitempty"`
	Action  string            `json:"action"`
	Object  string            `json:"object,omitempty"`
	Outcome string            `json:"outcome"`
	Detail  map[string]string `json:"detail,omitempty"`
}

// auditLink is a place in the chain: a record's number and hash.
type auditLink struct {
	seq  int64
	hash string
}

// auditStart is what the first record follows.
func auditStart() auditLink { return auditLink{0, strings.Repeat("0", 2*sha256.Size)} }

const auditHashMember = `,"hash":"`

func auditHash(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// marshalAudit makes the line of the record that follows prev.
func marshalAudit(prev auditLink, e AuditEntry, now time.Time) (line []byte, next auditLink, err error) {
	cut := func(s string) string {
		return strings.ToValidUTF8(s[:min(len(s), maxAuditText)], "?")
	}
	r := auditRecord{
		Seq: prev.seq + 1, Time: now, Prev: prev.hash, Kind: cut(e.Kind), Actor: cut(e.Actor), From: cut(e.From),
		Action: cut(e.Action), Object: cut(e.Object), Outcome: cut(e.Outcome),
	}
	for k, v := range e.Detail {
		if len(r.Detail) == 16 {
			break
		}
		if r.Detail == nil {
			r.Detail = map[string]string{}
		}
		r.Detail[cut(k)] = cut(v)
	}
	body, err := json.Marshal(r)
	if err != nil {
		return nil, prev, fmt.Errorf("encode audit record: %w", err)
	}
	body = body[:len(body)-1]
	next = auditLink{r.Seq, auditHash(body)}
	line = append(body, auditHashMember...)
	line = append(line, next.hash...)
	return append(line, '"', '}', '\n'), next, nil
}

// parseAudit is the one way a line, without its end, is read.
func parseAudit(line []byte) (r auditRecord, link auditLink, err error) {
	at := len(line) - len(auditHashMember) - 2*sha256.Size - len(`"}`)
	if at < 0 || !bytes.HasPrefix(line[at:], []byte(auditHashMember)) || !bytes.HasSuffix(line, []byte(`"}`)) {
		return r, link, errors.New("is not an audit record")
	}
	link.hash = auditHash(line[:at])
	if string(line[at+len(auditHashMember):len(line)-2]) != link.hash {
		return r, link, errors.New("was altered: its hash does not fit")
	}
	if err := parseRecord(append(bytes.Clone(line[:at]), '}'), &r); err != nil {
		return r, link, err
	}
	link.seq = r.Seq
	return r, link, nil
}

func marshalAuditHead(l auditLink) []byte {
	return fmt.Appendf(nil, "%s %020d %s\n", auditMagic, l.seq, l.hash)
}

// readAuditHead reads the head beside a log; ok is false if there is none.
func readAuditHead(dir string) (l auditLink, ok bool, err error) {
	f, err := os.Open(filepath.Join(dir, auditHeadFile))
	if errors.Is(err, os.ErrNotExist) {
		return auditStart(), false, nil
	}
	if err != nil {
		return l, false, err
	}
	defer f.Close()
	want := len(marshalAuditHead(auditStart()))
	b, err := io.ReadAll(io.LimitReader(f, int64(want)+1))
	if err != nil {
		return l, false, err
	}
	var magic string
	_, err = fmt.Sscanf(string(b), "%s %d %s\n", &magic, &l.seq, &l.hash)
	if err != nil || !bytes.Equal(b, marshalAuditHead(l)) {
		return l, false, fmt.Errorf("%w: %s", ErrDamaged, auditHeadFile)
	}
	return l, true, nil
}

// AuditReport is what AuditVerify found.
type AuditReport struct {
	Records     int64
	First, Last time.Time
	// LastSeq and LastHash are the head of the chain. Kept elsewhere, they
	// prove later that nothing up to there was changed.
	LastSeq  int64
	LastHash string
	Problems []string // empty: the log is whole
}

func (r *AuditReport) bad(format string, a ...any) {
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, fmt.Sprintf(format, a...))
	}
}

// AuditVerify reads an audit log and the head beside it, and tells whether any
// record was altered, removed or moved. The gateway may be running.
func AuditVerify(path string) (AuditReport, error) {
	var r AuditReport
	head, hasHead, err := readAuditHead(filepath.Dir(path)) // first: the log may grow meanwhile
	if errors.Is(err, ErrDamaged) {
		r.bad("%v", err)
	} else if err != nil {
		return r, fmt.Errorf("read head of the audit log: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return r, fmt.Errorf("open audit log: %w", err)
	}
	defer f.Close()
	last := auditStart()
	headSeen := !hasHead || head == last
	err = eachLine(f, func(n int64, line []byte, whole bool) {
		rec, link, err := parseAudit(line)
		switch {
		case !whole && (!hasHead || last.seq >= head.seq):
			return // being written, or by a crash: it was never durable
		case !whole:
			r.bad("line %d is cut short", n)
			return
		case err != nil:
			r.bad("line %d %v", n, err)
			return
		case link.seq != last.seq+1:
			r.bad("line %d is record %d, but follows record %d: records were removed, moved or repeated", n, link.seq, last.seq)
		case rec.Prev != last.hash:
			r.bad("line %d does not follow the record before it: one of them was replaced", n)
		}
		r.count(rec)
		last = link
		headSeen = headSeen || link == head
	})
	if err != nil {
		return r, fmt.Errorf("read audit log: %w", err)
	}
	r.LastSeq, r.LastHash = last.seq, last.hash
	switch {
	case !hasHead && r.Records > 0:
		r.bad("%s is missing, so records at the end may be missing", auditHeadFile)
	case !headSeen:
		r.bad("the log should have record %d with hash %s: it was cut short or replaced", head.seq, head.hash)
	}
	return r, nil
}

func (r *AuditReport) count(rec auditRecord) {
	if r.Records == 0 {
		r.First = rec.Time
	}
	r.Records++
	r.Last = rec.Time
}

// eachLine calls fn for every line, with its number from 1 and without its
// end; whole is false for a last one that has no end. Of a line over the limit
// only the beginning is handed over.
func eachLine(f io.Reader, fn func(n int64, line []byte, whole bool)) error {
	br := bufio.NewReaderSize(f, maxAuditLine)
	for n := int64(1); ; n++ {
		line, err := br.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			fn(n, bytes.Clone(line), true)
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = br.ReadSlice('\n')
			}
		} else if len(line) > 0 {
			fn(n, bytes.TrimSuffix(line, []byte{'\n'}), err == nil)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
