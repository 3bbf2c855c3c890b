package nbd

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lockplate/blockdev"
)

// infos are the INFO replies by type.
func infos(all []optReply) map[uint16][]byte {
	m := map[uint16][]byte{}
	for _, o := range all {
		if o.typ == repInfo {
			m[binary.BigEndian.Uint16(o.data)] = o.data[2:]
		}
	}
	return m
}

func TestInfoAnswersWhatIsAsked(t *testing.T) {
	s := startServer(t, Config{Exports: one(blockdev.NewMem(3 << 20))})
	r := s.greeted(t)
	all := r.option(optInfo, goData("disk", infoName, infoDescription, infoBlockSize, infoName, 77))
	got := infos(all)
	if len(all) != 5 || all[4].typ != repAck {
		t.Fatalf("replies %v", all)
	}
	size, flags := binary.BigEndian.Uint64(got[infoExport]), binary.BigEndian.Uint16(got[infoExport][8:])
	want := txHasFlags | txFlush | txFUA | txMultiConn | txCache | txWriteZeroes | txFastZero | txTrim
	if size != 3<<20 || flags != want {
		t.Errorf("size %d, flags %#x, want %#x", size, flags, want)
	}
	if string(got[infoName]) != "disk" || !strings.Contains(string(got[infoDescription]), "3MiB") {
		t.Errorf("name %q, description %q", got[infoName], got[infoDescription])
	}
	if want := cat(be32(512), be32(4096), be32(32<<20)); !bytes.Equal(got[infoBlockSize], want) {
		t.Errorf("block sizes % x", got[infoBlockSize])
	}
	if got := infos(r.option(optGo, goData(""))); len(got) != 1 {
		t.Errorf("unasked information %v", got)
	}
	r.alive()
}

// shaped is a device with another shape.
type shaped struct {
	blockdev.Device
	info blockdev.Info
}

func (d shaped) Info() blockdev.Info { return d.info }

func TestTransmissionFlagsFollowTheDevice(t *testing.T) {
	for _, row := range []struct {
		info blockdev.Info
		mode replyMode
		meta bool
		want uint16
	}{
		{blockdev.Info{ReadOnly: true, CanTrim: true}, modeSimple, false, txReadOnly},
		{blockdev.Info{Rotational: true}, modeSimple, false, txRotational | txWriteZeroes | txFastZero},
		{blockdev.Info{CanTrim: true}, modeStructured, true, txTrim | txWriteZeroes | txFastZero | txDF},
		{blockdev.Info{}, modeExtended, true, txWriteZeroes | txFastZero | txDF | txStatusLoad},
		{blockdev.Info{}, modeExtended, false, txWriteZeroes | txFastZero | txDF},
	} {
		want := row.want | txHasFlags | txFlush | txFUA | txMultiConn | txCache
		if got := transmissionFlags(row.info, row.mode, row.meta); got != want {
			t.Errorf("%+v %v: %#x, want %#x", row.info, row.mode, got, want)
		}
	}
}

func TestBlockSizes(t *testing.T) {
	for _, row := range []struct {
		info             blockdev.Info
		least, preferred uint32
	}{
		{blockdev.Info{Size: 1 << 20, Align: 1, LogicalSector: 512, PhysicalSector: 512}, 512, 4096},
		{blockdev.Info{Size: 1 << 20, Align: 1, LogicalSector: 4096, PhysicalSector: 4096}, 4096, 4096},
		{blockdev.Info{Size: 1<<20 + 512, Align: 1, LogicalSector: 4096}, 512, 4096},
		{blockdev.Info{Size: 1001, Align: 1, LogicalSector: 512}, 1, 4096},
		{blockdev.Info{Size: 1 << 20, OptimalIO: 100 << 10}, 1, 128 << 10},
		{blockdev.Info{Size: 1 << 20, OptimalIO: 1 << 30}, 1, 32 << 20},
	} {
		if l, p := blockSizes(row.info); l != row.least || p != row.preferred {
			t.Errorf("%+v: %d/%d, want %d/%d", row.info, l, p, row.least, row.preferred)
		}
	}
}

func TestExportName(t *testing.T) {
	s := startServer(t, Config{Exports: one(blockdev.NewMem(1 << 20))})
	for flags, padding := range map[uint32]int{1: legacyPadding, 3: 0} {
		r := s.raw(t)
		r.send(cat(be32(flags), optionBytes(optExportName, []byte("disk"))))
		p := r.read(10 + padding)
		if binary.BigEndian.Uint64(p) != 1<<20 || len(bytes.Trim(p[10:], "\x00")) != 0 {
			t.Errorf("flags %d: % x", flags, p)
		}
		r.alive()
	}
}

func TestMetaContexts(t *testing.T) {
	s := startServer(t, Config{Exports: one(blockdev.NewMem(1 << 20))})
	r := s.greeted(t)
	if got := r.last(optSetMeta, metaData("disk", allocationContext)); got != repErrInvalid {
		t.Errorf("without structured replies: %#x", got)
	}
	r.last(optStructuredReply, nil)
	for _, row := range []struct {
		opt     uint32
		queries []string
		found   bool
	}{
		{optListMeta, nil, true},
		{optListMeta, []string{"base:"}, true},
		{optListMeta, []string{"qemu:dirty-bitmap:x", allocationContext}, true},
		{optListMeta, []string{"qemu:"}, false},
		{optSetMeta, nil, false},
		{optSetMeta, []string{"base:"}, false},
		{optSetMeta, []string{"base:allocation", "base:allocation"}, true},
	} {
		all := r.option(row.opt, metaData("disk", row.queries...))
		if all[len(all)-1].typ != repAck || (len(all) == 2) != row.found {
			t.Errorf("option %d %q: %v", row.opt, row.queries, all)
		}
	}
	if got := r.last(optSetMeta, metaData("none", allocationContext)); got != repErrUnknown {
		t.Errorf("unknown export: %#x", got)
	}
	r.last(optGo, goData("disk"))
	r.mode = modeStructured
	if e, _ := r.ask(cmdBlockStatus, 0, 0, 4096, nil); e != EINVAL {
		t.Errorf("block status after a failed selection: %v", e)
	}
}

// TestContextIsForOneExport selects a context for one name and goes to another.
func TestContextIsForOneExport(t *testing.T) {
	s := startServer(t, Config{Exports: &memExports{devs: map[string]blockdev.Device{
		"disk": blockdev.NewMem(1 << 20), "other": blockdev.NewMem(1 << 20),
	}}})
	r := s.greeted(t)
	r.last(optStructuredReply, nil)
	r.last(optSetMeta, metaData("other", allocationContext))
	r.last(optGo, goData("disk"))
	r.mode = modeStructured
	if e, _ := r.ask(cmdBlockStatus, 0, 0, 4096, nil); e != EINVAL {
		t.Errorf("got %v", e)
	}
	r.alive()
}

// TestHostileOptions sends what breaks the rules where the option loop goes on.
func TestHostileOptions(t *testing.T) {
	s := startServer(t, Config{Exports: one(blockdev.NewMem(1 << 20))})
	many := make([]string, maxQueries+1)
	for i := range many {
		many[i] = "a:b"
	}
	for _, row := range []struct {
		name string
		opt  uint32
		data []byte
		want uint32
	}{
		{"unknown option", 99, []byte("x"), repErrUnsup},
		{"peek export", 4, nil, repErrUnsup},
		{"list with data", optList, []byte("x"), repErrInvalid},
		{"starttls without tls", optStartTLS, nil, repErrPolicy},
		{"starttls with data", optStartTLS, []byte("x"), repErrInvalid},
		{"structured with data", optStructuredReply, []byte("x"), repErrInvalid},
		{"extended with data", optExtendedHeaders, []byte("x"), repErrInvalid},
		{"go without data", optGo, nil, repErrInvalid},
		{"go cut short", optGo, goData("disk")[:7], repErrInvalid},
		{"go name length beyond data", optGo, cat(be32(0xffffffff), []byte("disk"), be16(0)), repErrInvalid},
		{"go count beyond data", optGo, cat(be32(4), []byte("disk"), be16(9)), repErrInvalid},
		{"go with trailing bytes", optGo, append(goData("disk"), 0), repErrInvalid},
		{"go name with nul", optGo, goData("di\x00k"), repErrInvalid},
		{"go name not utf-8", optGo, goData("\xff\xfe"), repErrInvalid},
		{"go name too long", optGo, goData(strings.Repeat("x", maxNameBytes+1)), repErrInvalid},
		{"go longest name", optGo, goData(strings.Repeat("x", maxNameBytes)), repErrUnknown},
		{"go unknown", optGo, goData("none"), repErrUnknown},
		{"info unknown", optInfo, goData("../../etc/passwd"), repErrUnknown},
		{"meta without replies", optListMeta, metaData("disk"), repErrInvalid},
	} {
		r := s.greeted(t)
		if got := r.last(row.opt, row.data); got != row.want {
			t.Errorf("%s: %#x, want %#x", row.name, got, row.want)
		}
		if got := r.last(optGo, goData("disk")); got != repAck {
			t.Errorf("%s: afterwards go: %#x", row.name, got)
		}
	}
	for _, row := range []struct {
		name string
		data []byte
		want uint32
	}{
		{"no data", nil, repErrInvalid},
		{"count beyond data", cat(be32(4), []byte("disk"), be32(0xffffffff)), repErrInvalid},
		{"query beyond data", cat(be32(4), []byte("disk"), be32(1), be32(100), []byte("base:")), repErrInvalid},
		{"query without colon", metaData("disk", "base"), repErrInvalid},
		{"trailing bytes", append(metaData("disk", "base:"), 0), repErrInvalid},
		{"too many queries", metaData("disk", many...), repErrTooBig},
	} {
		r := s.greeted(t)
		r.last(optExtendedHeaders, nil)
		if got := r.last(optStructuredReply, nil); got != repErrExtHeader {
			t.Errorf("structured after extended: %#x", got)
		}
		if got := r.last(optSetMeta, row.data); got != row.want {
			t.Errorf("meta %s: %#x, want %#x", row.name, got, row.want)
		}
	}
}

// TestHostileHandshakesAreCut sends what leaves nothing to talk about.
func TestHostileHandshakesAreCut(t *testing.T) {
	s := startServer(t, Config{Exports: one(blockdev.NewMem(1 << 20))})
	for name, p := range map[string][]byte{
		"unknown client flag":         be32(7),
		"all client flags":            be32(0xffffffff),
		"wrong option magic":          cat(be32(3), be64(1), be32(optGo), be32(0)),
		"option data of 4 GiB":        cat(be32(3), be64(magicOption), be32(optExportName), be32(0xffffffff)),
		"option data over the limit":  cat(be32(3), be64(magicOption), be32(optGo), be32(maxOptionBytes+1)),
		"export name unknown":         cat(be32(3), optionBytes(optExportName, []byte("none"))),
		"export name with nul":        cat(be32(3), optionBytes(optExportName, []byte("disk\x00"))),
		"http":                        []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"request in the option phase": cat(be32(3), be32(magicRequest), make([]byte, 24)),
	} {
		t.Run(name, func(t *testing.T) {
			r := s.raw(t)
			r.send(p)
			r.closed()
		})
	}
	r := s.greeted(t)
	r.last(optExtendedHeaders, nil)
	r.send(optionBytes(optExportName, []byte("disk")))
	r.closed()
	r = s.greeted(t)
	if got := r.last(optAbort, []byte("ignored")); got != repAck {
		t.Errorf("abort: %#x", got)
	}
	r.closed()
}

func TestTooManyOptionsAreCut(t *testing.T) {
	s := startServer(t, Config{Exports: one(blockdev.NewMem(1 << 20))})
	r := s.greeted(t)
	for range maxOptions {
		if got := r.last(optStructuredReply, nil); got != repAck {
			t.Fatal(got)
		}
	}
	r.closed()
}

// failing refuses to open with its error.
type failing struct{ err error }

func (f failing) Open(context.Context, string) (blockdev.Device, error) { return nil, f.err }
func (f failing) Names(context.Context) ([]string, error)               { return nil, f.err }

func TestRefusedExportsSayWhy(t *testing.T) {
	for err, want := range map[error]uint32{
		blockdev.ErrNotExist: repErrUnknown, blockdev.ErrBusy: repErrPolicy,
		blockdev.ErrClosed: repErrShutdown, fmt.Errorf("locked"): repErrPolicy,
	} {
		s := startServer(t, Config{Exports: failing{fmt.Errorf("open: %w", err)}})
		r := s.greeted(t)
		for _, opt := range []uint32{optGo, optInfo} {
			if got := r.last(opt, goData("disk")); got != want {
				t.Errorf("%v: %#x, want %#x", err, got, want)
			}
		}
		if got := r.last(optList, nil); got != want {
			t.Errorf("list, %v: %#x, want %#x", err, got, want)
		}
	}
}

// TestHandshakeDeadline has a client send a byte a second of options that
// never end. It is cut after 10 s, whatever it sends.
func TestHandshakeDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, err := NewServer(Config{Exports: one(blockdev.NewMem(1 << 20))})
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := net.Pipe()
		start := time.Now()
		srv.admit(ours)
		greeting := make([]byte, 18)
		if _, err := theirs.Read(greeting); err != nil {
			t.Fatal(err)
		}
		slow := cat(be32(3), optionBytes(99, make([]byte, 4096)))
		for i := 0; err == nil; i++ {
			time.Sleep(time.Second)
			_, err = theirs.Write(slow[i : i+1])
		}
		if d := time.Since(start); d < defaultHandshake || d > defaultHandshake+time.Second {
			t.Errorf("cut after %v", d)
		}
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestHandshakeDeadlineOnASocket is the same with a real clock, shortened.
func TestHandshakeDeadlineOnASocket(t *testing.T) {
	const limit = 200 * time.Millisecond
	s := startTCP(t, Config{Exports: one(blockdev.NewMem(1 << 20)), Limits: Limits{Handshake: limit}})
	start := time.Now()
	r := s.raw(t)
	quick := s.greeted(t)
	quick.last(optGo, goData("disk"))
	r.closed()
	if d := time.Since(start); d < limit || d > 20*limit {
		t.Errorf("cut after %v", d)
	}
	quick.alive() // the deadline is of the handshake only
}
