package cluster

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// copyRig is a log with a copy; both disks can be broken.
type copyRig struct {
	*auditRig
	to   string // directory of the copy
	fail [2]*failing
}

// failing is a disk that can be broken, or made to hang.
type failing struct {
	mu   sync.Mutex
	err  error
	hang chan struct{} // writes wait for it to be closed
}

func (f *failing) set(err error) {
	f.mu.Lock()
	f.err = err
	f.mu.Unlock()
}

func (f *failing) now() error {
	f.mu.Lock()
	err, hang := f.err, f.hang
	f.mu.Unlock()
	if hang != nil {
		<-hang
	}
	return err
}

type failingFile struct {
	auditFile
	disk *failing
}

func (f failingFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.disk.now(); err != nil {
		n, _ := f.auditFile.WriteAt(p[:len(p)/2], off)
		return n, err
	}
	return f.auditFile.WriteAt(p, off)
}

func (f *failing) disk() auditDisk {
	d := newAuditDisk()
	d.open = func(path string) (auditFile, error) {
		if err := f.now(); err != nil {
			return nil, err
		}
		file, err := newAuditDisk().open(path)
		return failingFile{file, f}, err
	}
	return d
}

func newCopyRig(t *testing.T, o AuditOptions) *copyRig {
	t.Helper()
	r := &copyRig{auditRig: &auditRig{t: t, dir: t.TempDir()}, to: t.TempDir(), fail: [2]*failing{{}, {}}}
	o.Copy = r.to
	r.o = o
	r.start()
	t.Cleanup(func() { r.close() })
	return r
}

func (r *copyRig) start() {
	r.restart()
	r.files.disk = r.fail[0].disk()
	r.copies[0].to.(*auditFiles).disk = r.fail[1].disk()
	r.run()
}

// settled waits until the copy has all records.
func (r *copyRig) settled() {
	r.t.Helper()
	rig := &rig{t: r.t}
	rig.eventually(func() bool {
		r.flush()
		last, _ := r.counts()
		c := r.copies[0]
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.sent == last && c.err == nil
	})
}

func (r *copyRig) verifyBoth(notes [2]string) {
	r.t.Helper()
	for i, dir := range []string{r.dir, r.to} {
		rep, err := AuditVerify(dir, "")
		if err != nil || len(rep.Problems) > 0 || !strings.Contains(strings.Join(rep.Notes, "\n"), notes[i]) || (notes[i] == "") != (len(rep.Notes) == 0) {
			r.t.Errorf("log %d: %+v, %v, want notes %q", i, rep, err, notes[i])
		}
	}
}

func (r *copyRig) same() {
	r.t.Helper()
	a := r.read(auditFileName)
	b, err := os.ReadFile(AuditPath(r.to))
	if err != nil || !bytes.Equal(a, b) {
		r.t.Errorf("the copy differs: %d and %d bytes, %v", len(a), len(b), err)
	}
}

func TestAuditCopyIsTheSameLog(t *testing.T) {
	t.Parallel()
	r := newCopyRig(t, AuditOptions{MaxSize: 1000})
	r.fill(9)
	r.settled()
	r.start()
	r.fill(9)
	r.settled()
	r.verifyBoth([2]string{})
	r.same()
}

// A copy that is new, or was away, gets what it lacks from the state directory.
func TestNewAuditCopyGetsTheWholeLog(t *testing.T) {
	t.Parallel()
	r := newCopyRig(t, AuditOptions{MaxSize: 1000})
	r.fill(9)
	r.settled()
	r.close()
	r.auditLog = nil
	r.to = t.TempDir()
	r.o.Copy = r.to
	r.start()
	r.settled()
	rep, err := AuditVerify(r.to, "")
	if err != nil || rep.Records != 9 || len(rep.Problems) > 0 {
		t.Errorf("%+v, %v", rep, err)
	}
}

func TestOneSinkDownIsMadeUpForLater(t *testing.T) {
	t.Parallel()
	full := errors.New("no space left on device")
	for i, name := range []string{"file", "copy"} {
		t.Run(name, func(t *testing.T) {
			r := newCopyRig(t, AuditOptions{})
			r.fill(2)
			r.settled()
			r.fail[i].set(full)
			r.fill(3) // durable: the other one has them
			(&rig{t: t}).eventually(func() bool {
				list, all := r.down()
				return len(list) == 1 && strings.HasPrefix(list[0].name, name) && !all
			})
			c := &Cluster{audit: r.auditLog}
			if bad := c.auditConditions(); len(bad) != 1 || bad[0].code != faultAuditDown || bad[0].severity != sevWarning ||
				!strings.HasPrefix(bad[0].key, name) {
				t.Errorf("conditions %+v", bad)
			}
			if err := r.flush(); err != nil {
				t.Errorf("changes are refused while a sink works: %v", err)
			}
			r.fail[i].set(nil)
			r.settled()
			if list, _ := r.down(); len(list) > 0 {
				t.Errorf("down once there is room: %+v", list)
			}
			r.verifyBoth([2]string{})
			r.same()
			if _, missed := r.counts(); missed != 0 {
				t.Errorf("%d records missed", missed)
			}
		})
	}
}

func TestAllSinksDownRefusesAndCounts(t *testing.T) {
	t.Parallel()
	r := newCopyRig(t, AuditOptions{})
	r.fill(2)
	r.settled()
	full := errors.New("no space left on device")
	r.fail[0].set(full)
	r.fail[1].set(full)
	(&rig{t: t}).eventually(func() bool {
		r.record(AuditEntry{Kind: AuditKey, Action: "probe", Outcome: AuditOK}, true)
		_, all := r.down()
		return all
	})
	_, before := r.counts()
	for range 4 {
		if err := r.record(AuditEntry{Kind: AuditKey, Action: "lost", Outcome: AuditOK}, false); !errors.Is(err, ErrAudit) {
			t.Errorf("record = %v, want ErrAudit", err)
		}
	}
	if err := r.flush(); !errors.Is(err, ErrAudit) {
		t.Errorf("changes are allowed: %v", err)
	}
	_, after := r.counts()
	if after != before+4 {
		t.Errorf("%d records counted, want 4", after-before)
	}
	r.fail[0].set(nil)
	r.fail[1].set(nil)
	r.settled()
	r.verifyBoth([2]string{"could not be written anywhere", "could not be written anywhere"})
	want := `"count":"` + strconv.FormatInt(after, 10) + `","since":"2026-01-02T`
	if log := r.read(auditFileName); !bytes.Contains(log, []byte(want)) {
		t.Errorf("no %s in %s", want, log)
	}
	r.same()
}

// What the copy was given while the file was down, and the file cannot get any
// more, is named in the file.
func TestGapOfTheFileIsExplained(t *testing.T) {
	t.Parallel()
	r := newCopyRig(t, AuditOptions{})
	r.fill(2)
	r.settled()
	r.fail[0].set(errors.New("read-only file system"))
	r.fill(3)
	r.settledDown()
	r.mu.Lock()
	r.queue.clear() // as if more had come than is kept
	r.mu.Unlock()
	r.fail[0].set(nil)
	r.settled()
	r.verifyBoth([2]string{"says that the records after 2", ""})
}

func (r *copyRig) settledDown() {
	r.t.Helper()
	if list, all := r.down(); len(list) != 1 || all {
		r.t.Fatalf("down: %+v, %v", list, all)
	}
}

// After a power failure the copy may be ahead: its records stay, and those
// that follow say so.
func TestCopyAheadOfTheLogGoesOn(t *testing.T) {
	t.Parallel()
	r := newCopyRig(t, AuditOptions{})
	r.fill(2)
	r.settled()
	log, head := r.read(auditFileName), r.read(auditHeadFile)
	r.fill(2)
	r.settled()
	r.close()
	r.auditLog = nil
	for name, b := range map[string][]byte{auditFileName: log, auditHeadFile: head} {
		if err := os.WriteFile(filepath.Join(r.dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.start()
	r.fill(1)
	r.settled()
	r.verifyBoth([2]string{"", "says that the records after 4"})
}

func TestAuditCopyThatHangsDelaysNothing(t *testing.T) {
	t.Parallel()
	r := newCopyRig(t, AuditOptions{})
	r.fill(1)
	r.settled()
	hang := make(chan struct{})
	r.fail[1].mu.Lock()
	r.fail[1].hang = hang
	r.fail[1].mu.Unlock()
	begin := time.Now()
	r.fill(100)
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("100 records took %v", took)
	}
	(&rig{t: t}).eventually(func() bool {
		c := r.copies[0]
		c.mu.Lock()
		if !c.busy.IsZero() { // since long ago, for the test
			c.busy = time.Now().Add(-2 * auditHang)
		}
		c.mu.Unlock()
		list, _ := r.down()
		return len(list) == 1 && strings.Contains(list[0].err.Error(), "does not answer")
	})
	close(hang)
	r.settled()
	r.same()
}

// syslogServer takes messages over TCP with octet counting.
type syslogServer struct {
	net.Listener
	mu   sync.Mutex
	got  []string
	conn []net.Conn
}

func newSyslogServer(t *testing.T, at string, secure ...*tls.Config) *syslogServer {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range secure {
		l = tls.NewListener(l, c)
	}
	s := &syslogServer{Listener: l}
	t.Cleanup(s.stop)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conn = append(s.conn, c)
			s.mu.Unlock()
			go s.read(c)
		}
	}()
	return s
}

func (s *syslogServer) read(c net.Conn) {
	br := bufio.NewReader(c)
	for {
		var n int
		if _, err := fmt.Fscanf(br, "%d ", &n); err != nil {
			return
		}
		msg := make([]byte, n)
		if _, err := io.ReadFull(br, msg); err != nil {
			return
		}
		s.mu.Lock()
		s.got = append(s.got, string(msg))
		s.mu.Unlock()
	}
}

func (s *syslogServer) stop() {
	s.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conn {
		c.Close()
	}
}

// seqs are the numbers of the records that came, without repetitions.
func (s *syslogServer) seqs(t *testing.T) (out []int64) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.got {
		head, text, ok := strings.Cut(m, " - {")
		r, _, err := parseAudit([]byte("{" + text))
		if !ok || err != nil || !strings.HasPrefix(head, "<85>1 2026-01-02T") || !strings.HasSuffix(head, " admin") {
			t.Errorf("message %q: %v", m, err)
		}
		if !slices.Contains(out, r.Seq) {
			out = append(out, r.Seq)
		}
	}
	return out
}

func TestAuditRecordsReachSyslogAcrossAnOutage(t *testing.T) {
	t.Parallel()
	s := newSyslogServer(t, "127.0.0.1:0")
	a := newAuditRig(t)
	a.o.Syslog.Address = "tcp:" + s.Addr().String()
	a.restart()
	a.run()
	rig := &rig{t: t}
	a.fill(3)
	rig.eventually(func() bool { return len(s.seqs(t)) == 3 })
	s.stop()
	a.fill(2)
	rig.eventually(func() bool { list, all := a.down(); return len(list) == 1 && !all })
	a.fill(2)
	again := newSyslogServer(t, s.Addr().String())
	rig.eventually(func() bool {
		got := append(s.seqs(t), again.seqs(t)...)
		slices.Sort(got)
		return slices.Equal(slices.Compact(got), []int64{1, 2, 3, 4, 5, 6, 7})
	})
	rig.eventually(func() bool { list, _ := a.down(); return len(list) == 0 })
}

// The server is checked: one that another CA signed gets nothing.
func TestAuditRecordsReachSyslogOverTLS(t *testing.T) {
	t.Parallel()
	pki := httptest.NewTLSServer(nil)
	defer pki.Close()
	s := newSyslogServer(t, "127.0.0.1:0", &tls.Config{Certificates: pki.TLS.Certificates})
	roots := x509.NewCertPool()
	roots.AddCert(pki.Certificate())
	a := newAuditRig(t)
	a.o.Syslog = SyslogOptions{Address: "tls:" + s.Addr().String(), TLS: &tls.Config{RootCAs: roots}}
	a.restart()
	a.run()
	a.fill(2)
	rig := &rig{t: t}
	rig.eventually(func() bool { return len(s.seqs(t)) == 2 })
	a.o.Syslog.TLS = nil
	a.restart()
	a.run()
	a.fill(1)
	rig.eventually(func() bool {
		list, _ := a.down()
		return len(list) == 1 && strings.Contains(list[0].err.Error(), "certificate")
	})
	if got := s.seqs(t); len(got) != 2 {
		t.Errorf("records %v reached it", got)
	}
}

func TestAuditRecordsReachALocalSyslog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a := newAuditRig(t)
	a.o.Syslog.Address = "unix:" + path
	a.restart()
	a.run()
	a.fill(1)
	buf := make([]byte, 4096)
	l.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, err := l.Read(buf)
	if err != nil || !strings.Contains(string(buf[:n]), `"action":"CreateVolume"`) {
		t.Errorf("%q, %v", buf[:n], err)
	}
}

func TestSyslogAddresses(t *testing.T) {
	for _, good := range []string{"local", "unix:/run/log", "tcp:log.example:514", "tls:[::1]:6514"} {
		if err := (SyslogOptions{Address: good}).Check(); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"journal", "unix:", "tcp:log.example", "udp:log.example:514"} {
		if (SyslogOptions{Address: bad}).Check() == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
