package kmip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/gemalto/kmip-go/kmip14"
	"github.com/gemalto/kmip-go/ttlv"
)

// errMalformed is what every fault in the bytes of an answer wraps.
var errMalformed = errors.New("malformed answer")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errMalformed, fmt.Sprintf(format, args...))
}

// readFrame reads one answer into buf, which it may replace by a larger one,
// and checks it. Nothing is allocated for a length that was not accepted. It
// never waits for more than the answer, but refuses more that came with it.
// The frame is part of the buffer returned; wipe that, even after an error.
func readFrame(r io.Reader, buf []byte) (frame item, grown []byte, err error) {
	filled, err := fill(r, buf, 0, headerBytes)
	if err != nil {
		return nil, buf, err
	}
	n, err := frameLength(buf[:headerBytes])
	if err != nil {
		return nil, buf, err
	}
	if n > len(buf) {
		grown = make([]byte, n)
		copy(grown, buf[:filled])
		clear(buf)
		buf = grown
	}
	if filled, err = fill(r, buf, filled, n); err != nil {
		return nil, buf, err
	}
	if filled > n {
		return nil, buf, malformed("%d bytes follow it", filled-n)
	}
	if err := check(buf[:n]); err != nil {
		return nil, buf, err
	}
	return buf[:n], buf, nil
}

// fill reads until buf has want bytes or a few more.
func fill(r io.Reader, buf []byte, have, want int) (int, error) {
	for have < want {
		n, err := r.Read(buf[have:])
		have += n
		if err != nil && have < want {
			if errors.Is(err, io.EOF) && have > 0 {
				err = io.ErrUnexpectedEOF
			}
			return have, err
		}
	}
	return have, nil
}

// frameLength gives the bytes of an answer, its header included.
func frameLength(header item) (int, error) {
	if header.tag() != kmip14.TagResponseMessage || header.kind() != ttlv.TypeStructure {
		return 0, malformed("begins with tag 0x%06x type %d, not with a response message", uint32(header.tag()), header.kind())
	}
	n := header.length()
	if n > maxFrame-headerBytes {
		return 0, malformed("of %d bytes, over the limit of %d", n, maxFrame)
	}
	return int(n) + headerBytes, nil
}

// check walks over the items of b once, whatever their nesting, and makes sure
// that b is exactly one structure and that item's methods stay inside it:
// known tags and types, exact lengths, bounded depth and count.
func check(b item) error {
	var ends [maxDepth]int
	depth, nodes := 0, 0
	limit := len(b) // end of the structure that pos is in
	for pos := 0; ; {
		for depth > 0 && pos == ends[depth-1] {
			depth--
			limit = len(b)
			if depth > 0 {
				limit = ends[depth-1]
			}
		}
		if depth == 0 && pos > 0 {
			break
		}
		if nodes++; nodes > maxNodes {
			return malformed("of more than %d items", maxNodes)
		}
		n, err := checkItem(b[pos:limit])
		if err != nil {
			return err
		}
		if b[pos:].kind() != ttlv.TypeStructure {
			pos += headerBytes + n
			continue
		}
		if depth == maxDepth {
			return malformed("nested deeper than %d", maxDepth)
		}
		pos += headerBytes
		limit = pos + n
		ends[depth] = limit
		depth++
	}
	if ends[0] != len(b) {
		return malformed("%d bytes are left over", len(b)-ends[0])
	}
	return nil
}

// checkItem checks the head of b, and that its padded value, whose length it
// gives, fits into b.
func checkItem(b item) (int, error) {
	if len(b) < headerBytes {
		return 0, malformed("%d bytes where an item should be", len(b))
	}
	tag, n := b.tag(), uint64(b.length())
	if top := tag >> 16; top != 0x42 && top != 0x54 {
		return 0, malformed("unknown tag 0x%06x", uint32(tag))
	}
	padded := (n + alignBytes - 1) / alignBytes * alignBytes
	if padded > uint64(len(b)-headerBytes) {
		return 0, malformed("tag 0x%06x of %d bytes, where %d are left", uint32(tag), n, len(b)-headerBytes)
	}
	if !lengthFits(b.kind(), n) {
		return 0, malformed("tag 0x%06x has type %d and %d bytes", uint32(tag), b.kind(), n)
	}
	return int(padded), nil
}

// lengthFits knows the types of KMIP 1.4 (section 9.1.1.2) and their lengths.
func lengthFits(kind ttlv.Type, n uint64) bool {
	switch kind {
	case ttlv.TypeInteger, ttlv.TypeEnumeration, ttlv.TypeInterval:
		return n == 4
	case ttlv.TypeLongInteger, ttlv.TypeDateTime, ttlv.TypeBoolean:
		return n == 8
	case ttlv.TypeBigInteger:
		return n > 0 && n%alignBytes == 0
	case ttlv.TypeStructure:
		return n%alignBytes == 0
	case ttlv.TypeTextString, ttlv.TypeByteString:
		return true
	}
	return false
}

// item is a checked, encoded item and what follows it. It is no copy: wiping
// the buffer wipes it. The zero item has no members and no value.
type item []byte

func (b item) tag() ttlv.Tag   { return ttlv.Tag(b[0])<<16 | ttlv.Tag(b[1])<<8 | ttlv.Tag(b[2]) }
func (b item) kind() ttlv.Type { return ttlv.Type(b[3]) }
func (b item) length() uint32  { return binary.BigEndian.Uint32(b[4:]) }

// value is the value without its padding.
func (b item) value() []byte { return b[headerBytes : headerBytes+int(b.length())] }

// next is the item that follows, empty at the end.
func (b item) next() item {
	n := int(b.length())
	return b[headerBytes+(n+alignBytes-1)/alignBytes*alignBytes:]
}

// each calls yield for every member of a structure with the tag.
func (b item) each(tag ttlv.Tag, yield func(item)) {
	if len(b) == 0 || b.kind() != ttlv.TypeStructure {
		return
	}
	for m := item(b.value()); len(m) > 0; m = m.next() {
		if m.tag() == tag {
			yield(m)
		}
	}
}

// only gives the one member with the tag; there may be none, but not two.
func (b item) only(tag ttlv.Tag) (found item, ok bool, err error) {
	b.each(tag, func(m item) {
		if ok {
			err = malformed("%v occurs twice", tag)
		}
		found, ok = m, true
	})
	return found, ok && err == nil, err
}

// member gives the one member with tag and type.
func (b item) member(tag ttlv.Tag, kind ttlv.Type) (item, error) {
	m, ok, err := b.only(tag)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, malformed("without %v", tag)
	case m.kind() != kind:
		return nil, malformed("%v has type %v, not %v", tag, m.kind(), kind)
	}
	return m, nil
}

// integer gives the one member with the tag, an Integer or Enumeration as
// kind says.
func (b item) integer(tag ttlv.Tag, kind ttlv.Type) (uint32, error) {
	m, err := b.member(tag, kind)
	if err != nil {
		return 0, err
	}
	return readU32(m), nil
}

// enum gives the one member with the tag, an Enumeration.
func (b item) enum(tag ttlv.Tag) (uint32, error) { return b.integer(tag, ttlv.TypeEnumeration) }

// text gives the one member with the tag, a Text String of at most limit bytes.
func (b item) text(tag ttlv.Tag, limit int) (string, error) {
	m, err := b.member(tag, ttlv.TypeTextString)
	if err != nil {
		return "", err
	}
	return m.string(limit)
}

// string gives the value of a Text String.
func (b item) string(limit int) (string, error) {
	v := b.value()
	switch {
	case b.kind() != ttlv.TypeTextString:
		return "", malformed("%v has type %v, not text", b.tag(), b.kind())
	case len(v) > limit:
		return "", malformed("%v of %d bytes, over the limit of %d", b.tag(), len(v), limit)
	case !utf8.Valid(v):
		return "", malformed("%v is not UTF-8", b.tag())
	}
	return string(v), nil
}

// readU32 gives the value of an Integer, Enumeration or Interval.
func readU32(m item) uint32 { return binary.BigEndian.Uint32(m.value()) }
