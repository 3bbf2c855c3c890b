package nbd

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"
)

// rawPeer speaks the protocol byte by byte, so that tests can break it.
type rawPeer struct {
	net.Conn
	t    testing.TB
	mode replyMode
}

// raw connects to the server and reads its greeting.
func (s *testServer) raw(t testing.TB) *rawPeer {
	t.Helper()
	return rawOn(t, s.dial(t))
}

func rawOn(t testing.TB, nc net.Conn) *rawPeer {
	t.Helper()
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	r := &rawPeer{Conn: nc, t: t}
	h := r.read(18)
	if binary.BigEndian.Uint64(h) != magicInit || binary.BigEndian.Uint64(h[8:]) != magicOption || binary.BigEndian.Uint16(h[16:]) != 3 {
		t.Fatalf("greeting % x", h)
	}
	return r
}

// greeted also answers the greeting.
func (s *testServer) greeted(t testing.TB) *rawPeer {
	r := s.raw(t)
	r.send(be32(3))
	return r
}

func (r *rawPeer) read(n int) []byte {
	r.t.Helper()
	p := make([]byte, n)
	if _, err := io.ReadFull(r, p); err != nil {
		r.t.Fatalf("read %d bytes: %v", n, err)
	}
	return p
}

func (r *rawPeer) send(p []byte) {
	r.t.Helper()
	if _, err := r.Write(p); err != nil {
		r.t.Fatalf("send: %v", err)
	}
}

// closed checks that the server hangs up without another byte.
func (r *rawPeer) closed() {
	r.t.Helper()
	p := make([]byte, 1)
	if n, err := r.Read(p); n != 0 || err == nil {
		r.t.Fatalf("connection still open: read %d bytes, %v", n, err)
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		r.t.Fatalf("connection still open: %v", err)
	}
}

func be16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
func be64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

func cat(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// optionBytes is an option as it goes over the wire.
func optionBytes(opt uint32, data []byte) []byte {
	return cat(be64(magicOption), be32(opt), be32(uint32(len(data))), data)
}

// goData is the data of GO and INFO.
func goData(name string, infos ...uint16) []byte {
	p := cat(be32(uint32(len(name))), []byte(name), be16(uint16(len(infos))))
	for _, i := range infos {
		p = append(p, be16(i)...)
	}
	return p
}

// metaData is the data of the context options.
func metaData(name string, queries ...string) []byte {
	p := cat(be32(uint32(len(name))), []byte(name), be32(uint32(len(queries))))
	for _, q := range queries {
		p = cat(p, be32(uint32(len(q))), []byte(q))
	}
	return p
}

// optReply is one reply to an option.
type optReply struct {
	typ  uint32
	data []byte
}

// option sends an option and returns the replies, the last of which is ACK or
// an error.
func (r *rawPeer) option(opt uint32, data []byte) (all []optReply) {
	r.t.Helper()
	r.send(optionBytes(opt, data))
	return r.replies(opt)
}

func (r *rawPeer) replies(opt uint32) (all []optReply) {
	r.t.Helper()
	for {
		h := r.read(20)
		if binary.BigEndian.Uint64(h) != magicOptionReply || binary.BigEndian.Uint32(h[8:]) != opt {
			r.t.Fatalf("reply to option %d: % x", opt, h)
		}
		o := optReply{binary.BigEndian.Uint32(h[12:]), r.read(int(binary.BigEndian.Uint32(h[16:])))}
		all = append(all, o)
		if o.typ == repAck || o.typ&repErrBit != 0 {
			return all
		}
	}
}

// last sends an option and returns the type of the last reply.
func (r *rawPeer) last(opt uint32, data []byte) uint32 {
	r.t.Helper()
	all := r.option(opt, data)
	return all[len(all)-1].typ
}

// enter goes to transmission in the given mode, with base:allocation where
// the mode has it.
func (s *testServer) enter(t testing.TB, m replyMode) *rawPeer {
	t.Helper()
	r := s.greeted(t)
	r.mode = m
	opt := map[replyMode]uint32{modeStructured: optStructuredReply, modeExtended: optExtendedHeaders}[m]
	if m != modeSimple {
		if got := r.last(opt, nil); got != repAck {
			t.Fatalf("raise mode: %#x", got)
		}
		if got := r.last(optSetMeta, metaData("disk", allocationContext)); got != repAck {
			t.Fatalf("set context: %#x", got)
		}
	}
	if got := r.last(optGo, goData("disk")); got != repAck {
		t.Fatalf("go: %#x", got)
	}
	return r
}

// requestHeader is a request header in the peer's mode.
func (r *rawPeer) requestHeader(typ, flags uint16, cookie, off, n uint64) []byte {
	magic := be32(magicRequest)
	length := be32(uint32(n))
	if r.mode == modeExtended {
		magic, length = be32(magicExtRequest), be64(n)
	}
	return cat(magic, be16(flags), be16(typ), be64(cookie), be64(off), length)
}

// rawReply is one reply or chunk.
type rawReply struct {
	simple bool
	errno  Errno // of a simple reply or an error chunk
	flags  uint16
	typ    uint16
	cookie uint64
	off    uint64
	data   []byte // payload; of a simple reply what simpleData says
}

// reply reads one reply or chunk. simpleData is how many bytes follow a
// simple reply without error.
func (r *rawPeer) reply(simpleData int) (a rawReply) {
	r.t.Helper()
	h := r.read(16)
	a.cookie = binary.BigEndian.Uint64(h[8:])
	switch magic := binary.BigEndian.Uint32(h); {
	case magic == magicSimple && r.mode != modeExtended:
		a.simple, a.flags, a.errno = true, chunkDone, Errno(binary.BigEndian.Uint32(h[4:]))
		if a.errno == 0 {
			a.data = r.read(simpleData)
		}
		return a
	case magic == magicStructured && r.mode == modeStructured:
		a.data = r.read(int(binary.BigEndian.Uint32(r.read(4))))
	case magic == magicExtReply && r.mode == modeExtended:
		e := r.read(16)
		a.off = binary.BigEndian.Uint64(e)
		a.data = r.read(int(binary.BigEndian.Uint64(e[8:])))
	default:
		r.t.Fatalf("reply in mode %v: % x", r.mode, h)
	}
	a.flags, a.typ = binary.BigEndian.Uint16(h[4:]), binary.BigEndian.Uint16(h[6:])
	if a.typ&chunkErrorBit != 0 {
		a.errno = Errno(binary.BigEndian.Uint32(a.data))
	}
	return a
}

// ask sends a request and returns its error value and data. Cookies are
// checked.
func (r *rawPeer) ask(typ, flags uint16, off, n uint64, payload []byte) (Errno, []byte) {
	r.t.Helper()
	const cookie = 0x1122334455667788
	r.send(cat(r.requestHeader(typ, flags, cookie, off, n), payload))
	simple := 0
	if typ == cmdRead && r.mode == modeSimple {
		simple = int(n)
	}
	var data []byte
	for {
		a := r.reply(simple)
		if a.cookie != cookie {
			r.t.Fatalf("answer for cookie %#x", a.cookie)
		}
		if r.mode == modeExtended && a.off != off {
			r.t.Fatalf("answer repeats offset %d, want %d", a.off, off)
		}
		data = append(data, a.data...)
		if a.errno != 0 || a.flags&chunkDone != 0 {
			return a.errno, data
		}
	}
}

// alive checks that the connection still serves requests.
func (r *rawPeer) alive() {
	r.t.Helper()
	if e, _ := r.ask(cmdFlush, 0, 0, 0, nil); e != 0 {
		r.t.Fatalf("flush: %v", e)
	}
}
