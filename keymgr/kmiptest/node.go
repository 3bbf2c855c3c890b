package kmiptest

import (
	"encoding/binary"
	"fmt"
)

// Types of items, KMIP 1.4 section 9.1.1.2.
const (
	Structure   = 1
	Integer     = 2
	Enumeration = 5
	TextString  = 7
	ByteString  = 8
	DateTime    = 9
)

// Tags that the fake server reads or writes, section 9.1.3.1.
const (
	TagAttribute         = 0x420008
	TagAttributeName     = 0x42000a
	TagAttributeValue    = 0x42000b
	TagBatchCount        = 0x42000d
	TagBatchItem         = 0x42000f
	TagAlgorithm         = 0x420028
	TagLength            = 0x42002a
	TagKeyBlock          = 0x420040
	TagKeyFormatType     = 0x420042
	TagKeyMaterial       = 0x420043
	TagKeyValue          = 0x420045
	TagNameType          = 0x420054
	TagNameValue         = 0x420055
	TagObjectType        = 0x420057
	TagOperation         = 0x42005c
	TagVersion           = 0x420069
	TagVersionMajor      = 0x42006a
	TagVersionMinor      = 0x42006b
	TagRequestHeader     = 0x420077
	TagRequestMessage    = 0x420078
	TagRequestPayload    = 0x420079
	TagResponseHeader    = 0x42007a
	TagResponseMessage   = 0x42007b
	TagResponsePayload   = 0x42007c
	TagResultMessage     = 0x42007d
	TagResultReason      = 0x42007e
	TagResultStatus      = 0x42007f
	TagSecretData        = 0x420085
	TagSecretDataType    = 0x420086
	TagSymmetricKey      = 0x42008f
	TagTemplateAttribute = 0x420091
	TagTimeStamp         = 0x420092
	TagBatchItemID       = 0x420093
	TagUniqueIdentifier  = 0x420094
	TagVendor            = 0x42009d
)

// Node is one item of a message.
type Node struct {
	Tag   uint32
	Type  byte
	Value []byte  // of what is no structure, without padding
	Kids  []*Node // of a structure
}

// Struct makes a structure; nil kids are left out.
func Struct(tag uint32, kids ...*Node) *Node {
	n := &Node{Tag: tag, Type: Structure}
	for _, k := range kids {
		if k != nil {
			n.Kids = append(n.Kids, k)
		}
	}
	return n
}

// Int makes an Integer.
func Int(tag, v uint32) *Node {
	return &Node{Tag: tag, Type: Integer, Value: binary.BigEndian.AppendUint32(nil, v)}
}

// Enum makes an Enumeration.
func Enum(tag, v uint32) *Node {
	return &Node{Tag: tag, Type: Enumeration, Value: binary.BigEndian.AppendUint32(nil, v)}
}

// Text makes a Text String.
func Text(tag uint32, s string) *Node {
	return &Node{Tag: tag, Type: TextString, Value: []byte(s)}
}

// Bytes makes a Byte String.
func Bytes(tag uint32, b []byte) *Node {
	return &Node{Tag: tag, Type: ByteString, Value: b}
}

// Find gives the first item with the last tag on the path, nil if there is none.
func (n *Node) Find(path ...uint32) *Node {
	for _, tag := range path {
		if n == nil {
			return nil
		}
		var next *Node
		for _, k := range n.Kids {
			if k.Tag == tag {
				next = k
				break
			}
		}
		n = next
	}
	return n
}

// All gives the members with the tag.
func (n *Node) All(tag uint32) []*Node {
	var out []*Node
	if n != nil {
		for _, k := range n.Kids {
			if k.Tag == tag {
				out = append(out, k)
			}
		}
	}
	return out
}

// Uint gives the value of an Integer or Enumeration, 0 for none.
func (n *Node) Uint() uint32 {
	if n == nil || len(n.Value) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(n.Value)
}

// Text gives the value of a Text String, "" for none.
func (n *Node) Text() string {
	if n == nil {
		return ""
	}
	return string(n.Value)
}

// Encode gives the bytes.
func (n *Node) Encode() []byte {
	value := n.Value
	if n.Type == Structure {
		value = nil
		for _, k := range n.Kids {
			value = append(value, k.Encode()...)
		}
	}
	out := append(binary.BigEndian.AppendUint32(nil, n.Tag<<8|uint32(n.Type)), 0, 0, 0, 0)
	binary.BigEndian.PutUint32(out[4:], uint32(len(value)))
	out = append(out, value...)
	for len(out)%8 != 0 {
		out = append(out, 0)
	}
	return out
}

// Decode reads one item and what follows it. It is for the test's own client.
func Decode(b []byte) (*Node, []byte, error) {
	if len(b) < 8 {
		return nil, nil, fmt.Errorf("kmiptest: %d bytes are no item", len(b))
	}
	n := &Node{Tag: binary.BigEndian.Uint32(b) >> 8, Type: b[3]}
	size := int(binary.BigEndian.Uint32(b[4:]))
	padded := (size + 7) / 8 * 8
	if b = b[8:]; padded > len(b) {
		return nil, nil, fmt.Errorf("kmiptest: item 0x%06x has %d bytes of %d", n.Tag, len(b), padded)
	}
	value, rest := b[:size], b[padded:]
	if n.Type != Structure {
		n.Value = append([]byte{}, value...)
		return n, rest, nil
	}
	for len(value) > 0 {
		k, more, err := Decode(value)
		if err != nil {
			return nil, nil, err
		}
		n.Kids, value = append(n.Kids, k), more
	}
	return n, rest, nil
}
