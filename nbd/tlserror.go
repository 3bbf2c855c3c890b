package nbd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"os"
	"strings"
)

// tlsError is a TLS handshake that failed.
type tlsError struct{ cause error }

// Error says what crypto/tls said.
func (e *tlsError) Error() string { return "TLS handshake: " + e.cause.Error() }

// Unwrap gives the cause to errors.Is and errors.As.
func (e *tlsError) Unwrap() error { return e.cause }

// reason is the metric label of the failure.
func (e *tlsError) reason() string {
	var invalid x509.CertificateInvalidError
	var authority x509.UnknownAuthorityError
	var header tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case errors.As(e.cause, &invalid):
		return invalidReason(invalid)
	case errors.As(e.cause, &authority):
		return "unknown_authority"
	case errors.As(e.cause, &header):
		return "not_tls"
	case errors.As(e.cause, &alert):
		return "refused_by_client"
	case errors.Is(e.cause, os.ErrDeadlineExceeded):
		return "deadline"
	case errors.Is(e.cause, io.EOF):
		return "closed_by_client"
	case strings.Contains(e.cause.Error(), "didn't provide a certificate"):
		return "no_certificate" // crypto/tls has no type for it; pinned by TestTLSMatrix
	case strings.Contains(e.cause.Error(), "unsupported versions"):
		return "version"
	case strings.Contains(e.cause.Error(), "remote error"):
		return "refused_by_client"
	}
	return "other"
}

// invalidReason tells the two sides of a certificate's lifetime apart.
func invalidReason(e x509.CertificateInvalidError) string {
	switch {
	case e.Reason != x509.Expired:
		return "bad_certificate"
	case strings.Contains(e.Detail, "before"):
		return "not_yet_valid"
	}
	return "expired"
}

// result is the connection's metric label: a client that could not prove who
// it is, or anything else.
func (e *tlsError) result() string {
	switch e.reason() {
	case "expired", "not_yet_valid", "bad_certificate", "unknown_authority", "no_certificate":
		return resultAuthFailed
	}
	return resultTLSFailed
}
