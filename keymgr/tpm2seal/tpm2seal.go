// Package tpm2seal seals a small secret by a TPM 2.0, so that only this TPM
// gives it back, only while the machine has started as it had when it was
// sealed (platform configuration registers), and, if wanted, only to who knows
// a PIN. The TPM counts wrong PINs and locks itself.
//
// The secret is the data of a keyed-hash object under the storage root key: the
// ECC P-256 key that the TCG's default template gives in the owner hierarchy.
// That key is derived anew each time and takes no place in the TPM. Commands
// that carry the secret or prove the PIN go through sessions salted with that
// key, so that neither can be read between processor and TPM.
//
// What a TPM does not give: protection from who can run code on the machine in
// the state that the secret is bound to, or who has the whole machine, if there
// is no PIN.
package tpm2seal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/go-tpm/tpm2"
)

// DefaultDevice is the kernel's TPM with resource manager.
const DefaultDevice = "/dev/tpmrm0"

// AuthBytes is the length of what a PIN is turned into by the caller.
const AuthBytes = sha256.Size

// MaxSecret bounds a secret in bytes: what every TPM can seal.
const MaxSecret = 128

// Config says what a secret is to be bound to.
type Config struct {
	Device string // character device, or socket of an emulator
	PCRs   []int  // of the SHA-256 bank, 0 to 23; none: any state of the machine
}

// NeedsPIN says whether an object was sealed with a PIN, which its user must be
// asked for. ErrObject, ErrVersion.
func NeedsPIN(obj []byte) (bool, error) {
	o, err := parseObject(obj)
	return err == nil && o.pin, err
}

// Seal seals a secret of at most MaxSecret bytes, and proves that it can be
// unsealed, before it gives the object. auth is AuthBytes made from the PIN, or
// nil for none. Errors: ErrConfig, ErrNoTPM, ErrOwner, *LockoutError.
func Seal(ctx context.Context, c Config, secret, auth []byte) ([]byte, error) {
	o, err := newObject(c, secret, auth)
	if err != nil {
		return nil, err
	}
	s, err := begin(ctx, c.Device)
	if err != nil {
		return nil, err
	}
	defer s.end()
	o.root = s.root.Name.Buffer
	if o.values, err = s.readPCRs(o.pcrs); err != nil {
		return nil, err
	}
	if err := s.create(o, secret, auth); err != nil {
		return nil, s.explain("seal", o, err)
	}
	back, err := s.unseal(o, auth)
	if err != nil {
		return nil, fmt.Errorf("prove sealed object: %w", s.explain("unseal", o, err))
	}
	defer clear(back)
	if subtle.ConstantTimeCompare(back, secret) != 1 {
		return nil, fmt.Errorf("%w: what comes back differs", ErrObject)
	}
	return o.marshal(), nil
}

// newObject is an object without what only the TPM knows.
func newObject(c Config, secret, auth []byte) (*object, error) {
	o := &object{pin: auth != nil, pcrs: slices.Sorted(slices.Values(c.PCRs))}
	o.pcrs = slices.Compact(o.pcrs)
	switch {
	case len(o.pcrs) > 0 && (o.pcrs[0] < 0 || o.pcrs[len(o.pcrs)-1] > maxPCR):
		return nil, fmt.Errorf("%w: PCRs are 0 to %d", ErrConfig, maxPCR)
	case len(secret) == 0 || len(secret) > MaxSecret:
		return nil, fmt.Errorf("%w: a secret of %d bytes", ErrConfig, len(secret))
	case auth != nil && len(auth) != AuthBytes:
		return nil, fmt.Errorf("%w: %d bytes for a PIN", ErrConfig, len(auth))
	}
	return o, nil
}

// Unseal gives what Seal sealed; the caller wipes it. A PIN is tried once, and
// only when everything else fits. Errors: ErrNoTPM, ErrOtherTPM, *PCRError,
// ErrWrongPIN, *LockoutError, ErrObject, ErrVersion, ErrOwner.
func Unseal(ctx context.Context, device string, obj, auth []byte) ([]byte, error) {
	o, err := parseObject(obj)
	if err != nil {
		return nil, err
	}
	if o.pin != (auth != nil) {
		return nil, fmt.Errorf("%w: PIN given: %v, needed: %v", ErrConfig, auth != nil, o.pin)
	}
	s, err := begin(ctx, device)
	if err != nil {
		return nil, err
	}
	defer s.end()
	if !bytes.Equal(o.root, s.root.Name.Buffer) {
		return nil, ErrOtherTPM
	}
	if err := s.ready(o); err != nil {
		return nil, err
	}
	secret, err := s.unseal(o, auth)
	if err != nil {
		return nil, s.explain("unseal", o, err)
	}
	return secret, nil
}

// session is a TPM with its storage root key loaded.
type session struct {
	tpm    *link
	root   *tpm2.CreatePrimaryResponse
	public *tpm2.TPMTPublic // of root
}

// begin connects, and makes the storage root key.
func begin(ctx context.Context, device string) (*session, error) {
	l, err := dial(ctx, device)
	if err != nil {
		return nil, err
	}
	s := &session{tpm: l}
	s.root, err = tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate)}.Execute(l)
	switch {
	case errors.Is(err, tpm2.TPMRCBadAuth) || errors.Is(err, tpm2.TPMRCAuthFail):
		err = ErrOwner
	case err == nil:
		if s.public, err = s.root.OutPublic.Contents(); err != nil {
			s.end()
			return nil, fmt.Errorf("storage root key: %w", err)
		}
		return s, nil
	}
	l.close()
	return nil, fmt.Errorf("make storage root key: %w", err)
}

// end unloads the storage root key and closes the connection.
func (s *session) end() {
	s.flush(s.root.ObjectHandle)
	s.tpm.close()
}

// flush unloads an object. Where that fails the TPM has gone, or the resource
// manager does it when the connection is closed.
func (s *session) flush(h tpm2.TPMHandle) { _, _ = tpm2.FlushContext{FlushHandle: h}.Execute(s.tpm) }

// salted are the options of a session that encrypts with a key only this TPM
// and we know.
func (s *session) salted(more ...tpm2.AuthOption) []tpm2.AuthOption {
	return append(more, tpm2.Salted(s.root.ObjectHandle, *s.public))
}

// parent authorizes the use of the storage root key, and encrypts the first
// parameter of the command.
func (s *session) parent() tpm2.AuthHandle {
	return tpm2.AuthHandle{
		Handle: s.root.ObjectHandle, Name: s.root.Name,
		Auth: tpm2.HMAC(tpm2.TPMAlgSHA256, 16, s.salted(tpm2.AESEncryption(128, tpm2.EncryptIn))...),
	}
}

// create has the TPM make the object. Dictionary attack protection is for
// objects with a PIN only: others have nothing to guess.
func (s *session) create(o *object, secret, auth []byte) error {
	policy, err := o.policy()
	if err != nil {
		return err
	}
	sensitive := &tpm2.TPMSSensitiveCreate{
		UserAuth: tpm2.TPM2BAuth{Buffer: auth},
		Data:     tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: secret}),
	}
	rsp, err := tpm2.Create{
		ParentHandle: s.parent(),
		InSensitive:  tpm2.TPM2BSensitiveCreate{Sensitive: sensitive},
		InPublic: tpm2.New2B(tpm2.TPMTPublic{
			Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256, AuthPolicy: tpm2.TPM2BDigest{Buffer: policy},
			ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, NoDA: !o.pin},
		}),
	}.Execute(s.tpm)
	if err != nil {
		return err
	}
	o.public, o.private = rsp.OutPublic.Bytes(), rsp.OutPrivate.Buffer
	return nil
}

// unseal loads the object and unseals it, once.
func (s *session) unseal(o *object, auth []byte) ([]byte, error) {
	loaded, err := tpm2.Load{
		ParentHandle: s.parent(),
		InPrivate:    tpm2.TPM2BPrivate{Buffer: o.private}, InPublic: tpm2.BytesAs2B[tpm2.TPMTPublic](o.public),
	}.Execute(s.tpm)
	if err != nil {
		return nil, err
	}
	defer s.flush(loaded.ObjectHandle)
	auths := s.salted(tpm2.Auth(auth), tpm2.AESEncryption(128, tpm2.EncryptOut))
	policy, end, err := tpm2.PolicySession(s.tpm, tpm2.TPMAlgSHA256, 16, auths...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = end() }() // as flush
	if len(o.pcrs) > 0 {
		if _, err := (tpm2.PolicyPCR{PolicySession: policy.Handle(), Pcrs: selection(o.pcrs)}).Execute(s.tpm); err != nil {
			return nil, err
		}
	}
	if o.usesAuth() {
		if _, err := (tpm2.PolicyAuthValue{PolicySession: policy.Handle()}).Execute(s.tpm); err != nil {
			return nil, err
		}
	}
	rsp, err := tpm2.Unseal{
		ItemHandle: tpm2.AuthHandle{Handle: loaded.ObjectHandle, Name: loaded.Name, Auth: policy},
	}.Execute(s.tpm)
	if err != nil {
		return nil, err
	}
	defer clear(rsp.OutData.Buffer)
	return bytes.Clone(rsp.OutData.Buffer), nil
}

// readPCRs gives the values of PCRs. A TPM answers with a few at a time.
func (s *session) readPCRs(pcrs []int) ([][]byte, error) {
	var out [][]byte
	for len(out) < len(pcrs) {
		rsp, err := tpm2.PCRRead{PCRSelectionIn: selection(pcrs[len(out):])}.Execute(s.tpm)
		if err != nil {
			return nil, fmt.Errorf("read PCRs: %w", err)
		}
		if len(rsp.PCRValues.Digests) == 0 || len(out)+len(rsp.PCRValues.Digests) > len(pcrs) {
			return nil, fmt.Errorf("%w: the TPM has no SHA-256 value of PCR %s", ErrConfig, listPCRs(pcrs[len(out):]))
		}
		for _, d := range rsp.PCRValues.Digests {
			if len(d.Buffer) != sha256.Size {
				return nil, fmt.Errorf("%w: value of a PCR with %d bytes", ErrConfig, len(d.Buffer))
			}
			out = append(out, bytes.Clone(d.Buffer))
		}
	}
	return out, nil
}

// ready finds, before a PIN is tried, what would make the TPM refuse.
func (s *session) ready(o *object) error {
	now, err := s.readPCRs(o.pcrs)
	if err != nil {
		return err
	}
	var changed []int
	for i, p := range o.pcrs {
		if !bytes.Equal(now[i], o.values[i]) {
			changed = append(changed, p)
		}
	}
	if changed != nil {
		return &PCRError{Bound: o.pcrs, Changed: changed}
	}
	if !o.pin {
		return nil
	}
	p, err := s.properties()
	if err != nil {
		return fmt.Errorf("ask whether the TPM is locked: %w", err)
	}
	if p[tpm2.TPMPTPermanent]&inLockout != 0 {
		return lockoutOf(p)
	}
	return nil
}

// inLockout is the bit of TPMA_PERMANENT that says so; part 2, 8.6.
const inLockout = 1 << 9

// properties are the variable ones, of which those about the lockout matter.
func (s *session) properties() (map[tpm2.TPMPT]uint32, error) {
	rsp, err := tpm2.GetCapability{
		Capability: tpm2.TPMCapTPMProperties, Property: uint32(tpm2.TPMPTPermanent), PropertyCount: 32,
	}.Execute(s.tpm)
	if err != nil {
		return nil, err
	}
	list, err := rsp.CapabilityData.Data.TPMProperties()
	if err != nil {
		return nil, err
	}
	out := map[tpm2.TPMPT]uint32{}
	for _, p := range list.TPMProperty {
		out[p.Property] = p.Value
	}
	return out, nil
}

// lockoutOf tells when one of the counted failures is forgiven.
func lockoutOf(p map[tpm2.TPMPT]uint32) error {
	over := max(p[tpm2.TPMPTLockoutCounter], p[tpm2.TPMPTMaxAuthFail]) - p[tpm2.TPMPTMaxAuthFail]
	return &LockoutError{Wait: time.Duration(over+1) * time.Duration(p[tpm2.TPMPTLockoutInterval]) * time.Second}
}

// explain turns a TPM's code into what there is to be done.
func (s *session) explain(what string, o *object, err error) error {
	switch {
	case errors.Is(err, tpm2.TPMRCLockout):
		p, _ := s.properties() // without it the time is not known
		return lockoutOf(p)
	case errors.Is(err, tpm2.TPMRCAuthFail), errors.Is(err, tpm2.TPMRCBadAuth):
		return ErrWrongPIN
	case errors.Is(err, tpm2.TPMRCPolicyFail), errors.Is(err, tpm2.TPMRCPCRChanged):
		return &PCRError{Bound: o.pcrs}
	case errors.Is(err, tpm2.TPMRCIntegrity), errors.Is(err, tpm2.TPMRCSize), errors.Is(err, tpm2.TPMRCBinding):
		return fmt.Errorf("%w (%w)", ErrObject, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
