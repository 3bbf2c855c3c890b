package nbd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"lockplate/blockdev"
)

var allModes = []replyMode{modeSimple, modeStructured, modeExtended}

// inEachMode runs f on a fresh 1 MiB device in each reply mode.
func inEachMode(t *testing.T, f func(t *testing.T, r *rawPeer, dev *blockdev.Mem)) {
	for _, m := range allModes {
		t.Run(m.String(), func(t *testing.T) {
			dev := blockdev.NewMem(1 << 20)
			s := startServer(t, Config{Exports: one(dev)})
			f(t, s.enter(t, m), dev)
		})
	}
}

// writeFlags are the flags a WRITE needs in the peer's mode.
func (r *rawPeer) writeFlags() uint16 {
	if r.mode == modeExtended {
		return flagPayloadLen
	}
	return 0
}

// TestHostileRequests is the table of requests that must be answered with an
// error while the connection goes on.
func TestHostileRequests(t *testing.T) {
	const size = 1 << 20
	for _, row := range []struct {
		name       string
		typ, flags uint16
		off, n     uint64
		want       Errno
	}{
		{"read past the end", cmdRead, 0, size - 511, 512, EINVAL},
		{"read at the far end", cmdRead, 0, math.MaxUint64, 1, EINVAL},
		{"read wrapping around", cmdRead, 0, math.MaxUint64 - 511, 1024, EINVAL},
		{"write past the end", cmdWrite, 0, size - 511, 512, ENOSPC},
		{"write at the far end", cmdWrite, 0, math.MaxInt64, 512, ENOSPC},
		{"trim past the end", cmdTrim, 0, 0, size + 1, EINVAL},
		{"trim 4 GiB", cmdTrim, 0, 0, math.MaxUint32, EINVAL},
		{"zero past the end", cmdWriteZeroes, 0, size, 1, ENOSPC},
		{"cache past the end", cmdCache, 0, size, 1, EINVAL},
		{"status past the end", cmdBlockStatus, 0, 0, size + 1, EINVAL},
		{"status of nothing", cmdBlockStatus, 0, 0, 0, EINVAL},
		{"unknown command", 99, 0, 0, 512, EINVAL},
		{"resize", 8, 0, 0, 512, EINVAL},
		{"unknown flag", cmdRead, 1 << 9, 0, 512, EINVAL},
		{"no hole on read", cmdRead, flagNoHole, 0, 512, EINVAL},
		{"fast zero on write", cmdWrite, flagFastZero, 0, 512, EINVAL},
		{"df on write", cmdWrite, flagDF, 0, 512, EINVAL},
		{"req one on trim", cmdTrim, flagReqOne, 0, 512, EINVAL},
		{"payload length on cache", cmdCache, flagPayloadLen, 0, 512, EINVAL},
		{"read fua", cmdRead, flagFUA, 0, 512, 0},
		{"flush with range", cmdFlush, 0, size + 5, 7, 0},
		{"read nothing", cmdRead, 0, size, 0, 0},
		{"write nothing", cmdWrite, 0, size, 0, 0},
		{"trim nothing", cmdTrim, 0, 3, 0, 0},
		{"unaligned read", cmdRead, 0, 1, 1, 0},
		{"unaligned write", cmdWrite, 0, 511, 2, 0},
		{"unaligned zero", cmdWriteZeroes, 0, 513, 1, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			inEachMode(t, func(t *testing.T, r *rawPeer, _ *blockdev.Mem) {
				flags, payload := row.flags, []byte(nil)
				if row.typ == cmdWrite {
					flags |= r.writeFlags()
				}
				if row.typ == cmdWrite || (flags&flagPayloadLen != 0 && r.mode == modeExtended) {
					payload = make([]byte, row.n)
				}
				if got, _ := r.ask(row.typ, flags, row.off, row.n, payload); got != row.want {
					t.Errorf("got %v, want %v", got, row.want)
				}
				r.alive()
			})
		})
	}
}

// TestOversizeRequests asks for more than a payload may hold.
func TestOversizeRequests(t *testing.T) {
	s := startServer(t, Config{Exports: one(blockdev.NewMem(1 << 36))})
	for _, m := range allModes {
		r := s.enter(t, m)
		want := EOVERFLOW
		if m == modeSimple {
			want = EINVAL
		}
		if got, _ := r.ask(cmdRead, 0, 0, maxPayloadBytes+1, nil); got != want {
			t.Errorf("%v read: %v", m, got)
		}
		if got, data := r.ask(cmdRead, 0, 0, maxPayloadBytes, nil); got != 0 || (m == modeSimple && len(data) != maxPayloadBytes) {
			t.Errorf("%v longest read: %v, %d bytes", m, got, len(data))
		}
		if m == modeExtended {
			continue
		}
		if got, _ := r.ask(cmdWrite, 0, 0, maxPayloadBytes+1, make([]byte, maxPayloadBytes+1)); got != EINVAL {
			t.Errorf("%v write: %v", m, got)
		}
		r.alive()
		r.send(r.requestHeader(cmdWrite, 0, 1, 0, math.MaxUint32))
		r.closed()
	}
	r := s.enter(t, modeExtended)
	if got, _ := r.ask(cmdWriteZeroes, 0, 0, 1<<35, nil); got != 0 {
		t.Errorf("zero of 32 GiB: %v", got)
	}
	if got, _ := r.ask(cmdTrim, 0, 0, 1<<36, nil); got != 0 {
		t.Errorf("trim of 64 GiB: %v", got)
	}
	r.send(r.requestHeader(cmdWrite, flagPayloadLen, 1, 0, math.MaxUint64))
	r.closed()
}

// TestBrokenStreamsAreCut sends what cannot be followed any further.
func TestBrokenStreamsAreCut(t *testing.T) {
	inEachMode(t, func(t *testing.T, r *rawPeer, _ *blockdev.Mem) {
		h := r.requestHeader(cmdRead, 0, 1, 0, 512)
		h[0] ^= 1
		r.send(h)
		r.closed()
	})
	s := startServer(t, Config{Exports: one(blockdev.NewMem(1 << 20))})
	r := s.enter(t, modeExtended)
	r.mode = modeSimple // a compact header where an extended one is due
	r.send(append(r.requestHeader(cmdRead, 0, 1, 0, 512), 0, 0, 0, 0))
	r.closed()
}

// TestExtendedWriteNeedsItsFlag sends a WRITE without PAYLOAD_LEN: it has no
// payload and is refused.
func TestExtendedWriteNeedsItsFlag(t *testing.T) {
	s := startServer(t, Config{Exports: one(blockdev.NewMem(1 << 20))})
	r := s.enter(t, modeExtended)
	if got, _ := r.ask(cmdWrite, 0, 0, 512, nil); got != EINVAL {
		t.Errorf("got %v", got)
	}
	r.alive()
}

func TestReadOnlyExportsRefuseChanges(t *testing.T) {
	dev := blockdev.NewMem(1 << 20)
	i := dev.Info()
	i.ReadOnly = true
	s := startServer(t, Config{Exports: one(shaped{dev, i})})
	for _, m := range allModes {
		r := s.enter(t, m)
		for _, typ := range []uint16{cmdWrite, cmdTrim, cmdWriteZeroes} {
			flags, payload := uint16(0), []byte(nil)
			if typ == cmdWrite {
				flags, payload = r.writeFlags(), make([]byte, 512)
			}
			if got, _ := r.ask(typ, flags, 0, 512, payload); got != EPERM {
				t.Errorf("%v %s: %v", m, commandName(typ), got)
			}
		}
		if got, _ := r.ask(cmdRead, 0, 0, 512, nil); got != 0 {
			t.Errorf("%v read: %v", m, got)
		}
	}
}

// TestSparseReads reads holes and data mixed, and checks that holes travel as
// holes unless DF asks for one chunk.
func TestSparseReads(t *testing.T) {
	for _, m := range []replyMode{modeStructured, modeExtended} {
		dev := blockdev.NewMem(8 << 20)
		want := make([]byte, 8<<20)
		for _, off := range []int{1 << 20, 3<<20 + 12345, 7 << 20} {
			p := bytes.Repeat([]byte{byte(off >> 20)}, 100000)
			copy(want[off:], p)
			if err := dev.WriteAt(t.Context(), p, int64(off), 0); err != nil {
				t.Fatal(err)
			}
		}
		s := startServer(t, Config{Exports: one(dev)})
		r := s.enter(t, m)
		const off, n = 77, 8<<20 - 99
		got := bytes.Repeat([]byte{0xee}, n)
		r.send(r.requestHeader(cmdRead, 0, 1, off, n))
		holes, sum := 0, 0
		for done := false; !done; {
			a := r.reply(0)
			at := int(binary.BigEndian.Uint64(a.data)) - off
			switch a.typ {
			case chunkHole:
				k := int(binary.BigEndian.Uint32(a.data[8:]))
				clear(got[at : at+k])
				holes, sum = holes+1, sum+k
			case chunkData:
				sum += copy(got[at:], a.data[8:])
			default:
				t.Fatalf("chunk type %d", a.typ)
			}
			done = a.flags&chunkDone != 0
		}
		if holes < 3 || sum != n || !bytes.Equal(got, want[off:off+n]) {
			t.Errorf("%v: %d holes, %d bytes, contents right: %v", m, holes, sum, bytes.Equal(got, want[off:off+n]))
		}
		r.send(r.requestHeader(cmdRead, flagDF, 2, 0, 1<<20))
		if a := r.reply(0); a.typ != chunkData || a.flags != chunkDone || len(a.data) != 8+1<<20 {
			t.Errorf("%v with DF: chunk type %d, %d bytes", m, a.typ, len(a.data))
		}
	}
}

func TestBlockStatus(t *testing.T) {
	dev := blockdev.NewMem(4 << 20)
	if err := dev.WriteAt(t.Context(), bytes.Repeat([]byte{1}, 1<<20), 1<<20, 0); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, Config{Exports: one(dev)})
	type run struct{ n, state uint64 }
	parse := func(m replyMode, p []byte) (all []run) {
		if binary.BigEndian.Uint32(p) != allocationID {
			t.Errorf("context id % x", p[:4])
		}
		if m == modeStructured {
			for p = p[4:]; len(p) > 0; p = p[8:] {
				all = append(all, run{uint64(binary.BigEndian.Uint32(p)), uint64(binary.BigEndian.Uint32(p[4:]))})
			}
			return all
		}
		if n := binary.BigEndian.Uint32(p[4:]); int(n) != (len(p)-8)/16 {
			t.Errorf("%d descriptors announced in %d bytes", n, len(p))
		}
		for p = p[8:]; len(p) > 0; p = p[16:] {
			all = append(all, run{binary.BigEndian.Uint64(p), binary.BigEndian.Uint64(p[8:])})
		}
		return all
	}
	for _, m := range []replyMode{modeStructured, modeExtended} {
		r := s.enter(t, m)
		e, p := r.ask(cmdBlockStatus, 0, 0, 4<<20, nil)
		want := fmt.Sprint([]run{{1 << 20, 3}, {1 << 20, 0}, {2 << 20, 3}})
		if got := fmt.Sprint(parse(m, p)); e != 0 || got != want {
			t.Errorf("%v: %v %v, want %v", m, e, got, want)
		}
		e, p = r.ask(cmdBlockStatus, flagReqOne, 1<<20+512, 8192, nil)
		if got := fmt.Sprint(parse(m, p)); e != 0 || got != fmt.Sprint([]run{{8192, 0}}) {
			t.Errorf("%v one: %v %v", m, e, got)
		}
	}
	r := s.enter(t, modeExtended)
	payload := cat(be64(1<<20), be32(allocationID))
	e, p := r.ask(cmdBlockStatus, flagPayloadLen, 0, uint64(len(payload)), payload)
	if got := fmt.Sprint(parse(modeExtended, p)); e != 0 || got != fmt.Sprint([]run{{1 << 20, 3}}) {
		t.Errorf("payload form: %v %v", e, got)
	}
	for name, p := range map[string][]byte{
		"unknown context": cat(be64(512), be32(7)),
		"two contexts":    cat(be64(512), be32(allocationID), be32(allocationID)),
		"no context":      be64(512),
		"past the end":    cat(be64(5<<20), be32(allocationID)),
		"huge":            make([]byte, 1<<20),
	} {
		if e, _ := r.ask(cmdBlockStatus, flagPayloadLen, 0, uint64(len(p)), p); e != EINVAL {
			t.Errorf("payload with %s: %v", name, e)
		}
		r.alive()
	}
}

// TestBlockStatusFits32Bits asks about more than 32 bits can tell.
func TestBlockStatusFits32Bits(t *testing.T) {
	all := mergeExtents([]blockdev.Extent{{Len: 1 << 40, Hole: true, Zero: true}}, 1<<40, modeStructured)
	if len(all) != 1 || all[0].Len != maxStatusLen32 {
		t.Errorf("compact: %v", all)
	}
	all = mergeExtents([]blockdev.Extent{{Len: 1 << 39}, {Len: 1 << 39}, {Len: 5, Hole: true}}, 1<<40, modeExtended)
	if len(all) != 1 || all[0].Len != 1<<40 {
		t.Errorf("extended: %v", all)
	}
	if all = mergeExtents(nil, 512, modeExtended); len(all) != 1 || all[0] != (blockdev.Extent{Len: 512}) {
		t.Errorf("nothing told: %v", all)
	}
}

// TestZeroKinds checks the flags of WRITE_ZEROES as the device gets them.
func TestZeroKinds(t *testing.T) {
	r := request{typ: cmdWriteZeroes, flags: flagFUA | flagNoHole | flagFastZero}
	if got := r.deviceFlags(); got != blockdev.FUA|blockdev.NoHole|blockdev.FastZero {
		t.Errorf("got %b", got)
	}
	r = request{typ: cmdWrite, flags: flagFUA | flagPayloadLen}
	if got := r.deviceFlags(); got != blockdev.FUA {
		t.Errorf("got %b", got)
	}
	inEachMode(t, func(t *testing.T, r *rawPeer, dev *blockdev.Mem) {
		if e, _ := r.ask(cmdWrite, r.writeFlags()|flagFUA, 0, 3000, bytes.Repeat([]byte{9}, 3000)); e != 0 {
			t.Fatal(e)
		}
		if e, _ := r.ask(cmdWriteZeroes, flagNoHole|flagFUA, 1000, 1000, nil); e != 0 {
			t.Fatal(e)
		}
		if e, _ := r.ask(cmdCache, 0, 0, 1<<20, nil); e != 0 {
			t.Fatal(e)
		}
		p := make([]byte, 3000)
		if err := dev.ReadAt(t.Context(), p, 0); err != nil || bytes.Count(p, []byte{9}) != 2000 || p[1000] != 0 || p[1999] != 0 {
			t.Errorf("zeroed wrongly, err %v", err)
		}
	})
}

// TestManyRequestsAtOnce sends a burst in one write and takes the answers in
// whatever order.
func TestManyRequestsAtOnce(t *testing.T) {
	inEachMode(t, func(t *testing.T, r *rawPeer, _ *blockdev.Mem) {
		const count = 2000
		go func() {
			var all []byte
			for i := range uint64(count) {
				p := bytes.Repeat(be64(i), 16)
				all = append(all, r.requestHeader(cmdWrite, r.writeFlags(), i, i*128, 128)...)
				all = append(all, p...)
			}
			r.Write(all)
		}()
		seen := map[uint64]bool{}
		for range count {
			a := r.reply(0)
			if a.errno != 0 || seen[a.cookie] {
				t.Fatalf("answer %+v", a)
			}
			seen[a.cookie] = true
		}
		_, data := r.ask(cmdRead, flagFUA, 128*1999, 8, nil)
		if !bytes.HasSuffix(data, be64(1999)) {
			t.Errorf("last block % x", data)
		}
	})
}

// TestFindZeroes compares the segments with the data, for random mixtures.
func TestFindZeroes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	found := 0
	for range 80 {
		n := 1 + rnd.IntN(4<<20)
		p := make([]byte, n)
		for off := 0; off < n; off += 1 + rnd.IntN(200_000) {
			for i := off; i < min(n, off+rnd.IntN(60_000)); i++ {
				p[i] = 1
			}
		}
		r := request{off: rnd.Int64N(1 << 30), n: int64(n), data: &buffer{b: p}}
		if !r.findZeroes() {
			continue
		}
		at := int64(0)
		for i, g := range r.segs {
			if g.off != at || g.n <= 0 || (i > 0 && g.zero == r.segs[i-1].zero) {
				t.Fatalf("segments %v", r.segs)
			}
			if g.zero && (g.n < minHole || bytes.IndexByte(p[g.off:g.off+g.n], 1) >= 0) {
				t.Fatalf("segment %v is no hole", g)
			}
			at += g.n
			found++
		}
		if at != int64(n) || len(r.segs) > maxChunks {
			t.Fatalf("%d segments of %d bytes for %d", len(r.segs), at, n)
		}
	}
	if found == 0 {
		t.Error("no hole in any mixture")
	}
}
