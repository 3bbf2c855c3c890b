package nbd

import (
	"io"
	"net"
	"syscall"
	"unsafe"

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

	// ahead is how much is read beyond what was asked for. After a large
	// payload it is a header: the next payload, likely as large, then goes
	// where it belongs and is not copied.
	ahead int
	idle  func() // called before each wait for the client

	try  func(fd uintptr) bool // readOnce, made once so that no read allocates
	into []byte                // what it fills before the buffer
	n    int                   // its results
	err  error
	iov  [2]unix.Iovec
}

// newInput makes the input of a connection in transmission. idle is called
// before each wait for the client.
func newInput(nc net.Conn, pool *bufferPool, idle func()) *input {
	in := &input{nc: nc, raw: rawConn(nc), pool: pool, ahead: inputBytes, idle: idle}
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
		in.idle()
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

// readOnce is one read that does not wait, into what is to be filled and then
// into the buffer; false: nothing to be read yet.
func (in *input) readOnce(fd uintptr) bool {
	if in.buf == nil {
		in.buf = in.pool.get(inputBytes)
	}
	for {
		in.n, in.err = in.readv(int(fd), in.buf.b[in.w:min(in.w+in.ahead, len(in.buf.b))])
		if in.err != unix.EINTR {
			break
		}
	}
	switch {
	case in.err == unix.EAGAIN:
		in.idle()
		in.release()
		return false
	case in.err != nil:
		in.n = 0
	case in.n == 0:
		in.err = io.EOF
	}
	direct := min(in.n, len(in.into))
	in.into = in.into[direct:]
	in.w += in.n - direct
	return true
}

// readv reads into in.into and then into p.
func (in *input) readv(fd int, p []byte) (int, error) {
	if len(in.into) == 0 {
		return unix.Read(fd, p)
	}
	in.iov[0].Base = unsafe.SliceData(in.into)
	in.iov[0].SetLen(len(in.into))
	in.iov[1].Base = unsafe.SliceData(p)
	in.iov[1].SetLen(len(p))
	n, _, errno := unix.Syscall(unix.SYS_READV, uintptr(fd), uintptr(unsafe.Pointer(&in.iov)), 2)
	clear(in.iov[:])
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// release gives the buffer back if nothing is in it.
func (in *input) release() {
	if in.raw == nil || in.w > in.r {
		return
	}
	in.pool.put(in.buf)
	in.buf, in.r, in.w = nil, 0, 0
}

// readFull fills p. What is missing from the buffer is read straight into p,
// together with what follows it.
func (in *input) readFull(p []byte) error {
	if in.buffered() > 0 {
		n := copy(p, in.buf.b[in.r:in.w])
		in.r += n
		p = p[n:]
	}
	if len(p) == 0 {
		return nil
	}
	if in.raw == nil {
		return in.readPlain(p)
	}
	_, err := in.readSome(p, 0, len(p))
	return err
}

// readSome reads into p behind the have bytes that are there, until they are at
// least least, and returns how many they are.
func (in *input) readSome(p []byte, have, least int) (int, error) {
	if in.buffered() > 0 {
		n := copy(p[have:], in.buf.b[in.r:in.w])
		in.r += n
		have += n
	}
	if in.raw == nil {
		return len(p), in.readFull(p[have:])
	}
	in.into = p[have:]
	for len(p)-len(in.into) < least {
		if err := in.more(); err != nil {
			in.into = nil
			return 0, noEOF(err)
		}
	}
	have = len(p) - len(in.into)
	in.into = nil
	return have, nil
}

// readPlain is readFull by the transport's own Read, with an empty buffer.
func (in *input) readPlain(p []byte) error {
	for len(p) > 0 && len(p) < len(in.buf.b) {
		if err := in.fill(1); err != nil {
			return noEOF(err)
		}
		n := copy(p, in.buf.b[in.r:in.w])
		in.r += n
		p = p[n:]
	}
	if len(p) == 0 {
		return nil
	}
	in.idle()
	return noEOF(readAll(in.nc, p))
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
