package cipher

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
)

// EngineVariable is the environment variable that picks an engine by name,
// for tests and comparisons. Unset or empty, the fastest that this processor
// has is used.
const EngineVariable = "LOCKPLATE_CIPHER"

// generic is the engine that every processor has.
const generic = "x/crypto"

// ErrNoEngine says that an engine was asked for that this processor, or this
// program, does not have.
var ErrNoEngine = errors.New("no such cipher engine here")

// A kernel does sectors whole sectors of units times 512 bytes from src to
// dst. keys is the schedule of its direction, tweak that of the first sector;
// each further one adds units. It does not check anything.
type kernel func(keys, dst, src *byte, sectors, units int, tweak uint64)

// engine is one way to do AES-XTS. All its kernels are nil in the generic one.
type engine struct {
	name             string
	steps            steps
	encrypt, decrypt [2]kernel // for AES-128 and AES-256
}

// Engines names the engines of this processor, the best first. The last one
// is always there.
func Engines() []string {
	var names []string
	for _, e := range engines() {
		names = append(names, e.name)
	}
	return names
}

// Engine names the implementation in use, for reports and metrics.
func Engine() string {
	if e, err := chosen(); err == nil {
		return e.name
	}
	return os.Getenv(EngineVariable) + " (not here)"
}

// engines asks the processor once; the answer cannot change.
var engines = sync.OnceValue(func() []engine {
	return append(accelerated(), engine{name: generic})
})

// chosen is the engine that NewXTS uses.
func chosen() (engine, error) {
	if name := os.Getenv(EngineVariable); name != "" {
		return engineByName(name)
	}
	return engines()[0], nil
}

func engineByName(name string) (engine, error) {
	for _, e := range engines() {
		if e.name == name {
			return e, nil
		}
	}
	return engine{}, fmt.Errorf("%w: %q; there are %s", ErrNoEngine, name, strings.Join(Engines(), ", "))
}
