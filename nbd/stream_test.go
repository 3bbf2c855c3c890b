package nbd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"lockplate/blockdev"
)

// TestInputGivesEveryByte reads a stream in pieces of every kind, through
// sockets (system calls) and pipes (plain reads).
func TestInputGivesEveryByte(t *testing.T) {
	sent := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{2}).Read(sent)
	socketA, socketB := pipe(t)
	pipeA, pipeB := net.Pipe()
	for name, ends := range map[string][2]net.Conn{"socket": {socketA, socketB}, "pipe": {pipeA, pipeB}} {
		t.Run(name, func(t *testing.T) {
			go func() {
				rnd := rand.New(rand.NewPCG(1, 1))
				for p := sent; len(p) > 0; {
					n := min(len(p), 1+rnd.IntN(50_000))
					ends[1].Write(p[:n])
					p = p[n:]
				}
				ends[1].Close()
			}()
			var pool bufferPool
			in := newInput(ends[0], &pool, func() {})
			rnd := rand.New(rand.NewPCG(2, 2))
			var got []byte
			for len(sent)-len(got) > 100_000 {
				switch rnd.IntN(3) {
				case 0:
					n := 1 + rnd.IntN(tlsInputBytes)
					if err := in.fill(n); err != nil {
						t.Fatal(err)
					}
					got = append(got, in.next(n)...)
				case 1:
					p := make([]byte, rnd.IntN(60_000))
					if err := in.readFull(p); err != nil {
						t.Fatal(err)
					}
					got = append(got, p...)
				default:
					n := rnd.IntN(30_000)
					if err := in.discard(int64(n)); err != nil {
						t.Fatal(err)
					}
					got = append(got, sent[len(got):len(got)+n]...)
				}
			}
			if !bytes.Equal(got, sent[:len(got)]) {
				t.Error("bytes differ")
			}
			if err := in.readFull(make([]byte, 200_000)); err != io.ErrUnexpectedEOF {
				t.Errorf("read past the end: %v", err)
			}
			if err := in.fill(1); err != io.EOF {
				t.Errorf("at the end: %v", err)
			}
			in.close()
		})
	}
}

// TestInputHoldsNothingWhileItWaits looks at the buffer of a waiting reader.
func TestInputHoldsNothingWhileItWaits(t *testing.T) {
	a, b := pipe(t)
	var pool bufferPool
	in := newInput(a, &pool, func() {})
	if _, err := b.Write(make([]byte, 28)); err != nil {
		t.Fatal(err)
	}
	if err := in.fill(28); err != nil || in.buf == nil {
		t.Fatalf("err %v", err)
	}
	in.next(28)
	a.SetReadDeadline(time.Now().Add(time.Millisecond))
	if err := in.fill(28); !isStop(err) || in.buf != nil {
		t.Errorf("err %v, holds a buffer: %v", err, in.buf != nil)
	}
}

// TestOutputGivesEveryByte writes more pieces than one writev takes into a
// socket whose reader is slow to start.
func TestOutputGivesEveryByte(t *testing.T) {
	socketA, socketB := pipe(t)
	pipeA, pipeB := net.Pipe()
	for name, ends := range map[string][2]net.Conn{"socket": {socketA, socketB}, "pipe": {pipeA, pipeB}} {
		t.Run(name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(5, 5))
			var parts [][]byte
			var want []byte
			for range 3 * maxIovecs {
				p := bytes.Repeat([]byte{byte(rnd.Uint32())}, rnd.IntN(3000))
				parts, want = append(parts, p), append(want, p...)
			}
			var pool bufferPool
			out := newOutput(ends[0], &pool)
			out.load(parts[:maxIovecs])
			out.load(parts[maxIovecs:])
			if err := out.write(false); err != nil || out.empty() {
				t.Fatalf("a full socket took everything, err %v", err)
			}
			got := make([]byte, len(want))
			done := make(chan error)
			go func() { done <- readAll(ends[1], got) }()
			if err := out.write(true); err != nil || !out.empty() {
				t.Errorf("err %v, all written: %v", err, out.empty())
			}
			if err := <-done; err != nil || !bytes.Equal(got, want) {
				t.Errorf("bytes differ, err %v", err)
			}
			if out.stuck.Load() != 0 {
				t.Error("counts as stuck")
			}
			ends[1].Close()
			out.load([][]byte{want})
			if err := out.write(true); err == nil || !out.empty() {
				t.Errorf("write to nobody: %v", err)
			}
		})
	}
}

// TestServesAnyConn attaches over a connection without system calls.
func TestServesAnyConn(t *testing.T) {
	srv, err := NewServer(Config{Exports: one(blockdev.NewMem(2 << 20))})
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	srv.admit(ours)
	c, err := NewClient(t.Context(), theirs, "disk", DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	exercise(t, c)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Close(); !errors.Is(err, blockdev.ErrClosed) {
		t.Errorf("second close: %v", err)
	}
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// cached is a device whose writes need a flush.
type cached struct {
	blockdev.Device
	mu    sync.Mutex
	dirty int
}

func (d *cached) WriteAt(ctx context.Context, p []byte, off int64, f blockdev.Flag) error {
	err := d.Device.WriteAt(ctx, p, off, f)
	d.mu.Lock()
	defer d.mu.Unlock()
	if f&blockdev.FUA == 0 {
		d.dirty++
	}
	return err
}

func (d *cached) Flush(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dirty = 0
	return d.Device.Flush(ctx)
}

// unflushed is the number of writes a power cut would lose.
func (d *cached) unflushed() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dirty
}

// TestFlushCoversEveryConnection is the promise behind CAN_MULTI_CONN.
func TestFlushCoversEveryConnection(t *testing.T) {
	dev := &cached{Device: blockdev.NewMem(1 << 20)}
	s := startServer(t, Config{Exports: one(dev)})
	clients := []*Client{s.attach(t, DialOptions{}), s.attach(t, DialOptions{Compact: true}), s.attach(t, DialOptions{Simple: true})}
	p := make([]byte, 4096)
	for _, flusher := range clients {
		for _, c := range clients {
			if err := c.WriteAt(t.Context(), p, 0, 0); err != nil {
				t.Fatal(err)
			}
		}
		if dev.unflushed() != len(clients) {
			t.Fatalf("%d writes unflushed", dev.unflushed())
		}
		if err := flusher.Flush(t.Context()); err != nil || dev.unflushed() != 0 {
			t.Errorf("flush answered with %d writes unflushed, err %v", dev.unflushed(), err)
		}
		if err := flusher.WriteAt(t.Context(), p, 0, blockdev.FUA); err != nil || dev.unflushed() != 0 {
			t.Errorf("FUA write left %d unflushed, err %v", dev.unflushed(), err)
		}
	}
}

// TestBudgetWaits has a connection wait for memory and get it, and another
// give up.
func TestBudgetWaits(t *testing.T) {
	b := newBudget(100)
	if !b.take(0, 50) {
		t.Fatal("an empty budget refused")
	}
	none := func() int64 { return 0 }
	got := make(chan bool)
	go func() { got <- b.wait(none, 50, func() bool { return false }) }()
	for !b.contended() {
		runtime.Gosched()
	}
	b.give(50)
	if !<-got || b.inUse() != 50 {
		t.Errorf("%d bytes in use", b.inUse())
	}
	var mu sync.Mutex
	gone := false
	go func() {
		got <- b.wait(none, 50, func() bool { mu.Lock(); defer mu.Unlock(); return gone })
	}()
	for !b.contended() {
		runtime.Gosched()
	}
	mu.Lock()
	gone = true
	mu.Unlock()
	b.wake()
	if <-got || b.inUse() != 50 {
		t.Errorf("gave up with %d bytes in use", b.inUse())
	}
}

// TestPooledBuffersAreAligned looks at every size class.
func TestPooledBuffersAreAligned(t *testing.T) {
	var pool bufferPool
	for n := int64(1); n <= maxPayloadBytes; n = n*2 + 1 {
		n := min(n, maxPayloadBytes)
		b := pool.get(n)
		if int64(len(b.b)) < n || int64(len(b.b)) != classBytes(n) || misalignment(b.b) != 0 {
			t.Errorf("%d bytes: buffer of %d, misaligned by %d", n, len(b.b), misalignment(b.b))
		}
		pool.put(b)
	}
	if classBytes(0) != 0 || len(alignedBytes(100)) != 100 {
		t.Error("odd sizes")
	}
}
