// Package shamir splits a key of 32 bytes into shares, of which a chosen number
// gives it back and fewer tell nothing about it (Shamir, How to Share a Secret,
// 1979), and writes shares so that people can keep them on paper and type them.
//
// The field is GF(256) with the polynomial of AES. Arithmetic on secret bytes
// has neither branches nor tables, so its time does not depend on them. A share
// does not prove who made it: whoever combines shares must check the key.
package shamir

import (
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// SecretBytes is the length of what is split.
const SecretBytes = 32

// Limits of a set of shares. With a threshold of 1 each share would be the key.
const (
	MinThreshold = 2
	MaxShares    = 255
)

// Errors of shares, by what can be done about them.
var (
	ErrInvalid   = errors.New("not a valid number of shares")
	ErrText      = errors.New("not a share")
	ErrVersion   = errors.New("share has a version that is not known")
	ErrMixed     = errors.New("shares of different sets do not fit together")
	ErrDuplicate = errors.New("the share was given already")
	ErrTooFew    = errors.New("too few shares")
	ErrDamaged   = errors.New("shares do not fit together: one of them was altered")
)

// SetID tells sets of shares apart. It is no secret.
type SetID [4]byte

// String is the id as 8 hex digits.
func (id SetID) String() string { return hex.EncodeToString(id[:]) }

// Share is one share. It prints without its value.
type Share struct {
	Set       SetID
	Threshold int // shares that are needed
	Index     int // 1 to 255
	value     []byte
}

// String names the share.
func (s Share) String() string { return fmt.Sprintf("share %d of set %s", s.Index, s.Set) }

// Format is for every verb of fmt: the value never shows.
func (s Share) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// Wipe zeroes the value.
func (s Share) Wipe() { clear(s.value) }

// Split makes shares of a secret of SecretBytes, with a new set id. The caller
// wipes them. ErrInvalid.
func Split(rand io.Reader, secret []byte, threshold, shares int) ([]Share, error) {
	switch {
	case len(secret) != SecretBytes:
		return nil, fmt.Errorf("split %d bytes: %d are wanted", len(secret), SecretBytes)
	case threshold < MinThreshold || threshold > shares || shares > MaxShares:
		return nil, fmt.Errorf("%w: %d of %d; the threshold is at least %d, and there are at most %d shares",
			ErrInvalid, threshold, shares, MinThreshold, MaxShares)
	}
	var id SetID
	coefficients := make([]byte, (threshold-1)*SecretBytes)
	defer clear(coefficients)
	for _, b := range [][]byte{id[:], coefficients} {
		if _, err := io.ReadFull(rand, b); err != nil {
			return nil, fmt.Errorf("read random bytes: %w", err)
		}
	}
	out := make([]Share, shares)
	for i := range out {
		out[i] = Share{Set: id, Threshold: threshold, Index: i + 1, value: evaluate(secret, coefficients, byte(i+1))}
	}
	return out, nil
}

// evaluate gives the polynomials' values at x, one for each byte of the secret,
// which is their constant term. Coefficients follow by power.
func evaluate(secret, coefficients []byte, x byte) []byte {
	y := make([]byte, SecretBytes)
	for at := len(coefficients) - SecretBytes; at >= 0; at -= SecretBytes {
		for i := range y {
			y[i] = mul(y[i]^coefficients[at+i], x)
		}
	}
	subtle.XORBytes(y, y, secret)
	return y
}

// Set collects shares, one at a time, so that a wrong one is found when it is
// given.
type Set struct{ shares []Share }

// Add takes a share, which the set owns afterwards. ErrMixed, ErrDuplicate.
func (s *Set) Add(one Share) error {
	for _, have := range s.shares {
		switch {
		case have.Set != one.Set || have.Threshold != one.Threshold:
			return fmt.Errorf("%v: %w: the others are of set %s", one, ErrMixed, have.Set)
		case have.Index == one.Index:
			return fmt.Errorf("%v: %w", one, ErrDuplicate)
		}
	}
	s.shares = append(s.shares, one)
	return nil
}

// ID is the set that the shares are of; zero if there are none.
func (s *Set) ID() (id SetID) {
	if len(s.shares) > 0 {
		id = s.shares[0].Set
	}
	return id
}

// Have lists the numbers of the shares that were given.
func (s *Set) Have() (out []int) {
	for _, one := range s.shares {
		out = append(out, one.Index)
	}
	return out
}

// Missing is how many more shares are needed; 1 if not even that is known.
func (s *Set) Missing() int {
	if len(s.shares) == 0 {
		return 1
	}
	return max(0, s.shares[0].Threshold-len(s.shares))
}

// Wipe zeroes all shares.
func (s *Set) Wipe() {
	for _, one := range s.shares {
		one.Wipe()
	}
	s.shares = nil
}

// Combine gives the secret; the caller wipes it, and checks that it is the
// right one. Shares over the threshold must fit too. ErrTooFew, ErrDamaged.
func (s *Set) Combine() ([]byte, error) {
	if n := s.Missing(); n > 0 {
		if len(s.shares) == 0 {
			return nil, fmt.Errorf("%w: none was given", ErrTooFew)
		}
		return nil, fmt.Errorf("%w: %d of set %s, %d are needed", ErrTooFew, len(s.shares), s.ID(), s.shares[0].Threshold)
	}
	base := s.shares[:s.shares[0].Threshold]
	for _, more := range s.shares[len(base):] {
		y := interpolate(base, byte(more.Index))
		fits := subtle.ConstantTimeCompare(y, more.value) == 1
		clear(y)
		if !fits {
			return nil, ErrDamaged
		}
	}
	return interpolate(base, 0), nil
}

// interpolate gives the value at x of the polynomials through the shares.
func interpolate(shares []Share, x byte) []byte {
	out := make([]byte, SecretBytes)
	for i, a := range shares {
		weight := byte(1) // Lagrange's; indexes are no secret
		for j, b := range shares {
			if i != j {
				weight = mul(weight, mul(x^byte(b.Index), inverse(byte(a.Index)^byte(b.Index))))
			}
		}
		for n := range out {
			out[n] ^= mul(weight, a.value[n])
		}
	}
	return out
}

// mul multiplies in GF(256) modulo x^8+x^4+x^3+x+1.
func mul(a, b byte) (p byte) {
	for range 8 {
		p ^= a & -(b & 1)
		a = a<<1 ^ 0x1b&-(a>>7)
		b >>= 1
	}
	return p
}

// inverse is a^254; of 0 it is 0.
func inverse(a byte) byte {
	r := byte(1)
	for range 7 { // 254 = 2+4+…+128
		a = mul(a, a)
		r = mul(r, a)
	}
	return r
}
