package api

import (
	"encoding/json"
	"slices"

	"lockplate/api/wire"
)

// maxAttributes is Element's bound on an attributes object, in bytes of JSON.
const maxAttributes = 1000

// enum refuses a value that is not among those that Element or lockplate
// know. "" means not given.
func enum(value string, known ...string) error {
	if value == "" || slices.Contains(known, value) {
		return nil
	}
	return fail(wire.ErrUnrecognizedEnum, "%s", clip(value))
}

// unserved refuses values that Element knows and lockplate has no use for.
func unserved(param, value string, known ...string) error {
	if slices.Contains(known, value) {
		return fail(wire.ErrInvalidParameter, "%s: %s is not possible here", param, value)
	}
	return nil
}

// checkAccess refuses what cannot be the access of a volume.
func checkAccess(v string) error {
	if err := unserved("access", v, "replicationTarget", "snapMirrorTarget"); err != nil {
		return err
	}
	return enum(v, "readWrite", "readOnly", "locked")
}

// checkDiscard refuses unknown discard policies.
func checkDiscard(v string) error { return enum(v, "zero", "pass", "off") }

// checkKDF refuses unknown key derivations of keyslots.
func checkKDF(v string) error { return enum(v, "argon2id", "pbkdf2") }

// checkAttributes bounds the free-form object of an administrator.
func checkAttributes(m map[string]any) error {
	b, err := json.Marshal(m)
	if err != nil {
		return fail(wire.ErrInvalidParameter, "attributes: %v", err)
	}
	if len(b) >= maxAttributes {
		return fail(wire.ErrExceededLimit, "attributes: %d bytes, must be under %d", len(b), maxAttributes)
	}
	return nil
}

// firstError is the first error that is not nil.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
