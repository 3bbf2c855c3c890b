package nbd

import (
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// input reads requests. It takes many from the socket at once, and holds its
// buffer only while there is something in it: a quiet connection waits for
// the socket to become readable with no memory at all.
type input struct {
	nc   net.Conn
	raw  syscall.RawConn // nil where there is none, as with TLS: then buf stays
	pool *bufferPool
	buf  *buffer
	r, w int // buf.b[r:w] is read and not yet used

	try func(fd uintptr) bool // readOnce, made once so that no read allocates
	n   int                   // its results
	err error
}

// newInput makes the input of a connection in transmission.
func newInput(nc net.Conn, pool *bufferPool) *input {
	in := &input{nc: nc, raw: rawConn(nc), pool: pool}
	in.try = in.readOnce
	if in.raw == nil {
		in.buf = &buffer{b: make([]byte, tlsInputBytes), class: -1}
	}
	return in
}

// rawConn is nc's system call access, or nil.
func rawConn(nc net.Conn) syscall.RawConn {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// buffered is the number of bytes that next can give without reading.
func (in *input) buffered() int { return in.w - in.r }

// next uses up n buffered bytes. They are valid until the next fill.
func (in *input) next(n int) []byte {
	p := in.buf.b[in.r : in.r+n]
	in.r += n
	return p
}

// fill reads until at least n bytes are buffered, n at most tlsInputBytes.
// io.EOF means that the peer closed between requests, io.ErrUnexpectedEOF
// that it closed within one.
func (in *input) fill(n int) error {
	for in.buffered() < n {
		if err := in.more(); err != nil {
			if err == io.EOF && in.buffered() > 0 {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// more waits for bytes and buffers what there is.
func (in *input) more() error {
	if in.r > 0 {
		in.w = copy(in.buf.b, in.buf.b[in.r:in.w])
		in.r = 0
	}
	if in.raw == nil {
		n, err := in.nc.Read(in.buf.b[in.w:])
		in.w += n
		if n > 0 {
			return nil
		}
		return err
	}
	if err := in.raw.Read(in.try); err != nil {
		return err
	}
	return in.err
}

// readOnce is one read that does not wait; false: nothing to be read yet.
func (in *input) readOnce(fd uintptr) bool {
	if in.buf == nil {
		in.buf = in.pool.get(inputBytes)
	}
	for {
		in.n, in.err = unix.Read(int(fd), in.buf.b[in.w:])
		if in.err != unix.EINTR {
			break
		}
	}
	switch {
	case in.err == unix.EAGAIN:
		in.release()
		return false
	case in.err != nil:
		in.n = 0
	case in.n == 0:
		in.err = io.EOF
	}
	in.w += in.n
	return true
}

// release gives the buffer back if nothing is in it.
func (in *input) release() {
	if in.raw == nil || in.w > in.r {
		return
	}
	in.pool.put(in.buf)
	in.buf, in.r, in.w = nil, 0, 0
}

// readFull fills p. What is missing from the buffer is read straight into p
// when it is much, else through the buffer together with what follows it.
func (in *input) readFull(p []byte) error {
	for {
		n := 0
		if in.buffered() > 0 {
			n = copy(p, in.buf.b[in.r:in.w])
			in.r += n
		}
		p = p[n:]
		if len(p) == 0 {
			return nil
		}
		if len(p) >= inputBytes/4 {
			return noEOF(readAll(in.nc, p))
		}
		if err := in.fill(1); err != nil {
			return noEOF(err)
		}
	}
}

// readAll is io.ReadFull without its count.
func readAll(r io.Reader, p []byte) error {
	_, err := io.ReadFull(r, p)
	return err
}

// noEOF says that an end of file was not expected here.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// discard reads n bytes and throws them away.
func (in *input) discard(n int64) error {
	for n > 0 {
		if in.buffered() == 0 {
			if err := in.fill(1); err != nil {
				return noEOF(err)
			}
		}
		k := min(n, int64(in.buffered()))
		in.r += int(k)
		n -= k
	}
	return nil
}

// close gives the buffer back whatever is in it.
func (in *input) close() {
	in.r = in.w
	in.release()
}
