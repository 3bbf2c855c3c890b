package kmiptest

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// Options of a Server; the zero value is a healthy one.
type Options struct {
	Keys       *Keys             // nil: its own
	Minors     []uint32          // versions 1.x that it speaks; nil: 0 to 4
	NoDiscover bool              // it has no Discover Versions
	Listen     string            // "": 127.0.0.1, any port
	TLS        func(*tls.Config) // changes its TLS configuration
}

// Server is a fake key server. It ends with its test.
type Server struct {
	Keys    *Keys
	Address string // host:port

	t        testing.TB
	options  Options
	listener net.Listener
	config   *tls.Config

	mu       sync.Mutex
	changed  *sync.Cond // requests, or closed
	faults   []*Fault
	refuse   bool
	requests []uint32
	accepted int
	mostOpen int
	conns    map[net.Conn]bool
	closed   bool
	wg       sync.WaitGroup
}

// Start starts a server whose clients must have a certificate of ca. Its own
// is of ca too, for localhost and 127.0.0.1.
func Start(t testing.TB, ca *CA, o Options) *Server {
	t.Helper()
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.Minors == nil {
		o.Minors = []uint32{0, 1, 2, 3, 4}
	}
	if o.Keys == nil {
		o.Keys = NewKeys()
	}
	l, err := listen(o.Listen)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		Keys: o.Keys, Address: l.Addr().String(), t: t, options: o, listener: l, conns: map[net.Conn]bool{},
		config: &tls.Config{
			MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(),
			Certificates: []tls.Certificate{*ca.Server(time.Now().AddDate(1, 0, 0), "localhost", "127.0.0.1", "::1")},
		},
	}
	s.changed = sync.NewCond(&s.mu)
	if o.TLS != nil {
		o.TLS(s.config)
	}
	s.wg.Go(s.accept)
	t.Cleanup(s.Close)
	return s
}

// Close stops listening and closes all connections.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.changed.Broadcast()
	_ = s.listener.Close()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// HangUp closes all connections, and keeps listening.
func (s *Server) HangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

// Inject adds faults; at each request the first that fits is heeded.
func (s *Server) Inject(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range faults {
		s.faults = append(s.faults, &f)
	}
}

// Refuse closes new connections before TLS.
func (s *Server) Refuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = true
}

// Heal ends all faults.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults, s.refuse = nil, false
}

// Requests counts the requests of an operation, 0: of any.
func (s *Server) Requests(op uint32) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.requests {
		if op == 0 || r == op {
			n++
		}
	}
	return n
}

// Await waits until an operation was asked for, or the server is closed.
func (s *Server) Await(op uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closed && !slices.Contains(s.requests, op) {
		s.changed.Wait()
	}
}

// Accepted counts connections.
func (s *Server) Accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// MostOpen gives how many connections there were at once, at most.
func (s *Server) MostOpen() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mostOpen
}

// Trust makes ca the authority of clients that connect from now on.
func (s *Server) Trust(ca *CA) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = s.config.Clone()
	s.config.ClientCAs = ca.Pool()
}

func (s *Server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.accepted++
		if s.refuse || s.closed {
			_ = c.Close()
		} else {
			s.conns[c] = true
			s.mostOpen = max(s.mostOpen, len(s.conns))
			config := s.config
			s.wg.Go(func() { s.serve(c, config) })
		}
		s.mu.Unlock()
	}
}

func (s *Server) serve(raw net.Conn, config *tls.Config) {
	defer func() {
		_ = raw.Close()
		s.mu.Lock()
		delete(s.conns, raw)
		s.mu.Unlock()
	}()
	c := tls.Server(raw, config)
	for {
		request, err := readMessage(c)
		if err != nil {
			return
		}
		op := request.Find(TagBatchItem, TagOperation).Uint()
		if !s.answer(c, request, s.faultFor(op)) {
			return
		}
	}
}

func readMessage(r io.Reader) (*Node, error) {
	head := make([]byte, 8)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[4:])
	if n > 1<<20 {
		return nil, io.ErrShortBuffer
	}
	msg := append(head, make([]byte, n)...)
	if _, err := io.ReadFull(r, msg[8:]); err != nil {
		return nil, err
	}
	node, _, err := Decode(msg)
	return node, err
}

// faultFor counts a request and gives what is to go wrong with it.
func (s *Server) faultFor(op uint32) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, op)
	s.changed.Broadcast()
	for i, f := range s.faults {
		if f.Op != 0 && f.Op != op {
			continue
		}
		if f.Times == 1 {
			s.faults = slices.Delete(s.faults, i, i+1)
		}
		f.Times--
		return *f
	}
	return Fault{}
}

// answer handles a request, and reports whether the connection goes on.
func (s *Server) answer(c net.Conn, request *Node, f Fault) bool {
	if !s.pause(c, f.Delay) || f.Drop {
		return false
	}
	reply := s.reply(request, f)
	if f.Edit != nil {
		f.Edit(reply)
	}
	out := reply.Encode()
	if f.Raw != nil {
		out = f.Raw(out)
	}
	if f.Lose {
		return false
	}
	for f.Drip > 0 && len(out) > 1 {
		if _, err := c.Write(out[:1]); err != nil || !s.pause(c, f.Drip) {
			return false
		}
		out = out[1:]
	}
	_, err := c.Write(out)
	return err == nil && !f.HangUp
}

// pause waits, unless the client goes away; it reads nothing that belongs to
// the next request, for the client sends that only after the answer.
func (s *Server) pause(c net.Conn, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	_ = c.SetReadDeadline(time.Now().Add(d))
	_, err := c.Read(make([]byte, 1))
	_ = c.SetReadDeadline(time.Time{})
	return errors.Is(err, os.ErrDeadlineExceeded)
}

func (s *Server) reply(request *Node, f Fault) *Node {
	item := request.Find(TagBatchItem)
	op := item.Find(TagOperation).Uint()
	minor := request.Find(TagRequestHeader, TagVersion, TagVersionMinor).Uint()
	var payload []*Node
	var fail *failure
	switch {
	case !slices.Contains(s.options.Minors, minor):
		return s.refuseVersion(item)
	case f.Reason != 0:
		fail = &failure{f.Reason, f.Message}
	case op == OpDiscoverVersions && (s.options.NoDiscover || minor == 0):
		fail = &failure{ReasonNotSupported, "DiscoverVersions operation not supported"}
	case op == OpDiscoverVersions:
		payload = s.discover(item.Find(TagRequestPayload))
	default:
		payload, fail = s.Keys.handle(op, item.Find(TagRequestPayload))
	}
	return message(minor, result(op, item.Find(TagBatchItemID), payload, fail))
}

// refuseVersion answers in version 1.0, as PyKMIP does.
func (s *Server) refuseVersion(item *Node) *Node {
	return message(0, result(0, item.Find(TagBatchItemID), nil, &failure{ReasonInvalidMessage, "unknown version"}))
}

func (s *Server) discover(payload *Node) []*Node {
	var out []*Node
	for _, v := range payload.All(TagVersion) {
		if v.Find(TagVersionMajor).Uint() == 1 && slices.Contains(s.options.Minors, v.Find(TagVersionMinor).Uint()) {
			out = append(out, v)
		}
	}
	return out
}

func message(minor uint32, item *Node) *Node {
	now := binary.BigEndian.AppendUint64(nil, uint64(time.Now().Unix()))
	return Struct(TagResponseMessage,
		Struct(TagResponseHeader,
			Struct(TagVersion, Int(TagVersionMajor, 1), Int(TagVersionMinor, minor)),
			&Node{Tag: TagTimeStamp, Type: DateTime, Value: now},
			Int(TagBatchCount, 1)),
		item)
}

func result(op uint32, id *Node, payload []*Node, fail *failure) *Node {
	var operation *Node
	if op != 0 {
		operation = Enum(TagOperation, op)
	}
	if fail != nil {
		return Struct(TagBatchItem, operation, id, Enum(TagResultStatus, 1), Enum(TagResultReason, fail.reason), Text(TagResultMessage, fail.text))
	}
	return Struct(TagBatchItem, operation, id, Enum(TagResultStatus, 0), Struct(TagResponsePayload, payload...))
}
