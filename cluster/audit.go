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
	"strconv"
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
	auditFileName = "audit.log"
	auditHeadFile = "audit.head"
	auditMagic    = "lockplate-audit-1"

	maxAuditLine = 16 << 10 // bytes
	maxAuditText = 256      // bytes of a member given by a caller
	maxProblems  = 100      // in a report
)

// AuditPath is the path of the audit log in a state directory.
func AuditPath(state string) string { return filepath.Join(state, auditFileName) }

// Kinds of audit records.
const (
	AuditAdmin = "admin" // a call that changes something
	AuditLogin = "login" // a login that was refused
	AuditKey   = "key"   // a key was made, used or destroyed
	AuditLog   = "log"   // about the audit log itself
)

// Records about the log itself that explain what would else be a problem.
const (
	actionMissed  = "records missed"      // a sink lacks records, or no sink took them
	actionRemoved = "old records removed" // as audit_keep says

	sinkAll       = "all"     // the object of a "records missed" record of those that no sink took
	detailAfter   = "after"   // the record that this one follows in its sink
	detailThrough = "through" // the last record that was removed
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
	Actor   string // user name; "system" is the gateway itself
	Role    string // of the actor
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
	Role    string            `json:"role,omitempty"`
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

// String is the link as people hand it on: SEQ:HASH.
func (l auditLink) String() string { return strconv.FormatInt(l.seq, 10) + ":" + l.hash }

// parseAuditLink reads SEQ:HASH.
func parseAuditLink(s string) (l auditLink, err error) {
	seq, hash, _ := strings.Cut(s, ":")
	if l.seq, err = strconv.ParseInt(seq, 10, 64); err != nil || l.seq < 0 {
		return l, fmt.Errorf("%q is not SEQ:HASH", s)
	}
	l.hash = strings.ToLower(hash)
	if b, err := hex.DecodeString(l.hash); err != nil || len(b) != sha256.Size {
		return l, fmt.Errorf("%q is not SEQ:HASH: the hash has %d hexadecimal digits", s, 2*sha256.Size)
	}
	return l, nil
}

// follows says whether the record explains that it does not follow its
// predecessor in the file, but the record before that is there.
func (r *auditRecord) follows(last auditLink) bool {
	return r.Kind == AuditLog && r.Action == actionMissed && r.Detail[detailAfter] == last.String()
}

const auditHashMember = `,"hash":"`

func auditHash(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// marshalAudit makes the line of the record that follows prev.
func marshalAudit(prev auditLink, e AuditEntry, now time.Time) (auditLine, error) {
	cut := func(s string) string {
		return strings.ToValidUTF8(s[:min(len(s), maxAuditText)], "?")
	}
	r := auditRecord{
		Seq: prev.seq + 1, Time: now, Prev: prev.hash, Kind: cut(e.Kind), Actor: cut(e.Actor), Role: cut(e.Role),
		From: cut(e.From), Action: cut(e.Action), Object: cut(e.Object), Outcome: cut(e.Outcome),
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
		return auditLine{}, fmt.Errorf("encode audit record: %w", err)
	}
	body = body[:len(body)-1]
	l := auditLine{prev: prev, link: auditLink{r.Seq, auditHash(body)}}
	if r.Kind == AuditLog && r.Action == actionMissed {
		l.after = r.Detail[detailAfter]
	}
	l.text = append(body, auditHashMember...)
	l.text = append(l.text, l.link.hash...)
	l.text = append(l.text, '"', '}', '\n')
	return l, nil
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
	if len(b) == 0 { // a crash came between its making and its first use
		return auditStart(), false, nil
	}
	var magic string
	_, err = fmt.Sscanf(string(b), "%s %d %s\n", &magic, &l.seq, &l.hash)
	if err != nil || !bytes.Equal(b, marshalAuditHead(l)) {
		return l, false, fmt.Errorf("%w: %s", ErrDamaged, auditHeadFile)
	}
	return l, true, nil
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
