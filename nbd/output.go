package nbd

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxIovecs is the most pieces one writev takes (IOV_MAX of Linux).
const maxIovecs = 1024

// output writes replies: many at once, header and data together, by writev.
// It has one user at a time (session.writing).
type output struct {
	nc   net.Conn
	raw  syscall.RawConn // nil where there is none, as with TLS
	cork *corkedConn     // below TLS, else nil
	pool *bufferPool
	iov  []unix.Iovec // what is loaded and not yet written
	at   int          // first of iov not wholly written

	step func(fd uintptr) bool // writeOnce, made once so that no write allocates
	wait bool                  // whether writeOnce may be called again when the socket is full
	err  error                 // its result

	stuck atomic.Int64 // Unix nanoseconds since when the socket took no byte; 0: not writing
}

// newOutput makes the output of a connection in transmission.
func newOutput(nc net.Conn, pool *bufferPool) *output {
	o := &output{nc: nc, raw: rawConn(nc), cork: corked(nc), pool: pool}
	o.step = o.writeOnce
	return o
}

// load adds pieces to what is to be written.
func (o *output) load(parts [][]byte) {
	for _, p := range parts {
		if len(p) > 0 {
			v := unix.Iovec{Base: unsafe.SliceData(p)}
			v.SetLen(len(p))
			o.iov = append(o.iov, v)
		}
	}
}

// empty says whether all that was loaded is written.
func (o *output) empty() bool { return o.at == len(o.iov) }

// write writes what is loaded: all of it when wait, else what the socket
// takes at once. It keeps no pointer to what is written.
func (o *output) write(wait bool) error {
	if o.raw == nil {
		if !wait {
			return nil
		}
		return o.writeGathered()
	}
	o.wait, o.err = wait, nil
	o.stuck.Store(time.Now().UnixNano())
	err := o.raw.Write(o.step)
	o.stuck.Store(0)
	if err == nil {
		err = o.err
	}
	if err != nil || o.empty() {
		o.reset()
	}
	return err
}

// reset forgets what is loaded.
func (o *output) reset() {
	clear(o.iov)
	o.iov, o.at = o.iov[:0], 0
}

// writeOnce writes until all is written or the socket is full; true: done.
func (o *output) writeOnce(fd uintptr) bool {
	for !o.empty() {
		v := o.iov[o.at:min(len(o.iov), o.at+maxIovecs)]
		n, _, errno := unix.Syscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&v[0])), uintptr(len(v)))
		switch {
		case errno == unix.EINTR:
		case errno == unix.EAGAIN:
			return !o.wait
		case errno != 0:
			o.err = errno
			return true
		case n == 0:
			o.err = io.ErrShortWrite
			return true
		default:
			o.advance(int(n))
			o.stuck.Store(time.Now().UnixNano())
		}
	}
	return true
}

// advance takes n written bytes off what is loaded.
func (o *output) advance(n int) {
	for n > 0 {
		v := &o.iov[o.at]
		if n < int(v.Len) {
			v.Base = (*byte)(unsafe.Add(unsafe.Pointer(v.Base), n))
			v.SetLen(int(v.Len) - n)
			return
		}
		n -= int(v.Len)
		o.at++
	}
}

// writeGathered writes what is loaded for transports that make a record of
// every Write. Small pieces are copied together until they fill one; whole
// records of large pieces are given away where they are.
func (o *output) writeGathered() error {
	// Nothing is said about partial success: an error ends the connection.
	defer o.reset()
	defer o.stuck.Store(0)
	if o.cork != nil {
		o.cork.cork()
	}
	err := o.putAll()
	if o.cork != nil {
		o.stuck.Store(time.Now().UnixNano())
		err = errors.Join(err, o.cork.uncork())
	}
	return err
}

func (o *output) putAll() error {
	b := o.pool.get(recordBytes)
	defer o.pool.put(b)
	g := b.b[:0]
	for _, v := range o.iov {
		p := unsafe.Slice(v.Base, int(v.Len))
		for len(p) > 0 {
			n := len(p) &^ (recordBytes - 1)
			whole := p[:n]
			if len(g) > 0 || n == 0 {
				n = min(len(p), recordBytes-len(g))
				g, whole = append(g, p[:n]...), nil
			}
			if len(g) == recordBytes {
				g, whole = g[:0], g
			}
			if err := o.put(whole); err != nil {
				return err
			}
			p = p[n:]
		}
	}
	return o.put(g)
}

// put writes p by the transport's own Write.
func (o *output) put(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	o.stuck.Store(time.Now().UnixNano())
	_, err := o.nc.Write(p)
	return err
}
