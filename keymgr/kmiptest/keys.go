package kmiptest

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Operations, section 9.1.3.2.27.
const (
	OpCreate           = 0x01
	OpRegister         = 0x03
	OpLocate           = 0x08
	OpGet              = 0x0a
	OpGetAttributes    = 0x0b
	OpActivate         = 0x12
	OpRevoke           = 0x13
	OpDestroy          = 0x14
	OpQuery            = 0x18
	OpDiscoverVersions = 0x1e
)

// Reasons, section 9.1.3.2.29.
const (
	ReasonItemNotFound      = 0x01
	ReasonAuthentication    = 0x03
	ReasonInvalidMessage    = 0x04
	ReasonNotSupported      = 0x05
	ReasonInvalidField      = 0x07
	ReasonIllegalOperation  = 0x0b
	ReasonPermissionDenied  = 0x0c
	ReasonGeneralFailure    = 0x100
	ReasonCancelled         = 0x09
	ReasonUnknown           = 0x7fff
	stateActive             = 2
	stateDeactivated        = 3
	stateCompromised        = 4
	reasonCompromise        = 2
	typeSymmetricKey        = 2
	formatRaw, formatOpaque = 1, 2
)

// Keys is what a key server keeps. Several Servers may share one, as the
// addresses of a clustered key server do.
type Keys struct {
	// RefuseCustom: custom attributes are an Invalid Field, as with PyKMIP.
	RefuseCustom bool
	// NeedActive: Get of a key in any other state is an Illegal Operation.
	NeedActive bool

	mu   sync.Mutex
	last int
	byID map[string]*stored
}

type stored struct {
	kind, format uint32
	attributes   []*Node
	state        uint32
	material     []byte
}

// failure is a Result Reason with its text.
type failure struct {
	reason uint32
	text   string
}

// NewKeys makes an empty one.
func NewKeys() *Keys { return &Keys{byID: map[string]*stored{}} }

// Count gives how many keys exist.
func (k *Keys) Count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.byID)
}

// Material gives the bytes of a key, nil if there is none.
func (k *Keys) Material(id string) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.byID[id]; s != nil {
		return slices.Clone(s.material)
	}
	return nil
}

// handle does one operation and gives the members of the answer's payload.
func (k *Keys) handle(op uint32, payload *Node) ([]*Node, *failure) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch op {
	case OpCreate, OpRegister:
		return k.make(op, payload)
	case OpLocate:
		return k.locate(payload), nil
	case OpQuery:
		return answerQuery(), nil
	case OpGet, OpGetAttributes, OpActivate, OpRevoke, OpDestroy:
	default:
		return nil, &failure{ReasonNotSupported, fmt.Sprintf("operation 0x%x", op)}
	}
	id := payload.Find(TagUniqueIdentifier).Text()
	s := k.byID[id]
	if s == nil {
		return nil, &failure{ReasonItemNotFound, "no object " + id}
	}
	out := []*Node{Text(TagUniqueIdentifier, id)}
	more, fail := k.use(op, payload, id, s)
	return append(out, more...), fail
}

func (k *Keys) make(op uint32, payload *Node) ([]*Node, *failure) {
	s := &stored{kind: payload.Find(TagObjectType).Uint(), state: 1, format: formatRaw}
	s.attributes = payload.Find(TagTemplateAttribute).All(TagAttribute)
	for _, a := range s.attributes {
		if name := a.Find(TagAttributeName).Text(); k.RefuseCustom && strings.HasPrefix(name, "x-") {
			return nil, &failure{ReasonInvalidField, "The " + name + " attribute is unsupported."}
		}
	}
	if op == OpCreate {
		s.material = make([]byte, 32)
		_, _ = rand.Read(s.material)
	} else {
		s.format = formatOpaque
		s.material = payload.Find(TagSecretData, TagKeyBlock, TagKeyValue, TagKeyMaterial).Value
	}
	k.last++
	id := strconv.Itoa(k.last)
	k.byID[id] = s
	out := []*Node{Text(TagUniqueIdentifier, id)}
	if op == OpCreate {
		out = append([]*Node{Enum(TagObjectType, s.kind)}, out...)
	}
	return out, nil
}

func (k *Keys) locate(payload *Node) (out []*Node) {
	for id := 1; id <= k.last; id++ {
		s := k.byID[strconv.Itoa(id)]
		if s == nil {
			continue
		}
		match := true
		for _, want := range payload.All(TagAttribute) {
			match = match && s.has(want)
		}
		if match {
			out = append(out, Text(TagUniqueIdentifier, strconv.Itoa(id)))
		}
	}
	return out
}

func (s *stored) has(want *Node) bool {
	if want.Find(TagAttributeName).Text() == "Object Type" {
		return want.Find(TagAttributeValue).Uint() == s.kind
	}
	return slices.ContainsFunc(s.attributes, func(a *Node) bool { return slices.Equal(a.Encode(), want.Encode()) })
}

func (k *Keys) use(op uint32, payload *Node, id string, s *stored) ([]*Node, *failure) {
	switch op {
	case OpGet:
		if k.NeedActive && s.state != stateActive {
			return nil, &failure{ReasonIllegalOperation, "the key is not active"}
		}
		return s.get(), nil
	case OpGetAttributes:
		return s.list(payload.All(TagAttributeName)), nil
	case OpActivate:
		if s.state != 1 {
			return nil, &failure{ReasonPermissionDenied, "only a pre-active key can be activated"}
		}
		s.state = stateActive
	case OpRevoke:
		if s.state != stateActive {
			return nil, &failure{ReasonIllegalOperation, "only an active key can be revoked"}
		}
		s.state = stateDeactivated
		if payload.Find(0x420081, 0x420082).Uint() == reasonCompromise {
			s.state = stateCompromised
		}
	case OpDestroy:
		if s.state == stateActive {
			return nil, &failure{ReasonPermissionDenied, "an active key cannot be destroyed"}
		}
		delete(k.byID, id)
	}
	return nil, nil
}

func (s *stored) get() []*Node {
	value := Struct(TagKeyValue, Bytes(TagKeyMaterial, slices.Clone(s.material)))
	head := []*Node{Enum(TagObjectType, s.kind)}
	if s.kind == typeSymmetricKey {
		return append(head, Struct(TagSymmetricKey, Struct(TagKeyBlock, Enum(TagKeyFormatType, s.format), value,
			Enum(TagAlgorithm, 3), Int(TagLength, uint32(8*len(s.material))))))
	}
	return append(head, Struct(TagSecretData, Enum(TagSecretDataType, 1),
		Struct(TagKeyBlock, Enum(TagKeyFormatType, s.format), value)))
}

func (s *stored) list(names []*Node) (out []*Node) {
	all := append([]*Node{Struct(TagAttribute, Text(TagAttributeName, "State"), Enum(TagAttributeValue, s.state))}, s.attributes...)
	for _, a := range all {
		name := a.Find(TagAttributeName).Text()
		if len(names) == 0 || slices.ContainsFunc(names, func(n *Node) bool { return n.Text() == name }) {
			out = append(out, a)
		}
	}
	return out
}

func answerQuery() []*Node {
	var out []*Node
	for _, op := range []uint32{OpCreate, OpRegister, OpLocate, OpGet, OpGetAttributes, OpActivate, OpRevoke, OpDestroy, OpQuery, OpDiscoverVersions} {
		out = append(out, Enum(TagOperation, op))
	}
	return append(out, Enum(TagObjectType, typeSymmetricKey), Enum(TagObjectType, 7), Text(TagVendor, "kmiptest"))
}
