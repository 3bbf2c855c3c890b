package cipher

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"
)

func randomBytes(r *rand.Rand, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

func mustXTS(tb testing.TB, key []byte, size int) *XTS {
	tb.Helper()
	return mustXTSWith(tb, Engine(), key, size)
}

func mustXTSWith(tb testing.TB, engine string, key []byte, size int) *XTS {
	tb.Helper()
	x, err := NewXTSWith(engine, key, size)
	if err != nil {
		tb.Fatal(err)
	}
	return x
}

func TestSelfTestAnswers(t *testing.T) {
	for i, a := range knownAnswers() {
		plain := pattern(a.sectorSize*a.sectors, 2)
		out := newReference(pattern(a.keyLen, 1)).encrypt(plain, a.sectorSize, a.first, a.offset)
		if sum := sha256.Sum256(out); hex.EncodeToString(sum[:]) != a.sum {
			t.Errorf("answer %d: the reference says %x", i, sum)
		}
	}
	for _, e := range Engines() {
		t.Setenv(EngineVariable, e)
		if err := SelfTest(); err != nil {
			t.Errorf("%s: %v", e, err)
		}
	}
}

// broken is a cipher with one wrong direction, place or block.
type broken struct {
	Sectors
	enc, dec func(dst, src []byte, first uint64)
}

func (b broken) Encrypt(dst, src []byte, first uint64) {
	b.Sectors.Encrypt(dst, src, first)
	if b.enc != nil {
		b.enc(dst, src, first)
	}
}

func (b broken) Decrypt(dst, src []byte, first uint64) {
	b.Sectors.Decrypt(dst, src, first)
	if b.dec != nil {
		b.dec(dst, src, first)
	}
}

func TestSelfTestFindsBrokenEngine(t *testing.T) {
	a := knownAnswers()[1]
	x := mustXTS(t, pattern(a.keyLen, 1), a.sectorSize)
	flipLast := func(dst, _ []byte, _ uint64) { dst[len(dst)-1] ^= 1 }
	inPlace := func(dst, src []byte, _ uint64) {
		if &dst[0] == &src[0] {
			dst[0] ^= 1
		}
	}
	apart := func(dst, src []byte, _ uint64) {
		if &dst[0] != &src[0] {
			dst[0] ^= 1
		}
	}
	if err := a.check(x); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]broken{
		"encrypt":          {x, flipLast, nil},
		"encrypt in place": {x, inPlace, nil},
		"decrypt":          {x, nil, apart},
		"decrypt in place": {x, nil, inPlace},
	} {
		if a.check(b) == nil {
			t.Errorf("%s: not found", name)
		}
	}
}

func TestXTSEqualsReference(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		key := randomBytes(rng, 32<<rng.IntN(2))
		size := 512 << rng.IntN(4)
		n := 1 + rng.IntN(40)
		if rng.IntN(20) == 0 {
			n = 200
		}
		first := []uint64{0, 1 << 32, 0, 1 << 63, rng.Uint64()}[rng.IntN(5)] - uint64(rng.IntN(50))
		offset := []uint64{0, 1, 1<<64 - 9, rng.Uint64()}[rng.IntN(4)]
		compare(t, key, size, randomBytes(rng, n*size), first, offset, rng.IntN(16))
	}
}

// compare checks all four ways through x against the reference; the buffers
// begin skew bytes off their allocation.
func compare(t *testing.T, key []byte, size int, plain []byte, first, offset uint64, skew int) {
	t.Helper()
	ref := newReference(key)
	cipherText := ref.encrypt(plain, size, first, offset)
	if !bytes.Equal(ref.decrypt(cipherText, size, first, offset), plain) {
		t.Fatal("the reference does not decrypt what it encrypted")
	}
	for _, e := range Engines() {
		x := mustXTSWith(t, e, key, size).WithTweakOffset(offset)
		same(t, e, x, plain, cipherText, first, skew)
	}
}

// same checks that x turns plain into cipherText and back, apart and in place.
func same(t *testing.T, engine string, x *XTS, plain, cipherText []byte, first uint64, skew int) {
	t.Helper()
	for _, step := range []struct {
		name      string
		call      func(dst, src []byte, first uint64)
		src, want []byte
	}{
		{"encrypt", x.Encrypt, plain, cipherText},
		{"decrypt", x.Decrypt, cipherText, plain},
	} {
		src := append(make([]byte, skew), step.src...)[skew:]
		dst := make([]byte, skew/2+len(src))[skew/2:]
		step.call(dst, src, first)
		if !bytes.Equal(src, step.src) {
			t.Fatalf("%s changed its source", step.name)
		}
		step.call(src, src, first)
		if !bytes.Equal(dst, step.want) || !bytes.Equal(src, step.want) {
			t.Fatalf("%s %s: %d sectors of %d from %#x + %#x: differs from the reference",
				engine, step.name, len(plain)/x.sectorSize, x.sectorSize, first, x.offset)
		}
	}
}

func FuzzXTS(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789abcdeF"), uint8(0), uint64(1), uint64(2), []byte("x"))
	f.Fuzz(func(t *testing.T, key []byte, shift uint8, first, offset uint64, data []byte) {
		size := 512 << (shift % 4)
		_, err := NewXTS(key, size)
		valid := len(key) == 32 || len(key) == 64
		if valid && bytes.Equal(key[:len(key)/2], key[len(key)/2:]) {
			valid = false
		}
		if valid != (err == nil) {
			t.Fatalf("key of %d bytes: %v", len(key), err)
		}
		if valid {
			plain := append(bytes.Clone(data), make([]byte, size-len(data)%size)...)
			compare(t, key, size, plain[:min(len(plain), 16*size)], first, offset, int(shift)%16)
		}
	})
}

// Prefixes of runs, and runs cut in two, must not matter.
func TestRunEqualsItsParts(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, size := range []int{512, 1024, 2048, 4096} {
		x := mustXTS(t, randomBytes(rng, 64), size)
		plain := randomBytes(rng, 20*size)
		all := make([]byte, len(plain))
		x.Encrypt(all, plain, 1000)
		for i := 0; i < 20; i++ {
			one := make([]byte, size)
			x.Encrypt(one, plain[i*size:(i+1)*size], 1000+uint64(i))
			if !bytes.Equal(one, all[i*size:(i+1)*size]) {
				t.Errorf("sector size %d: sector %d differs in a run", size, i)
			}
		}
	}
}

func TestNewXTSRefuses(t *testing.T) {
	good := pattern(64, 1)
	equal := append(pattern(32, 1), pattern(32, 1)...)
	for _, c := range []struct {
		name string
		key  []byte
		size int
		want error
	}{
		{"no key", nil, 512, ErrKeySize},
		{"AES-192 halves", good[:48], 512, ErrKeySize},
		{"short", good[:63], 512, ErrKeySize},
		{"long", append(pattern(64, 1), 0), 512, ErrKeySize},
		{"equal halves of 32", equal, 512, ErrWeakKey},
		{"equal halves of 16", equal[16:48:48], 512, nil},
		{"zero", make([]byte, 32), 512, ErrWeakKey},
		{"sector 0", good, 0, ErrSectorSize},
		{"sector 256", good, 256, ErrSectorSize},
		{"sector 520", good, 520, ErrSectorSize},
		{"sector 8192", good, 8192, ErrSectorSize},
		{"sector -512", good, -512, ErrSectorSize},
		{"sector 1024", good, 1024, nil},
	} {
		x, err := NewXTS(c.key, c.size)
		if !errors.Is(err, c.want) || (x == nil) != (c.want != nil) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	for i := range equal { // one differing bit anywhere is enough
		k := bytes.Clone(equal)
		k[i] ^= 1
		if _, err := NewXTS(k, 512); err != nil {
			t.Errorf("bit of byte %d differs: %v", i, err)
		}
	}
}

func TestXTSDoesNotKeepTheKey(t *testing.T) {
	key := pattern(64, 1)
	x := mustXTS(t, key, 512)
	want, got := make([]byte, 512), make([]byte, 512)
	x.Encrypt(want, want, 5)
	clear(key)
	x.Encrypt(got, got, 5)
	if !bytes.Equal(got, want) {
		t.Error("wiping the caller's key changed the cipher")
	}
}

func TestContractBreachesPanic(t *testing.T) {
	x := mustXTS(t, pattern(64, 1), 512)
	wiped := mustXTS(t, pattern(64, 1), 512)
	wiped.WithTweakOffset(3).Wipe()
	b := make([]byte, 4096)
	for name, call := range map[string]func(){
		"part of a sector":      func() { x.Encrypt(b[:100], b[:100], 0) },
		"short destination":     func() { x.Encrypt(b[:512], b[1024:2048], 0) },
		"long destination":      func() { x.Decrypt(b[:1024], b[1024:1536], 0) },
		"a sector further on":   func() { x.Encrypt(b[512:1536], b[:1024], 0) },
		"a byte before":         func() { x.Decrypt(b[:512], b[1:513], 0) },
		"after wipe":            func() { wiped.Encrypt(b, b, 0) },
		"decryption after wipe": func() { wiped.Decrypt(b, b, 0) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			call()
		}()
	}
	if !bytes.Equal(b, make([]byte, 4096)) {
		t.Error("a refused call changed the buffer")
	}
	x.Encrypt(nil, nil, 0)
	x.Encrypt(b[512:1024], b[:512], 0) // neighbours are apart
}

func TestWipeClearsGenericSchedules(t *testing.T) {
	x := mustXTSWith(t, generic, pattern(64, 1), 512)
	blocks := x.keys.blocks
	if len(blocks) != 2 {
		t.Fatalf("%d schedules, want 2", len(blocks))
	}
	for _, b := range blocks {
		v := reflect.ValueOf(b).Elem()
		if v.IsZero() || hasPointers(v.Type()) {
			t.Fatalf("%v is not one flat struct with keys in it", v.Type())
		}
	}
	x.Wipe()
	x.Wipe()
	for i, b := range blocks {
		if !reflect.ValueOf(b).Elem().IsZero() {
			t.Errorf("schedule %d is still there", i)
		}
	}
}

func TestWipeClearsSchedules(t *testing.T) {
	for _, e := range Engines() {
		x := mustXTSWith(t, e, pattern(64, 1), 512)
		enc, dec := x.keys.enc, x.keys.dec
		if e == generic {
			continue
		}
		if *enc == (schedule{}) || *dec == (schedule{}) {
			t.Fatalf("%s: no keys before they were wiped", e)
		}
		x.Wipe()
		x.Wipe()
		if *enc != (schedule{}) || *dec != (schedule{}) {
			t.Errorf("%s: keys are still there", e)
		}
	}
}

// hasPointers reports whether wiping a value of this type could miss memory
// behind a pointer.
func hasPointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			if hasPointers(t.Field(i).Type) {
				return true
			}
		}
		return false
	case reflect.Array:
		return hasPointers(t.Elem())
	case reflect.Int, reflect.Uint8, reflect.Uint32, reflect.Uint64, reflect.Bool:
		return false
	}
	return true
}

func TestNothingIsAllocated(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, e := range Engines() {
		for _, size := range []int{512, 4096} {
			x := mustXTSWith(t, e, pattern(64, 1), size)
			b := make([]byte, 64<<10)
			if n := testing.AllocsPerRun(50, func() { x.Encrypt(b, b, 1); x.Decrypt(b, b, 1) }); n != 0 {
				t.Errorf("%s, sector size %d: %v allocations per run", e, size, n)
			}
		}
	}
}

func BenchmarkEncrypt(b *testing.B) {
	for _, e := range Engines() {
		for _, c := range []struct {
			name      string
			size, len int
		}{{"512x1", 512, 512}, {"512x128", 512, 64 << 10}, {"4096x1", 4096, 4096}, {"4096x16", 4096, 64 << 10}} {
			b.Run(e+"/"+c.name, func(b *testing.B) {
				x, p := mustXTSWith(b, e, pattern(64, 1), c.size), make([]byte, c.len)
				b.SetBytes(int64(c.len))
				b.ReportAllocs()
				for b.Loop() {
					x.Encrypt(p, p, 9)
				}
			})
		}
	}
}
