package luks

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"
)

// clock advances by one step whenever it is asked, so every measured
// derivation takes one step.
func clock(step time.Duration) func() time.Time {
	now := time.Unix(0, 0)
	return func() time.Time { now = now.Add(step); return now }
}

func TestKDFCostFollowsTheMeasuredSpeed(t *testing.T) {
	for name, c := range map[string]struct {
		k              KDF
		rounds, memory int64
	}{
		// One pass over 64 MiB takes a second: two seconds buy 128 MiB of work, so
		// the floor of 64 MiB and four passes hold.
		"argon2id slow": {KDF{Now: clock(time.Second), Memory: 1 << 20}, 4, 64 << 10},
		// One pass over 64 MiB in 20 ms: 100 of them, 6400 MiB of work: four passes
		// fill more than 1 GiB, so the memory is 1 GiB and six passes fit.
		"argon2id fast":     {KDF{Now: clock(20 * time.Millisecond), Memory: 1 << 20}, 6, 1 << 20},
		"argon2id middling": {KDF{Now: clock(100 * time.Millisecond), Memory: 1 << 20}, 4, 320 << 10},
		"argon2id small":    {KDF{Now: clock(time.Millisecond), Memory: 1024, TargetTime: 16 * time.Millisecond}, 16, 1024},
		"pbkdf2":            {KDF{Type: PBKDF2, Now: clock(100 * time.Millisecond)}, 20 * probeRounds, 0},
		"pbkdf2 slow":       {KDF{Type: PBKDF2, Now: clock(time.Hour)}, digestRounds, 0},
		"pbkdf2 limit":      {KDF{Type: PBKDF2, Now: clock(time.Nanosecond)}, MaxPBKDF2Rounds, 0},
		"given":             {KDF{Memory: 4096, Iterations: 7, Parallel: 3}, 7, 4096},
	} {
		p, err := c.k.params(64)
		if err != nil || p.rounds != c.rounds || p.memory != c.memory {
			t.Errorf("%s: %d rounds with %d KiB, %v; want %d with %d", name, p.rounds, p.memory, err, c.rounds, c.memory)
		}
	}
}

func TestKDFRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		k    KDF
		text string
	}{
		"type":            {KDF{Type: "scrypt", Iterations: 4}, `"scrypt"`},
		"memory":          {KDF{Memory: 4<<20 + 1}, "Argon2 memory"},
		"memory, given":   {KDF{Memory: 4<<20 + 1, Iterations: 4}, "Argon2 memory"},
		"negative memory": {KDF{Memory: -1}, "Argon2 memory"},
		"work":            {KDF{Memory: 4 << 20, Iterations: 33, Parallel: 1}, "Argon2 passes"},
		"threads":         {KDF{Memory: 4096, Iterations: 4, Parallel: 65}, "Argon2 threads"},
		"threads below 0": {KDF{Memory: 4096, Parallel: -1}, "Argon2 threads"},
		"rounds":          {KDF{Type: PBKDF2, Iterations: 1<<26 + 1}, "PBKDF2 rounds"},
		"rounds below 0":  {KDF{Type: PBKDF2, Iterations: -1}, "PBKDF2 rounds"},
	} {
		if _, err := c.k.params(64); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDeriveVectors: PBKDF2-HMAC-SHA-1 from RFC 6070, SHA-256 from RFC 7914
// section 11; Argon2 as x/crypto has it (which tests against RFC 9106).
func TestDeriveVectors(t *testing.T) {
	for name, c := range map[string]struct {
		k    kdfParams
		pass string
		want string
	}{
		"sha1":   {kdfParams{typ: PBKDF2, hash: "sha1", rounds: 4096, salt: []byte("salt")}, "password", "4b007901b765489abead49d926f721d065a429c1"},
		"sha256": {kdfParams{typ: PBKDF2, hash: "sha256", rounds: 1, salt: []byte("salt")}, "passwd", "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"},
		"argon2i": {
			kdfParams{typ: "argon2i", rounds: 1, memory: 64, threads: 2, salt: []byte("saltsalt")},
			"p",
			hex.EncodeToString(argon2.Key([]byte("p"), []byte("saltsalt"), 1, 64, 2, 16)),
		},
	} {
		got, err := c.k.derive([]byte(c.pass), len(c.want)/2)
		if err != nil || hex.EncodeToString(got) != c.want {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
}

func TestSplitterRestoresEveryKeyLength(t *testing.T) {
	for _, name := range []string{"sha1", "sha224", "sha256", "sha384", "sha512"} {
		newH, err := newHash(name)
		if err != nil {
			t.Fatal(err)
		}
		for n := 1; n <= 130; n++ {
			key := testKey(n, byte(n))
			split, err := afSplit(key, 5, newH, nil)
			if err != nil || len(split) != 5*n {
				t.Fatal(len(split), err)
			}
			if got := afMerge(split, n, 5, newH); !bytes.Equal(got, key) {
				t.Fatalf("%s, %d bytes: merged to another key", name, n)
			}
			split[n/2] ^= 1
			if n > 8 && bytes.Equal(afMerge(split, n, 5, newH), key) {
				t.Fatalf("%s, %d bytes: a changed stripe gave the same key", name, n)
			}
		}
	}
}

// TestSplitterByHand recomputes one diffusion as the specification writes it.
func TestSplitterByHand(t *testing.T) {
	s1, key := testKey(40, 3), testKey(40, 4)
	a := sha256.Sum256(append([]byte{0, 0, 0, 0}, s1[:32]...))
	b := sha256.Sum256(append([]byte{0, 0, 0, 1}, s1[32:]...))
	d := append(a[:], b[:8]...)
	split := bytes.Clone(s1)
	for i := range key {
		split = append(split, d[i]^key[i])
	}
	if got := afMerge(split, 40, 2, sha256.New); !bytes.Equal(got, key) {
		t.Errorf("merged to %x", got)
	}
}
