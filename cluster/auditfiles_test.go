package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// newRotatingRig is an audit log that begins a new file every few records.
func newRotatingRig(t *testing.T, o AuditOptions) *auditRig {
	t.Helper()
	o.MaxSize = 1000
	a := &auditRig{t: t, dir: t.TempDir(), o: o}
	a.restart()
	t.Cleanup(func() { a.close() })
	return a
}

func (a *auditRig) old() []string {
	a.t.Helper()
	names, err := auditOldFiles(a.dir)
	if err != nil {
		a.t.Fatal(err)
	}
	return names
}

func TestAuditChainGoesOnAcrossFiles(t *testing.T) {
	a := newRotatingRig(t, AuditOptions{})
	for range 3 {
		a.fill(7)
		a.restart()
	}
	r := a.verify()
	if r.Records != 21 || r.FirstSeq != 1 || r.LastSeq != 21 || len(r.Problems) > 0 || len(r.Notes) > 0 {
		t.Errorf("report %+v", r)
	}
	if len(a.old()) < 4 || r.Files != len(a.old())+1 {
		t.Errorf("%d files, old ones %q", r.Files, a.old())
	}
	for _, name := range append(a.old(), auditFileName) {
		if n := len(a.read(name)); n > 1000 {
			t.Errorf("%s has %d bytes", name, n)
		}
	}
}

func TestAuditVerifyNamesWhatIsWrongInOldFiles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		harm func(a *auditRig, old []string) error
		want string
	}{
		"middle file missing": {func(a *auditRig, old []string) error {
			return os.Remove(filepath.Join(a.dir, old[1]))
		}, "are missing (an old file that ends with the last of them would be MIDDLE)"},
		"first file missing": {func(a *auditRig, old []string) error {
			return os.Remove(filepath.Join(a.dir, old[0]))
		}, "are missing (an old file that ends with the last of them would be FIRST)"},
		"tail cut at a line": {func(a *auditRig, old []string) error {
			b := a.read(old[1])
			b = b[:bytes.LastIndexByte(b[:len(b)-1], '\n')+1]
			return os.WriteFile(filepath.Join(a.dir, old[1]), b, 0o600)
		}, "MIDDLE ends with record"},
		"tail cut in a line": {func(a *auditRig, old []string) error {
			return os.Truncate(filepath.Join(a.dir, old[1]), int64(len(a.read(old[1])))-3)
		}, "MIDDLE line 3 is cut short"},
		"record altered": {func(a *auditRig, old []string) error {
			b := bytes.Replace(a.read(old[1]), []byte("ann"), []byte("bob"), 1)
			return os.WriteFile(filepath.Join(a.dir, old[1]), b, 0o600)
		}, "MIDDLE line 1 was altered"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newRotatingRig(t, AuditOptions{})
			a.fill(14)
			old := a.old()
			want := strings.NewReplacer("FIRST", old[0], "MIDDLE", old[1]).Replace(c.want)
			if err := c.harm(a, old); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(a.verify().Problems, "\n"); !strings.Contains(got, want) {
				t.Errorf("problems %q, want one with %q", got, want)
			}
		})
	}
}

// The head of an earlier run proves what the files alone cannot: a log that was
// rewritten as a whole, or cut together with its head.
func TestAuditVerifyWithAHeadKeptElsewhere(t *testing.T) {
	a := newRotatingRig(t, AuditOptions{})
	a.fill(5)
	r := a.verify()
	head := fmt.Sprintf("%d:%s", r.LastSeq, r.LastHash)
	a.fill(9)
	check := func(head, want string) {
		t.Helper()
		r, err := AuditVerify(a.dir, head)
		got := strings.Join(r.Problems, "\n")
		if err != nil || (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("problems %q, %v, want %q", got, err, want)
		}
	}
	check(head, "")
	check("5:"+strings.Repeat("0", 64), "rewritten")
	check("99:"+strings.Repeat("0", 64), "cut short")
	if _, err := AuditVerify(a.dir, "5:abc"); err == nil {
		t.Error("a short hash is taken")
	}
	a.close()
	for _, name := range append(a.old(), auditFileName, auditHeadFile) {
		if err := os.Remove(filepath.Join(a.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	a.auditLog = nil
	a.restart()
	if err := a.record(AuditEntry{Kind: AuditAdmin, Action: "Forged", Outcome: AuditOK}, true); err != nil {
		t.Fatal(err)
	}
	a.fill(14)
	check("", "")
	check(head, "rewritten")
}

func TestOldAuditFilesAreRemovedOnlyWithARecord(t *testing.T) {
	a := newRotatingRig(t, AuditOptions{Keep: 2})
	for range 10 {
		a.fill(3)
		if err := a.flush(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(a.old()); n < 2 || n > 3 { // the record of a removal may itself begin a file
		t.Errorf("old files %q, want 2", a.old())
	}
	r := a.verify()
	if len(r.Problems) > 0 || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "audit_keep") || r.FirstSeq == 1 {
		t.Errorf("report %+v", r)
	}
	if err := os.Remove(filepath.Join(a.dir, a.old()[0])); err != nil {
		t.Fatal(err)
	}
	if r := a.verify(); len(r.Problems) != 1 || !strings.Contains(r.Problems[0], "missing") {
		t.Errorf("one more removed by hand: %q", r.Problems)
	}
}

func TestAuditKeepsAllFilesByDefault(t *testing.T) {
	a := newRotatingRig(t, AuditOptions{})
	for range 20 {
		a.fill(3)
		if err := a.flush(); err != nil {
			t.Fatal(err)
		}
	}
	if r := a.verify(); r.Records != 60 || r.FirstSeq != 1 {
		t.Errorf("report %+v", r)
	}
}

var errKilled = errors.New("killed")

// killing makes a disk of which all works until operation n, which fails like
// all that follow; torn says that a write to the log as operation n is done by half
// (the head is 91 bytes in one sector, which a disk writes whole).
func killing(d auditDisk, n int, torn bool) (auditDisk, *int) {
	ops := 0
	next := func() error {
		ops++
		if ops >= n {
			return errKilled
		}
		return nil
	}
	out := d
	out.open = func(path string) (auditFile, error) {
		if err := next(); err != nil {
			return nil, err
		}
		f, err := d.open(path)
		return &killedFile{f, next, func() bool { return torn && ops == n && filepath.Base(path) == auditFileName }}, err
	}
	out.rename = func(from, to string) error {
		return errors.Join(next(), when(ops < n, func() error { return d.rename(from, to) }))
	}
	out.remove = func(path string) error {
		return errors.Join(next(), when(ops < n, func() error { return d.remove(path) }))
	}
	out.syncDir = func(dir string) error {
		return errors.Join(next(), when(ops < n, func() error { return d.syncDir(dir) }))
	}
	return out, &ops
}

func when(ok bool, do func() error) error {
	if !ok {
		return nil
	}
	return do()
}

// killedFile is a file on a killing disk.
type killedFile struct {
	auditFile
	next func() error
	half func() bool
}

func (f *killedFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.next(); err != nil {
		if f.half() {
			f.auditFile.WriteAt(p[:len(p)/2], off)
		}
		return 0, err
	}
	return f.auditFile.WriteAt(p, off)
}

func (f *killedFile) Truncate(size int64) error {
	if err := f.next(); err != nil {
		return err
	}
	return f.auditFile.Truncate(size)
}

func (f *killedFile) Sync() error {
	if err := f.next(); err != nil {
		return err
	}
	return f.auditFile.Sync()
}

// Whatever the operation of a rotation, a removal or a record is that a crash
// comes at, the next start goes on, and no record that was promised is gone.
func TestAuditSurvivesACrashAtEveryOperation(t *testing.T) {
	t.Parallel()
	points := 0
	for _, torn := range []bool{false, true} {
		for n := 1; ; n++ {
			if done := crashAuditAt(t, n, torn); done {
				break
			}
			points++
		}
	}
	t.Logf("%d crash points", points)
	if points < 100 {
		t.Errorf("only %d crash points", points)
	}
}

// crashAuditAt kills a log at its n-th operation and tells whether it came to
// its end before.
func crashAuditAt(t *testing.T, n int, torn bool) (done bool) {
	a := newRotatingRig(t, AuditOptions{Keep: 1})
	a.files.disk, _ = killing(newAuditDisk(), n, torn)
	promised := int64(0)
	for range 12 {
		e := AuditEntry{Kind: AuditAdmin, Actor: "ann", Action: "CreateVolume", Outcome: AuditOK}
		if a.record(e, true) != nil || a.flush() != nil {
			break
		}
		promised = a.last.seq
		done = promised >= 12
	}
	a.files.down() // the process is gone: nothing is written after
	a.auditLog = newAuditLog(a.dir, a.o, a.now)
	if err := a.record(AuditEntry{Kind: AuditAdmin, Action: "AfterTheCrash", Outcome: AuditOK}, true); err != nil {
		t.Fatalf("operation %d (torn %v): record after the restart: %v", n, torn, err)
	}
	if d := a.damages(); len(d) > 0 {
		t.Fatalf("operation %d (torn %v): damage %q", n, torn, d)
	}
	if r := a.verify(); len(r.Problems) > 0 || r.LastSeq <= promised {
		t.Fatalf("operation %d (torn %v): promised %d, report %+v", n, torn, promised, r)
	}
	return done
}
