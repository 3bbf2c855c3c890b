package keymgr

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"lockplate/keymgr/shamir"
)

// sharesSealer seals with the recovery key. Made by ParseSealer it collects
// shares to get that key, and only opens: with the shares in people's drawers
// again nothing new could be sealed at the next start. Made by forShares it has
// the key.
type sharesSealer struct {
	ask   func(want SharesInfo) (*shamir.Set, error)
	wraps bool // may seal

	mu   sync.Mutex
	want SharesInfo
	key  *Secret
}

// forShares is a sealer that has the recovery key, which it owns.
func forShares(key *Secret) sealer { return sealer{&sharesSealer{key: key, wraps: true}} }

func (s *sharesSealer) kind() sealKind { return kindShares }

// protects: the shares do; but this is no state to stay in.
func (s *sharesSealer) protects() (bool, string) {
	return true, "started from recovery shares: the next start needs them again, " +
		"unless the key is sealed anew with 'lockplate key reseal'"
}

func (s *sharesSealer) wrong() error {
	return fmt.Errorf("%w: %w: they were made for another key", ErrShares, ErrWrongKey)
}

func (s *sharesSealer) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key.Destroy()
	s.key = nil
}

// expect says which set is wanted.
func (s *sharesSealer) expect(want SharesInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.want = want
}

func (s *sharesSealer) base(_ context.Context, h *header, seal bool) (*Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seal {
		if !s.wraps {
			return nil, ErrReseal
		}
		if err := freshSalt(h, kindShares); err != nil {
			return nil, err
		}
	}
	if s.key == nil {
		key, err := s.collect()
		if err != nil {
			return nil, err
		}
		s.key = key
	}
	return copySecret(s.key)
}

// collect asks for shares and combines them.
func (s *sharesSealer) collect() (*Secret, error) {
	if s.ask == nil {
		return nil, fmt.Errorf("%w: nobody to ask for recovery shares: run on a terminal, or give files with them", ErrSealerMissing)
	}
	set, err := s.ask(s.want)
	if err != nil {
		return nil, fmt.Errorf("ask for recovery shares: %w", err)
	}
	defer set.Wipe()
	return combine(set, s.want)
}

// combine gives the recovery key from shares of the wanted set.
func combine(set *shamir.Set, want SharesInfo) (*Secret, error) {
	if len(set.Have()) > 0 && set.ID().String() != want.Set {
		return nil, fmt.Errorf("%w: %w: they are of set %s, wanted are those of set %s", ErrShares, ErrWrongKey, set.ID(), want.Set)
	}
	b, err := set.Combine()
	switch {
	case errors.Is(err, shamir.ErrDamaged):
		return nil, fmt.Errorf("%w: %w: %w", ErrShares, ErrWrongKey, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrShares, err)
	}
	return NewSecret(b)
}

// ParseShares reads the texts of recovery shares, which it wipes. The caller
// wipes the set. ErrShares says what is wrong with which.
func ParseShares(texts [][]byte) (*shamir.Set, error) {
	set := &shamir.Set{}
	var first error
	for i, text := range texts {
		s, err := shamir.Parse(text)
		if err == nil {
			err = set.Add(s)
		}
		if err != nil && first == nil {
			first = fmt.Errorf("%w: number %d of those given: %w", ErrShares, i+1, err)
		}
		clear(text)
	}
	if first != nil {
		set.Wipe()
		return nil, first
	}
	return set, nil
}
