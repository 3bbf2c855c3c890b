package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// This file reads the structure of a bbolt file without bbolt, every length
// checked before use. bbolt has checksums on its two meta pages only and
// follows all else through a memory mapping; what passes here it can follow.
//
//	page     id u64, flags u16, count u16, overflow u32, elements, data
//	meta     magic u32, version u32, page size u32, flags u32, root u64,
//	         sequence u64, freelist u64, high-water mark u64, txid u64, FNV-1a u64
//	leaf     per element: flags u32, pos u32, key size u32, value size u32
//	branch   per element: pos u32, key size u32, page u64
//	bucket   value of a leaf element with flag 1: root u64, sequence u64, and
//	         if root is 0 the one leaf page, inline
//
// All in the byte order of the machine; pos counts from its own element.
const (
	pageHeader = 16
	metaBytes  = 64 // up to the checksum
	elemBytes  = 16

	flagBranch, flagLeaf, flagMeta, flagFreelist = 1, 2, 4, 16

	boltMagic    = 0xED0CDAED
	boltVersion  = 2
	noFreelist   = ^uint64(0)
	minPage      = 1 << 10
	maxPage      = 64 << 10
	maxTreeDepth = 32
	maxProblems  = 100
)

var order = binary.NativeEndian

// verifier walks one file.
type verifier struct {
	f        io.ReaderAt
	pageSize int64
	high     uint64            // pages of the file that count
	seen     map[uint64]string // page to what it is used for
	problems []Problem
}

// verifyFile lists what is wrong with the structure of a bbolt file; the error
// is one of reading.
func verifyFile(f *os.File) ([]Problem, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	return verify(f, fi.Size())
}

func verify(f io.ReaderAt, size int64) ([]Problem, error) {
	v := &verifier{f: f, seen: map[uint64]string{0: "meta", 1: "meta"}}
	m, err := v.bestMeta(size)
	if err != nil || m == nil {
		return v.problems, err
	}
	if err := v.tree(m.root, nil, nil, 0); err != nil {
		return nil, err
	}
	if err := v.freelist(m.freelist); err != nil {
		return nil, err
	}
	return v.problems, nil
}

func (v *verifier) bad(where, format string, a ...any) {
	if len(v.problems) < maxProblems {
		v.problems = append(v.problems, Problem{Where: where, Text: fmt.Sprintf(format, a...)})
	}
}

type metaPage struct {
	flags          uint16
	pageSize       uint32
	root, freelist uint64
	high, txid     uint64
}

// bestMeta finds the newest valid meta page where bbolt does: the first is at 0,
// the second one page later. One damaged copy is what a crash may leave; one
// that passes its checksum and still makes no sense is not. nil: a problem was
// noted.
func (v *verifier) bestMeta(size int64) (*metaPage, error) {
	best, err := v.readMeta(0)
	if err != nil {
		return nil, err
	}
	first, last := int64(minPage), int64(maxPage)
	if best != nil {
		first, last = int64(best.pageSize), int64(best.pageSize)
	}
	for off := first; off <= last && off >= minPage; off *= 2 {
		m, err := v.readMeta(off)
		if err != nil {
			return nil, err
		}
		if m == nil {
			continue
		}
		if int64(m.pageSize) != off {
			v.bad("meta pages", "page size %d in the copy at %d", m.pageSize, off)
			return nil, nil
		}
		if best == nil || m.txid > best.txid {
			best = m
		}
		break
	}
	if best == nil {
		v.bad("meta pages", "neither copy is valid; not a store, or its start is overwritten")
		return nil, nil
	}
	return v.useMeta(best, size), nil
}

// useMeta checks what the chosen meta page says of the file.
func (v *verifier) useMeta(m *metaPage, size int64) *metaPage {
	v.pageSize, v.high = int64(m.pageSize), m.high
	switch {
	case m.flags != flagMeta || m.pageSize < minPage || m.pageSize > maxPage || m.pageSize&(m.pageSize-1) != 0:
		v.bad("meta page", "page size %d, type %#x", m.pageSize, m.flags)
	case m.high < 4 || m.high > uint64(size/v.pageSize):
		v.bad("file", "has %d bytes, but %d pages of %d are in use: it was cut short", size, m.high, v.pageSize)
	default:
		return m
	}
	return nil
}

// readMeta returns nil for anything but a page that bbolt takes for a meta page:
// magic, version and checksum are right.
func (v *verifier) readMeta(off int64) (*metaPage, error) {
	buf := make([]byte, pageHeader+metaBytes)
	if ok, err := v.read(buf, off); !ok {
		return nil, err
	}
	b := buf[pageHeader:]
	sum := fnv.New64a()
	sum.Write(b[:metaBytes-8])
	if order.Uint32(b) != boltMagic || order.Uint32(b[4:]) != boltVersion || order.Uint64(b[metaBytes-8:]) != sum.Sum64() {
		return nil, nil
	}
	return &metaPage{
		flags: order.Uint16(buf[8:]), pageSize: order.Uint32(b[8:]), root: order.Uint64(b[16:]),
		freelist: order.Uint64(b[32:]), high: order.Uint64(b[40:]), txid: order.Uint64(b[48:]),
	}, nil
}

// read fills p; false without an error means that the file ends before.
func (v *verifier) read(p []byte, off int64) (bool, error) {
	n, err := v.f.ReadAt(p, off)
	if n == len(p) {
		return true, nil
	}
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	return false, err
}

// page reads page id with its overflow, and claims it for use. nil: a problem
// was noted.
func (v *verifier) page(id uint64, use string) ([]byte, error) {
	where := fmt.Sprintf("page %d", id)
	if id < 2 || id >= v.high {
		v.bad(where, "outside the %d pages in use", v.high)
		return nil, nil
	}
	head := make([]byte, pageHeader)
	if ok, err := v.read(head, int64(id)*v.pageSize); !ok {
		v.bad(where, "cannot be read")
		return nil, err
	}
	run := uint64(order.Uint32(head[12:])) + 1
	if order.Uint64(head) != id || run > v.high-id {
		v.bad(where, "says it is page %d with %d more", order.Uint64(head), run-1)
		return nil, nil
	}
	for i := id; i < id+run; i++ {
		if was, dup := v.seen[i]; dup {
			v.bad(fmt.Sprintf("page %d", i), "used twice, as %s and as %s", was, use)
			return nil, nil
		}
		v.seen[i] = use
	}
	p := make([]byte, int64(run)*v.pageSize)
	if ok, err := v.read(p, int64(id)*v.pageSize); !ok {
		v.bad(where, "cannot be read")
		return nil, err
	}
	return p, nil
}

// tree walks the tree under page id, whose keys must be in [lo, hi).
func (v *verifier) tree(id uint64, lo, hi []byte, depth int) error {
	where := fmt.Sprintf("page %d", id)
	if depth > maxTreeDepth {
		v.bad(where, "tree deeper than %d", maxTreeDepth)
		return nil
	}
	p, err := v.page(id, "data")
	if p == nil {
		return err
	}
	switch order.Uint16(p[8:]) {
	case flagLeaf:
		return v.leaf(where, p, lo, hi, depth)
	case flagBranch:
		return v.branch(where, p, lo, hi, depth)
	}
	v.bad(where, "has type %#x, want a leaf or a branch", order.Uint16(p[8:]))
	return nil
}

// elem is one element of a page: its data starts at its own offset plus pos.
func elem(p []byte, i int) []byte {
	off := pageHeader + i*elemBytes
	if off+elemBytes > len(p) {
		return nil
	}
	return p[off:]
}

// cut returns n bytes of e from pos, nil if they leave the page or overlap the
// element itself.
func cut(e []byte, pos, n uint64) []byte {
	if pos < elemBytes || pos > uint64(len(e)) || n > uint64(len(e))-pos {
		return nil
	}
	return e[pos : pos+n : pos+n]
}

func (v *verifier) leaf(where string, p, lo, hi []byte, depth int) error {
	for i := range int(order.Uint16(p[10:])) {
		e := elem(p, i)
		if e == nil {
			v.bad(where, "element %d is outside the page", i)
			return nil
		}
		flags, pos := order.Uint32(e), uint64(order.Uint32(e[4:]))
		ksize, vsize := uint64(order.Uint32(e[8:])), uint64(order.Uint32(e[12:]))
		key := cut(e, pos, ksize)
		val := cut(e, pos+ksize, vsize)
		if key == nil || val == nil || flags > 1 {
			v.bad(where, "element %d is malformed", i)
			return nil
		}
		if !v.inOrder(where, i, key, lo, hi) {
			return nil
		}
		lo = key
		if flags == 1 {
			if err := v.bucket(where, val, depth); err != nil {
				return err
			}
		}
	}
	return nil
}

// inOrder checks that the i-th key is not empty, follows lo and stays under hi.
func (v *verifier) inOrder(where string, i int, key, lo, hi []byte) bool {
	c := 1
	if lo != nil {
		c = bytes.Compare(key, lo)
	}
	if len(key) == 0 || c < 0 || (c == 0 && i > 0) || (hi != nil && bytes.Compare(key, hi) >= 0) {
		v.bad(where, "key %d is empty or out of order", i)
		return false
	}
	return true
}

func (v *verifier) bucket(where string, val []byte, depth int) error {
	if len(val) < 16 {
		v.bad(where, "bucket of %d bytes", len(val))
		return nil
	}
	if root := order.Uint64(val); root != 0 {
		return v.tree(root, nil, nil, depth+1)
	}
	p := val[16:]
	if len(p) < pageHeader || order.Uint16(p[8:]) != flagLeaf || depth >= maxTreeDepth {
		v.bad(where, "inline bucket is malformed")
		return nil
	}
	return v.leaf(where+", inline", p, nil, nil, depth+1)
}

func (v *verifier) branch(where string, p, lo, hi []byte, depth int) error {
	n := int(order.Uint16(p[10:]))
	if n == 0 {
		v.bad(where, "branch without children")
	}
	keys, ids := make([][]byte, 0, n), make([]uint64, 0, n)
	for i := range n {
		e := elem(p, i)
		if e == nil {
			v.bad(where, "element %d is outside the page", i)
			return nil
		}
		key := cut(e, uint64(order.Uint32(e)), uint64(order.Uint32(e[4:])))
		if key == nil {
			v.bad(where, "element %d is malformed", i)
			return nil
		}
		if !v.inOrder(where, i, key, lo, hi) {
			return nil
		}
		lo = key
		keys, ids = append(keys, key), append(ids, order.Uint64(e[8:]))
	}
	for i, id := range ids {
		end := hi
		if i+1 < n {
			end = keys[i+1]
		}
		if err := v.tree(id, keys[i], end, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// freelist checks that no page is both free and used. A page that is neither is
// only lost space; bbolt's own check reports it.
func (v *verifier) freelist(id uint64) error {
	if id == noFreelist {
		return nil
	}
	p, err := v.page(id, "freelist")
	if p == nil {
		return err
	}
	where := fmt.Sprintf("page %d", id)
	n, ids := uint64(order.Uint16(p[10:])), p[pageHeader:]
	if n == 0xFFFF {
		n, ids = order.Uint64(ids), ids[8:]
	}
	if order.Uint16(p[8:]) != flagFreelist || n > uint64(len(ids)/8) {
		v.bad(where, "freelist is malformed")
		return nil
	}
	for i := range n {
		free := order.Uint64(ids[8*i:])
		if was, dup := v.seen[free]; dup || free < 2 || free >= v.high {
			v.bad(where, "free page %d is outside the file or used as %s", free, was)
			return nil
		}
		v.seen[free] = "free"
	}
	return nil
}
