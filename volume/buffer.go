package volume

import (
	"context"
	"sync"
	"unsafe"
)

// Numbers of the implementation.
const (
	bufferAlign  = 4096      // of memory: what O_DIRECT asks for at most
	smallBuffer  = 16 << 10  // edge sectors, unaligned requests up to 8 KiB at least
	smallBuffers = 64        // in use at a time per volume: 1 MiB
	largeBuffer  = 256 << 10 // larger unaligned requests; pieces of Zero
	largeBuffers = 16        // in use at a time per volume: 4 MiB
)

// pool hands out aligned buffers of one size, at most a fixed number at a
// time. Idle buffers are left to the garbage collector.
type pool struct {
	permits chan struct{}
	idle    sync.Pool
}

// buffer is the used part of a pooled piece of memory.
type buffer struct {
	data []byte // length as asked for
	full []byte
	from *pool
}

func newPool(size, limit int) *pool {
	p := &pool{permits: make(chan struct{}, limit)}
	p.idle.New = func() any { return &buffer{full: alignedBytes(size), from: p} }
	return p
}

// get waits for a buffer of n zero bytes, or for the end of ctx.
func (p *pool) get(ctx context.Context, n int64) (*buffer, error) {
	select {
	case p.permits <- struct{}{}:
	default:
		select {
		case p.permits <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	b := p.idle.Get().(*buffer)
	b.data = b.full[:n]
	return b, nil
}

// release clears the buffer, which may hold plaintext, and gives it back.
func (b *buffer) release() {
	clear(b.data)
	b.data = nil
	b.from.idle.Put(b)
	<-b.from.permits
}

// buffer gets a buffer of n bytes, n at most largeBuffer. No request holds two,
// and none waits for one while it holds the range lock.
func (v *Volume) buffer(ctx context.Context, n int64) (*buffer, error) {
	if n <= smallBuffer {
		return v.small.get(ctx, n)
	}
	return v.large.get(ctx, n)
}

// alignedBytes allocates n bytes that begin at a multiple of bufferAlign. Heap
// objects do not move, so they stay aligned.
func alignedBytes(n int) []byte {
	b := make([]byte, n+bufferAlign)
	skip := -uintptr(unsafe.Pointer(&b[0])) & (bufferAlign - 1)
	return b[skip : skip+uintptr(n) : skip+uintptr(n)]
}
