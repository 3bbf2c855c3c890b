package nbd

import (
	"encoding/binary"

	"lockplate/blockdev"
)

// request is one command from its header to its answer. Requests are pooled;
// nothing in one survives release but the memory of its slices.
type request struct {
	typ    uint16
	flags  uint16
	cookie uint64
	off    int64  // valid after validate
	n      int64  // effect length, valid after validate
	rawOff uint64 // as received; extended replies repeat it
	rawLen uint64 // as received
	load   int64  // bytes of payload that follow the header
	errno  Errno  // what is answered

	piece  bool      // a WRITE run in pieces: data holds one
	charge int64     // bytes taken from the limits
	data   *buffer   // payload of WRITE, data of READ, extents of BLOCK_STATUS
	meta   *buffer   // headers of a sparse read's chunks
	segs   []segment // what a sparse read consists of
	hdr    [maxHeaderBytes]byte
	parts  [][]byte // the encoded answer
}

// segment is a part of a sparse read, relative to the request's offset.
type segment struct {
	off, n int64
	zero   bool
}

// replyMode is the layout of replies, as negotiated.
type replyMode uint8

const (
	modeSimple replyMode = iota
	modeStructured
	modeExtended
)

// String names the mode for logs.
func (m replyMode) String() string {
	return [...]string{"simple", "structured", "extended"}[m]
}

// headerBytes is the size of a request header.
func (m replyMode) headerBytes() int {
	if m == modeExtended {
		return extRequestBytes
	}
	return requestBytes
}

// parse reads a request header ("Request message"); false: wrong magic.
func (r *request) parse(h []byte, m replyMode) bool {
	magic := binary.BigEndian.Uint32(h)
	r.flags = binary.BigEndian.Uint16(h[4:])
	r.typ = binary.BigEndian.Uint16(h[6:])
	r.cookie = binary.BigEndian.Uint64(h[8:])
	r.rawOff = binary.BigEndian.Uint64(h[16:])
	var load uint64
	if m == modeExtended {
		r.rawLen = binary.BigEndian.Uint64(h[24:])
		if r.flags&flagPayloadLen != 0 {
			load = r.rawLen
		}
	} else {
		r.rawLen = uint64(binary.BigEndian.Uint32(h[24:]))
		if r.typ == cmdWrite {
			load = r.rawLen
		}
	}
	r.load = int64(min(load, 1<<62))
	if m == modeExtended {
		return magic == magicExtRequest
	}
	return magic == magicRequest
}

// terms is what was agreed on a connection that requests must keep to.
type terms struct {
	mode     replyMode
	info     blockdev.Info // Size is what the client was told
	context  bool          // base:allocation was selected
	txFlags  uint16        // what the client was told
	openName string        // the export
}

// validate checks a request against the terms and sets off and n; nothing
// later doubts them ("Error values" says which error is for what).
func (t *terms) validate(r *request) Errno {
	if r.typ >= commands || r.typ == cmdDisc {
		return EINVAL
	}
	if r.flags&^t.allowedFlags(r.typ) != 0 {
		return EINVAL
	}
	if t.mode == modeExtended && r.typ == cmdWrite && r.flags&flagPayloadLen == 0 {
		return EINVAL
	}
	if r.typ == cmdFlush {
		return 0
	}
	if t.info.ReadOnly && r.writes() {
		return EPERM
	}
	return t.validateRange(r)
}

// allowedFlags is the set of command flags a command may carry here.
func (t *terms) allowedFlags(typ uint16) uint16 {
	allowed := flagFUA
	switch typ {
	case cmdRead:
		if t.mode != modeSimple {
			allowed |= flagDF
		}
	case cmdWrite:
		if t.mode == modeExtended {
			allowed |= flagPayloadLen
		}
	case cmdWriteZeroes:
		allowed |= flagNoHole | flagFastZero
	case cmdBlockStatus:
		allowed |= flagReqOne
		if t.txFlags&txStatusLoad != 0 {
			allowed |= flagPayloadLen
		}
	}
	return allowed
}

// writes says whether the command changes data.
func (r *request) writes() bool {
	return r.typ == cmdWrite || r.typ == cmdWriteZeroes || r.typ == cmdTrim
}

// validateRange checks offset and length against the export.
func (t *terms) validateRange(r *request) Errno {
	if r.typ == cmdBlockStatus {
		if !t.context {
			return EINVAL
		}
		if r.flags&flagPayloadLen != 0 {
			if r.load != statusPayloadBytes {
				return EINVAL
			}
			return 0 // the range is in the payload: see statusPayload
		}
	}
	if !t.setRange(r, r.rawLen) {
		if r.typ == cmdWrite || r.typ == cmdWriteZeroes {
			return ENOSPC
		}
		return EINVAL
	}
	if r.typ == cmdBlockStatus && r.n == 0 {
		return EINVAL // there is no extent of no bytes to answer
	}
	if r.typ == cmdRead && r.n > maxPayloadBytes {
		if t.mode == modeSimple {
			return EINVAL
		}
		return EOVERFLOW
	}
	return 0
}

// setRange sets the effect of r; false: it is not within the export.
func (t *terms) setRange(r *request, n uint64) bool {
	size := uint64(t.info.Size)
	if r.rawOff > size || n > size-r.rawOff {
		return false
	}
	r.off, r.n = int64(r.rawOff), int64(n)
	return true
}

// statusPayloadBytes is the length of a BLOCK_STATUS payload for one context.
const statusPayloadBytes = 12

// statusPayload reads the payload form of BLOCK_STATUS: a length and the
// contexts asked for, of which there is one.
func (t *terms) statusPayload(r *request, p []byte) Errno {
	if binary.BigEndian.Uint32(p[8:]) != allocationID {
		return EINVAL
	}
	if !t.setRange(r, binary.BigEndian.Uint64(p)) || r.n == 0 {
		return EINVAL
	}
	return 0
}

// memory is the number of bytes a valid request needs to be run.
func (r *request) memory() int64 {
	switch r.typ {
	case cmdRead:
		return r.n
	case cmdWrite:
		if r.piece {
			return pieceBytes
		}
		return r.load
	case cmdBlockStatus:
		return max(statusBytes, r.load)
	case cmdCache:
		return min(r.n, cacheStepBytes)
	}
	return 0
}

// deviceFlags are the flags of the command as a device knows them.
func (r *request) deviceFlags() blockdev.Flag {
	var f blockdev.Flag
	if r.flags&flagFUA != 0 {
		f |= blockdev.FUA
	}
	if r.typ != cmdWriteZeroes {
		return f
	}
	if r.flags&flagNoHole != 0 {
		f |= blockdev.NoHole
	}
	if r.flags&flagFastZero != 0 {
		f |= blockdev.FastZero
	}
	return f
}

// reset prepares r for its next use, keeping the memory of its slices.
func (r *request) reset() {
	clear(r.parts)
	*r = request{parts: r.parts[:0], segs: r.segs[:0]}
}

// fifo is a queue of requests, oldest first from at.
type fifo struct {
	list []*request
	at   int
}

func (q *fifo) push(r *request) {
	if q.at > len(q.list)/2 {
		n := copy(q.list, q.list[q.at:])
		clear(q.list[n:])
		q.list, q.at = q.list[:n], 0
	}
	q.list = append(q.list, r)
}

// pop takes the oldest request; nil: there is none.
func (q *fifo) pop() *request {
	if q.at == len(q.list) {
		q.list, q.at = q.list[:0], 0
		return nil
	}
	r := q.list[q.at]
	q.list[q.at] = nil
	q.at++
	return r
}
