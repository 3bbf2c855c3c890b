package tpm2seal

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Errors, by what can be done about them.
var (
	ErrNoTPM    = errors.New("no TPM 2.0 answers there")
	ErrOtherTPM = errors.New("it was sealed by another TPM, or this one was cleared meanwhile")
	ErrWrongPIN = errors.New("wrong PIN")
	ErrObject   = errors.New("sealed object is damaged")
	ErrVersion  = errors.New("sealed object has a version that is not known")
	ErrConfig   = errors.New("not a valid choice for the TPM")
	ErrOwner    = errors.New("the TPM's owner hierarchy has a password: set it to the empty one, " +
		"as operating systems leave it")
)

// PCRError says that the machine has not started in the state that the secret
// is bound to.
type PCRError struct {
	Bound   []int // PCRs that the secret is bound to
	Changed []int // those that have another value now; nil: it changed while we looked
}

// Error names the PCRs.
func (e *PCRError) Error() string {
	what := "PCR " + listPCRs(e.Changed) + " changed"
	if len(e.Changed) == 0 {
		what = "the PCRs changed meanwhile"
	}
	return fmt.Sprintf("the machine is not in the state that the key is sealed to (%s; bound to PCR %s): "+
		"firmware, boot loader or Secure Boot settings are not what they were", what, listPCRs(e.Bound))
}

// LockoutError says that the TPM takes no PIN for a while, as too many wrong
// ones were tried.
type LockoutError struct {
	Wait time.Duration // until it takes one more attempt, at most; 0: not known
}

// Error says how long to wait.
func (e *LockoutError) Error() string {
	wait := "for a time that the TPM does not tell"
	if e.Wait > 0 {
		wait = "for at most " + e.Wait.String()
	}
	return "the TPM is locked, as too many wrong PINs were tried: it takes none " + wait
}

// listPCRs is PCRs as users write them.
func listPCRs(pcrs []int) string {
	if len(pcrs) == 0 {
		return "none"
	}
	var s []string
	for _, p := range pcrs {
		s = append(s, strconv.Itoa(p))
	}
	return strings.Join(s, "+")
}
