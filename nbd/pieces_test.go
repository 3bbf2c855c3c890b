package nbd

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"lockplate/blockdev"
	"lockplate/blockdev/blockdevtest"
)

// foundFast has every session of s take its device for a fast one, whatever the
// machine is busy with. There is a session once a request was answered.
func (s *testServer) foundFast() {
	for _, ss := range s.sessions() {
		ss.speed[cmdRead].Store(1)
		ss.speed[cmdWrite].Store(1)
	}
}

// TestLargeWritesInPieces writes more than a piece: every byte arrives, at any
// offset, and a failure in the middle is one answer after which nothing more is
// written and the connection goes on.
func TestLargeWritesInPieces(t *testing.T) {
	for _, m := range allModes {
		mem := blockdev.NewMem(8 << 20)
		dev := blockdevtest.NewFaulty(mem)
		s := startServer(t, Config{Exports: one(dev)})
		r := s.enter(t, m)
		r.alive()
		data := make([]byte, 5*pieceBytes)
		rand.NewChaCha8([32]byte{7}).Read(data)
		for i, off := range []uint64{0, 1, pieceBytes - 1, 4096} {
			s.foundFast()
			before := dev.Count(blockdevtest.OpWrite)
			p := data[i : i+4*pieceBytes-i*1000]
			if e, _ := r.ask(cmdWrite, r.writeFlags(), off, uint64(len(p)), p); e != 0 {
				t.Fatal(e)
			}
			got := make([]byte, len(p))
			if err := mem.ReadAt(t.Context(), got, int64(off)); err != nil || !bytes.Equal(got, p) {
				t.Errorf("%v: offset %d: bytes differ, %v", m, off, err)
			}
			if n := dev.Count(blockdevtest.OpWrite) - before; n < 4 {
				t.Errorf("%v: offset %d: %d writes", m, off, n)
			}
		}
		s.foundFast()
		dev.Arm(blockdevtest.Fault{Op: blockdevtest.OpWrite, N: 2})
		before := dev.Count(blockdevtest.OpWrite)
		if e, _ := r.ask(cmdWrite, r.writeFlags(), 0, uint64(len(data)), data); e != EIO {
			t.Errorf("%v: a failed piece is answered with %v", m, e)
		}
		if n := dev.Count(blockdevtest.OpWrite) - before; n != 2 {
			t.Errorf("%v: %d writes, want none after the second, which failed", m, n)
		}
		r.alive()
	}
}
