package kmip

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// maxCertificates bounds what ParseCertificates takes.
const maxCertificates = 64

// ParseCertificates reads one or several X.509 certificates: PEM, any number
// of them in a row, or bare base64 of DER without armour. The error says what
// is wrong with the text; ErrConfig.
func ParseCertificates(text []byte) ([]*x509.Certificate, error) {
	certs, err := parseCertificates(bytes.TrimSpace(text))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: certificate: %w", ErrConfig, err)
	case len(certs) == 0:
		return nil, fmt.Errorf("%w: no certificate given", ErrConfig)
	case len(certs) > maxCertificates:
		return nil, fmt.Errorf("%w: more than %d certificates", ErrConfig, maxCertificates)
	}
	return certs, nil
}

func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	if !bytes.Contains(text, []byte("-----BEGIN")) {
		bare := bytes.Join(bytes.Fields(text), nil)
		der := make([]byte, base64.StdEncoding.DecodedLen(len(bare)))
		n, err := base64.StdEncoding.Decode(der, bare)
		if err != nil {
			return nil, errors.New("neither PEM nor base64")
		}
		return x509.ParseCertificates(der[:n])
	}
	var certs []*x509.Certificate
	for len(text) > 0 {
		block, rest := pem.Decode(text)
		if block == nil {
			return nil, errors.New("damaged PEM: line breaks must be as in the file (\\n in JSON), and nothing may follow")
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("PEM of a %q, where only certificates belong", clip(block.Type))
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, cert)
		text = bytes.TrimSpace(rest)
	}
	return certs, nil
}

// MatchesKey reports whether the certificate is for the private key, as
// Config.Certificate must give it. Both are needed; nil never matches.
func MatchesKey(cert *tls.Certificate) bool {
	leaf := leafOf(cert)
	if leaf == nil {
		return false
	}
	signer, ok := cert.PrivateKey.(crypto.Signer)
	if !ok {
		return false
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(leaf.PublicKey)
}

func leafOf(cert *tls.Certificate) *x509.Certificate {
	if cert == nil || len(cert.Certificate) == 0 {
		return nil
	}
	if cert.Leaf != nil {
		return cert.Leaf
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return nil
	}
	return leaf
}

// clientCertificate gets the certificate to show now, and refuses one that no
// server could accept.
func (s *settings) clientCertificate() (*tls.Certificate, *x509.Certificate, error) {
	cert, err := s.certificate()
	if err != nil {
		return nil, nil, &classified{ClassClientCertKeyMismatch, StepCertificate, fmt.Errorf("client certificate: %w", err)}
	}
	leaf := leafOf(cert)
	if leaf == nil {
		return nil, nil, &classified{ClassClientCertKeyMismatch, StepCertificate, errors.New("there is no client certificate")}
	}
	now := s.now()
	switch {
	case !MatchesKey(cert):
		err = &classified{ClassClientCertKeyMismatch, StepCertificate, errors.New("client certificate is not for our key pair")}
	case now.After(leaf.NotAfter):
		err = &classified{
			ClassClientCertExpired, StepCertificate,
			fmt.Errorf("client certificate expired at %s", leaf.NotAfter.UTC().Format(time.RFC3339)),
		}
	case now.Before(leaf.NotBefore):
		err = &classified{
			ClassClientCertExpired, StepCertificate,
			fmt.Errorf("client certificate is valid only from %s", leaf.NotBefore.UTC().Format(time.RFC3339)),
		}
	}
	return cert, leaf, err
}

// tlsConfig is for one connection to host. Chain and name are always verified.
func (s *settings) tlsConfig(host string, cert *tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		ServerName: host,
		RootCAs:    s.roots,
		Time:       s.now,
		// Always ours, whatever CAs the server asks for: a server that does not
		// want it then says so, which is better than to be refused as nobody.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil },
	}
}

// handshake is given up when ctx ends.
func handshake(ctx context.Context, conn *tls.Conn) error {
	err := conn.HandshakeContext(ctx)
	if err != nil && ctx.Err() != nil {
		return ctx.Err() // crypto/tls reports how its connection was closed then
	}
	return err
}
