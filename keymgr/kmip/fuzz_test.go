package kmip

import (
	"bytes"
	"testing"

	"github.com/gemalto/kmip-go/kmip14"
	"github.com/gemalto/kmip-go/ttlv"
)

// goodAnswer is a whole answer to q with the payload.
func goodAnswer(q request, id []byte, payload func(e *ttlv.Encoder)) []byte {
	return encode(kmip14.TagResponseMessage, func(e *ttlv.Encoder) {
		structure(e, kmip14.TagResponseHeader, func(e *ttlv.Encoder) {
			encodeVersion(e, Version{1, 4})
			e.EncodeInteger(kmip14.TagBatchCount, 1)
		})
		structure(e, kmip14.TagBatchItem, func(e *ttlv.Encoder) {
			e.EncodeEnumeration(kmip14.TagOperation, uint32(q.op))
			e.EncodeByteString(kmip14.TagUniqueBatchItemID, id)
			e.EncodeEnumeration(kmip14.TagResultStatus, 0)
			structure(e, kmip14.TagResponsePayload, payload)
		})
	})
}

func keyPayload(e *ttlv.Encoder) {
	e.EncodeEnumeration(kmip14.TagObjectType, uint32(SymmetricKey))
	e.EncodeTextString(kmip14.TagUniqueIdentifier, "1")
	structure(e, kmip14.TagSymmetricKey, func(e *ttlv.Encoder) {
		structure(e, kmip14.TagKeyBlock, func(e *ttlv.Encoder) {
			e.EncodeEnumeration(kmip14.TagKeyFormatType, uint32(kmip14.KeyFormatTypeRaw))
			structure(e, kmip14.TagKeyValue, func(e *ttlv.Encoder) {
				e.EncodeByteString(kmip14.TagKeyMaterial, bytes.Repeat([]byte{9}, KeyBytes))
			})
			e.EncodeEnumeration(kmip14.TagCryptographicAlgorithm, uint32(kmip14.CryptographicAlgorithmAES))
			e.EncodeInteger(kmip14.TagCryptographicLength, KeyBytes*8)
		})
	})
}

// FuzzAnswer gives any bytes to all that reads answers: it must not panic, and
// what passes the check must be the frame that was given, item by item.
func FuzzAnswer(f *testing.F) {
	id := []byte("fuzz-item-id")
	get, _ := about(kmip14.OperationGet, "1", nil)
	f.Add(goodAnswer(get, id, keyPayload))
	f.Add(goodAnswer(query(), id, func(e *ttlv.Encoder) {
		e.EncodeEnumeration(kmip14.TagOperation, 1)
		e.EncodeTextString(kmip14.TagVendorIdentification, "vendor")
	}))
	f.Add(goodAnswer(locate(Search{}), id, func(e *ttlv.Encoder) { e.EncodeTextString(kmip14.TagUniqueIdentifier, "1") }))
	f.Add(goodAnswer(get, id, func(e *ttlv.Encoder) {
		e.EncodeTextString(kmip14.TagUniqueIdentifier, "1")
		nameAttribute(e, "n")
		attribute(e, attrState, func(e *ttlv.Encoder) { e.EncodeEnumeration(kmip14.TagAttributeValue, 2) })
	}))
	f.Add(goodAnswer(discover(nil), id, func(e *ttlv.Encoder) { encodeVersion(e, Version{1, 2}) }))
	f.Add(nestedAnswer(13))
	f.Add([]byte{0x42, 0, 0x7b, 1, 0xff, 0xff, 0xff, 0xf8})
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, buf, err := readFrame(bytes.NewReader(b), make([]byte, 256))
		if err != nil {
			return
		}
		if len(buf) > maxFrame || !bytes.Equal(frame, b[:len(frame)]) {
			t.Fatalf("%d bytes became %d in a buffer of %d", len(b), len(frame), len(buf))
		}
		for _, op := range []kmip14.Operation{kmip14.OperationGet, kmip14.OperationQuery, kmip14.OperationLocate, kmip14.OperationDiscoverVersions} {
			q := request{op: op, bare: true}
			payload, err := q.envelope(frame, Version{1, 4}, id)
			if err != nil {
				_ = err.Error()
				continue
			}
			readAll(t, payload)
		}
	})
}

// readAll gives a payload to every reader of payloads.
func readAll(t *testing.T, payload item) {
	for _, kind := range []Type{SymmetricKey, SecretData} {
		if key, err := readKey(payload, kind); err == nil && len(key.Bytes) != KeyBytes {
			t.Fatalf("a key of %d bytes", len(key.Bytes))
		}
	}
	if id, err := readID(payload); err == nil && (id == "" || len(id) > maxID) {
		t.Fatalf("id %q", id)
	}
	_, _ = readIDs(payload)
	_, _ = readAttributes(payload)
	_, _ = pickVersion(payload, AllVersions())
	if info, err := readInfo(payload); err == nil && len(info.Vendor) > maxText+len("…") {
		t.Fatalf("vendor of %d bytes", len(info.Vendor))
	}
}

// FuzzCertificates: what an administrator pastes.
func FuzzCertificates(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("MAA="))
	f.Add([]byte("-----BEGIN"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if certs, err := ParseCertificates(text); err == nil && len(certs) == 0 {
			t.Fatal("no certificate and no error")
		}
	})
}
