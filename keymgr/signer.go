package keymgr

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"sync"
)

// signer is the private key of the key pair: its PKCS #8 form in locked memory.
// It is parsed for each signature, that is for each connection made to a key
// server, and the numbers are wiped after. What the standard library computes
// from them for itself cannot be reached and stays until the collector reuses
// it; LockMemory keeps that out of swap.
type signer struct {
	public crypto.PublicKey

	mu  sync.RWMutex // held to use key, and exclusively to destroy it
	key *Secret
}

// newSigner copies a private key to locked memory; the caller wipes it.
func newSigner(key *rsa.PrivateKey) (*signer, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	s, err := NewSecret(der)
	if err != nil {
		return nil, err
	}
	public := key.PublicKey // a copy, which does not keep the rest of key alive
	return &signer{public: &public, key: s}, nil
}

// Public implements crypto.Signer.
func (s *signer) Public() crypto.PublicKey { return s.public }

// Sign implements crypto.Signer.
func (s *signer) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.key.Len() == 0 {
		return nil, ErrClosed
	}
	parsed, err := x509.ParsePKCS8PrivateKey(s.key.Bytes())
	if err != nil {
		return nil, errors.Join(ErrIntegrity, err)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, ErrFormat
	}
	defer scrub(key)
	return key.Sign(rand, digest, opts)
}

// destroy wipes the key; on nil it does nothing.
func (s *signer) destroy() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key.Destroy()
}

// scrub wipes the numbers of a private key that nobody uses any more.
func scrub(k *rsa.PrivateKey) {
	secret := append([]*big.Int{k.D, k.Precomputed.Dp, k.Precomputed.Dq, k.Precomputed.Qinv}, k.Primes...)
	for _, n := range secret {
		if n != nil {
			clear(n.Bits())
		}
	}
}
