package nbd

import (
	"math/bits"
	"sync"
	"unsafe"
)

// Size classes of pooled buffers are powers of two from 4 KiB to 32 MiB.
const (
	minClassBits = 12
	maxClassBits = 25
	classes      = maxClassBits - minClassBits + 1
)

// buffer is pooled memory whose address is a multiple of alignBytes.
type buffer struct {
	b     []byte // full size of its class
	class int
}

// bufferPool hands out buffers by size class. Idle buffers are given back to
// the garbage collector, so that a quiet server is a small one.
type bufferPool struct {
	pools [classes]sync.Pool
}

// classOf is the class of buffers that hold n bytes.
func classOf(n int64) int {
	if n <= 1<<minClassBits {
		return 0
	}
	return bits.Len64(uint64(n-1)) - minClassBits
}

// classBytes is what a buffer for n bytes counts against the limits.
func classBytes(n int64) int64 {
	if n == 0 {
		return 0
	}
	return 1 << (minClassBits + classOf(n))
}

// get returns a buffer of at least n bytes, n at most maxPayloadBytes. What
// it holds is left over from other requests.
func (p *bufferPool) get(n int64) *buffer {
	c := classOf(n)
	if b, ok := p.pools[c].Get().(*buffer); ok {
		return b
	}
	return &buffer{b: alignedBytes(1 << (minClassBits + c)), class: c}
}

// put gives a buffer back. Nil is allowed.
func (p *bufferPool) put(b *buffer) {
	if b != nil {
		p.pools[b.class].Put(b)
	}
}

// alignedBytes makes a slice whose address is a multiple of alignBytes. The
// allocator gives such addresses for these sizes anyway, but promises nothing.
func alignedBytes(n int) []byte {
	b := make([]byte, n)
	if misalignment(b) == 0 {
		return b
	}
	b = make([]byte, n+alignBytes)
	skip := (alignBytes - misalignment(b)) % alignBytes
	return b[skip : skip+n : skip+n]
}

// misalignment is the distance of b's address from the alignment before it.
func misalignment(b []byte) int {
	return int(uintptr(unsafe.Pointer(unsafe.SliceData(b))) % alignBytes)
}
