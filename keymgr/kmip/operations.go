package kmip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gemalto/kmip-go/kmip14"
	"github.com/gemalto/kmip-go/ttlv"
)

// Names of attributes, KMIP 1.4 section 3.
const (
	attrName      = "Name"
	attrGroup     = "Object Group"
	attrType      = "Object Type"
	attrState     = "State"
	attrAlgorithm = "Cryptographic Algorithm"
	attrLength    = "Cryptographic Length"
	attrMask      = "Cryptographic Usage Mask"
)

// KeyBytes is the size of the keys that Create makes and Get accepts.
const KeyBytes = 32

// Type is the type of an object.
type Type uint32

// The types that this package handles.
const (
	SymmetricKey = Type(kmip14.ObjectTypeSymmetricKey)
	SecretData   = Type(kmip14.ObjectTypeSecretData)
)

// String gives "SymmetricKey".
func (t Type) String() string { return kmip14.ObjectType(t).String() }

// State is that of a key, KMIP 1.4 section 3.22.
type State uint32

// The states.
const (
	PreActive            = State(kmip14.StatePreActive)
	Active               = State(kmip14.StateActive)
	Deactivated          = State(kmip14.StateDeactivated)
	Compromised          = State(kmip14.StateCompromised)
	Destroyed            = State(kmip14.StateDestroyed)
	DestroyedCompromised = State(kmip14.StateDestroyedCompromised)
)

// String gives "PreActive".
func (s State) String() string { return kmip14.State(s).String() }

// Object says what a new key is to be called. Texts have at most NameBytes.
type Object struct {
	Name   string   // need not be unique for the server; make it so
	Group  string   // Object Group, may be empty
	Custom []Custom // left out when the server refuses them
}

// Custom is a custom text attribute; the name begins with "x-".
type Custom struct {
	Name, Value string
}

// Created is a new key.
type Created struct {
	ID      string // the server's unique identifier
	Address string // that answered
	// CustomRefused: the server takes no custom attributes, so the key has none.
	CustomRefused bool
}

// Create has the server make an AES-256 key that may encrypt and decrypt. It is
// PreActive. An *UnknownOutcomeError says that it may exist.
func (c *Client) Create(ctx context.Context, o Object) (Created, error) {
	return c.make(ctx, o, create)
}

func create(o Object) request {
	return request{op: kmip14.OperationCreate, payload: func(e *ttlv.Encoder) {
		e.EncodeEnumeration(kmip14.TagObjectType, uint32(SymmetricKey))
		structure(e, kmip14.TagTemplateAttribute, func(e *ttlv.Encoder) {
			attribute(e, attrAlgorithm, func(e *ttlv.Encoder) {
				e.EncodeEnumeration(kmip14.TagAttributeValue, uint32(kmip14.CryptographicAlgorithmAES))
			})
			attribute(e, attrLength, func(e *ttlv.Encoder) { e.EncodeInteger(kmip14.TagAttributeValue, KeyBytes*8) })
			attribute(e, attrMask, func(e *ttlv.Encoder) { e.EncodeInteger(kmip14.TagAttributeValue, keyMask) })
			o.encode(e)
		})
	}}
}

const keyMask = int32(kmip14.CryptographicUsageMaskEncrypt | kmip14.CryptographicUsageMaskDecrypt)

// Register gives the server our own secret to keep, as Secret Data of type
// Password in opaque form (Storage Array with Self-Encrypting Drives profile).
// The caller keeps and wipes secret. Errors are as for Create.
func (c *Client) Register(ctx context.Context, o Object, secret []byte) (Created, error) {
	if len(secret) == 0 || len(secret) > 1024 {
		return Created{}, fmt.Errorf("%w: secret of %d bytes", ErrInput, len(secret))
	}
	return c.make(ctx, o, func(o Object) request { return register(o, secret) })
}

func register(o Object, secret []byte) request {
	return request{op: kmip14.OperationRegister, material: secret, payload: func(e *ttlv.Encoder) {
		e.EncodeEnumeration(kmip14.TagObjectType, uint32(SecretData))
		structure(e, kmip14.TagTemplateAttribute, o.encode)
		structure(e, kmip14.TagSecretData, func(e *ttlv.Encoder) {
			e.EncodeEnumeration(kmip14.TagSecretDataType, uint32(kmip14.SecretDataTypePassword))
			structure(e, kmip14.TagKeyBlock, func(e *ttlv.Encoder) {
				e.EncodeEnumeration(kmip14.TagKeyFormatType, uint32(kmip14.KeyFormatTypeOpaque))
				structure(e, kmip14.TagKeyValue, func(e *ttlv.Encoder) {
					e.EncodeByteString(kmip14.TagKeyMaterial, make([]byte, len(secret)))
				})
			})
		})
	}}
}

// make sends a Create or Register; once more without the custom attributes if
// the server refused them, for then it made nothing.
func (c *Client) make(ctx context.Context, o Object, build func(Object) request) (Created, error) {
	if err := o.check(); err != nil {
		return Created{}, err
	}
	id, address, err := performOnce(ctx, c, build(o), o.Name, readID)
	if err == nil || len(o.Custom) == 0 || !refusesField(err) {
		return Created{ID: id, Address: address}, err
	}
	c.log.Info("key server refuses custom attributes", "server", address, "err", err)
	o.Custom = nil
	id, address, err = performOnce(ctx, c, build(o), o.Name, readID)
	return Created{ID: id, Address: address, CustomRefused: err == nil}, err
}

func refusesField(err error) bool {
	var r *resultError
	return errors.As(err, &r) && slices.Contains([]kmip14.ResultReason{
		kmip14.ResultReasonInvalidField, kmip14.ResultReasonFeatureNotSupported, kmip14.ResultReasonIndexOutOfBounds,
	}, r.reason)
}

func (o Object) check() error {
	if o.Name == "" {
		return fmt.Errorf("%w: a key needs a name to be found by", ErrInput)
	}
	texts := []string{o.Name, o.Group}
	for _, a := range o.Custom {
		if !strings.HasPrefix(a.Name, "x-") {
			return fmt.Errorf("%w: custom attribute %.140q does not begin with x-", ErrInput, a.Name)
		}
		texts = append(texts, a.Name, a.Value)
	}
	for _, s := range texts {
		if len(s) > NameBytes || !utf8.ValidString(s) {
			return fmt.Errorf("%w: %.140q is not text of at most %d bytes", ErrInput, s, NameBytes)
		}
	}
	return nil
}

// encode writes the attributes, in the order of the profile's test cases.
func (o Object) encode(e *ttlv.Encoder) {
	if o.Group != "" {
		textAttribute(e, attrGroup, o.Group)
	}
	for _, a := range o.Custom {
		textAttribute(e, a.Name, a.Value)
	}
	nameAttribute(e, o.Name)
}

func readID(p item) (string, error) {
	id, err := p.text(kmip14.TagUniqueIdentifier, maxID)
	if err == nil && id == "" {
		err = malformed("with an empty unique identifier")
	}
	return id, err
}

// Search says which keys to look for; empty members match all.
type Search struct {
	Name  string
	Group string
	Type  Type
	Max   int // ids asked for; 0: 10, less than 0: all
}

// Locate gives the ids of matching keys; none is no error. The
// order means nothing. Hosts may differ for a while: ask Each.
func (c *Client) Locate(ctx context.Context, s Search) ([]string, error) {
	return perform(ctx, c, locate(s), readIDs, nil)
}

func locate(s Search) request {
	return request{op: kmip14.OperationLocate, repeatable: true, bare: true, payload: func(e *ttlv.Encoder) {
		switch {
		case s.Max == 0:
			e.EncodeInteger(kmip14.TagMaximumItems, maxLocate)
		case s.Max > 0:
			e.EncodeInteger(kmip14.TagMaximumItems, int32(min(s.Max, maxNodes)))
		}
		if s.Group != "" {
			textAttribute(e, attrGroup, s.Group)
		}
		if s.Name != "" {
			nameAttribute(e, s.Name)
		}
		if s.Type != 0 {
			attribute(e, attrType, func(e *ttlv.Encoder) { e.EncodeEnumeration(kmip14.TagAttributeValue, uint32(s.Type)) })
		}
	}}
}

func readIDs(p item) (ids []string, err error) {
	p.each(kmip14.TagUniqueIdentifier, func(m item) {
		id, e := m.string(maxID)
		if e != nil {
			err = e
		}
		ids = append(ids, id)
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// Key is what Get gives: the bytes are the caller's, who wipes them.
type Key struct {
	Type  Type
	Bytes []byte
}

// Wipe zeroes the bytes.
func (k *Key) Wipe() { clear(k.Bytes) }

// String keeps the bytes out of logs.
func (k Key) String() string { return "[secret]" }

// Get fetches a key of 32 bytes. An answer with anything else, another type,
// algorithm or length, or only zeroes, is ClassKeyMismatch: whether it is the
// right key is for the caller to check.
func (c *Client) Get(ctx context.Context, id string, want Type) (*Key, error) {
	q, err := about(kmip14.OperationGet, id, nil)
	if err != nil {
		return nil, err
	}
	return perform(ctx, c, q, func(p item) (*Key, error) { return readKey(p, want) }, func(k *Key) { k.Wipe() })
}

// about makes a repeatable request about one object.
func about(op kmip14.Operation, id string, more func(*ttlv.Encoder)) (request, error) {
	if id == "" || len(id) > maxID || !utf8.ValidString(id) {
		return request{}, fmt.Errorf("%w: %.260q is not a unique identifier", ErrInput, id)
	}
	return request{op: op, repeatable: true, echoes: id, payload: func(e *ttlv.Encoder) {
		e.EncodeTextString(kmip14.TagUniqueIdentifier, id)
		if more != nil {
			more(e)
		}
	}}, nil
}

func mismatch(format string, args ...any) error {
	return &classified{ClassKeyMismatch, StepResult, fmt.Errorf(format, args...)}
}

func readKey(p item, want Type) (*Key, error) {
	got, err := p.enum(kmip14.TagObjectType)
	if err != nil {
		return nil, err
	}
	if Type(got) != want {
		return nil, mismatch("the object is a %v, not a %v", Type(got), want)
	}
	tag := kmip14.TagSymmetricKey
	if want == SecretData {
		tag = kmip14.TagSecretData
	}
	object, err := p.member(tag, ttlv.TypeStructure)
	if err != nil {
		return nil, err
	}
	block, err := object.member(kmip14.TagKeyBlock, ttlv.TypeStructure)
	if err != nil {
		return nil, err
	}
	if err := checkBlock(block, want); err != nil {
		return nil, err
	}
	value, err := block.member(kmip14.TagKeyValue, ttlv.TypeStructure)
	if err != nil {
		return nil, err
	}
	material, err := value.member(kmip14.TagKeyMaterial, ttlv.TypeByteString)
	if err != nil {
		return nil, err
	}
	switch key := material.value(); {
	case len(key) != KeyBytes:
		return nil, mismatch("the key has %d bytes, not %d", len(key), KeyBytes)
	case bytes.Count(key, []byte{0}) == len(key):
		return nil, mismatch("the key is all zeroes")
	default:
		return &Key{Type: want, Bytes: bytes.Clone(key)}, nil
	}
}

// checkBlock checks what a key block says about its key (section 2.1.3).
func checkBlock(block item, want Type) error {
	if _, wrapped, _ := block.only(kmip14.TagKeyWrappingData); wrapped {
		return mismatch("the key is wrapped with another")
	}
	format, err := block.enum(kmip14.TagKeyFormatType)
	if err != nil {
		return err
	}
	raw := kmip14.KeyFormatType(format) == kmip14.KeyFormatTypeRaw
	if opaque := kmip14.KeyFormatType(format) == kmip14.KeyFormatTypeOpaque; !raw && (want == SymmetricKey || !opaque) {
		return mismatch("the key has format %v", kmip14.KeyFormatType(format))
	}
	if want != SymmetricKey {
		return nil // algorithm and length need not be there
	}
	algorithm, err := block.enum(kmip14.TagCryptographicAlgorithm)
	if err != nil {
		return err
	}
	bits, err := block.integer(kmip14.TagCryptographicLength, ttlv.TypeInteger)
	if err != nil {
		return err
	}
	if kmip14.CryptographicAlgorithm(algorithm) != kmip14.CryptographicAlgorithmAES || bits != KeyBytes*8 {
		return mismatch("the key is for %v with %d bits, not AES with %d",
			kmip14.CryptographicAlgorithm(algorithm), bits, KeyBytes*8)
	}
	return nil
}
