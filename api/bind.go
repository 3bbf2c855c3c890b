package api

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"

	"lockplate/api/wire"
)

// handler runs one method: it reads the parameters, acts, and returns the
// result and the names of parameters that it did not know.
type handler func(ctx context.Context, who identity, c *call) (result any, unused []string, err error)

// bind makes a handler of a function with typed parameters and result.
func bind[P, R any](fn func(context.Context, identity, *P) (R, error)) handler {
	return func(ctx context.Context, who identity, c *call) (any, []string, error) {
		p := new(P)
		defer wipe(p)
		unused, bad := fill(reflect.ValueOf(p).Elem(), c)
		if bad != nil {
			return nil, nil, bad
		}
		r, err := fn(ctx, who, p)
		return r, unused, err
	}
}

// fill sets the fields of a parameter struct from a call and returns the
// names that are left over.
func fill(dst reflect.Value, c *call) ([]string, error) {
	left := maps.Clone(c.params)
	for i := range dst.NumField() {
		f := dst.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		raw, given := left[name]
		delete(left, name)
		if !given || string(raw) == "null" {
			if f.Tag.Get("param") == "required" {
				return nil, missing(name)
			}
			continue
		}
		if c.query {
			raw = queryValue(f.Type, raw)
		}
		if err := setField(dst.Field(i).Addr().Interface(), name, raw); err != nil {
			return nil, err
		}
	}
	unused := slices.Sorted(maps.Keys(left))
	for i := range unused {
		unused[i] = clip(unused[i])
	}
	return unused[:min(len(unused), maxUnused)], nil
}

// setField decodes one parameter. An error made by a type of ours passes.
func setField(dst any, name string, raw json.RawMessage) error {
	err := json.Unmarshal(raw, dst)
	if err == nil {
		return nil
	}
	if e := (*json.UnmarshalTypeError)(nil); errors.As(err, &e) {
		return wrongType(name, "of type "+jsonType(reflect.TypeOf(dst).Elem())+", not "+e.Value)
	}
	return fail(wire.ErrParameterType, "%s: %v", name, err)
}

// queryValue gives a plain query text as JSON: as it is if it is JSON and the
// field is no string, else as a string.
func queryValue(t reflect.Type, raw json.RawMessage) json.RawMessage {
	if jsonType(t) == "string" {
		return quote(string(raw))
	}
	return textValue(string(raw))
}

// jsonType names the JSON type that a Go type is read from.
func jsonType(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[wire.Password]():
		return "string"
	case t.Kind() == reflect.Pointer:
		return jsonType(t.Elem())
	}
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "bool"
	case reflect.Slice:
		return "array"
	case reflect.Map, reflect.Struct:
		return "object"
	}
	return "integer"
}

// wipe overwrites the secrets among the parameters.
func wipe(p any) {
	v := reflect.ValueOf(p).Elem()
	for i := range v.NumField() {
		switch s := v.Field(i).Interface().(type) {
		case wire.Password:
			s.Wipe()
		case []wire.Password:
			for _, one := range s {
				one.Wipe()
			}
		}
	}
}
