package nbd

import "time"

// A large write to a fast device is run by the reader in pieces, one after the
// other: a piece stays in the processor's cache from the socket to the device,
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

// writePieces takes the payload of r and writes it. After an error the rest is
// thrown away.
func (s *session) writePieces(r *request) error {
	for at := int64(0); at < r.n; {
		n := pieceAt(r.off+at, r.n-at)
		p := r.data.b[:n]
		if err := s.in.readFull(p); err != nil {
			return err
		}
		if r.errno == 0 {
			start := time.Now()
			err := s.dev.WriteAt(s.ctx, p, r.off+at, 0)
			s.learn(r.typ, n, time.Since(start))
			s.fail(r, err)
		}
		at += n
	}
	return nil
}

// pieceAt is the length of the first piece of n bytes at off. All but the first
// begin at a multiple of pieceBytes.
func pieceAt(off, n int64) int64 { return min(n, pieceBytes-off%pieceBytes) }

// lookAhead sets how much is read beyond the payload of r.
func (s *session) lookAhead(r *request) {
	s.in.ahead = inputBytes
	if r.load >= directBytes {
		s.in.ahead = s.mode.headerBytes()
	}
}
