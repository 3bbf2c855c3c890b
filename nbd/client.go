package nbd

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"time"

	"lockplate/blockdev"
)

// maxCompactBytes is the longest TRIM or WRITE_ZEROES sent with a 32-bit
// length (bytes); a multiple of every block size.
const maxCompactBytes = 1 << 30

// zeroStepBytes is how much a Client writes at once to a server that knows no
// WRITE_ZEROES.
const zeroStepBytes = 1 << 20

// Client is a remote export as a blockdev.Device. Requests of concurrent
// calls are under way together on its one connection.
//
// A server's error is an Errno. When the connection breaks, every call under
// way and every later one fails with the same error; whether the server has
// done what was under way is then unknown. A context that ends while a call
// waits for its answer ends that call alone, except in the middle of
// sending or receiving, where it breaks the connection.
type Client struct {
	nc   net.Conn
	g    *dialogue
	info blockdev.Info
	max  int64 // bytes in one READ or WRITE

	sending sync.Mutex // one request on the wire at a time
	hdr     [extRequestBytes]byte
	vec     [2][]byte
	bufs    net.Buffers

	mu      sync.Mutex
	next    uint64
	pending map[uint64]*call
	busy    *call // being received now
	err     error // why no more calls are taken

	calls sync.Pool
	done  chan struct{} // closed when the receiver has ended
}

// call is one request under way.
type call struct {
	typ     uint16
	flags   uint16
	off, n  int64
	p       []byte // where a READ's data goes; nil once nobody waits for it
	got     int64  // bytes of it received
	extents []blockdev.Extent
	err     error
	orphan  bool
	done    chan struct{} // takes one value, once answered
}

// NewClient attaches an export over a connection, which belongs to the Client
// from then on, also when this fails. ctx bounds the handshake.
func NewClient(ctx context.Context, nc net.Conn, export string, o DialOptions) (*Client, error) {
	g := &dialogue{nc: nc, o: o, least: 1, preferred: minPreferred, most: maxPayloadBytes}
	if err := g.negotiate(ctx, export); err != nil {
		nc.Close()
		var r *refusal
		if errors.As(err, &r) && r.typ == repErrUnknown {
			return nil, fmt.Errorf("export %q: %w: %w", export, blockdev.ErrNotExist, err)
		}
		return nil, fmt.Errorf("export %q: %w", export, err)
	}
	if g.size > math.MaxInt64 {
		nc.Close()
		return nil, fmt.Errorf("export %q: size %d is beyond what a device can have", export, g.size)
	}
	c := &Client{nc: g.nc, g: g, info: g.deviceInfo(), pending: map[uint64]*call{}, done: make(chan struct{})}
	c.max = int64(min(g.most, maxPayloadBytes)) / int64(g.least) * int64(g.least)
	c.calls.New = func() any { return &call{done: make(chan struct{}, 1)} }
	go c.receive()
	return c, nil
}

// deviceInfo tells what was negotiated as a device tells it.
func (g *dialogue) deviceInfo() blockdev.Info {
	has := func(f uint16) bool { return g.flags&f != 0 }
	return blockdev.Info{
		Size:           int64(g.size),
		Align:          int(g.least),
		LogicalSector:  int(max(g.least, 512)),
		PhysicalSector: int(max(g.preferred, 512)),
		ReadOnly:       has(txReadOnly),
		Rotational:     has(txRotational),
		CanTrim:        has(txTrim),
		CanZero:        has(txWriteZeroes),
		CanExtents:     g.allocation,
		Volatile:       has(txFlush),
	}
}

// Info tells what the server said when the export was attached.
func (c *Client) Info() blockdev.Info { return c.info }

// ReadAt implements blockdev.Device.
func (c *Client) ReadAt(ctx context.Context, p []byte, off int64) error {
	if err := c.info.Check(off, int64(len(p))); err != nil {
		return err
	}
	for len(p) > 0 {
		n := min(int64(len(p)), c.max)
		if err := c.do(ctx, cmdRead, 0, off, n, p[:n:n], nil); err != nil {
			return fmt.Errorf("nbd read of %d bytes at %d: %w", n, off, err)
		}
		p, off = p[n:], off+n
	}
	return c.alive()
}

// WriteAt implements blockdev.Device. It leaves p as it is.
func (c *Client) WriteAt(ctx context.Context, p []byte, off int64, f blockdev.Flag) error {
	if err := c.checkWrite(off, int64(len(p))); err != nil {
		return err
	}
	for len(p) > 0 {
		n := min(int64(len(p)), c.max)
		if err := c.do(ctx, cmdWrite, c.fua(f), off, n, nil, p[:n]); err != nil {
			return fmt.Errorf("nbd write of %d bytes at %d: %w", n, off, err)
		}
		p, off = p[n:], off+n
	}
	return c.settle(ctx, f)
}

// checkWrite checks a request that changes data.
func (c *Client) checkWrite(off, n int64) error {
	if err := c.info.Check(off, n); err != nil {
		return err
	}
	if c.info.ReadOnly {
		return blockdev.ErrReadOnly
	}
	return nil
}

// fua is the command flag for FUA where the server has it.
func (c *Client) fua(f blockdev.Flag) uint16 {
	if f&blockdev.FUA != 0 && c.g.flags&txFUA != 0 {
		return flagFUA
	}
	return 0
}

// settle does FUA by a flush where the server has no FUA.
func (c *Client) settle(ctx context.Context, f blockdev.Flag) error {
	if f&blockdev.FUA != 0 && c.g.flags&txFUA == 0 {
		return c.Flush(ctx)
	}
	return c.alive()
}

// Zero implements blockdev.Device.
func (c *Client) Zero(ctx context.Context, off, n int64, f blockdev.Flag) error {
	if err := c.checkWrite(off, n); err != nil {
		return err
	}
	if f&blockdev.FastZero != 0 && c.g.flags&txFastZero == 0 {
		return blockdev.ErrNotFast
	}
	if c.g.flags&txWriteZeroes == 0 {
		return c.writeZeroes(ctx, off, n, f)
	}
	flags := c.fua(f)
	if f&blockdev.NoHole != 0 {
		flags |= flagNoHole
	}
	if f&blockdev.FastZero != 0 {
		flags |= flagFastZero
	}
	if err := c.long(ctx, cmdWriteZeroes, flags, off, n); err != nil {
		return err
	}
	return c.settle(ctx, f)
}

// writeZeroes is Zero on a server that has no such command.
func (c *Client) writeZeroes(ctx context.Context, off, n int64, f blockdev.Flag) error {
	zeroes := make([]byte, min(n, zeroStepBytes))
	for n > 0 {
		k := min(n, zeroStepBytes)
		if err := c.WriteAt(ctx, zeroes[:k], off, f); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return c.alive()
}

// Trim implements blockdev.Device. Where the server has no TRIM it does
// nothing, which is all that Trim promises.
func (c *Client) Trim(ctx context.Context, off, n int64, f blockdev.Flag) error {
	if err := c.checkWrite(off, n); err != nil {
		return err
	}
	if c.g.flags&txTrim != 0 {
		if err := c.long(ctx, cmdTrim, c.fua(f), off, n); err != nil {
			return err
		}
	}
	return c.settle(ctx, f)
}

// long sends a command without payload, in pieces where lengths are 32 bits.
func (c *Client) long(ctx context.Context, typ, flags uint16, off, n int64) error {
	step := int64(maxCompactBytes)
	if c.g.mode == modeExtended {
		step = math.MaxInt64
	}
	for n > 0 {
		k := min(n, step)
		if err := c.do(ctx, typ, flags, off, k, nil, nil); err != nil {
			return fmt.Errorf("nbd %s of %d bytes at %d: %w", commandName(typ), k, off, err)
		}
		off, n = off+k, n-k
	}
	return nil
}

// Cache asks the server to have the range at hand. It does nothing where the
// server does not know the command.
func (c *Client) Cache(ctx context.Context, off, n int64) error {
	if err := c.info.Check(off, n); err != nil {
		return err
	}
	if c.g.flags&txCache == 0 {
		return c.alive()
	}
	return c.long(ctx, cmdCache, 0, off, n)
}

// Flush implements blockdev.Device.
func (c *Client) Flush(ctx context.Context) error {
	if c.g.flags&txFlush == 0 {
		return c.alive()
	}
	if err := c.do(ctx, cmdFlush, 0, 0, 0, nil, nil); err != nil {
		return fmt.Errorf("nbd flush: %w", err)
	}
	return nil
}

// Extents implements blockdev.Device.
func (c *Client) Extents(ctx context.Context, off, n int64) ([]blockdev.Extent, error) {
	if err := c.info.Check(off, n); err != nil {
		return nil, err
	}
	if !c.g.allocation || n == 0 {
		return []blockdev.Extent{{Len: n}}, c.alive()
	}
	if c.g.mode != modeExtended {
		n = min(n, maxStatusLen32)
	}
	k := c.newCall(cmdBlockStatus, off, n)
	defer c.freeCall(k)
	if err := c.perform(ctx, k, nil); err != nil {
		return nil, fmt.Errorf("nbd block status of %d bytes at %d: %w", n, off, err)
	}
	return k.extents, nil
}

// Resize implements blockdev.Device. The protocol has no such request: only
// the present size is accepted.
func (c *Client) Resize(_ context.Context, size int64) error {
	if size == c.info.Size {
		return c.alive()
	}
	return fmt.Errorf("resize of an nbd export: %w", blockdev.ErrNotSupported)
}

// Close says goodbye and closes the connection. Calls under way fail.
func (c *Client) Close() error {
	c.mu.Lock()
	if errors.Is(c.err, blockdev.ErrClosed) {
		c.mu.Unlock()
		return blockdev.ErrClosed
	}
	failed := c.err != nil
	c.err = blockdev.ErrClosed
	c.mu.Unlock()
	if !failed {
		c.send(context.Background(), &call{typ: cmdDisc}, 0, nil)
	}
	c.nc.Close()
	<-c.done
	return nil
}

// alive is the error that ended the client, if any.
func (c *Client) alive() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// do performs one request.
func (c *Client) do(ctx context.Context, typ, flags uint16, off, n int64, dst, src []byte) error {
	k := c.newCall(typ, off, n)
	defer c.freeCall(k)
	k.flags, k.p = flags, dst
	return c.perform(ctx, k, src)
}

// newCall takes a call from the pool. Its done channel is empty: what was put
// in was taken out before freeCall.
func (c *Client) newCall(typ uint16, off, n int64) *call {
	k := c.calls.Get().(*call)
	*k = call{typ: typ, off: off, n: n, done: k.done}
	return k
}

// freeCall gives a call back, unless its answer is still to come.
func (c *Client) freeCall(k *call) {
	if !k.orphan {
		k.p = nil
		c.calls.Put(k)
	}
}

// perform sends a call and waits for its answer.
func (c *Client) perform(ctx context.Context, k *call, payload []byte) error {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return c.err
	}
	c.next++
	cookie := c.next
	c.pending[cookie] = k
	c.mu.Unlock()
	if err := c.send(ctx, k, cookie, payload); err != nil {
		c.fail(err)
	}
	// An answer that is there wins over a context that has ended.
	select {
	case <-k.done:
		return k.err
	default:
	}
	select {
	case <-k.done:
		return k.err
	case <-ctx.Done():
		return c.cancel(ctx, k)
	}
}

// cancel stops waiting for k.
func (c *Client) cancel(ctx context.Context, k *call) error {
	c.mu.Lock()
	if c.busy != k {
		select {
		case <-k.done: // answered just now
		default:
			k.p, k.orphan = nil, true
		}
		c.mu.Unlock()
		return ctx.Err()
	}
	c.mu.Unlock()
	c.fail(ctx.Err()) // its data is being received into the caller's memory
	<-k.done
	return ctx.Err()
}

// send writes a request. An error leaves the stream broken.
func (c *Client) send(ctx context.Context, k *call, cookie uint64, payload []byte) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	if ctx.Done() == nil {
		return c.sendNow(k, cookie, payload)
	}
	var mu sync.Mutex // settles whether the request was out before ctx ended
	sent, poked := false, false
	stop := context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		if !sent {
			poked = true
			c.nc.SetWriteDeadline(time.Unix(1, 0))
		}
	})
	defer stop()
	err := c.sendNow(k, cookie, payload)
	mu.Lock()
	defer mu.Unlock()
	if sent = true; poked {
		c.nc.SetWriteDeadline(time.Time{})
	}
	return err
}

// sendNow writes a request; the caller holds sending.
func (c *Client) sendNow(k *call, cookie uint64, payload []byte) error {
	h := c.hdr[:0]
	if c.g.mode == modeExtended {
		flags := k.flags
		if k.typ == cmdWrite {
			flags |= flagPayloadLen
		}
		h = binary.BigEndian.AppendUint32(h, magicExtRequest)
		h = appendRequest(h, flags, k.typ, cookie, k.off)
		h = binary.BigEndian.AppendUint64(h, uint64(k.n))
	} else {
		h = binary.BigEndian.AppendUint32(h, magicRequest)
		h = appendRequest(h, k.flags, k.typ, cookie, k.off)
		h = binary.BigEndian.AppendUint32(h, uint32(k.n))
	}
	// The pieces lie in c, where WriteTo may change them without allocating.
	c.vec = [2][]byte{h, payload}
	c.bufs = c.vec[:]
	if len(payload) == 0 {
		c.bufs = c.vec[:1]
	}
	_, err := c.bufs.WriteTo(c.nc)
	return err
}

// appendRequest is the part of a request header that both forms share.
func appendRequest(h []byte, flags, typ uint16, cookie uint64, off int64) []byte {
	h = binary.BigEndian.AppendUint16(h, flags)
	h = binary.BigEndian.AppendUint16(h, typ)
	h = binary.BigEndian.AppendUint64(h, cookie)
	return binary.BigEndian.AppendUint64(h, uint64(off))
}

// fail ends the client: every call under way fails with err.
func (c *Client) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = fmt.Errorf("nbd connection lost: %w", err)
	}
	c.mu.Unlock()
	c.nc.Close()
}

// receive reads answers until the connection ends.
func (c *Client) receive() {
	defer close(c.done)
	r := &receiver{c: c, r: bufio.NewReaderSize(c.nc, inputBytes)}
	c.fail(r.run())
	c.mu.Lock()
	defer c.mu.Unlock()
	for cookie, k := range c.pending {
		k.err = c.err
		delete(c.pending, cookie)
		k.done <- struct{}{}
	}
}
