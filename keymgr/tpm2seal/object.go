package tpm2seal

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/google/go-tpm/tpm2"
)

// An object is what Seal gives and Unseal needs, big endian:
//
//	 0  1  version 1
//	 1  1  1: a PIN is needed; 0: none
//	 2  2  hash of the PCR bank, 0x000B (SHA-256)
//	 4  4  PCRs that it is bound to: bit i is PCR i, 0 to 23
//	 8 34  name of the storage root key (TPMT_HA: 0x000B, SHA-256)
//	42  …  value of each of those PCRs when it was sealed, 32 bytes, ascending
//	 …  2  length of the public area, and it (TPMT_PUBLIC)
//	 …  2  length of the private area, and it (TPM2B_PRIVATE without its length)
//
// Nothing of it is secret: the private area is encrypted by the TPM.
type object struct {
	pin     bool
	pcrs    []int // ascending
	root    []byte
	values  [][]byte
	public  []byte
	private []byte
}

const (
	objectVersion = 1
	objectHead    = 8
	nameBytes     = 2 + sha256.Size
	maxPCR        = 23

	// MaxObject bounds an object in bytes.
	MaxObject = 2048
)

func (o *object) marshal() []byte {
	b := []byte{objectVersion, 0}
	if o.pin {
		b[1] = 1
	}
	b = binary.BigEndian.AppendUint16(b, uint16(tpm2.TPMAlgSHA256))
	b = binary.BigEndian.AppendUint32(b, mask(o.pcrs))
	b = append(b, o.root...)
	for _, v := range o.values {
		b = append(b, v...)
	}
	for _, area := range [][]byte{o.public, o.private} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(area)))
		b = append(b, area...)
	}
	return b
}

// parseObject bounds and checks an object; its slices are parts of b.
func parseObject(b []byte) (*object, error) {
	if len(b) < objectHead+nameBytes || len(b) > MaxObject {
		return nil, fmt.Errorf("%w (%d bytes)", ErrObject, len(b))
	}
	if b[0] != objectVersion {
		return nil, fmt.Errorf("%w (%d)", ErrVersion, b[0])
	}
	m := binary.BigEndian.Uint32(b[4:])
	if b[1] > 1 || binary.BigEndian.Uint16(b[2:]) != uint16(tpm2.TPMAlgSHA256) || m>>(maxPCR+1) != 0 {
		return nil, fmt.Errorf("%w (PIN flag, bank or PCRs)", ErrObject)
	}
	o := &object{pin: b[1] == 1, pcrs: unmask(m), root: b[objectHead : objectHead+nameBytes]}
	b = b[objectHead+nameBytes:]
	for range o.pcrs {
		if len(b) < sha256.Size {
			return nil, fmt.Errorf("%w (PCR values)", ErrObject)
		}
		o.values, b = append(o.values, b[:sha256.Size]), b[sha256.Size:]
	}
	for _, area := range []*[]byte{&o.public, &o.private} {
		if len(b) < 2 || int(binary.BigEndian.Uint16(b)) > len(b)-2 {
			return nil, fmt.Errorf("%w (areas)", ErrObject)
		}
		n := 2 + int(binary.BigEndian.Uint16(b))
		*area, b = b[2:n], b[n:]
	}
	if len(b) > 0 || len(o.public) == 0 || len(o.private) == 0 {
		return nil, fmt.Errorf("%w (length)", ErrObject)
	}
	return o, o.checkPolicy()
}

// checkPolicy compares what is recorded with what the TPM will enforce.
func (o *object) checkPolicy() error {
	pub, err := tpm2.Unmarshal[tpm2.TPMTPublic](o.public)
	if err != nil {
		return fmt.Errorf("%w (public area: %w)", ErrObject, err)
	}
	want, err := o.policy()
	if err != nil {
		return err
	}
	if pub.Type != tpm2.TPMAlgKeyedHash || string(pub.AuthPolicy.Buffer) != string(want) {
		return fmt.Errorf("%w (it has another policy than the one recorded)", ErrObject)
	}
	return nil
}

// policy is the digest of PolicyPCR, if there are PCRs, and PolicyAuthValue, if
// there is a PIN or else nothing. TPM 2.0 Library, part 3, 23.7 and 23.17.
func (o *object) policy() ([]byte, error) {
	p, err := tpm2.NewPolicyCalculator(tpm2.TPMAlgSHA256)
	if err != nil {
		return nil, err
	}
	if len(o.pcrs) > 0 {
		h := sha256.New()
		for _, v := range o.values {
			h.Write(v)
		}
		cmd := tpm2.PolicyPCR{PcrDigest: tpm2.TPM2BDigest{Buffer: h.Sum(nil)}, Pcrs: selection(o.pcrs)}
		if err := cmd.Update(p); err != nil {
			return nil, err
		}
	}
	if o.usesAuth() {
		if err := (tpm2.PolicyAuthValue{}).Update(p); err != nil {
			return nil, err
		}
	}
	return p.Hash().Digest, nil
}

// usesAuth says that the policy asks for the authorization value; without PIN
// that is the empty one, so that no policy is empty.
func (o *object) usesAuth() bool { return o.pin || len(o.pcrs) == 0 }

// selection is PCRs of the SHA-256 bank.
func selection(pcrs []int) tpm2.TPMLPCRSelection {
	var list []uint
	for _, p := range pcrs {
		list = append(list, uint(p))
	}
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{
		Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(list...),
	}}}
}

func mask(pcrs []int) (m uint32) {
	for _, p := range pcrs {
		m |= 1 << p
	}
	return m
}

func unmask(m uint32) (pcrs []int) {
	for ; m != 0; m &= m - 1 {
		pcrs = append(pcrs, bits.TrailingZeros32(m))
	}
	return pcrs
}
