package nbd

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"lockplate/blockdev"
)

// errMalformed is an answer that breaks the protocol; the stream is lost.
var errMalformed = errors.New("malformed answer of the server")

// maxErrorBytes is the longest payload of an error chunk (bytes): a string
// and the numbers around it.
const maxErrorBytes = maxNameBytes + 16

// receiver takes answers apart.
type receiver struct {
	c   *Client
	r   *bufio.Reader
	hdr [extReplyBytes]byte
}

// answer is the header of one reply or chunk.
type answer struct {
	simple bool
	errno  Errno // simple
	flags  uint16
	typ    uint16
	cookie uint64
	n      int64 // payload bytes
}

// run handles answers until one cannot be.
func (v *receiver) run() error {
	for {
		a, err := v.header()
		if err != nil {
			return err
		}
		if err := v.handle(a); err != nil {
			return err
		}
	}
}

// header reads the header of a reply of any kind that was negotiated.
func (v *receiver) header() (a answer, err error) {
	h := v.hdr[:]
	if err := readAll(v.r, h[:4]); err != nil {
		return a, err
	}
	magic := binary.BigEndian.Uint32(h)
	size := replyHeaderBytes(magic, v.c.g.mode)
	if size == 0 {
		return a, fmt.Errorf("%w: magic %#x", errMalformed, magic)
	}
	if err := readAll(v.r, h[4:size]); err != nil {
		return a, noEOF(err)
	}
	a.cookie = binary.BigEndian.Uint64(h[8:])
	if magic == magicSimple {
		a.simple, a.errno, a.flags = true, Errno(binary.BigEndian.Uint32(h[4:])), chunkDone
		return a, nil
	}
	a.flags, a.typ = binary.BigEndian.Uint16(h[4:]), binary.BigEndian.Uint16(h[6:])
	if magic == magicStructured {
		a.n = int64(binary.BigEndian.Uint32(h[16:]))
		return a, nil
	}
	n := binary.BigEndian.Uint64(h[24:])
	if n > 1<<32 {
		return a, fmt.Errorf("%w: chunk of %d bytes", errMalformed, n)
	}
	a.n = int64(n)
	return a, nil
}

// replyHeaderBytes is the size of a reply header with the given magic; 0: no
// such reply was negotiated.
func replyHeaderBytes(magic uint32, m replyMode) int {
	switch {
	case magic == magicExtReply && m == modeExtended:
		return extReplyBytes
	case magic == magicStructured && m == modeStructured:
		return structuredBytes
	case magic == magicSimple && m != modeExtended:
		return simpleBytes
	}
	return 0
}

// handle takes in one reply or chunk and ends the call after its last.
func (v *receiver) handle(a answer) error {
	k := v.take(a.cookie)
	if k == nil {
		return fmt.Errorf("%w: nobody asked for %d", errMalformed, a.cookie)
	}
	err := v.body(k, a)
	v.c.mu.Lock()
	defer v.c.mu.Unlock()
	v.c.busy = nil
	if err != nil || a.flags&chunkDone == 0 {
		return err
	}
	if k.typ == cmdRead && k.err == nil && k.got != k.n {
		return fmt.Errorf("%w: %d of %d bytes", errMalformed, k.got, k.n)
	}
	if k.typ == cmdBlockStatus && k.err == nil && len(k.extents) == 0 {
		return fmt.Errorf("%w: no extents", errMalformed)
	}
	delete(v.c.pending, a.cookie)
	k.done <- struct{}{}
	return nil
}

// take finds a call and marks it as being received.
func (v *receiver) take(cookie uint64) *call {
	v.c.mu.Lock()
	defer v.c.mu.Unlock()
	k := v.c.pending[cookie]
	v.c.busy = k
	return k
}

// body reads what follows the header.
func (v *receiver) body(k *call, a answer) error {
	switch {
	case a.simple:
		return v.simple(k, a)
	case a.typ&chunkErrorBit != 0:
		return v.failure(k, a)
	case a.typ == chunkNone && a.n == 0:
		return nil
	case a.typ == chunkData && k.typ == cmdRead && a.n > 8:
		return v.data(k, a.n-8)
	case a.typ == chunkHole && k.typ == cmdRead && a.n == 12:
		return v.hole(k)
	case (a.typ == chunkStatus || a.typ == chunkStatusExt) && k.typ == cmdBlockStatus:
		return v.status(k, a)
	}
	return fmt.Errorf("%w: chunk type %d of %d bytes", errMalformed, a.typ, a.n)
}

// simple is a simple reply; a READ's data follows it.
func (v *receiver) simple(k *call, a answer) error {
	switch {
	case a.errno != 0:
		k.err = a.errno
	case k.typ == cmdRead && v.c.g.mode != modeSimple:
		return fmt.Errorf("%w: simple reply to a read", errMalformed)
	case k.typ == cmdRead:
		k.got = k.n
		return v.fill(k, 0, k.n)
	}
	return nil
}

// fill reads data of a READ; nobody may wait for it any more.
func (v *receiver) fill(k *call, at, n int64) error {
	if k.p == nil {
		_, err := io.CopyN(io.Discard, v.r, n)
		return noEOF(err)
	}
	return noEOF(readAll(v.r, k.p[at:at+n]))
}

// failure is an error chunk.
func (v *receiver) failure(k *call, a answer) error {
	if a.n < 6 || a.n > maxErrorBytes {
		return fmt.Errorf("%w: error chunk of %d bytes", errMalformed, a.n)
	}
	p := make([]byte, a.n)
	if err := readAll(v.r, p); err != nil {
		return noEOF(err)
	}
	if k.err = Errno(binary.BigEndian.Uint32(p)); k.err == Errno(0) {
		k.err = EIO
	}
	return nil
}

// place reads the offset of a content chunk and checks the chunk against what
// was asked for.
func (v *receiver) place(k *call, n int64) (at int64, err error) {
	if err := readAll(v.r, v.hdr[:8]); err != nil {
		return 0, noEOF(err)
	}
	off := binary.BigEndian.Uint64(v.hdr[:])
	if off < uint64(k.off) || off > uint64(k.off+k.n) || n > k.off+k.n-int64(off) || k.got+n > k.n {
		return 0, fmt.Errorf("%w: %d bytes at %d", errMalformed, n, off)
	}
	k.got += n
	return int64(off) - k.off, nil
}

// data is an OFFSET_DATA chunk.
func (v *receiver) data(k *call, n int64) error {
	at, err := v.place(k, n)
	if err != nil {
		return err
	}
	return v.fill(k, at, n)
}

// hole is an OFFSET_HOLE chunk.
func (v *receiver) hole(k *call) error {
	p, err := v.r.Peek(12)
	if err != nil {
		return noEOF(err)
	}
	n := int64(binary.BigEndian.Uint32(p[8:]))
	at, err := v.place(k, n)
	if err != nil {
		return err
	}
	if k.p != nil {
		clear(k.p[at : at+n])
	}
	_, err = v.r.Discard(4)
	return err
}

// status is a status chunk of the context we selected.
func (v *receiver) status(k *call, a answer) error {
	ext := v.c.g.mode == modeExtended
	head, each := int64(4), int64(8)
	if ext {
		head, each = 8, 16
	}
	count := (a.n - head) / each
	if (a.typ == chunkStatusExt) != ext || count < 1 || a.n != head+count*each || count > 1<<20 {
		return fmt.Errorf("%w: status chunk of %d bytes", errMalformed, a.n)
	}
	if err := readAll(v.r, v.hdr[:head]); err != nil {
		return noEOF(err)
	}
	if binary.BigEndian.Uint32(v.hdr[:]) != v.c.g.meta {
		return fmt.Errorf("%w: status of an unknown context", errMalformed)
	}
	for range count {
		if err := readAll(v.r, v.hdr[:each]); err != nil {
			return noEOF(err)
		}
		n, state := uint64(binary.BigEndian.Uint32(v.hdr[:])), uint64(binary.BigEndian.Uint32(v.hdr[4:]))
		if ext {
			n, state = binary.BigEndian.Uint64(v.hdr[:]), binary.BigEndian.Uint64(v.hdr[8:])
		}
		k.addExtent(n, state)
	}
	return nil
}

// addExtent appends an extent, as far as it was asked for: a server may tell
// more.
func (k *call) addExtent(n, state uint64) {
	if len(k.extents) >= blockdev.MaxExtents || n == 0 {
		return
	}
	n = min(n, uint64(k.n-k.got))
	k.got += int64(n)
	if n > 0 {
		k.extents = append(k.extents, blockdev.Extent{Len: int64(n), Hole: state&stateHole != 0, Zero: state&stateZero != 0})
	}
}
