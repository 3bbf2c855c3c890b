package keymgr

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"lockplate/store"
)

// keyTrust is the key of the cluster's one key pair in the store: trustRecord.
const keyTrust = "trust"

// rsaBits is the size of the key pair. Old key servers take RSA 2048 where they
// take nothing else.
const rsaBits = 2048

// trustRecord is the key pair with which the cluster shows itself to key
// servers. The public key is that of the request.
type trustRecord struct {
	Version int       `json:"version"`
	Created time.Time `json:"created"`
	Request string    `json:"request"` // certificate signing request, PEM
	Sealed  []byte    `json:"sealed"`  // PKCS #8 private key, sealed as master keys are
}

// request parses the certificate signing request.
func (r *trustRecord) request() (*x509.CertificateRequest, error) {
	b, rest := pem.Decode([]byte(r.Request))
	if b == nil || b.Type != requestType || len(rest) > 0 {
		return nil, fmt.Errorf("%w (certificate signing request)", ErrIntegrity)
	}
	csr, err := x509.ParseCertificateRequest(b.Bytes)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		return nil, fmt.Errorf("%w (certificate signing request: %w)", ErrIntegrity, err)
	}
	return csr, nil
}

// trustBind is the associated data of the sealed private key: label, cluster,
// SHA-256 of the public key as in a certificate.
func trustBind(cluster string, csr *x509.CertificateRequest) ([]byte, error) {
	c, err := uuid.Parse(cluster)
	if err != nil {
		return nil, fmt.Errorf("cluster id %.40q: %w", cluster, err)
	}
	public := sha256.Sum256(csr.RawSubjectPublicKeyInfo)
	return append(append([]byte("lockplate trust 1"), c[:]...), public[:]...), nil
}

// trustBind is the request of a key pair, and the associated data of its sealed
// private key.
func (m *Manager) trustBind(r *trustRecord) (*x509.CertificateRequest, []byte, error) {
	csr, err := r.request()
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", keyTrust, err)
	}
	bind, err := trustBind(m.cluster, csr)
	return csr, bind, err
}

// getTrust reads the key pair's record; ErrNoKeyPair.
func getTrust(tx store.Tx) (*trustRecord, error) {
	b, err := tx.Get(keyTrust)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrNoKeyPair
	}
	if err != nil {
		return nil, err
	}
	r := &trustRecord{}
	if err := parseRecord(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", keyTrust, err)
	}
	return r, nil
}

// CreateKeyPair makes the key pair of the cluster, which replaces the one
// before: certificates for that are worth nothing afterwards. ErrKeyPairInUse
// while a key provider is active; ErrInvalid for the subject.
func (m *Manager) CreateKeyPair(ctx context.Context, s Subject) error {
	name, err := s.marshal()
	if err != nil {
		return err
	}
	if err := m.st.View(ctx, keyPairFree); err != nil {
		return fmt.Errorf("replace key pair: %w", err) // before the work
	}
	m.sealing.Lock()
	defer m.sealing.Unlock()
	rec, signer, err := m.makeKeyPair(ctx, name)
	if err != nil {
		return fmt.Errorf("make key pair: %w", err)
	}
	if err := m.putKeyPair(ctx, rec, signer); err != nil {
		signer.destroy()
		return fmt.Errorf("record key pair: %w", err)
	}
	m.setSigner(signer)
	m.log.Info("key pair made")
	return nil
}

// putKeyPair records a new key pair, for recovery shares too.
func (m *Manager) putKeyPair(ctx context.Context, rec *trustRecord, s *signer) error {
	b, err := marshalRecord(rec)
	if err != nil {
		return err
	}
	recovery, err := m.sealTrustForShares(ctx, rec, s)
	if err != nil {
		return err
	}
	return m.st.Update(ctx, func(tx store.Tx) error {
		err := errors.Join(keyPairFree(tx), tx.Put(keyTrust, b))
		if err == nil && recovery != nil {
			err = putRecovery(tx, recovery)
		}
		return err
	})
}

// keyPairFree fails while the key pair may be needed to reach a key.
func keyPairFree(tx store.Tx) error {
	active, err := activeProviders(tx)
	if err != nil {
		return err
	}
	for id := range active {
		return fmt.Errorf("key provider %d is active: %w", id, ErrKeyPairInUse)
	}
	return nil
}

// makeKeyPair makes key, request and sealed key; nothing is stored. name is the
// subject in DER.
func (m *Manager) makeKeyPair(ctx context.Context, name []byte) (*trustRecord, *signer, error) {
	key, err := rsa.GenerateKey(m.rand, rsaBits)
	if err != nil {
		return nil, nil, err
	}
	defer scrub(key)
	der, err := newRequest(key, name)
	if err != nil {
		return nil, nil, err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, nil, err
	}
	bind, err := trustBind(m.cluster, csr)
	if err != nil {
		return nil, nil, err
	}
	s, err := newSigner(key)
	if err != nil {
		return nil, nil, err
	}
	sealed, err := m.sealer.get().Seal(ctx, s.key, bind)
	if err != nil {
		s.destroy()
		return nil, nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: requestType, Bytes: der})
	return &trustRecord{Version: recordVersion, Created: m.now().UTC(), Request: string(text), Sealed: sealed}, s, nil
}

// SigningRequest gives the certificate signing request for the key pair, PEM:
// the same each time until CreateKeyPair. ErrNoKeyPair.
func (m *Manager) SigningRequest(ctx context.Context) (string, error) {
	var r *trustRecord
	err := m.st.View(ctx, func(tx store.Tx) (err error) {
		r, err = getTrust(tx)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("certificate signing request: %w", err)
	}
	return r.Request, nil
}

// openTrust unseals the private key, if there is one.
func (m *Manager) openTrust(ctx context.Context) error {
	var r *trustRecord
	err := m.st.View(ctx, func(tx store.Tx) (err error) {
		r, err = getTrust(tx)
		return err
	})
	if errors.Is(err, ErrNoKeyPair) {
		return nil
	}
	if err != nil {
		return err
	}
	csr, bind, err := m.trustBind(r)
	if err != nil {
		return err
	}
	sealed, err := m.sealedTrust(ctx, r)
	if err != nil {
		return err
	}
	key, err := m.sealer.get().Unseal(ctx, sealed, bind)
	if err != nil {
		return fmt.Errorf("private key for key servers: %w", err)
	}
	m.setSigner(&signer{public: csr.PublicKey.(crypto.PublicKey), key: key})
	return nil
}

// setSigner makes s the key pair that is shown to key servers.
func (m *Manager) setSigner(s *signer) {
	m.mu.Lock()
	old := m.signer
	m.signer = s
	m.mu.Unlock()
	old.destroy()
	m.clients.drop()
}

// keyPair gives the signer; ErrNoKeyPair.
func (m *Manager) keyPair() (*signer, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.signer == nil {
		return nil, ErrNoKeyPair
	}
	return m.signer, nil
}
