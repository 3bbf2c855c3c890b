package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// An audit directory holds audit.log, which grows, and the files that were
// audit.log before it. Those have the number of their last record in their
// name, so that one that is cut or missing can be named. The chain goes on
// from file to file. audit.log becomes an old file in steps that may each be
// the last one before a crash; start copes with what is left of any of them:
//
//	log and head are synced       nothing has changed yet
//	audit.log is renamed, synced  no audit.log: the newest old file has the end
//	audit.log is made, synced     the same, with an empty audit.log
const (
	auditOldPrefix = "audit-"
	auditOldSuffix = ".log"
	auditOldDigits = 20
)

// auditOldName is the name of an old file that ends with record seq.
func auditOldName(seq int64) string {
	return fmt.Sprintf("%s%0*d%s", auditOldPrefix, auditOldDigits, seq, auditOldSuffix)
}

// auditOldSeq is the record that an old file ends with, by its name.
func auditOldSeq(name string) (int64, bool) {
	digits := strings.TrimSuffix(strings.TrimPrefix(name, auditOldPrefix), auditOldSuffix)
	seq, err := strconv.ParseInt(digits, 10, 64)
	return seq, err == nil && seq > 0 && name == auditOldName(seq)
}

// auditOldFiles lists the old files in a directory, oldest first.
func auditOldFiles(dir string) ([]string, error) {
	all, err := os.ReadDir(dir) // sorted, and the numbers have a fixed width
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range all {
		if _, ok := auditOldSeq(e.Name()); ok {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// auditFile is the part of *os.File that the log needs.
type auditFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Sync() error
	Stat() (os.FileInfo, error)
}

// auditDisk is the part of the os package that an audit directory needs.
type auditDisk struct {
	open    func(path string) (auditFile, error)
	rename  func(from, to string) error
	remove  func(path string) error
	syncDir func(dir string) error
}

func newAuditDisk() auditDisk {
	return auditDisk{
		open: func(path string) (auditFile, error) {
			return os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
		},
		rename: renameNew, remove: os.Remove, syncDir: syncDir,
	}
}

// renameNew never replaces a file: it may be evidence.
func renameNew(from, to string) error {
	if _, err := os.Lstat(to); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is in the way", to)
	}
	return os.Rename(from, to)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// auditFiles writes the log of one directory. It is not safe for concurrent use.
type auditFiles struct {
	dir  string
	disk auditDisk
	most int64 // size over which audit.log becomes an old file, 0 = never

	f, head auditFile // nil while down
	size    int64
	last    auditLink // of the last record
	synced  int64     // number of the last durable record
}

func (a *auditFiles) ready() bool { return a.f != nil }

// start opens the files, finds the end of the chain, and tells what is wrong
// with it.
func (a *auditFiles) start() (damage string, err error) {
	damage, err = a.begin()
	if err != nil {
		a.down()
	}
	return damage, err
}

func (a *auditFiles) begin() (damage string, err error) {
	head, hasHead, err := readAuditHead(a.dir)
	if err != nil && !errors.Is(err, ErrDamaged) {
		return "", err
	}
	if err != nil {
		damage = err.Error()
	}
	if a.f, err = a.disk.open(filepath.Join(a.dir, auditFileName)); err != nil {
		return "", err
	}
	if a.head, err = a.disk.open(filepath.Join(a.dir, auditHeadFile)); err != nil {
		return "", err
	}
	// Names of new files must last, too, and of one that was being renamed.
	if err = a.disk.syncDir(a.dir); err != nil {
		return "", err
	}
	last, bad, err := a.findEnd()
	switch {
	case err != nil:
		return "", err
	case damage != "":
	case bad != nil:
		damage = "the last record " + bad.Error()
	case !hasHead && last.seq > 0:
		damage = auditHeadFile + " is missing"
	case head.seq > last.seq || head.seq == last.seq && head.hash != last.hash:
		damage = fmt.Sprintf("the log ends with record %d, its head says record %d: it was cut short or replaced", last.seq, head.seq)
	}
	last.seq = max(last.seq, head.seq)
	a.last, a.synced = last, head.seq
	if !hasHead && damage == "" { // before the first record, so that none can be without it
		return "", a.putHead(auditStart())
	}
	return damage, nil
}

// findEnd finds the last whole record, and where the next one goes. What a
// crash left of a line is cut off when that is written. bad is what is wrong
// with the last record.
func (a *auditFiles) findEnd() (last auditLink, bad, err error) {
	if last, a.size, bad, err = endOfAudit(a.f); err != nil || a.size > 0 {
		return last, bad, err
	}
	old, err := auditOldFiles(a.dir)
	if err != nil || len(old) == 0 {
		return last, bad, err
	}
	return a.endOf(old[len(old)-1])
}

// endOf finds the last record of an old file.
func (a *auditFiles) endOf(name string) (last auditLink, bad, err error) {
	f, err := os.Open(filepath.Join(a.dir, name))
	if err != nil {
		return last, nil, err
	}
	defer f.Close()
	last, _, bad, err = endOfAudit(f)
	return last, bad, err
}

// endOfAudit finds the last whole record of a file, and where it ends.
func endOfAudit(f interface {
	io.ReaderAt
	Stat() (os.FileInfo, error)
},
) (last auditLink, size int64, bad, err error) {
	st, err := f.Stat()
	if err != nil {
		return last, 0, nil, err
	}
	tail := make([]byte, min(st.Size(), 2*maxAuditLine))
	if _, err := f.ReadAt(tail, st.Size()-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return last, 0, nil, err
	}
	end := bytes.LastIndexByte(tail, '\n') + 1
	if end == 0 {
		return auditStart(), 0, nil, nil
	}
	begin := bytes.LastIndexByte(tail[:end-1], '\n') + 1
	_, last, bad = parseAudit(tail[begin : end-1])
	if bad != nil {
		last = auditStart()
	}
	return last, st.Size() - int64(len(tail)-end), bad, nil
}

// inPlace makes sure that the file is still the one of that name: records
// written to a removed file would be gone.
func (a *auditFiles) inPlace() error {
	is, err := a.f.Stat()
	if err != nil {
		return err
	}
	named, err := os.Lstat(filepath.Join(a.dir, auditFileName))
	if err == nil && !os.SameFile(is, named) {
		err = errors.New("audit.log was removed or replaced while in use")
	}
	return err
}

// down closes the files.
func (a *auditFiles) down() {
	for _, f := range []auditFile{a.f, a.head} {
		if f != nil {
			f.Close()
		}
	}
	a.f, a.head = nil, nil
}

// write appends one record, to a new file if this one is full. After an error
// the files are down.
func (a *auditFiles) write(l auditLine) error {
	var err error
	if a.most > 0 && a.size > 0 && a.size+int64(len(l.text)) > a.most {
		err = a.turn()
	}
	if err == nil {
		err = a.f.Truncate(a.size)
	}
	if err == nil {
		_, err = a.f.WriteAt(l.text, a.size)
	}
	if err != nil {
		a.down()
		return err
	}
	a.size += int64(len(l.text))
	a.last = l.link
	return nil
}

// turn makes audit.log an old file and begins a new one.
func (a *auditFiles) turn() error {
	if err := a.flush(); err != nil {
		return err
	}
	if err := a.f.Truncate(a.size); err != nil { // of what a crash left of a line
		return err
	}
	path := filepath.Join(a.dir, auditFileName)
	if err := a.disk.rename(path, filepath.Join(a.dir, auditOldName(a.last.seq))); err != nil {
		return err
	}
	if err := a.disk.syncDir(a.dir); err != nil {
		return err
	}
	f, err := a.disk.open(path)
	if err != nil {
		return err
	}
	a.f.Close() // all of it is durable
	a.f, a.size = f, 0
	return a.disk.syncDir(a.dir)
}

// sync makes what was written durable. After an error the files are down.
func (a *auditFiles) sync() error {
	err := a.flush()
	if err != nil {
		a.down()
	}
	return err
}

func (a *auditFiles) flush() error {
	if err := a.inPlace(); err != nil || a.synced == a.last.seq {
		return err
	}
	if err := a.f.Sync(); err != nil {
		return err
	}
	if err := a.putHead(a.last); err != nil {
		return err
	}
	a.synced = a.last.seq
	return nil
}

func (a *auditFiles) putHead(l auditLink) error {
	if _, err := a.head.WriteAt(marshalAuditHead(l), 0); err != nil {
		return err
	}
	return a.head.Sync()
}

// excess lists the old files beyond the newest keep, oldest first, and the
// last record of the newest of them.
func (a *auditFiles) excess(keep int) (names []string, through auditLink, err error) {
	if keep <= 0 {
		return nil, through, nil
	}
	old, err := auditOldFiles(a.dir)
	if err != nil || len(old) <= keep {
		return nil, through, err
	}
	names = old[:len(old)-keep]
	through, bad, err := a.endOf(names[len(names)-1])
	return names, through, errors.Join(bad, err)
}
