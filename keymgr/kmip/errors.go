package kmip

import (
	"errors"
	"fmt"
)

// Errors that are not about a key server.
var (
	ErrClosed = errors.New("key server client is closed")
	ErrConfig = errors.New("not a usable key server")
	ErrInput  = errors.New("not a usable request")
)

// Class says what there is to be fixed. It is a metric label, and part of test
// results and faults.
type Class string

// The classes. The first group is about the way to the server, the second
// about trust, the third is what the server says or does.
const (
	ClassDNS     Class = "dns"     // the name has no address
	ClassRefused Class = "refused" // nobody listens, or there is no route
	ClassTimeout Class = "timeout" // no answer in time
	ClassReset   Class = "reset"   // the connection broke

	ClassTLSVersion            Class = "tlsVersion"            // no common TLS version or cipher suite
	ClassTLSServerUntrusted    Class = "tlsServerUntrusted"    // its certificate is not from the given CA
	ClassTLSServerName         Class = "tlsServerName"         // its certificate is for another name
	ClassTLSServerExpired      Class = "tlsServerExpired"      // its certificate is not valid now
	ClassTLSClientRejected     Class = "tlsClientRejected"     // it does not accept our certificate
	ClassClientCertExpired     Class = "clientCertExpired"     // our certificate is not valid now
	ClassClientCertKeyMismatch Class = "clientCertKeyMismatch" // our certificate is not for our key

	ClassNoCommonVersion  Class = "noCommonVersion"  // of KMIP
	ClassProtocol         Class = "protocol"         // not an answer as KMIP demands
	ClassPermissionDenied Class = "permissionDenied" // this identity may not do that
	ClassAuthentication   Class = "authentication"   // this identity is not known
	ClassKeyNotFound      Class = "keyNotFound"      // no such key, or not for us
	ClassKeyNotActive     Class = "keyNotActive"     // its state forbids the use
	ClassKeyMismatch      Class = "keyMismatch"      // not the key that was asked for
	ClassUnsupported      Class = "unsupported"      // the server cannot do that
	ClassServerBusy       Class = "serverBusy"       // too much to do, try later
	ClassServerError      Class = "serverError"      // the server failed for reasons of its own
)

// Step is how far a request came. The order is that of the work.
type Step string

// The steps; a test of a server names the one that failed.
const (
	StepName           Step = "name"           // find the address
	StepConnect        Step = "connect"        // TCP
	StepTLS            Step = "tls"            // agree on TLS
	StepCertificate    Step = "certificate"    // trust each other's certificate
	StepAuthentication Step = "authentication" // the server knows us
	StepResult         Step = "result"         // it does what is asked
)

// Error is a failure of a key server, or of the way to it.
type Error struct {
	Class     Class
	Address   string // host:port
	Operation string // "Get"; "Test" or "Connect" before any
	Step      Step
	Hint      string // what to fix, without full stop
	Err       error  // the cause; text of the server in it is quoted and capped
}

// Error says operation, address, class and cause, not the hint.
func (e *Error) Error() string {
	return fmt.Sprintf("kmip %s at %s: %s: %v", e.Operation, e.Address, e.Class, e.Err)
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is an Error of the same class, or of any class if
// it has none: errors.Is(err, &kmip.Error{Class: kmip.ClassKeyNotFound}).
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && (t.Class == "" || t.Class == e.Class) && t.Address == "" && t.Err == nil
}

// UnknownOutcomeError says that a Create or Register was sent and its answer
// did not come: the object may exist. Locate Name at every address before
// trying again.
type UnknownOutcomeError struct {
	Operation string
	Name      string // of the object
	Address   string // where it may exist
	Err       error  // an *Error, or that of the caller's context
}

// Error says what is unknown and why.
func (e *UnknownOutcomeError) Error() string {
	return fmt.Sprintf("kmip %s of %q at %s may have happened or not: %v", e.Operation, e.Name, e.Address, e.Err)
}

// Unwrap gives the reason.
func (e *UnknownOutcomeError) Unwrap() error { return e.Err }

// ClassOf gives the class of the first Error in err, "" when there is none.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return ""
}

// HintOf gives the hint of the first Error in err, "" when there is none.
func HintOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Hint
	}
	return ""
}

// StepOf gives the step at which the first Error in err failed, "" when there is
// none.
func StepOf(err error) Step {
	var e *Error
	if errors.As(err, &e) {
		return e.Step
	}
	return ""
}

// hint says what to do about a class.
func hint(c Class) string {
	switch c {
	case ClassDNS:
		return "check the host name of the key server, and this machine's name service"
	case ClassRefused:
		return "check that the key server runs and listens on this port, and that a route leads there"
	case ClassTimeout:
		return "check that the key server is alive, and that no firewall drops the connection"
	case ClassReset:
		return "check the key server's log; some servers close the connection when they do not accept the client certificate"
	case ClassTLSVersion:
		return "the key server must speak TLS 1.2 or 1.3 with an AEAD or ECDHE cipher suite; an ECDSA server certificate may help"
	case ClassTLSServerUntrusted:
		return "give the CA certificate that signed the key server's certificate"
	case ClassTLSServerName:
		return "use a host name that is in the key server's certificate, or have it reissued with this one"
	case ClassTLSServerExpired:
		return "have the key server's certificate renewed, and compare the clocks"
	case ClassTLSClientRejected:
		return "have the key server trust the CA of the client certificate, which must allow client authentication"
	case ClassClientCertExpired:
		return "make a new certificate signing request, have it signed, and give the key server entry the new certificate; compare the clocks"
	case ClassClientCertKeyMismatch:
		return "the client certificate was made for another key: sign the present certificate signing request"
	}
	return hintOfAnswer(c)
}

func hintOfAnswer(c Class) string {
	switch c {
	case ClassNoCommonVersion:
		return "the key server must speak one of KMIP 1.0 to 1.4"
	case ClassProtocol:
		return "check that the port is that of the key server's KMIP service (TTLV), and its log"
	case ClassPermissionDenied:
		return "check what the key server allows the user of the client certificate, and who owns the key"
	case ClassAuthentication:
		return "register the client certificate's name with the key server"
	case ClassKeyNotFound:
		return "check that the key still exists, that this key server has it, and who owns it"
	case ClassKeyNotActive:
		return "check the state of the key at the key server"
	case ClassKeyMismatch:
		return "the key server has another key in this place: check its backup, its replication, and that it is the right server"
	case ClassUnsupported:
		return "use a key server, or a version of it, that has this operation"
	case ClassServerBusy:
		return "wait; if it lasts, look at the key server's load"
	case ClassServerError:
		return "look at the key server's log"
	}
	return ""
}
