package keymgr

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
	"sync"
)

// redacted is all that anyone sees of a Secret.
const redacted = "[secret]"

// Secret is a key or passphrase in locked memory. It prints and logs as
// "[secret]" and refuses to be marshalled. It has one owner, who calls Destroy.
type Secret struct{ s *slot }

// slot has no slice of the secret in it, and is behind a pointer: where package
// fmt cannot call our methods, as on unexported fields, it follows one pointer
// and prints what it finds there.
type slot struct {
	mu    sync.Mutex
	block block
	n     int // bytes; 0 once destroyed
}

// newSecret returns n zero bytes.
func newSecret(n int) (*Secret, error) {
	b, err := locked.alloc(n)
	if err != nil {
		return nil, err
	}
	return &Secret{&slot{block: b, n: n}}, nil
}

// NewSecret copies b, 1 byte to 64 KiB, to locked memory and wipes b, whether it
// succeeds or not. ErrMemlock, ErrTooLarge.
func NewSecret(b []byte) (*Secret, error) {
	defer clear(b)
	s, err := newSecret(len(b))
	if err != nil {
		return nil, err
	}
	copy(s.Bytes(), b)
	return s, nil
}

// RandomSecret reads n bytes from rand straight into locked memory.
func RandomSecret(rand io.Reader, n int) (*Secret, error) {
	s, err := newSecret(n)
	if err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(rand, s.Bytes()); err != nil {
		s.Destroy()
		return nil, fmt.Errorf("read random bytes: %w", err)
	}
	return s, nil
}

// Bytes is the secret itself, not a copy: valid until Destroy, after which the
// memory may hold another secret. nil after Destroy.
func (s *Secret) Bytes() []byte {
	s.s.mu.Lock()
	defer s.s.mu.Unlock()
	if s.s.n == 0 {
		return nil
	}
	return s.s.block.bytes(s.s.n)
}

// Len is the number of bytes, 0 after Destroy.
func (s *Secret) Len() int { return len(s.Bytes()) }

// Equal compares in constant time. Destroyed secrets equal nothing.
func (s *Secret) Equal(o *Secret) bool {
	a, b := s.Bytes(), o.Bytes()
	return a != nil && subtle.ConstantTimeCompare(a, b) == 1
}

// Destroy wipes the secret; again, or on nil, it does nothing. Nobody may be
// using Bytes any more.
func (s *Secret) Destroy() {
	if s == nil {
		return
	}
	s.s.mu.Lock()
	defer s.s.mu.Unlock()
	if s.s.n == 0 {
		return
	}
	s.s.n = 0
	locked.free(s.s.block)
}

// String, and the methods below, keep the bytes out of output of any kind.
func (s Secret) String() string { return redacted }

// GoString is for %#v.
func (s Secret) GoString() string { return redacted }

// Format is for every verb of fmt, %x among them.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue is for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON refuses.
func (s Secret) MarshalJSON() ([]byte, error) { return nil, ErrMarshal }

// MarshalText refuses.
func (s Secret) MarshalText() ([]byte, error) { return nil, ErrMarshal }

// MarshalBinary refuses.
func (s Secret) MarshalBinary() ([]byte, error) { return nil, ErrMarshal }

// GobEncode refuses.
func (s Secret) GobEncode() ([]byte, error) { return nil, ErrMarshal }
