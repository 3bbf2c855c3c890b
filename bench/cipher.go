package bench

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"

	"lockplate/cipher"
)

// CipherOptions say how the cipher is measured.
type CipherOptions struct {
	Rounds  int       `json:"rounds"`
	Seconds float64   `json:"seconds"` // length of one short try
	Engines []string  `json:"engines"` // empty: all of this processor
	OpenSSL []string  `json:"openssl"` // programs to compare with; those not installed are named
	Log     io.Writer `json:"-"`       // progress
}

// The names of what is measured beside the engines.
const (
	limitOf     = "limit of "
	plainEngine = "x/crypto"
	rate        = "throughput"
	perSecond   = "GB/s"
	tries       = 6 // a round counts the best of so many short tries
)

// shape is how the cipher is called.
type shape struct {
	sector, call     int  // bytes; a call has whole sectors
	decrypt, inPlace bool // else from one buffer to another
}

// String names the case.
func (s shape) String() string {
	way, place := "encrypt", "apart"
	if s.decrypt {
		way = "decrypt"
	}
	if s.inPlace {
		place = "in place"
	}
	return fmt.Sprintf("%s, %d B sectors, %s a call, %s", way, s.sector, bytesText(s.call), place)
}

// limit names the measurement of the machine's limit that is taken right before
// calls of this size, in whatever direction: a machine's clock may change from
// one second to the next.
func (s shape) limit() string {
	return fmt.Sprintf("AES rounds before %d B sectors, %s a call", s.sector, bytesText(s.call))
}

// bytesText writes a power of two with its unit.
func bytesText(n int) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}

// shapes are all ways to call the cipher that are measured.
func shapes() (all []shape) {
	for _, sector := range []int{4096, 512} {
		for _, call := range slices.Compact([]int{sector, 4096, 64 << 10, 1 << 20}) {
			for _, s := range []shape{{}, {decrypt: true}, {inPlace: true}, {decrypt: true, inPlace: true}} {
				all = append(all, shape{sector, call, s.decrypt, s.inPlace})
			}
		}
	}
	return all
}

// trial is one thing to run over and over.
type trial struct {
	job, target string
	bytes       int         // that one turn does
	run         func(n int) // n turns
}

// Cipher measures every engine on one core, in calls of one sector to 1 MiB,
// beside the rate at which this processor can do AES rounds at all, beside
// x/crypto, and beside OpenSSL where there is one. It needs no other program.
func Cipher(ctx context.Context, o CipherOptions) (*Report, error) {
	if len(o.Engines) == 0 {
		o.Engines = cipher.Engines()
	}
	trials, err := cipherTrials(o.Engines)
	if err != nil {
		return nil, err
	}
	r := &Report{Name: "cipher", Title: "AES-256-XTS on one core", Time: time.Now(), Settings: o}
	openssl := r.findOpenSSL(o.OpenSSL)
	// The loops run on one thread, so that the kernel has fewer reasons to move
	// them to another core in the middle of a try.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for round := range o.Rounds {
		// Seven further each time: a prime, so that no group of four shapes is
		// always at the begin of a round.
		for _, i := range rotated(len(trials), round*7) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			r.add(trials[i].job, trials[i].target, rate, perSecond, trials[i].best(o.Seconds))
		}
		if err := r.besideOpenSSL(ctx, o, openssl); err != nil {
			return nil, err
		}
		fmt.Fprintf(o.Log, "round %d of %d\n", round+1, o.Rounds)
	}
	r.countAllocations(o.Engines)
	r.Machine = machine()
	r.cipherTables(o, openssl)
	return r, nil
}

// cipherTrials lists the engines in all shapes, and their limits.
func cipherTrials(engines []string) (trials []trial, err error) {
	for _, e := range engines {
		limit, bytes := aesLimit(e)
		for _, s := range shapes() {
			if limit != nil && !s.decrypt && !s.inPlace { // the first of four
				trials = append(trials, trial{s.limit(), limitOf + e, bytes, limit})
			}
			if e == plainEngine && s.call != 64<<10 { // slow, and the same in every shape
				continue
			}
			run, err := s.runner(e)
			if err != nil {
				return nil, err
			}
			trials = append(trials, trial{s.String(), e, s.call, run})
		}
	}
	return trials, nil
}

// runner gives the loop that calls an engine in this shape. Buffers are fresh,
// so that no two shapes share what is in the caches.
func (s shape) runner(engine string) (func(n int), error) {
	key := make([]byte, 64) // any two different halves
	for i := range key {
		key[i] = byte(i*7 + 1)
	}
	x, err := cipher.NewXTSWith(engine, key, s.sector)
	if err != nil {
		return nil, err
	}
	src := make([]byte, s.call)
	dst := src
	if !s.inPlace {
		dst = make([]byte, s.call)
	}
	const first = 77 // any sector number
	if s.decrypt {
		return func(n int) {
			for range n {
				x.Decrypt(dst, src, first)
			}
		}, nil
	}
	return func(n int) {
		for range n {
			x.Encrypt(dst, src, first)
		}
	}, nil
}

// best gives the best rate of several tries of about so many seconds, in GB/s:
// what disturbs a try of milliseconds can only make it slower.
func (t trial) best(seconds float64) float64 {
	n := t.calibrate(seconds)
	best := 0.0
	for range tries {
		best = max(best, t.rate(n))
	}
	return best
}

// calibrate finds how often to run for about so many seconds.
func (t trial) calibrate(seconds float64) int {
	for n := 1; ; n *= 2 {
		start := time.Now()
		t.run(n)
		if time.Since(start).Seconds() >= seconds/2 || n > 1<<40 {
			return n
		}
	}
}

// rate runs n times.
func (t trial) rate(n int) float64 {
	start := time.Now()
	t.run(n)
	return float64(t.bytes) * float64(n) / time.Since(start).Seconds() / 1e9
}

// countAllocations notes how much each engine allocates in a call, which must be
// nothing.
func (r *Report) countAllocations(engines []string) {
	s := shape{sector: 4096, call: 64 << 10}
	for _, e := range engines {
		if run, err := s.runner(e); err == nil {
			r.add(s.String(), e, "allocations", "a call", allocations(run))
		}
	}
}

// allocations gives those of one call, the least of three tries: others in the
// process may allocate too.
func allocations(run func(n int)) float64 {
	const calls = 100
	least := uint64(1 << 63)
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		run(calls)
		runtime.ReadMemStats(&after)
		least = min(least, after.Mallocs-before.Mallocs)
	}
	return float64(least / calls)
}
