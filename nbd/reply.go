package nbd

import "encoding/binary"

// encode lays out the answer of r in r.parts.
func (r *request) encode(m replyMode) {
	read := r.typ == cmdRead && r.errno == 0
	switch {
	case m == modeSimple || (m == modeStructured && r.errno == 0 && !read && r.typ != cmdBlockStatus):
		r.encodeSimple(read)
	case r.errno != 0:
		r.encodeError(m)
	case r.typ == cmdBlockStatus:
		r.encodeStatus(m)
	case !read || r.n == 0:
		r.parts = append(r.parts, r.chunk(r.hdr[:0], m, chunkNone, chunkDone, 0))
	case len(r.segs) > 0:
		r.encodeSparse(m)
	default:
		h := r.chunk(r.hdr[:0], m, chunkData, chunkDone, 8+r.n)
		h = binary.BigEndian.AppendUint64(h, uint64(r.off))
		r.parts = append(r.parts, h, r.data.b[:r.n])
	}
}

// encodeSimple is "Simple reply message".
func (r *request) encodeSimple(read bool) {
	h := binary.BigEndian.AppendUint32(r.hdr[:0], magicSimple)
	h = binary.BigEndian.AppendUint32(h, uint32(r.errno))
	h = binary.BigEndian.AppendUint64(h, r.cookie)
	r.parts = append(r.parts, h)
	if read && r.n > 0 {
		r.parts = append(r.parts, r.data.b[:r.n])
	}
}

// chunk appends the header of a structured or extended reply chunk with a
// payload of n bytes to h.
func (r *request) chunk(h []byte, m replyMode, typ, flags uint16, n int64) []byte {
	if m == modeExtended {
		h = binary.BigEndian.AppendUint32(h, magicExtReply)
	} else {
		h = binary.BigEndian.AppendUint32(h, magicStructured)
	}
	h = binary.BigEndian.AppendUint16(h, flags)
	h = binary.BigEndian.AppendUint16(h, typ)
	h = binary.BigEndian.AppendUint64(h, r.cookie)
	if m == modeExtended {
		h = binary.BigEndian.AppendUint64(h, r.rawOff)
		return binary.BigEndian.AppendUint64(h, uint64(n))
	}
	return binary.BigEndian.AppendUint32(h, uint32(n))
}

// encodeError is one ERROR chunk without a message: what went wrong below is
// for the server's log, not for whoever is connected.
func (r *request) encodeError(m replyMode) {
	h := r.chunk(r.hdr[:0], m, chunkError, chunkDone, 6)
	h = binary.BigEndian.AppendUint32(h, uint32(r.errno))
	r.parts = append(r.parts, binary.BigEndian.AppendUint16(h, 0))
}

// encodeSparse is a chunk of data or hole for each segment.
func (r *request) encodeSparse(m replyMode) {
	h := r.meta.b[:0]
	for i, s := range r.segs {
		start := len(h)
		flags := uint16(0)
		if i == len(r.segs)-1 {
			flags = chunkDone
		}
		if s.zero {
			h = r.chunk(h, m, chunkHole, flags, 12)
			h = binary.BigEndian.AppendUint64(h, uint64(r.off+s.off))
			h = binary.BigEndian.AppendUint32(h, uint32(s.n))
			r.parts = append(r.parts, h[start:])
			continue
		}
		h = r.chunk(h, m, chunkData, flags, 8+s.n)
		h = binary.BigEndian.AppendUint64(h, uint64(r.off+s.off))
		r.parts = append(r.parts, h[start:], r.data.b[s.off:s.off+s.n])
	}
}

// encodeStatus is the one status chunk; its payload is in data (see status).
func (r *request) encodeStatus(m replyMode) {
	typ := chunkStatus
	if m == modeExtended {
		typ = chunkStatusExt
	}
	h := r.chunk(r.hdr[:0], m, typ, chunkDone, r.n)
	r.parts = append(r.parts, h, r.data.b[:r.n])
}
