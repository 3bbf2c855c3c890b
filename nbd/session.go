package nbd

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"lockplate/blockdev"
)

// session is a connection in transmission. One goroutine, the reader, takes
// requests from the socket. It runs those up to 1 MiB itself while the device is
// fast, and hands the others to workers, which come and go with the work.
// Whoever finishes a request queues its reply; whoever finds nobody writing
// writes all that is queued. The reader never waits for the socket to take
// replies: it leaves that to a writer, and stops reading only at the limits.
type session struct {
	srv *Server
	nc  net.Conn
	dev blockdev.Device
	in  *input
	out *output
	terms

	ctx    context.Context // of requests; ends when their answers cannot be sent
	cancel context.CancelFunc

	mu       sync.Mutex
	changed  sync.Cond // something below got less
	inflight int       // requests read and not yet answered
	todo     fifo      // for workers
	workers  int
	queue    []*request // answered and not yet written
	spare    []*request // the other queue, while one is being written
	queued   int64      // bytes that the requests of queue moved
	writing  bool       // somebody uses out
	broken   bool       // replies can no longer be sent

	held  atomic.Int64           // bytes taken from the budget
	speed [commands]atomic.Int64 // smoothed time of small requests, ns; 0: not known

	work  func() // method values, made once so that go statements do not allocate
	write func()
}

// newSession makes the session of a connection whose handshake is done.
func newSession(srv *Server, nc net.Conn, dev blockdev.Device, t terms) *session {
	s := &session{srv: srv, nc: nc, dev: dev, terms: t}
	s.in = newInput(nc, &srv.pool, func() { s.flush(false) })
	s.out = newOutput(nc, &srv.pool)
	s.ctx, s.cancel = context.WithCancel(srv.ctx)
	s.changed.L = &s.mu
	s.work, s.write = s.runWorker, s.runWriter
	return s
}

// errProtocol is a breach of the protocol after which the stream cannot be
// understood any more. kind is its metric label.
type errProtocol struct{ kind string }

// Error names the breach by its metric label.
func (e errProtocol) Error() string { return "protocol error: " + e.kind }

// run serves requests until the client leaves or may no longer be read from,
// finishes and answers what was read, and says why it ended: nil for DISC.
func (s *session) run() error {
	defer s.cancel()
	err := s.readRequests()
	if err != nil && !errors.Is(err, io.EOF) && !isStop(err) {
		s.abandon() // nobody is there to take answers
	}
	s.flush(true)
	s.mu.Lock()
	for s.inflight > 0 || s.writing || s.workers > 0 {
		s.changed.Wait()
	}
	s.mu.Unlock()
	return err
}

// readRequests is the reader.
func (s *session) readRequests() error {
	n := s.mode.headerBytes()
	for {
		if err := s.in.fill(n); err != nil {
			return err
		}
		r := s.srv.newRequest()
		if !r.parse(s.in.next(n), s.mode) {
			s.srv.dropRequest(r)
			return errProtocol{"request_magic"}
		}
		if r.typ == cmdDisc {
			s.srv.dropRequest(r)
			return nil
		}
		if err := s.accept(r); err != nil {
			return err
		}
	}
}

// accept takes in one request with its payload and has it run.
func (s *session) accept(r *request) error {
	s.srv.metrics.request(r.typ)
	s.begin()
	r.errno = s.validate(r)
	if r.errno == 0 && r.load > maxPayloadBytes {
		r.errno = EINVAL
	}
	if r.errno != 0 {
		return s.refuse(r)
	}
	if s.inPieces(r) {
		return s.runPieces(r)
	}
	if !s.reserve(r) {
		s.end(r)
		return errProtocol{"stalled"}
	}
	if err := s.payload(r); err != nil {
		s.end(r)
		return err
	}
	if r.errno != 0 {
		s.reply(r)
		return nil
	}
	s.dispatch(r)
	return nil
}

// begin counts a request as in flight, once there is room for it.
func (s *session) begin() {
	s.srv.inflight.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inflight >= s.srv.limits.Requests {
		s.mu.Unlock()
		s.flush(false)
		s.mu.Lock()
		for s.inflight >= s.srv.limits.Requests {
			s.changed.Wait()
		}
	}
	s.inflight++
}

// refuse answers an invalid request after its payload, which is thrown away.
func (s *session) refuse(r *request) error {
	limit := int64(maxDrainBytes)
	if s.mode == modeExtended {
		limit = maxPayloadBytes // "a server SHOULD initiate hard disconnect"
	}
	if r.load > limit {
		s.end(r)
		return errProtocol{"payload_length"}
	}
	if err := s.in.discard(r.load); err != nil {
		s.end(r)
		return err
	}
	s.reply(r)
	return nil
}

// reserve takes the memory of r from the limits, waiting where it must;
// false: this connection was found stuck and is being closed.
func (s *session) reserve(r *request) bool {
	// What counts is the memory taken, not the bytes asked for: a buffer is of
	// the next power of two.
	n := classBytes(r.memory())
	if n == 0 {
		return true
	}
	if s.held.Load()+n > s.srv.limits.ConnBytes {
		s.flush(false)
		s.mu.Lock()
		for s.held.Load()+n > s.srv.limits.ConnBytes {
			s.changed.Wait()
		}
		s.mu.Unlock()
	}
	// Other connections hold what is missing; see budget for why this ends.
	if !s.srv.budget.take(s.held.Load(), n) {
		s.flush(false)
		if !s.srv.waitBudget(s, n) {
			return false
		}
	}
	s.held.Add(n)
	r.charge = n
	return true
}

// payload reads the payload of a valid request.
func (s *session) payload(r *request) error {
	s.lookAhead(r)
	if r.load == 0 {
		return nil
	}
	r.data = s.srv.pool.get(r.memory())
	if err := s.in.readFull(r.data.b[:r.load]); err != nil {
		return err
	}
	if r.typ == cmdBlockStatus {
		r.errno = s.statusPayload(r, r.data.b[:r.load])
	}
	return nil
}

// dispatch runs r here or has a worker run it.
func (s *session) dispatch(r *request) {
	if s.inline(r) {
		large := r.n > pieceBytes/2 // once queued, r may become another request
		s.perform(r)
		s.enqueue(r)
		if large {
			letOthersRun()
		}
		return
	}
	s.mu.Lock()
	s.todo.push(r)
	start := s.workers < maxWorkers
	if start {
		s.workers++
	}
	s.mu.Unlock()
	if start {
		go s.work()
	}
}

// inline says whether the reader runs r itself: it is not too large, and such
// requests have lately taken less time than a hand-over is worth.
func (s *session) inline(r *request) bool {
	return r.n <= inlineBytes && s.fast(r)
}

// fast says whether r is a plain read, write or flush, which the device has
// lately done at once.
func (s *session) fast(r *request) bool {
	if (r.typ != cmdRead && r.typ != cmdWrite && r.typ != cmdFlush) || r.flags&flagFUA != 0 {
		return false
	}
	ns := s.speed[r.typ].Load()
	return ns != 0 && ns < int64(inlineLimit)
}

// perform runs r and lays out its answer.
func (s *session) perform(r *request) {
	start := time.Now()
	err := s.execute(s.ctx, r)
	if r.n <= inlineBytes && r.flags&flagFUA == 0 {
		s.learn(r.typ, r.n, time.Since(start))
	}
	s.fail(r, err)
}

// fail puts an error of the device into the answer of r.
func (s *session) fail(r *request, err error) {
	if err != nil {
		r.errno = errnoOf(err)
		s.srv.logFailure(s, r, err)
	}
}

// learn takes the time of one request of n bytes, less what moving them in
// memory takes, into the average. One outlier counts for at most the limit, so
// that it takes several to leave the reader.
func (s *session) learn(typ uint16, n int64, d time.Duration) {
	old := s.speed[typ].Load()
	ns := min(max(int64(d)-n/bytesPerNano, 0), 2*int64(inlineLimit)) + 1 // never 0, which means not known
	if old != 0 {
		ns = old + (ns-old)/4
	}
	s.speed[typ].Store(ns)
}

// runWorker runs requests until there are none.
func (s *session) runWorker() {
	for {
		s.mu.Lock()
		r := s.todo.pop()
		if r == nil {
			s.workers--
			s.changed.Broadcast()
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		s.perform(r)
		s.reply(r)
	}
}

// reply queues the answer of r and writes what is queued unless somebody does.
func (s *session) reply(r *request) {
	s.encodeReply(r)
	s.mu.Lock()
	s.queue = append(s.queue, r)
	s.queued += r.n
	start := !s.writing
	s.writing = true
	s.mu.Unlock()
	if start {
		s.write()
	}
}

// enqueue queues the answer of a request that the reader ran. It is written
// together with others.
func (s *session) enqueue(r *request) {
	s.encodeReply(r)
	s.mu.Lock()
	s.queue = append(s.queue, r)
	s.queued += r.n
	full := len(s.queue) >= batchReplies || s.queued >= batchBytes
	s.mu.Unlock()
	if full {
		s.flush(false)
	}
}

// encodeReply counts and lays out the answer of r.
func (s *session) encodeReply(r *request) {
	s.srv.metrics.answer(r.errno)
	r.encode(s.mode)
}

// flush writes what is queued unless somebody does. Without wait it writes
// what the socket takes at once and leaves the rest to a writer of its own.
func (s *session) flush(wait bool) {
	s.mu.Lock()
	if s.writing || len(s.queue) == 0 {
		s.mu.Unlock()
		return
	}
	s.writing = true
	s.mu.Unlock()
	if wait {
		s.write()
		return
	}
	for s.load() {
		err := s.out.write(false)
		if err == nil && !s.out.empty() {
			// The socket is full. Waiting here could wait for ever: for a client
			// that reads no answer before it has sent all of its requests.
			go s.write()
			return
		}
		s.written(err)
	}
}

// runWriter writes until nothing is queued. The caller has set writing; what
// out may still hold from before is written first.
func (s *session) runWriter() {
	if !s.out.empty() {
		s.written(s.out.write(true))
	}
	for s.load() {
		s.written(s.out.write(true))
	}
}

// load moves the queue to out; false: it was empty, and writing has ended.
// spare then holds the requests whose answers are in out.
func (s *session) load() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		s.writing = false
		s.changed.Broadcast()
		return false
	}
	// The two slices change places, so that neither is ever made anew.
	s.queue, s.spare, s.queued = s.spare[:0], s.queue, 0
	for _, r := range s.spare {
		s.out.load(r.parts)
	}
	return true
}

// written ends the requests whose answers are written, or can never be.
func (s *session) written(err error) {
	if err != nil {
		s.abandon()
	}
	n := len(s.spare)
	for i, r := range s.spare {
		s.giveBack(r)
		s.spare[i] = nil
	}
	s.mu.Lock()
	s.inflight -= n
	s.changed.Broadcast()
	s.mu.Unlock()
	s.srv.inflight.Add(-int64(n))
}

// end ends a request that gets no answer.
func (s *session) end(r *request) {
	s.giveBack(r)
	s.mu.Lock()
	s.inflight--
	s.changed.Broadcast()
	s.mu.Unlock()
	s.srv.inflight.Add(-1)
}

// giveBack returns what r took.
func (s *session) giveBack(r *request) {
	s.srv.pool.put(r.data)
	s.srv.pool.put(r.meta)
	if r.charge > 0 {
		s.held.Add(-r.charge)
		s.srv.budget.give(r.charge)
	}
	s.srv.dropRequest(r)
}

// abandon gives up on a connection whose answers cannot be sent: requests are
// cancelled and the socket closed, so that the reader ends too.
func (s *session) abandon() {
	s.mu.Lock()
	first := !s.broken
	s.broken = true
	s.mu.Unlock()
	if first {
		s.cancel()
		s.nc.Close()
		s.srv.budget.wake()
	}
}

// stuckFor is how long the client has taken no byte of a reply that waits.
func (s *session) stuckFor(now time.Time) time.Duration {
	since := s.out.stuck.Load()
	if since == 0 {
		return 0
	}
	return now.Sub(time.Unix(0, since))
}
