package e2e

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// Numbers of the NBD protocol that the client below speaks.
const (
	nbdMagic       = 0x4e42444d41474943
	nbdOptMagic    = 0x49484156454f5054
	nbdRepMagic    = 0x0003e889045565a9
	nbdReqMagic    = 0x25609513
	nbdSimpleMagic = 0x67446698

	optStartTLS = 5
	optGo       = 7
	repAck      = 1
	repInfo     = 3
	infoExport  = 0

	cmdRead, cmdWrite, cmdDisc, cmdFlush = 0, 1, 2, 3
	flagFUA                              = 1
)

// client is a small NBD client: simple replies, many requests in flight. It
// shares no code with the server, and it ignores advertised block sizes, as
// some clients do.
type client struct {
	conn  net.Conn
	size  int64
	flags uint16
	next  uint64
	read  map[uint64][]byte // where the payload of a read under way belongs
}

// errno is the error number in a reply.
type errno syscall.Errno

func (e errno) Error() string { return "server answered " + syscall.Errno(e).Error() }

// dial attaches to an export; the handshake must end within waitLimit.
func dial(network, addr, export string) (*client, error) {
	conn, err := net.Dial(network, addr)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, read: map[uint64][]byte{}}
	_ = conn.SetDeadline(time.Now().Add(waitLimit))
	if err := c.negotiate(export); err != nil {
		conn.Close()
		return nil, fmt.Errorf("negotiate %q: %w", export, err)
	}
	_ = conn.SetDeadline(time.Time{})
	return c, nil
}

func (c *client) negotiate(export string) error {
	var hello [18]byte
	if _, err := io.ReadFull(c.conn, hello[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint64(hello[:]) != nbdMagic || binary.BigEndian.Uint64(hello[8:]) != nbdOptMagic {
		return fmt.Errorf("no NBD server: %x", hello)
	}
	b := binary.BigEndian.AppendUint32(nil, 3) // fixed newstyle, no zeroes
	b = binary.BigEndian.AppendUint64(b, nbdOptMagic)
	b = binary.BigEndian.AppendUint32(b, optGo)
	b = binary.BigEndian.AppendUint32(b, uint32(4+len(export)+2))
	b = binary.BigEndian.AppendUint32(b, uint32(len(export)))
	b = append(b, export...)
	b = binary.BigEndian.AppendUint16(b, 0)
	if _, err := c.conn.Write(b); err != nil {
		return err
	}
	for {
		done, err := c.optionReply()
		if done || err != nil {
			return err
		}
	}
}

// optionReply reads one answer to GO; true with the acknowledgement.
func (c *client) optionReply() (bool, error) {
	var h [20]byte
	if _, err := io.ReadFull(c.conn, h[:]); err != nil {
		return false, err
	}
	kind, n := binary.BigEndian.Uint32(h[12:]), binary.BigEndian.Uint32(h[16:])
	if binary.BigEndian.Uint64(h[:]) != nbdRepMagic || n > 64<<10 {
		return false, fmt.Errorf("bad option reply %x", h)
	}
	p := make([]byte, n)
	if _, err := io.ReadFull(c.conn, p); err != nil {
		return false, err
	}
	switch {
	case kind == repAck:
		return true, nil
	case kind != repInfo:
		return false, fmt.Errorf("option refused: %#x %s", kind, p)
	case n == 12 && binary.BigEndian.Uint16(p) == infoExport:
		c.size, c.flags = int64(binary.BigEndian.Uint64(p[2:])), binary.BigEndian.Uint16(p[10:])
	}
	return false, nil
}

// send puts one request on the wire; p is the data of a write or the place of
// a read.
func (c *client) send(cmd, flags uint16, off int64, p []byte) error {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 28+len(p)), nbdReqMagic)
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint16(b, cmd)
	b = binary.BigEndian.AppendUint64(b, c.next)
	b = binary.BigEndian.AppendUint64(b, uint64(off))
	b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
	switch cmd {
	case cmdWrite:
		b = append(b, p...)
	case cmdRead:
		c.read[c.next] = p
	}
	c.next++
	_, err := c.conn.Write(b)
	return err
}

// receive reads one reply, whichever request it answers.
func (c *client) receive() error {
	var h [16]byte
	if _, err := io.ReadFull(c.conn, h[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(h[:]) != nbdSimpleMagic {
		return fmt.Errorf("bad reply %x", h)
	}
	if e := binary.BigEndian.Uint32(h[4:]); e != 0 {
		return errno(e)
	}
	cookie := binary.BigEndian.Uint64(h[8:])
	p := c.read[cookie]
	delete(c.read, cookie)
	_, err := io.ReadFull(c.conn, p)
	return err
}

// do is one request and its reply.
func (c *client) do(cmd, flags uint16, off int64, p []byte) error {
	if err := c.send(cmd, flags, off, p); err != nil {
		return err
	}
	return c.receive()
}

func (c *client) readAt(p []byte, off int64) error  { return c.do(cmdRead, 0, off, p) }
func (c *client) writeAt(p []byte, off int64) error { return c.do(cmdWrite, 0, off, p) }
func (c *client) flush() error                      { return c.do(cmdFlush, 0, 0, nil) }

// readAll reads the whole export in pieces of 1 MiB.
func (c *client) readAll() ([]byte, error) {
	p := make([]byte, c.size)
	for off := int64(0); off < c.size; off += 1 << 20 {
		if err := c.readAt(p[off:min(off+1<<20, c.size)], off); err != nil {
			return nil, fmt.Errorf("read at %d: %w", off, err)
		}
	}
	return p, nil
}

// close says goodbye as a client should.
func (c *client) close() {
	_ = c.send(cmdDisc, 0, 0, nil)
	c.conn.Close()
}
