package cipher

import (
	"bytes"
	"crypto/aes"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/crypto/xts"
)

// Every engine equals x/crypto/xts at every length, for both common sector
// sizes and both key sizes, in place and apart, wherever the run begins.
func TestEveryLength(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, keyLen := range []int{32, 64} {
		key := randomBytes(rng, keyLen)
		for _, size := range []int{512, 4096} {
			for n := 1; n <= 64; n++ {
				starts := []uint64{1<<64 - 1 - uint64(rng.IntN(70)), 0, rng.Uint64()}
				if testing.Short() { // as under emulation
					starts = starts[:1]
				}
				for _, first := range starts {
					equalsTwin(t, rng, key, size, n, first)
				}
			}
		}
	}
}

// equalsTwin compares n random sectors with x/crypto/xts, called by itself.
func equalsTwin(t *testing.T, rng *rand.Rand, key []byte, size, n int, first uint64) {
	t.Helper()
	twin, err := xts.NewCipher(aes.NewCipher, key)
	if err != nil {
		t.Fatal(err)
	}
	plain := randomBytes(rng, n*size)
	want := make([]byte, len(plain))
	for i := range n {
		twin.Encrypt(want[i*size:(i+1)*size], plain[i*size:(i+1)*size], (first+uint64(i))*uint64(size/512))
	}
	for _, e := range Engines() {
		same(t, e, mustXTSWith(t, e, key, size), plain, want, first, rng.IntN(64))
	}
}

// Runs longer than a piece join without a seam.
func TestLongRun(t *testing.T) {
	key := pattern(64, 3)
	for _, size := range []int{512, 4096} {
		plain := pattern(1<<20+3*size, 4)
		want := newReference(key).encrypt(plain, size, 1<<40, 0)
		for _, e := range Engines() {
			same(t, e, mustXTSWith(t, e, key, size), plain, want, 1<<40, 0)
		}
	}
}

// A kernel must not touch a byte outside its run.
func TestNeighboursStayUntouched(t *testing.T) {
	for _, e := range Engines() {
		x := mustXTSWith(t, e, pattern(64, 1), 512)
		for n := 1; n <= 40; n++ {
			b := bytes.Repeat([]byte{0xa5}, (n+2)*512)
			x.Encrypt(b[512:512+n*512], b[512:512+n*512], 3)
			if !bytes.Equal(b[:512], b[len(b)-512:]) || b[0] != 0xa5 || bytes.Count(b[:512], b[:1]) != 512 {
				t.Fatalf("%s: %d sectors changed their neighbours", e, n)
			}
		}
	}
}

func TestEnginesOfThisProcessor(t *testing.T) {
	t.Setenv(EngineVariable, "")
	names := Engines()
	t.Logf("%s: %v", runtime.GOARCH, names)
	if names[len(names)-1] != generic {
		t.Errorf("no generic engine in %v", names)
	}
	if runtime.GOARCH == "arm64" && !slices.Contains(names, "arm64-ce") {
		t.Error("this emulator or processor has no AES instructions: nothing was tested")
	}
	if Engine() != names[0] {
		t.Errorf("%s is in use, the best is %s", Engine(), names[0])
	}
}

func TestEngineVariable(t *testing.T) {
	for _, e := range Engines() {
		t.Setenv(EngineVariable, e)
		if Engine() != e {
			t.Errorf("asked for %s, got %s", e, Engine())
		}
	}
	t.Setenv(EngineVariable, "rot13")
	if _, err := NewXTS(pattern(64, 1), 512); !errors.Is(err, ErrNoEngine) {
		t.Errorf("an engine that does not exist: %v", err)
	}
	if err := SelfTest(); !errors.Is(err, ErrSelfTest) {
		t.Errorf("self test without an engine: %v", err)
	}
	if _, err := NewXTSWith("rot13", pattern(64, 1), 512); !errors.Is(err, ErrNoEngine) {
		t.Errorf("an engine that does not exist: %v", err)
	}
}
