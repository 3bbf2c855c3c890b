package kmip

import (
	"bytes"
	"crypto/rand"
	"fmt"

	"github.com/gemalto/kmip-go/kmip14"
	"github.com/gemalto/kmip-go/ttlv"
)

// Version is a version of the protocol; its major number is 1.
type Version struct {
	Major, Minor int32
}

// String gives "1.4".
func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// AllVersions are the versions that this package speaks, best first.
func AllVersions() []Version {
	return []Version{{1, 4}, {1, 3}, {1, 2}, {1, 1}, {1, 0}}
}

// A request is one operation with its payload, before it has a version.
type request struct {
	op         kmip14.Operation
	payload    func(*ttlv.Encoder) // writes the members of the payload; nil: none
	material   []byte              // put over the payload's Key Material of that length
	repeatable bool                // may be sent twice without harm
	echoes     string              // the unique identifier that the answer must repeat
	bare       bool                // an answer without payload is good
}

// encode gives the whole message. The random id comes back in the answer.
func (q request) encode(v Version, id []byte) ([]byte, error) {
	var buf bytes.Buffer
	e := ttlv.NewEncoder(&buf)
	_ = e.EncodeStructure(kmip14.TagRequestMessage, func(e *ttlv.Encoder) error {
		structure(e, kmip14.TagRequestHeader, func(e *ttlv.Encoder) {
			encodeVersion(e, v)
			e.EncodeInteger(kmip14.TagBatchCount, 1)
		})
		structure(e, kmip14.TagBatchItem, func(e *ttlv.Encoder) {
			e.EncodeEnumeration(kmip14.TagOperation, uint32(q.op))
			e.EncodeByteString(kmip14.TagUniqueBatchItemID, id)
			structure(e, kmip14.TagRequestPayload, q.payload)
		})
		return nil
	})
	if err := e.Flush(); err != nil {
		return nil, err
	}
	if q.material == nil {
		return buf.Bytes(), nil
	}
	return buf.Bytes(), patchMaterial(buf.Bytes(), q.material)
}

// patchMaterial writes the key over the zeroes that were encoded for it: the
// encoder keeps copies of what it encodes, which nobody could wipe.
func patchMaterial(msg item, key []byte) error {
	m := msg
	for _, tag := range []ttlv.Tag{
		kmip14.TagBatchItem, kmip14.TagRequestPayload, kmip14.TagSecretData,
		kmip14.TagKeyBlock, kmip14.TagKeyValue, kmip14.TagKeyMaterial,
	} {
		var err error
		var ok bool
		if m, ok, err = m.only(tag); err != nil || !ok {
			return fmt.Errorf("kmip: request without %v", tag)
		}
	}
	if len(m.value()) != len(key) {
		return fmt.Errorf("kmip: request with %d bytes for a key of %d", len(m.value()), len(key))
	}
	copy(m.value(), key)
	return nil
}

func newItemID() []byte {
	id := make([]byte, itemID)
	_, _ = rand.Read(id) // never fails
	return id
}

func structure(e *ttlv.Encoder, tag ttlv.Tag, members func(*ttlv.Encoder)) {
	_ = e.EncodeStructure(tag, func(e *ttlv.Encoder) error {
		if members != nil {
			members(e)
		}
		return nil
	})
}

func encodeVersion(e *ttlv.Encoder, v Version) {
	structure(e, kmip14.TagProtocolVersion, func(e *ttlv.Encoder) {
		e.EncodeInteger(kmip14.TagProtocolVersionMajor, v.Major)
		e.EncodeInteger(kmip14.TagProtocolVersionMinor, v.Minor)
	})
}

// attribute writes one Attribute; value writes its Attribute Value.
func attribute(e *ttlv.Encoder, name string, value func(*ttlv.Encoder)) {
	structure(e, kmip14.TagAttribute, func(e *ttlv.Encoder) {
		e.EncodeTextString(kmip14.TagAttributeName, name)
		value(e)
	})
}

func textAttribute(e *ttlv.Encoder, name, value string) {
	attribute(e, name, func(e *ttlv.Encoder) { e.EncodeTextString(kmip14.TagAttributeValue, value) })
}

func nameAttribute(e *ttlv.Encoder, name string) {
	attribute(e, attrName, func(e *ttlv.Encoder) {
		structure(e, kmip14.TagAttributeValue, func(e *ttlv.Encoder) {
			e.EncodeTextString(kmip14.TagNameValue, name)
			e.EncodeEnumeration(kmip14.TagNameType, uint32(kmip14.NameTypeUninterpretedTextString))
		})
	})
}

// answer is an answer that passed every check of the envelope.
type answer struct {
	payload item // empty when there was none
	frame   []byte
}

func (a answer) wipe() { clear(a.frame) }

// envelope checks everything around the payload of an answer: version, count,
// operation, batch item id, status and echoed identifier (rules of section 4
// of the KMIP facts). A failure that the server reports is a *resultError.
func (q request) envelope(frame item, v Version, id []byte) (item, error) {
	header, err := frame.member(kmip14.TagResponseHeader, ttlv.TypeStructure)
	if err != nil {
		return nil, err
	}
	if err := checkHeader(header, v); err != nil {
		return nil, err
	}
	batch, err := frame.member(kmip14.TagBatchItem, ttlv.TypeStructure)
	if err != nil {
		return nil, err
	}
	status, err := batch.enum(kmip14.TagResultStatus)
	if err != nil {
		return nil, err
	}
	failed := kmip14.ResultStatus(status) == kmip14.ResultStatusOperationFailed
	if err := q.correlate(batch, id, failed); err != nil {
		return nil, err
	}
	switch {
	case failed:
		return nil, readResultError(batch)
	case kmip14.ResultStatus(status) != kmip14.ResultStatusSuccess:
		return nil, malformed("status %d, where success or failure was due", status)
	}
	return q.payloadOf(batch)
}

func checkHeader(header item, v Version) error {
	version, err := header.member(kmip14.TagProtocolVersion, ttlv.TypeStructure)
	if err != nil {
		return err
	}
	major, err := version.integer(kmip14.TagProtocolVersionMajor, ttlv.TypeInteger)
	if err != nil {
		return err
	}
	if int32(major) != v.Major {
		return malformed("of protocol version %d, to a request of version %v", major, v)
	}
	count, err := header.integer(kmip14.TagBatchCount, ttlv.TypeInteger)
	if err != nil {
		return err
	}
	if count != 1 {
		return malformed("with %d results, to one request", count)
	}
	return nil
}

// correlate checks that the result is that of the request. A server that could
// not read the request may fail without saying which.
func (q request) correlate(batch item, id []byte, failed bool) error {
	got, ok, err := batch.only(kmip14.TagUniqueBatchItemID)
	switch {
	case err != nil:
		return err
	case !ok && !failed:
		return malformed("without batch item id")
	case ok && (got.kind() != ttlv.TypeByteString || !bytes.Equal(got.value(), id)):
		return malformed("to another request: its batch item id is not ours")
	}
	op, ok, err := batch.only(kmip14.TagOperation)
	switch {
	case err != nil:
		return err
	case !ok && failed:
		return nil
	case !ok:
		return malformed("without operation")
	}
	if op.kind() != ttlv.TypeEnumeration || !bytes.Equal(op.value(), be32(uint32(q.op))) {
		return malformed("to another operation")
	}
	return nil
}

func (q request) payloadOf(batch item) (item, error) {
	payload, ok, err := batch.only(kmip14.TagResponsePayload)
	switch {
	case err != nil:
		return nil, err
	case !ok && q.bare:
		return nil, nil
	case !ok:
		return nil, malformed("without payload")
	case payload.kind() != ttlv.TypeStructure:
		return nil, malformed("payload has type %v", payload.kind())
	}
	if q.echoes == "" {
		return payload, nil
	}
	id, err := payload.text(kmip14.TagUniqueIdentifier, maxID)
	if err != nil {
		return nil, err
	}
	if id != q.echoes {
		return nil, malformed("about key %q, asked was %q", clip(id), q.echoes)
	}
	return payload, nil
}

func be32(v uint32) []byte { return []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)} }

// resultError is a failure as the server reports it.
type resultError struct {
	reason  kmip14.ResultReason
	message string // hostile: capped, not yet quoted
}

func (e *resultError) Error() string {
	text := "server answers " + reasonName(e.reason)
	if e.message != "" {
		text += fmt.Sprintf(": %q", e.message)
	}
	return text
}

func readResultError(batch item) error {
	reason, err := batch.enum(kmip14.TagResultReason)
	if err != nil {
		return err
	}
	e := &resultError{reason: kmip14.ResultReason(reason)}
	if m, ok, _ := batch.only(kmip14.TagResultMessage); ok && m.kind() == ttlv.TypeTextString {
		e.message = clip(string(m.value()[:min(len(m.value()), maxText)]))
	}
	return e
}

func reasonName(r kmip14.ResultReason) string {
	if name, ok := kmip14.ResultReasonEnum.CanonicalName(uint32(r)); ok {
		return name
	}
	return fmt.Sprintf("reason 0x%x", uint32(r))
}

// clip shortens text of a server for an error.
func clip(s string) string {
	if len(s) > maxText {
		return s[:maxText] + "…"
	}
	return s
}
