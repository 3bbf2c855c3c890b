package nbd

import (
	"bytes"
	"context"
	"net"
	"runtime"
	"testing"
	"time"

	"lockplate/blockdev"
)

// tapeConn is a connection whose peer has said all it will ever say.
type tapeConn struct {
	in  *bytes.Reader
	out int64 // bytes written
}

func (c *tapeConn) Read(p []byte) (int, error) { return c.in.Read(p) }
func (c *tapeConn) Write(p []byte) (int, error) {
	c.out += int64(len(p))
	return len(p), nil
}
func (c *tapeConn) Close() error                     { return nil }
func (c *tapeConn) LocalAddr() net.Addr              { return nil }
func (c *tapeConn) RemoteAddr() net.Addr             { return nil }
func (c *tapeConn) SetDeadline(time.Time) error      { return nil }
func (c *tapeConn) SetReadDeadline(time.Time) error  { return nil }
func (c *tapeConn) SetWriteDeadline(time.Time) error { return nil }

// fuzzDisk is the size of the export fuzzing works on; small, so that one
// request cannot make much work.
const fuzzDisk = 64 << 10

// play has a server hear a tape, and checks that the memory taken for it stays
// within the limits and is given back.
func play(t *testing.T, srv *Server, tape []byte, hear func(nc net.Conn)) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	hear(&tapeConn{in: bytes.NewReader(tape)})
	runtime.ReadMemStats(&after)
	limit := uint64(4<<20 + 64*len(tape)) // buffers are reused: far below ConnBytes
	if got := after.TotalAlloc - before.TotalAlloc; got > limit {
		t.Errorf("%d bytes allocated for a tape of %d", got, len(tape))
	}
	if n := srv.budget.inUse(); n != 0 {
		t.Errorf("%d bytes not given back", n)
	}
	if n := srv.inflight.Load(); n != 0 {
		t.Errorf("%d requests never ended", n)
	}
}

// fuzzServer is a server that hears one tape.
func fuzzServer(t *testing.T) *Server {
	srv, err := NewServer(Config{Exports: one(blockdev.NewMem(fuzzDisk))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Shutdown(context.Background()) })
	return srv
}

// FuzzHandshake plays whole connections, from the client flags on.
func FuzzHandshake(f *testing.F) {
	start := be32(3)
	read := (&rawPeer{mode: modeStructured}).requestHeader(cmdRead, 0, 1, 0, 512)
	f.Add(cat(start, optionBytes(optGo, goData("disk", 1, 2, 3)), read))
	f.Add(cat(be32(1), optionBytes(optExportName, []byte("disk")), read))
	f.Add(cat(start, optionBytes(optList, nil), optionBytes(optAbort, nil)))
	f.Add(cat(start, optionBytes(optStructuredReply, nil), optionBytes(optSetMeta, metaData("disk", allocationContext)),
		optionBytes(optListMeta, metaData("", "base:")), optionBytes(optGo, goData("disk")), read))
	f.Add(cat(start, optionBytes(optExtendedHeaders, nil), optionBytes(optInfo, goData("x")), optionBytes(optStartTLS, nil)))
	f.Add(cat(start, be64(magicOption), be32(optGo), be32(0xffffffff)))
	f.Add(cat(start, optionBytes(optGo, cat(be32(0xfffffff0), []byte("disk"), be16(0xffff)))))
	f.Fuzz(func(t *testing.T, tape []byte) {
		srv := fuzzServer(t)
		play(t, srv, tape, func(nc net.Conn) {
			(&conn{srv: srv, nc: nc, start: time.Now()}).serve()
		})
	})
}

// FuzzTransmission plays requests in each reply mode.
func FuzzTransmission(f *testing.F) {
	for mode := range allModes {
		r := &rawPeer{mode: replyMode(mode)}
		w := r.writeFlags()
		status := uint16(0)
		if r.mode == modeExtended {
			status = flagPayloadLen
		}
		f.Add(uint8(mode), cat(
			r.requestHeader(cmdWrite, w|flagFUA, 1, 5, 9), []byte("lockplate"),
			r.requestHeader(cmdRead, flagDF, 2, 0, 4096),
			r.requestHeader(cmdRead, 0, 3, 0, fuzzDisk),
			r.requestHeader(cmdTrim, 0, 4, 0, fuzzDisk),
			r.requestHeader(cmdWriteZeroes, flagNoHole|flagFastZero, 5, 1, 2),
			r.requestHeader(cmdCache, 0, 6, 0, 99),
			r.requestHeader(cmdBlockStatus, flagReqOne, 7, 0, 4096),
			r.requestHeader(cmdFlush, 0, 8, 0, 0),
			r.requestHeader(cmdDisc, 0, 9, 0, 0)))
		f.Add(uint8(mode), cat(r.requestHeader(cmdBlockStatus, status, 1, 0, 12), be64(512), be32(allocationID)))
		f.Add(uint8(mode), r.requestHeader(cmdWrite, w, 1, 0, 0xffffffff))
		f.Add(uint8(mode), r.requestHeader(cmdRead, 0, 1, 0xffffffffffffffff, 0xffffffff))
	}
	f.Fuzz(func(t *testing.T, mode uint8, tape []byte) {
		srv := fuzzServer(t)
		play(t, srv, tape, func(nc net.Conn) {
			dev, err := srv.exports.Open(t.Context(), "disk")
			if err != nil {
				t.Fatal(err)
			}
			m := replyMode(mode % uint8(len(allModes)))
			tm := terms{mode: m, info: dev.Info(), context: m != modeSimple, openName: "disk"}
			tm.txFlags = transmissionFlags(tm.info, m, tm.context)
			s := newSession(srv, nc, dev, tm)
			s.run()
			s.in.close()
		})
	})
}

// FuzzClient has a client hear whatever a server may say, in the handshake and
// after it.
func FuzzClient(f *testing.F) {
	greeting := cat(be64(magicInit), be64(magicOption), be16(3))
	ack := func(opt, typ uint32, data []byte) []byte {
		return cat(be64(magicOptionReply), be32(opt), be32(typ), be32(uint32(len(data))), data)
	}
	export := cat(be16(infoExport), be64(fuzzDisk), be16(0xffff))
	entered := cat(greeting, ack(optExtendedHeaders, repErrUnsup, nil), ack(optStructuredReply, repAck, nil),
		ack(optSetMeta, repMetaContext, cat(be32(7), []byte(allocationContext))), ack(optSetMeta, repAck, nil),
		ack(optGo, repInfo, export), ack(optGo, repAck, nil))
	chunk := func(flags, typ uint16, data []byte) []byte {
		return cat(be32(magicStructured), be16(flags), be16(typ), be64(1), be32(uint32(len(data))), data)
	}
	f.Add(entered)
	f.Add(cat(entered, chunk(chunkDone, chunkData, cat(be64(0), make([]byte, 512)))))
	f.Add(cat(entered, chunk(chunkDone, chunkHole, cat(be64(0), be32(512)))))
	f.Add(cat(entered, chunk(chunkDone, chunkError, cat(be32(5), be16(0)))))
	f.Add(cat(entered, chunk(0, chunkData, cat(be64(1), make([]byte, 600)))))
	f.Add(cat(greeting, ack(optExtendedHeaders, repAck, nil), ack(optSetMeta, repAck, nil), ack(optGo, repErrUnknown, []byte("no"))))
	f.Fuzz(func(t *testing.T, tape []byte) {
		c, err := NewClient(t.Context(), &tapeConn{in: bytes.NewReader(tape)}, "disk", DialOptions{})
		if err != nil {
			return
		}
		defer c.Close()
		if c.Info().Size >= 512 && c.Info().Align <= 512 {
			c.ReadAt(t.Context(), make([]byte, 512), 0)
			c.Extents(t.Context(), 0, 512)
		}
	})
}
