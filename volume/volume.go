// Package volume is the data path of a volume: an encrypted Device over a
// Device. It turns requests of any alignment into whole sectors, encrypts and
// decrypts them in the buffer of the request, and decides what a discard does.
// The header in front of the data (LUKS2) is the business of volume/luks; here
// offset 0 is the first data sector, above and below.
//
// A partial write is a read-modify-write of its edge sectors under a range
// lock, whatever block size the client was told. Whole sectors share the lock,
// an edge sector is held alone. Reads take no lock.
//
// After a power cut a sector whose write was not flushed holds its old or its
// new plaintext, if the medium writes a sector in one piece. If the medium
// tears the sector (a 4096-byte sector on a 512-byte medium), it holds some
// pieces of the old and some of the new plaintext, never anything else: the
// 16-byte blocks of XTS do not depend on each other, so a torn
// read-modify-write leaves the bytes around the write as they were.
package volume

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"lockplate/blockdev"
	"lockplate/cipher"
)

// Options say how a volume behaves. The zero value is a writable volume that
// ignores discards.
type Options struct {
	Discard  Discard // "" means DiscardOff
	ReadOnly bool
	// OnClose is called once Close has closed the lower device and no key is in
	// use any more: the place to wipe the key.
	OnClose func()
}

// Volume is an encrypted (or plain) Device over a lower Device. All methods
// may be called concurrently. It takes requests of any alignment (Info.Align
// is 1) and gives the lower device whole sectors only.
type Volume struct {
	lower   blockdev.Device
	sectors cipher.Sectors // nil: plain
	unit    int64          // what the lower device is given multiples of; a power of two
	opts    Options
	// readOnly is the wish of Options or the nature of lower.
	readOnly bool
	size     atomic.Int64

	life     gate
	locks    rangeLock
	small    *pool // edges and small unaligned requests
	large    *pool // larger unaligned requests, runs of zeroes
	fans     sync.Pool
	helpers  atomic.Int64 // running helper goroutines
	maxHelp  int64
	inMemory bool // lower copies to and from memory, at least mostly
	resizing sync.Mutex
}

// Open makes a volume of lower, which holds the data segment alone. With s nil
// the volume is plain: it passes data through unencrypted. The volume owns
// lower from now on and closes it; the key behind s stays the caller's, who
// may wipe it once Close has returned. A last partial sector of lower is not
// used.
func Open(lower blockdev.Device, s cipher.Sectors, o Options) (*Volume, error) {
	d, err := ParseDiscard(string(o.Discard))
	if err != nil {
		return nil, err
	}
	o.Discard = d
	unit := max(1, lower.Info().Align)
	if s != nil {
		unit = max(unit, s.SectorSize())
	}
	if unit&(unit-1) != 0 || unit > smallBuffer/2 {
		return nil, fmt.Errorf("open volume: cannot work in sectors of %d bytes", unit)
	}
	v := &Volume{lower: lower, sectors: s, unit: int64(unit), opts: o}
	v.readOnly = o.ReadOnly || lower.Info().ReadOnly
	v.size.Store(lower.Info().Size &^ (v.unit - 1))
	v.life.init()
	v.locks.init(v.unit)
	v.small = newPool(smallBuffer, smallBuffers)
	v.large = newPool(largeBuffer, largeBuffers)
	v.maxHelp = int64(max(0, min(runtime.GOMAXPROCS(0)-spareCores, maxHelpers)))
	v.inMemory = lower.Info().Align <= 1
	v.fans.New = func() any { return newFan(v) }
	return v, nil
}

// Info tells the shape of the volume. See Discard for what CanTrim and
// TrimZeroes mean here.
func (v *Volume) Info() blockdev.Info {
	i := v.lower.Info()
	low := i
	i.Size = v.size.Load()
	i.Align = 1
	i.LogicalSector = max(low.LogicalSector, int(v.unit))
	i.PhysicalSector = max(low.PhysicalSector, int(v.unit))
	i.ReadOnly = v.readOnly
	i.CanZero = low.CanZero && v.sectors == nil
	switch v.opts.Discard {
	case DiscardZero:
		i.CanTrim, i.TrimZeroes = true, true
	case DiscardPass:
		i.TrimZeroes = low.TrimZeroes && v.sectors == nil
	default:
		i.CanTrim, i.TrimZeroes = false, false
	}
	i.CanExtents = low.CanExtents && (v.sectors == nil || v.opts.Discard == DiscardPass)
	if i.ReadOnly {
		i.CanTrim, i.TrimZeroes, i.CanZero = false, false, false
	}
	return i
}

// Flush makes completed writes, zeroes and trims durable.
func (v *Volume) Flush(ctx context.Context) error {
	if !v.life.enter() {
		return blockdev.ErrClosed
	}
	defer v.life.leave()
	return v.lower.Flush(ctx)
}

// Resize grows the lower device and then the volume to size bytes, a multiple
// of the sector size. What the new part reads as is up to the lower device; on
// an encrypted volume it is noise until written.
func (v *Volume) Resize(ctx context.Context, size int64) error {
	if !v.life.enter() {
		return blockdev.ErrClosed
	}
	defer v.life.leave()
	v.resizing.Lock()
	defer v.resizing.Unlock()
	if v.readOnly {
		return blockdev.ErrReadOnly
	}
	if size < v.size.Load() {
		return fmt.Errorf("shrink volume to %d bytes: %w", size, blockdev.ErrNotSupported)
	}
	if size&(v.unit-1) != 0 {
		return fmt.Errorf("resize volume to %d bytes: %w: unit %d", size, blockdev.ErrAlign, v.unit)
	}
	if size > v.lower.Info().Size {
		if err := v.lower.Resize(ctx, size); err != nil {
			return fmt.Errorf("resize volume to %d bytes: %w", size, err)
		}
	}
	v.size.Store(size)
	return nil
}

// Close waits for the requests in flight, then closes the lower device. It
// flushes nothing. When it returns no key is in use any more.
func (v *Volume) Close() error {
	if !v.life.close() {
		return blockdev.ErrClosed
	}
	if v.opts.OnClose != nil {
		defer v.opts.OnClose()
	}
	return v.lower.Close()
}

// begin validates a request and holds the volume open until v.life.leave.
func (v *Volume) begin(off, n int64) error {
	if !v.life.enter() {
		return blockdev.ErrClosed
	}
	i := blockdev.Info{Size: v.size.Load(), Align: 1}
	if err := i.Check(off, n); err != nil {
		v.life.leave()
		return err
	}
	return nil
}

// beginWrite is begin for requests that change something.
func (v *Volume) beginWrite(off, n int64) error {
	if err := v.begin(off, n); err != nil {
		return err
	}
	if v.readOnly {
		v.life.leave()
		return blockdev.ErrReadOnly
	}
	return nil
}

// whole reports whether a request covers whole units only.
func (v *Volume) whole(off, n int64) bool { return (off|n)&(v.unit-1) == 0 }

// down and up round an offset to a unit boundary.
func (v *Volume) down(off int64) int64 { return off &^ (v.unit - 1) }
func (v *Volume) up(off int64) int64   { return (off + v.unit - 1) &^ (v.unit - 1) }

// encrypt and decrypt work in place on whole units at off; on a plain volume
// they do nothing.
func (v *Volume) encrypt(p []byte, off int64) {
	if v.sectors != nil {
		v.sectors.Encrypt(p, p, uint64(off)/uint64(v.sectors.SectorSize()))
	}
}

func (v *Volume) decrypt(p []byte, off int64) {
	if v.sectors != nil {
		v.sectors.Decrypt(p, p, uint64(off)/uint64(v.sectors.SectorSize()))
	}
}
