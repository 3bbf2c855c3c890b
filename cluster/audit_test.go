package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// auditRig is an audit log in a directory of its own.
type auditRig struct {
	t   *testing.T
	dir string
	o   AuditOptions
	*auditLog
}

func newAuditRig(t *testing.T) *auditRig {
	a := &auditRig{t: t, dir: t.TempDir()}
	a.restart()
	t.Cleanup(func() { a.close() })
	return a
}

func (a *auditRig) restart() {
	if a.auditLog != nil {
		a.close()
	}
	a.auditLog = newAuditLog(a.dir, a.o, func() time.Time { return time.Unix(1767323045, 123456789) })
}

// fill records n entries and makes them durable.
func (a *auditRig) fill(n int) {
	a.t.Helper()
	for i := range n {
		e := AuditEntry{Kind: AuditAdmin, Actor: "ann", From: "192.0.2.1", Action: "CreateVolume", Object: fmt.Sprint(i), Outcome: AuditOK}
		if err := a.record(e, i == n-1); err != nil {
			a.t.Fatal(err)
		}
	}
}

func (a *auditRig) read(name string) []byte {
	a.t.Helper()
	b, err := os.ReadFile(filepath.Join(a.dir, name))
	if err != nil {
		a.t.Fatal(err)
	}
	return b
}

func (a *auditRig) verify() AuditReport {
	a.t.Helper()
	r, err := AuditVerify(AuditPath(a.dir), "")
	if err != nil {
		a.t.Fatal(err)
	}
	return r
}

// verifyCopy verifies a log and head of these contents.
func verifyCopy(t *testing.T, dir string, log, head []byte) AuditReport {
	t.Helper()
	for name, b := range map[string][]byte{auditFileName: log, auditHeadFile: head} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := AuditVerify(AuditPath(dir), "")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAuditChainGoesOnAfterRestart(t *testing.T) {
	a := newAuditRig(t)
	a.fill(3)
	a.restart()
	a.fill(2)
	r := a.verify()
	if r.Records != 5 || r.LastSeq != 5 || len(r.Problems) > 0 {
		t.Errorf("report %+v", r)
	}
	if !strings.Contains(string(a.read(auditHeadFile)), r.LastHash) {
		t.Error("the head is not the last record's")
	}
}

func TestAuditVerifyFindsEveryFlippedBit(t *testing.T) {
	t.Parallel()
	a := newAuditRig(t)
	a.fill(3)
	log, head, dir := a.read(auditFileName), a.read(auditHeadFile), t.TempDir()
	if r := verifyCopy(t, dir, log, head); len(r.Problems) > 0 {
		t.Fatalf("untouched copy: %q", r.Problems)
	}
	for bit := range 8 * len(log) {
		bad := bytes.Clone(log)
		bad[bit/8] ^= 1 << (bit % 8)
		if r := verifyCopy(t, dir, bad, head); len(r.Problems) == 0 {
			t.Errorf("bit %d of byte %d flipped unnoticed: %q", bit%8, bit/8, bad)
		}
	}
	for bit := range 8 * len(head) {
		bad := bytes.Clone(head)
		bad[bit/8] ^= 1 << (bit % 8)
		if r := verifyCopy(t, dir, log, bad); len(r.Problems) == 0 {
			t.Errorf("bit %d of the head flipped unnoticed", bit)
		}
	}
}

func TestAuditVerifyFindsCutsAndReorders(t *testing.T) {
	a := newAuditRig(t)
	a.fill(4)
	log, head, dir := a.read(auditFileName), a.read(auditHeadFile), t.TempDir()
	for n := range log {
		if r := verifyCopy(t, dir, log[:n], head); len(r.Problems) == 0 {
			t.Errorf("log cut to %d bytes passes", n)
		}
	}
	lines := bytes.SplitAfter(log, []byte{'\n'})[:4]
	for i := range lines {
		for j := range lines {
			if i == j {
				continue
			}
			swapped := slices.Clone(lines)
			swapped[i], swapped[j] = swapped[j], swapped[i]
			moved := slices.Insert(slices.Delete(slices.Clone(lines), i, i+1), j%3, lines[i])
			repeated := slices.Insert(slices.Clone(lines), j, lines[i])
			for name, l := range map[string][][]byte{"swapped": swapped, "repeated": repeated, "moved": moved} {
				b := bytes.Join(l, nil)
				if r := verifyCopy(t, dir, b, head); len(r.Problems) == 0 && !bytes.Equal(b, log) {
					t.Errorf("lines %d and %d %s pass", i, j, name)
				}
			}
		}
		gone := bytes.Join(slices.Delete(slices.Clone(lines), i, i+1), nil)
		if r := verifyCopy(t, dir, gone, head); len(r.Problems) == 0 {
			t.Errorf("line %d removed unnoticed", i)
		}
	}
}

func TestAuditVerifyPassesALogBeingWritten(t *testing.T) {
	a := newAuditRig(t)
	a.fill(2)
	head := a.read(auditHeadFile)
	a.fill(1)
	log := a.read(auditFileName)
	if r := verifyCopy(t, t.TempDir(), append(log, `{"seq":4,"ti`...), head); len(r.Problems) > 0 {
		t.Errorf("records after the head, the last one unfinished: %q", r.Problems)
	}
}

func TestAuditVerifyBoundsLines(t *testing.T) {
	long := bytes.Repeat([]byte{'x'}, 5*maxAuditLine)
	r := verifyCopy(t, t.TempDir(), append(long, '\n'), marshalAuditHead(auditStart()))
	if len(r.Problems) != 1 {
		t.Errorf("problems %q", r.Problems)
	}
}

func TestAuditLogStartsAfterACrash(t *testing.T) {
	t.Parallel()
	a := newAuditRig(t)
	a.fill(3)
	a.close()
	log := filepath.Join(a.dir, auditFileName)
	whole := a.read(auditFileName)
	line := whole[bytes.LastIndexByte(whole[:len(whole)-1], '\n')+1:]
	for n := range line { // any part of a fourth record
		if err := os.WriteFile(log, append(bytes.Clone(whole), line[:n]...), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(a.dir, auditHeadFile), marshalAuditHead(auditLinkOf(t, line)), 0o600); err != nil {
			t.Fatal(err)
		}
		a.restart()
		a.fill(1)
		if r := a.verify(); r.Records != 4 || len(r.Problems) > 0 {
			t.Fatalf("after %d bytes of a record: %+v", n, r)
		}
	}
}

func auditLinkOf(t *testing.T, line []byte) auditLink {
	t.Helper()
	_, link, err := parseAudit(bytes.TrimSuffix(line, []byte{'\n'}))
	if err != nil {
		t.Fatal(err)
	}
	return link
}

func TestDamagedAuditLogIsReportedAndGoesOn(t *testing.T) {
	for name, harm := range map[string]func(a *auditRig) error{
		"cut":          func(a *auditRig) error { return os.Truncate(filepath.Join(a.dir, auditFileName), 0) },
		"removed":      func(a *auditRig) error { return os.Remove(filepath.Join(a.dir, auditFileName)) },
		"head removed": func(a *auditRig) error { return os.Remove(filepath.Join(a.dir, auditHeadFile)) },
		"head garbled": func(a *auditRig) error {
			return os.WriteFile(filepath.Join(a.dir, auditHeadFile), []byte("x"), 0o600)
		},
		"last record altered": func(a *auditRig) error {
			b := a.read(auditFileName)
			b[len(b)-5] ^= 1
			return os.WriteFile(filepath.Join(a.dir, auditFileName), b, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuditRig(t)
			a.fill(3)
			a.close()
			if err := harm(a); err != nil {
				t.Fatal(err)
			}
			a.restart()
			a.fill(1)
			if len(a.damages()) == 0 {
				t.Error("nothing reported")
			}
			if !bytes.Contains(a.read(auditFileName), []byte("damage found")) {
				t.Error("the log does not tell of it")
			}
		})
	}
}

// brokenSink fails as a full file system does.
type brokenSink struct {
	auditFile
	fail *error
}

func (s brokenSink) WriteAt(p []byte, off int64) (int, error) {
	if *s.fail != nil {
		n, _ := s.auditFile.WriteAt(p[:len(p)/2], off)
		return n, *s.fail
	}
	return s.auditFile.WriteAt(p, off)
}

func TestAuditSinkFailureRefusesChangesAndHeals(t *testing.T) {
	t.Parallel()
	r := withCluster(t)
	v := r.create(CreateVolume{Name: "v", Size: mib})
	dev := r.attach("v")
	var fail error
	r.audit.mu.Lock()
	files := r.audit.files.disk.open
	r.audit.files.disk.open = func(path string) (auditFile, error) {
		f, err := files(path)
		return brokenSink{f, &fail}, err
	}
	r.audit.files.down()
	fail = errors.New("no space left on device")
	r.audit.mu.Unlock()
	ctx := t.Context()
	if err := r.Audit(ctx, AuditEntry{Kind: AuditAdmin, Action: "DeleteVolume", Outcome: AuditBegun}); !errors.Is(err, ErrAudit) {
		t.Errorf("record on a full disk = %v, want ErrAudit", err)
	}
	if _, err := r.DeleteVolume(ctx, v.ID); !errors.Is(err, ErrAudit) || Cause(err) != ErrAudit {
		t.Errorf("change without audit = %v, want ErrAudit", err)
	}
	if got := codes(r.current()); got != "auditSinkDown" {
		t.Errorf("faults %q", got)
	}
	r.write(dev, 0, random(512)) // volumes go on
	r.audit.mu.Lock()
	fail = nil
	r.audit.mu.Unlock()
	r.check(ctx)
	if got := r.current(); len(got) != 0 {
		t.Errorf("faults once there is room: %q", codes(got))
	}
	_, err := r.DeleteVolume(ctx, v.ID)
	r.must(err)
	log, err := os.ReadFile(AuditPath(r.config().State))
	r.must(err)
	if !bytes.Contains(log, []byte("records missed")) {
		t.Error("the log does not tell of the records it lacks")
	}
	if rep, err := AuditVerify(AuditPath(r.config().State), ""); err != nil || len(rep.Problems) > 0 {
		t.Errorf("log afterwards: %q, %v", rep.Problems, err)
	}
}

func TestRemovedAuditLogIsNoticedWhileRunning(t *testing.T) {
	a := newAuditRig(t)
	a.fill(2)
	if err := os.Remove(filepath.Join(a.dir, auditFileName)); err != nil {
		t.Fatal(err)
	}
	if err := a.flush(); !errors.Is(err, ErrAudit) {
		t.Errorf("flush = %v, want ErrAudit", err)
	}
	a.fill(1)
	if damage := a.damages(); len(damage) != 1 || !strings.Contains(damage[0], "cut short") {
		t.Errorf("damage %q", damage)
	}
}

func TestKeyUseAndFailedLoginsAreAudited(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.params()
	p.Username, p.Password = "ann", []byte("correct horse")
	r.must(r.Create(t.Context(), p))
	r.addDrive("d1", RoleBlock)
	ctx := WithActor(t.Context(), Actor{"ann", "administrator", "192.0.2.1"})
	v, err := r.CreateVolume(ctx, CreateVolume{Name: "v", Size: mib})
	r.must(err)
	_, err = r.AddRecoveryKey(ctx, v.ID, []byte("let me in"), "pbkdf2")
	r.must(err)
	r.must(r.RemoveRecoveryKey(ctx, v.ID, 0))
	r.must(r.Backup(ctx, &bytes.Buffer{}, []byte("a long passphrase")))
	for range 8 { // five are looked at, then the limit holds
		if _, err := r.Authenticate(ctx, "ann", []byte("wrong horse"), "192.0.2.9"); err == nil {
			t.Fatal("wrong password accepted")
		}
	}
	r.restart()
	_, err = r.DeleteVolume(ctx, v.ID)
	r.must(err)
	r.must(r.PurgeVolume(ctx, v.ID))
	var got []string
	limited := 0
	f, err := os.Open(AuditPath(r.config().State))
	r.must(err)
	defer f.Close()
	r.must(eachLine(f, func(_ int64, line []byte, _ bool) {
		rec, _, err := parseAudit(line)
		r.must(err)
		s := strings.Join([]string{rec.Kind, rec.Actor, rec.Action, rec.Outcome}, "|")
		n, _ := strconv.Atoi(rec.Detail["count"])
		limited += n
		if len(got) == 0 || got[len(got)-1] != s {
			got = append(got, s)
		}
	}))
	if limited != 3 {
		t.Errorf("%d logins over the limit are counted, want 3", limited)
	}
	want := []string{
		"key|system|make master key|ok",
		"key|ann|make data key|ok", "key|ann|unwrap data key|ok",
		"key|ann|add recovery key|ok", "key|ann|remove recovery key|ok", "key|ann|back up wrapped keys|ok",
		"login|ann|login|denied",
	}
	if !slices.Equal(got[:min(len(got), len(want))], want) {
		t.Errorf("records %q, want %q first", got, want)
	}
	for _, s := range []string{"key|system|open master key|ok", "key|system|unwrap data key|ok", "key|ann|destroy data key|ok"} {
		if !slices.Contains(got, s) {
			t.Errorf("no record %q in %q", s, got)
		}
	}
}

func FuzzParseAudit(f *testing.F) {
	l, err := marshalAudit(auditStart(), AuditEntry{Kind: AuditKey, Action: "x", Detail: map[string]string{"a": "b"}}, time.Unix(1, 0).UTC())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.TrimSuffix(l.text, []byte{'\n'}))
	f.Add([]byte(`{"seq":1,"hash":""}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, link, err := parseAudit(b)
		if err == nil && (link.seq != r.Seq || len(link.hash) != 64) {
			t.Errorf("%q parses as %+v, %+v", b, r, link)
		}
	})
}
