package kmip

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"strings"
	"syscall"

	"github.com/gemalto/kmip-go/kmip14"
)

// classified is an error whose class is known where it arises.
type classified struct {
	class Class
	step  Step
	err   error
}

func (e *classified) Error() string { return e.err.Error() }
func (e *classified) Unwrap() error { return e.err }

// classify gives the class of what went wrong in step, and the step that the
// class belongs to: a request may find out that the certificate is not liked.
func classify(err error, step Step) (Class, Step) {
	var known *classified
	var result *resultError
	switch {
	case errors.As(err, &known):
		return known.class, known.step
	case errors.As(err, &result):
		return classOfReason(result.reason)
	case errors.Is(err, errMalformed):
		return ClassProtocol, StepResult
	}
	if class, ok := classOfCertificate(err); ok {
		return class, StepCertificate
	}
	if class, ok := classOfAlert(err); ok {
		if class == ClassTLSClientRejected || class == ClassClientCertExpired || class == ClassTLSServerName {
			step = StepCertificate
		}
		return class, step
	}
	return classOfNetwork(err, step)
}

// classOfCertificate knows why we refuse the server's certificate.
func classOfCertificate(err error) (Class, bool) {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verify *tls.CertificateVerificationError
	switch {
	case errors.As(err, &host):
		return ClassTLSServerName, true
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return ClassTLSServerExpired, true
	case errors.As(err, &authority), errors.As(err, &invalid), errors.As(err, &verify):
		return ClassTLSServerUntrusted, true
	}
	return "", false
}

// classOfAlert knows the alerts of a server (RFC 8446 section 6). The number
// is in an unexported type of crypto/tls, below an OpError.
func classOfAlert(err error) (Class, bool) {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" || op.Err == nil {
		return "", false
	}
	v := reflect.ValueOf(op.Err)
	if v.Kind() != reflect.Uint8 {
		return "", false
	}
	switch v.Uint() {
	case 42, 43, 44, 46, 48, 49, 116: // bad, unsupported, revoked, unknown certificate, unknown CA, access denied, certificate required
		return ClassTLSClientRejected, true
	case 45: // certificate expired
		return ClassClientCertExpired, true
	case 51: // decrypt error: our signature does not verify
		return ClassClientCertKeyMismatch, true
	case 40, 70, 71, 86: // handshake failure, protocol version, insufficient security, inappropriate fallback
		return ClassTLSVersion, true
	case 112: // unrecognized name
		return ClassTLSServerName, true
	}
	return ClassProtocol, true
}

// classOfNetwork knows what the operating system and the name service say.
func classOfNetwork(err error, step Step) (Class, Step) {
	var dns *net.DNSError
	var netErr net.Error
	switch {
	case errors.As(err, &dns):
		return ClassDNS, StepName
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &netErr) && netErr.Timeout():
		return ClassTimeout, step
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNABORTED),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return ClassReset, step
	case step == StepConnect:
		return ClassRefused, step // refused, unreachable, not permitted
	case step == StepTLS && strings.Contains(err.Error(), "protocol version"):
		return ClassTLSVersion, step // a server that is too old: crypto/tls has no type for that
	}
	return ClassProtocol, step
}

// classOfReason knows the reasons of KMIP 1.4, section 9.1.3.2.29.
func classOfReason(r kmip14.ResultReason) (Class, Step) {
	switch r {
	case kmip14.ResultReasonItemNotFound, kmip14.ResultReasonKeyValueNotPresent:
		return ClassKeyNotFound, StepResult
	case kmip14.ResultReasonAuthenticationNotSuccessful, kmip14.ResultReasonAttestationRequired,
		kmip14.ResultReasonAttestationFailed:
		return ClassAuthentication, StepAuthentication
	case kmip14.ResultReasonPermissionDenied, kmip14.ResultReasonSensitive, kmip14.ResultReasonNotExtractable:
		return ClassPermissionDenied, StepAuthentication
	case kmip14.ResultReasonObjectArchived, kmip14.ResultReasonIllegalOperation:
		return ClassKeyNotActive, StepResult
	case kmip14.ResultReasonInvalidMessage, kmip14.ResultReasonOperationNotSupported, kmip14.ResultReasonMissingData,
		kmip14.ResultReasonInvalidField, kmip14.ResultReasonFeatureNotSupported, kmip14.ResultReasonIndexOutOfBounds,
		kmip14.ResultReasonApplicationNamespaceNotSupported, kmip14.ResultReasonKeyFormatTypeNotSupported,
		kmip14.ResultReasonKeyCompressionTypeNotSupported, kmip14.ResultReasonEncodingOptionError,
		kmip14.ResultReasonResponseTooLarge:
		return ClassUnsupported, StepResult
	case kmip14.ResultReasonOperationCanceledByRequester:
		return ClassServerBusy, StepResult // a server at its limits gives up; we never cancel
	}
	return ClassServerError, StepResult
}

// aboutServer reports whether an error of this class speaks against the
// address, so that the next request should try others first.
func (c Class) aboutServer() bool {
	switch c {
	case ClassPermissionDenied, ClassAuthentication, ClassKeyNotFound, ClassKeyNotActive, ClassKeyMismatch,
		ClassUnsupported, ClassClientCertExpired, ClassClientCertKeyMismatch:
		return false
	}
	return true
}
