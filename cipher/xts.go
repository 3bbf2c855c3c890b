package cipher

import (
	"crypto/aes"
	stdcipher "crypto/cipher"
	"crypto/subtle"
	"errors"
	"fmt"
	"math/bits"
	"reflect"
	"unsafe"

	"golang.org/x/crypto/xts"
)

// Numbers of the specification.
const (
	// TweakUnit is what tweaks count, whatever the sector size: dm-crypt's
	// plain64 numbers 512-byte units.
	TweakUnit = 512
	// MinSectorSize and MaxSectorSize bound the sector, a power of two. IEEE
	// 1619 allows data units up to 16 MiB; dm-crypt and disks use these.
	MinSectorSize = 512
	MaxSectorSize = 4096
)

// Errors of NewXTS.
var (
	ErrKeySize    = errors.New("XTS key must have 32 or 64 bytes")
	ErrWeakKey    = errors.New("the halves of an XTS key must differ")
	ErrSectorSize = errors.New("sector size must be 512, 1024, 2048 or 4096")
)

// XTS is AES-XTS with one key and one sector size. It satisfies Sectors.
type XTS struct {
	keys       *keys
	sectorSize int
	log        uint8  // its logarithm; divisions would cost a short call much
	perSector  uint64 // tweak units in a sector
	offset     uint64 // tweak of sector 0
}

// keys are the expanded key schedules, shared by all views of one XTS: enc and
// dec with their kernels, or xts of the generic engine. All are nil once wiped.
type keys struct {
	enc, dec         *schedule
	encrypt, decrypt kernel

	xts    *xts.Cipher
	blocks []stdcipher.Block // the two schedules inside xts, kept to wipe them
}

// NewXTS expands key, 32 bytes for AES-128 or 64 for AES-256: the data half
// first, the tweak half second. Equal halves are refused (IEEE 1619 asks for
// independent keys, FIPS 140-3 for this check). key is not retained; wiping it
// is up to the caller.
func NewXTS(key []byte, sectorSize int) (*XTS, error) {
	e, err := chosen()
	if err != nil {
		return nil, err
	}
	return e.newXTS(key, sectorSize)
}

// NewXTSWith is NewXTS with the engine of that name, one of Engines.
func NewXTSWith(name string, key []byte, sectorSize int) (*XTS, error) {
	e, err := engineByName(name)
	if err != nil {
		return nil, err
	}
	return e.newXTS(key, sectorSize)
}

func (e engine) newXTS(key []byte, sectorSize int) (*XTS, error) {
	if len(key) != 32 && len(key) != 64 {
		return nil, fmt.Errorf("%w, not %d", ErrKeySize, len(key))
	}
	if subtle.ConstantTimeCompare(key[:len(key)/2], key[len(key)/2:]) == 1 {
		return nil, ErrWeakKey
	}
	if !validSectorSize(sectorSize) {
		return nil, fmt.Errorf("%w, not %d", ErrSectorSize, sectorSize)
	}
	k, err := e.expand(key)
	if err != nil {
		return nil, err
	}
	log := uint8(bits.TrailingZeros(uint(sectorSize)))
	return &XTS{keys: k, sectorSize: sectorSize, log: log, perSector: uint64(sectorSize / TweakUnit)}, nil
}

func validSectorSize(n int) bool {
	return n >= MinSectorSize && n <= MaxSectorSize && n&(n-1) == 0
}

func (e engine) expand(key []byte) (*keys, error) {
	if e.name == generic {
		return expandGeneric(key)
	}
	k := &keys{enc: new(schedule), dec: new(schedule)}
	e.steps.expand(k.enc, k.dec, key)
	size := len(key)/32 - 1
	k.encrypt, k.decrypt = e.encrypt[size], e.decrypt[size]
	return k, nil
}

func expandGeneric(key []byte) (*keys, error) {
	k := new(keys)
	c, err := xts.NewCipher(func(half []byte) (stdcipher.Block, error) {
		b, err := aes.NewCipher(half)
		if err == nil {
			k.blocks = append(k.blocks, b)
		}
		return b, err
	}, key)
	if err != nil {
		return nil, fmt.Errorf("expand XTS key: %w", err)
	}
	k.xts = c
	return k, nil
}

// WithTweakOffset is x with n added to every tweak, in 512-byte units (the
// iv_tweak of a LUKS2 segment). It shares the key with x: wiping one wipes
// both. Tweaks wrap at 2^64, as in dm-crypt.
func (x *XTS) WithTweakOffset(n uint64) *XTS {
	y := *x
	y.offset = n
	return &y
}

// SectorSize is the number of bytes in a sector.
func (x *XTS) SectorSize() int { return x.sectorSize }

// Encrypt encrypts whole sectors from src to dst, see Sectors. It panics when
// the lengths or the overlap break the contract, and after Wipe.
func (x *XTS) Encrypt(dst, src []byte, first uint64) {
	x.check(dst, src)
	if k := x.keys; k.encrypt != nil {
		x.run(k.encrypt, k.enc, dst, src, first)
	} else {
		x.each(k.xts.Encrypt, dst, src, first)
	}
}

// Decrypt is the reverse of Encrypt.
func (x *XTS) Decrypt(dst, src []byte, first uint64) {
	x.check(dst, src)
	if k := x.keys; k.decrypt != nil {
		x.run(k.decrypt, k.dec, dst, src, first)
	} else {
		x.each(k.xts.Decrypt, dst, src, first)
	}
}

// run calls a kernel, in pieces: the runtime cannot stop a goroutine inside
// one, and whoever waits for all goroutines to stop shall not wait long.
func (x *XTS) run(k kernel, s *schedule, dst, src []byte, first uint64) {
	const piece = 256 << 10
	tweak := first*x.perSector + x.offset
	for len(src) > 0 {
		n := min(len(src), piece)
		k(s.first(), &dst[0], &src[0], n>>x.log, int(x.perSector), tweak)
		dst, src, tweak = dst[n:], src[n:], tweak+uint64(n/TweakUnit)
	}
}

// each calls one for every sector.
func (x *XTS) each(one func(dst, src []byte, tweak uint64), dst, src []byte, first uint64) {
	tweak := first*x.perSector + x.offset
	for n := x.sectorSize; len(src) > 0; tweak += x.perSector {
		one(dst[:n], src[:n], tweak)
		dst, src = dst[n:], src[n:]
	}
}

// check enforces the contract of Sectors over the whole run, so that kernels
// may trust their arguments.
func (x *XTS) check(dst, src []byte) {
	if len(src)&(x.sectorSize-1) != 0 || len(dst) != len(src) {
		panic("cipher: buffers are not the same whole number of sectors")
	}
	if partlyOver(dst, src) {
		panic("cipher: destination lies partly over source")
	}
	if x.keys.xts == nil && x.keys.enc == nil {
		panic("cipher: key used after Wipe")
	}
}

// partlyOver reports whether two buffers of one length share memory without
// being the same.
func partlyOver(a, b []byte) bool {
	if len(a) == 0 || &a[0] == &b[0] {
		return false
	}
	x, y := uintptr(unsafe.Pointer(&a[0])), uintptr(unsafe.Pointer(&b[0]))
	return x < y+uintptr(len(b)) && y < x+uintptr(len(a))
}

// Wipe overwrites the expanded key schedules with zeroes and makes every later
// use panic. No call may be under way. What it cannot reach: round keys that
// the runtime spilled to a goroutine stack or a register save area, and copies
// of the key that others hold; the schedules never move once made, since the
// Go collector does not move heap objects. They are not in locked memory:
// keep swap off or encrypted. Wiping twice is harmless.
func (x *XTS) Wipe() {
	for _, b := range x.keys.blocks {
		zero(b)
	}
	for _, s := range []*schedule{x.keys.enc, x.keys.dec} {
		if s != nil {
			*s = schedule{}
		}
	}
	*x.keys = keys{}
}

// zero clears what a pointer points to. The type behind aes.NewCipher is not
// exported, but it is one flat struct; TestWipeClearsSchedules holds us to it.
func zero(b stdcipher.Block) {
	if v := reflect.ValueOf(b); v.Kind() == reflect.Pointer && !v.IsNil() {
		v.Elem().SetZero()
	}
}
