package luks

import (
	"crypto/pbkdf2"
	"fmt"
	"math"
	"runtime"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/sys/unix"
)

// Key derivation functions of new keyslots.
const (
	Argon2id = "argon2id"
	PBKDF2   = "pbkdf2"
)

// KDF says how a passphrase becomes the key of a new keyslot. The zero value
// is Argon2id with costs that take about two seconds on this machine, as
// cryptsetup chooses them: memory first, at least four passes.
type KDF struct {
	Type       string           // Argon2id (also ""), or PBKDF2 with SHA-256
	TargetTime time.Duration    // of one unlock here; 0 = 2 s. Used where Iterations is 0
	Iterations int              // Argon2 passes or PBKDF2 rounds; 0 = measured
	Memory     int              // Argon2: KiB, an upper bound while measuring; 0 = half of the RAM, at most 1 GiB
	Parallel   int              // Argon2: threads; 0 = CPUs, at most 4
	Now        func() time.Time // clock for measuring; nil = time.Now
}

// FastKDF is PBKDF2 with 1000 rounds: enough for 32 random bytes (a recovery
// key file), and for tests. It does not protect a passphrase from guessing.
func FastKDF() KDF { return KDF{Type: PBKDF2, Iterations: digestRounds} }

// Costs measured and chosen within these.
const (
	defaultTarget   = 2 * time.Second
	defaultMemory   = 1 << 20  // KiB
	minArgon2Memory = 32       // KiB
	lowArgon2Memory = 64 << 10 // KiB; measuring does not go below
	minArgon2Passes = 4
	probeRounds     = 50_000
)

// kdfParams are the derivation parameters of one keyslot or digest.
type kdfParams struct {
	typ     string // argon2id, argon2i, pbkdf2
	hash    string // pbkdf2
	rounds  int64  // pbkdf2 rounds or argon2 passes
	memory  int64  // argon2, KiB
	threads int64  // argon2
	salt    []byte
}

// check refuses what is unknown or costs more than the limits.
func (k kdfParams) check() error {
	switch k.typ {
	case PBKDF2:
		if _, err := newHash(k.hash); err != nil {
			return err
		}
		return bound("PBKDF2 rounds", k.rounds, 1, MaxPBKDF2Rounds)
	case Argon2id, "argon2i":
		return k.checkArgon2()
	}
	return fmt.Errorf("%w: key derivation %q", ErrUnsupported, k.typ)
}

func (k kdfParams) checkArgon2() error {
	if err := bound("Argon2 memory in KiB", k.memory, minArgon2Memory, MaxArgon2Memory); err != nil {
		return err
	}
	if err := bound("Argon2 threads", k.threads, 1, MaxArgon2Threads); err != nil {
		return err
	}
	return bound("Argon2 passes with this memory", k.rounds, 1, MaxArgon2Work/k.memory)
}

// bound is the one text for a cost outside the limits.
func bound(what string, n, low, high int64) error {
	if n < low || n > high {
		return fmt.Errorf("%w: %s %d, the limits are %d to %d", ErrUnsupported, what, n, low, high)
	}
	return nil
}

// derive runs the function. The caller wipes the result.
func (k kdfParams) derive(passphrase []byte, n int) ([]byte, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	switch k.typ {
	case Argon2id:
		return argon2.IDKey(passphrase, k.salt, uint32(k.rounds), uint32(k.memory), uint8(k.threads), uint32(n)), nil
	case "argon2i":
		return argon2.Key(passphrase, k.salt, uint32(k.rounds), uint32(k.memory), uint8(k.threads), uint32(n)), nil
	}
	newH, err := newHash(k.hash)
	if err != nil {
		return nil, err
	}
	// The string conversion copies the passphrase once, out of reach of wiping.
	key, err := pbkdf2.Key(newH, string(passphrase), k.salt, int(k.rounds), n)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	return key, nil
}

// params fixes the open choices of k for a key of n bytes, measuring if asked.
func (k KDF) params(n int) (kdfParams, error) {
	p := kdfParams{typ: k.Type, rounds: int64(k.Iterations)}
	if k.TargetTime <= 0 {
		k.TargetTime = defaultTarget
	}
	if k.Now == nil {
		k.Now = time.Now
	}
	var err error
	switch k.Type {
	case PBKDF2:
		p, err = k.paramsPBKDF2(n)
	case Argon2id, "":
		p, err = k.paramsArgon2()
	}
	if err != nil {
		return p, err
	}
	return p, p.check()
}

func (k KDF) paramsPBKDF2(n int) (kdfParams, error) {
	p := kdfParams{typ: PBKDF2, hash: "sha256", rounds: int64(k.Iterations), salt: make([]byte, saltBytes)}
	if p.rounds != 0 {
		return p, nil
	}
	p.rounds = probeRounds
	took, err := k.measure(p, n)
	p.rounds = scale(probeRounds, k.TargetTime, took, digestRounds, MaxPBKDF2Rounds)
	return p, err
}

// paramsArgon2 takes as much memory as the target time allows for four
// passes, then as many passes as are left.
func (k KDF) paramsArgon2() (kdfParams, error) {
	p := kdfParams{typ: Argon2id, memory: int64(k.Memory), threads: int64(k.Parallel), rounds: int64(k.Iterations), salt: make([]byte, saltBytes)}
	if p.threads == 0 {
		p.threads = int64(min(4, runtime.NumCPU()))
	}
	if p.memory == 0 {
		p.memory = min(defaultMemory, ramKiB()/2)
	}
	if p.rounds != 0 || p.memory > MaxArgon2Memory {
		return p, nil
	}
	probe := p
	probe.memory, probe.rounds = min(p.memory, lowArgon2Memory), 1
	took, err := k.measure(probe, areaKeyBytes)
	work := scale(probe.memory, k.TargetTime, took, 1, MaxArgon2Work)
	p.memory = min(p.memory, max(work/minArgon2Passes, lowArgon2Memory))
	p.rounds = max(minArgon2Passes, work/p.memory)
	return p, err
}

// measure tells how long one derivation takes.
func (k KDF) measure(p kdfParams, n int) (time.Duration, error) {
	start := k.Now()
	key, err := p.derive([]byte("measured passphrase"), n)
	clear(key)
	return k.Now().Sub(start), err
}

// scale returns n times target/took within [low, high].
func scale(n int64, target, took time.Duration, low, high int64) int64 {
	f := float64(n) * float64(target) / math.Max(float64(took), 1)
	return int64(math.Min(math.Max(f, float64(low)), float64(high)))
}

// ramKiB is the size of the machine's memory; 1 GiB when the kernel will not say.
func ramKiB() int64 {
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) != nil {
		return 1 << 20
	}
	return int64(uint64(si.Totalram) * uint64(si.Unit) >> 10)
}
