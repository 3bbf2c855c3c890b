package nbd

import (
	"time"

	"golang.org/x/sys/unix"

	"lockplate/blockdev"
)

// A large write to a fast device is run by the reader in pieces, as they come: a
// piece stays in the processor's cache from the socket to the device,
// the client sends the next one meanwhile, and a write of any size needs the
// memory of one. Durable writes are left whole: one sync costs less than
// several. (Reads gain nothing: a client is woken for every piece.)

// inPieces says whether r is run in pieces.
func (s *session) inPieces(r *request) bool {
	return r.typ == cmdWrite && r.n > pieceBytes && s.fast(r)
}

// runPieces runs r in pieces and answers it.
func (s *session) runPieces(r *request) error {
	s.lookAhead(r)
	r.piece = true
	if !s.reserve(r) {
		s.end(r)
		return errProtocol{"stalled"}
	}
	r.data = s.srv.pool.get(pieceBytes)
	if err := s.writePieces(r); err != nil {
		s.end(r)
		return err
	}
	s.enqueue(r)
	return nil
}

// writePieces takes the payload of r and writes it, as much at a time as the
// socket holds: a client that sleeps until most of what it sent is taken can
// then send on while a piece is written. After an error the rest is thrown away.
func (s *session) writePieces(r *request) error {
	have := int64(0) // bytes in the buffer
	for at := int64(0); at < r.n; {
		most := min(pieceBytes, r.n-at)
		s.in.ahead = 0
		if most == r.n-at {
			s.lookAhead(r)
		}
		n, err := s.in.readSome(r.data.b[:most], int(have), int(min(most, leastPiece)))
		if err != nil {
			return err
		}
		if have = int64(n); have < r.n-at {
			n -= int((r.off + at + have) % pieceAlign)
		}
		s.writePiece(r, r.data.b[:n], r.off+at)
		have = int64(copy(r.data.b, r.data.b[n:have]))
		at += int64(n)
	}
	return nil
}

// writePiece writes p at off, unless a piece before has failed.
func (s *session) writePiece(r *request, p []byte, off int64) {
	if r.errno != 0 {
		return
	}
	more := blockdev.More
	if off+int64(len(p)) == r.off+r.n {
		more = 0
	}
	start := time.Now()
	err := s.dev.WriteAt(s.ctx, p, off, more)
	s.learn(r.typ, int64(len(p)), time.Since(start))
	s.fail(r, err)
	letOthersRun()
}

// letOthersRun offers the processor to threads that wait for one. A client
// that streams keeps its reader busy for whole time slices, which is
// milliseconds for whoever asks for 4 KiB beside it.
func letOthersRun() { unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

// lookAhead sets how much is read beyond the payload of r.
func (s *session) lookAhead(r *request) {
	s.in.ahead = inputBytes
	if r.load >= directBytes {
		s.in.ahead = s.mode.headerBytes()
	}
}
