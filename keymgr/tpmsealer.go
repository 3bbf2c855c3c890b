package keymgr

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"lockplate/keymgr/tpm2seal"
)

// defaultPCR is Secure Boot: its state and the keys it trusts. Others change
// with each update of firmware, boot loader or kernel.
const defaultPCR = 7

// tpmSealer has a TPM seal a random key, and remembers that key, so that a rekey
// neither asks for the PIN again nor tries it behind the user's back.
type tpmSealer struct {
	config tpm2seal.Config
	pin    bool
	ask    func(confirm bool) ([]byte, error)

	mu     sync.Mutex
	have   *Secret // what object unseals to
	object []byte
}

// parseTPM reads what stands after "tpm2:", parts joined by commas: a path,
// pcrs=7+11 or pcrs=none, pin. given says that there was a colon.
func parseTPM(arg string, given bool) (*tpmSealer, error) {
	s := &tpmSealer{config: tpm2seal.Config{Device: tpm2seal.DefaultDevice, PCRs: []int{defaultPCR}}}
	if !given {
		return s, nil
	}
	seen := map[string]bool{}
	for part := range strings.SplitSeq(arg, ",") {
		name, value, _ := strings.Cut(part, "=")
		var err error
		switch {
		case filepath.IsAbs(part):
			name, s.config.Device = "path", filepath.Clean(part)
		case name == "pcrs":
			s.config.PCRs, err = parsePCRs(value)
		case part == "pin":
			s.pin = true
		default:
			err = fmt.Errorf("%q is neither /DEVICE, pcrs=7+11, pcrs=none nor pin", part)
		}
		if seen[name] {
			err = fmt.Errorf("%s is given twice", name)
		}
		if err != nil {
			return nil, err
		}
		seen[name] = true
	}
	return s, nil
}

// parsePCRs reads "7+11", or "none".
func parsePCRs(s string) ([]int, error) {
	if s == "none" {
		return nil, nil
	}
	var out []int
	for p := range strings.SplitSeq(s, "+") {
		n, err := strconv.ParseUint(p, 10, 8)
		if err != nil || n > 23 || slices.Contains(out, int(n)) {
			return nil, fmt.Errorf("pcrs=%s: a list such as 7+11 is wanted, of different numbers from 0 to 23", s)
		}
		out = append(out, int(n))
	}
	return out, nil
}

// SealerAsks says what a sealer needs to be asked for, "passphrase" or "PIN", ""
// if nothing. ErrBadSealer.
func SealerAsks(spec string) (string, error) {
	s, err := ParseSealer(spec, SealerOptions{})
	if err != nil {
		return "", err
	}
	switch m := s.(sealer).method.(type) {
	case *passSealer:
		return "passphrase", nil
	case *tpmSealer:
		if m.pin {
			return "PIN", nil
		}
	}
	return "", nil
}

func (s *tpmSealer) kind() sealKind { return kindTPM2 }

// protects is true for the socket of an emulator too: whoever uses one decides
// where its state is.
func (s *tpmSealer) protects() (bool, string) { return true, "" }

// wrong is about a key that the TPM gave back whole.
func (s *tpmSealer) wrong() error { return fmt.Errorf("%w (the TPM gives another key)", ErrIntegrity) }

func (s *tpmSealer) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.have.Destroy()
	s.have = nil
}

func (s *tpmSealer) base(ctx context.Context, h *header, seal bool) (*Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.have == nil || !seal && !bytes.Equal(s.object, h.object) {
		have, object, err := s.get(ctx, h, seal)
		if err != nil {
			return nil, tpmError(s.config.Device, err)
		}
		s.have.Destroy()
		s.have, s.object = have, bytes.Clone(object)
	}
	if seal {
		h.object = s.object
		if err := freshSalt(h, kindTPM2); err != nil {
			return nil, err
		}
	}
	return copySecret(s.have)
}

// get makes a key and has the TPM seal it, or has it unseal one.
func (s *tpmSealer) get(ctx context.Context, h *header, seal bool) (*Secret, []byte, error) {
	pin := s.pin
	if !seal {
		var err error
		if pin, err = tpm2seal.NeedsPIN(h.object); err != nil {
			return nil, nil, err
		}
	}
	auth, err := s.auth(pin, seal)
	if err != nil {
		return nil, nil, err
	}
	defer auth.Destroy()
	if !seal {
		b, err := tpm2seal.Unseal(ctx, s.config.Device, h.object, bytesOf(auth))
		if err != nil {
			return nil, nil, err
		}
		if len(b) != keyBytes {
			clear(b)
			return nil, nil, fmt.Errorf("%w (it unseals to %d bytes)", tpm2seal.ErrObject, len(b))
		}
		key, err := NewSecret(b)
		return key, h.object, err
	}
	key, err := RandomSecret(rand.Reader, keyBytes)
	if err != nil {
		return nil, nil, err
	}
	object, err := tpm2seal.Seal(ctx, s.config, key.Bytes(), bytesOf(auth))
	if err != nil {
		key.Destroy()
		return nil, nil, err
	}
	return key, object, nil
}

// bytesOf is the bytes of a secret, nil of none.
func bytesOf(s *Secret) []byte {
	if s == nil {
		return nil
	}
	return s.Bytes()
}

// auth turns a PIN into an authorization value of the length that a TPM takes.
// It is not stretched: only the TPM can try one, and that counts.
func (s *tpmSealer) auth(pin, confirm bool) (*Secret, error) {
	if !pin {
		return nil, nil
	}
	if s.ask == nil {
		return nil, fmt.Errorf("%w: nobody to ask for the PIN: run on a terminal, or give it by file descriptor", ErrSealerMissing)
	}
	p, err := s.ask(confirm)
	defer clear(p)
	if err != nil {
		return nil, fmt.Errorf("ask for the PIN: %w", err)
	}
	if len(p) == 0 || len(p) > maxPassphrase {
		return nil, fmt.Errorf("%w: the PIN has %d bytes, 1 to %d are allowed", ErrWrongPassphrase, len(p), maxPassphrase)
	}
	return derive(p, nil, []byte("lockplate tpm2 pin 1"))
}

// lostSealer is the way out when what sealed the key is gone for good.
const lostSealer = "start with 'lockplate serve --seal shares' if there are recovery shares, " +
	"then seal the key anew with 'lockplate key reseal'"

// tpmError puts a TPM's refusals in the words of this package, with the way out.
func tpmError(device string, err error) error {
	var pcr *tpm2seal.PCRError
	var lock *tpm2seal.LockoutError
	switch {
	case errors.As(err, &pcr):
		return fmt.Errorf("TPM %s: %w: %w; set the machine back to what it was, or %s", device, ErrWrongKey, err, lostSealer)
	case errors.Is(err, tpm2seal.ErrOtherTPM):
		return fmt.Errorf("TPM %s: %w: %w; put the key's TPM back, or %s", device, ErrWrongKey, err, lostSealer)
	case errors.As(err, &lock):
		return fmt.Errorf("TPM %s: %w: %w", device, ErrSealerMissing, err)
	case errors.Is(err, tpm2seal.ErrWrongPIN):
		return fmt.Errorf("TPM %s: %w: %w; the TPM counts these, and locks itself after too many", device, ErrWrongPassphrase, err)
	case errors.Is(err, tpm2seal.ErrNoTPM), errors.Is(err, tpm2seal.ErrOwner):
		return fmt.Errorf("TPM %s: %w: %w; look at 'ls -l %s' and at the firmware's settings, or %s",
			device, ErrSealerMissing, err, device, lostSealer)
	case errors.Is(err, tpm2seal.ErrVersion):
		return fmt.Errorf("TPM %s: %w: %w", device, ErrFormat, err)
	case errors.Is(err, tpm2seal.ErrObject):
		return fmt.Errorf("TPM %s: %w: %w", device, ErrIntegrity, err)
	}
	return fmt.Errorf("TPM %s: %w", device, err)
}
