package luks

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"
)

// object is a JSON object as read. The whole tree of a header is kept this
// way, so members unknown to us survive a rewrite; numbers stay as written.
type object = map[string]any

// parseJSON reads the JSON area: one object at its start, zeroes after it.
func parseJSON(area []byte) (object, error) {
	end := bytes.IndexByte(area, 0)
	if end <= 0 || area[0] != '{' {
		return nil, fmt.Errorf("%w: JSON area does not hold an object", ErrCorrupt)
	}
	if len(bytes.Trim(area[end:], "\x00")) != 0 {
		return nil, fmt.Errorf("%w: bytes after the JSON text", ErrCorrupt)
	}
	if !utf8.Valid(area[:end]) { // a rewrite would not keep it
		return nil, fmt.Errorf("%w: JSON area is not UTF-8", ErrCorrupt)
	}
	if err := boundJSON(area[:end]); err != nil {
		return nil, err
	}
	return decodeObject(area[:end])
}

// decodeObject decodes one object and nothing after it.
func decodeObject(text []byte) (object, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var tree object
	if err := dec.Decode(&tree); err != nil {
		return nil, fmt.Errorf("%w: JSON area: %v", ErrCorrupt, err)
	}
	if len(bytes.TrimSpace(text[dec.InputOffset():])) != 0 {
		return nil, fmt.Errorf("%w: text after the JSON object", ErrCorrupt)
	}
	return tree, nil
}

// boundJSON counts nesting and values before anything is built of them.
func boundJSON(text []byte) error {
	depth, values, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
			values++
		case c == '}' || c == ']':
			depth--
		case c == ',':
			values++
		}
		if depth > maxJSONDepth || values > maxJSONValues {
			return fmt.Errorf("%w: JSON area nests deeper than %d or has more than %d values", ErrCorrupt, maxJSONDepth, maxJSONValues)
		}
	}
	return nil
}

// marshalJSON fills a JSON area of size bytes. The last byte stays zero.
func marshalJSON(tree object, size int) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(tree); err != nil {
		return nil, fmt.Errorf("encode JSON area: %w", err)
	}
	text := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	if len(text) >= size {
		return nil, fmt.Errorf("%w: JSON area of %d bytes cannot hold %d", ErrNoRoom, size, len(text))
	}
	return append(text, make([]byte, size-len(text))...), nil
}

// cloneTree copies a tree so that the snapshot it came from stays as it is.
func cloneTree(v any) any {
	switch v := v.(type) {
	case object:
		out := make(object, len(v))
		for k, e := range v {
			out[k] = cloneTree(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = cloneTree(e)
		}
		return out
	}
	return v
}

// section returns a member object of a tree, made when missing.
func section(tree object, name string) object {
	sec, ok := tree[name].(object)
	if !ok {
		sec = object{}
		tree[name] = sec
	}
	return sec
}

// fields reads members of one object. The first member that is missing or of
// the wrong kind sets err, shared by all fields of a header; what is returned
// after that is zero.
type fields struct {
	path string
	m    object
	err  *error
}

func (f fields) fail(name, what string) {
	if *f.err == nil {
		*f.err = fmt.Errorf("%w: %s.%s: %s", ErrCorrupt, f.path, name, what)
	}
}

func (f fields) has(name string) bool { _, ok := f.m[name]; return ok }

func (f fields) obj(name string) fields {
	m, ok := f.m[name].(object)
	if !ok {
		f.fail(name, "object expected")
	}
	return fields{f.path + "." + name, m, f.err}
}

func (f fields) str(name string) string {
	s, ok := f.m[name].(string)
	if !ok {
		f.fail(name, "string expected")
	}
	return s
}

// num reads a JSON number within [low, high].
func (f fields) num(name string, low, high int64) int64 {
	n, ok := f.m[name].(json.Number)
	v, err := strconv.ParseInt(string(n), 10, 64)
	if !ok || err != nil || v < low || v > high {
		f.fail(name, fmt.Sprintf("number from %d to %d expected", low, high))
		return 0
	}
	return v
}

// u64 reads a 64-bit number, which LUKS2 writes as a decimal string.
func (f fields) u64(name string) uint64 {
	s, _ := f.m[name].(string)
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		f.fail(name, "decimal string expected")
	}
	return v
}

// offset is u64 for what must be a byte offset or size.
func (f fields) offset(name string) int64 {
	v := f.u64(name)
	if v > 1<<62 {
		f.fail(name, "out of range")
		return 0
	}
	return int64(v)
}

// base64 reads bytes, at least one and at most limit.
func (f fields) base64(name string, limit int) []byte {
	p, err := base64.StdEncoding.DecodeString(f.str(name))
	if err != nil || len(p) == 0 || len(p) > limit {
		f.fail(name, fmt.Sprintf("base64 of 1 to %d bytes expected", limit))
		return nil
	}
	return p
}

// strings reads an array of strings; a missing one is empty.
func (f fields) strings(name string) []string {
	if !f.has(name) {
		return nil
	}
	list, ok := f.m[name].([]any)
	if !ok {
		f.fail(name, "array expected")
	}
	out := make([]string, 0, len(list))
	for _, v := range list {
		s, ok := v.(string)
		if !ok {
			f.fail(name, "array of strings expected")
		}
		out = append(out, s)
	}
	return out
}

// ids reads an array of object numbers ("0", "1" …).
func (f fields) ids(name string) []int {
	list := f.strings(name)
	out := make([]int, 0, len(list))
	for _, s := range list {
		out = append(out, f.id(s, maxKeyslots))
	}
	return out
}

// id parses the name of a numbered object, below limit.
func (f fields) id(s string, limit int) int {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n >= limit || strconv.Itoa(n) != s {
		f.fail(s, fmt.Sprintf("object number below %d expected", limit))
		return 0
	}
	return n
}

// each calls fn for the numbered objects of a section in order.
func (f fields) each(name string, limit int, fn func(id int, o fields)) {
	sec := f.obj(name)
	byID := make(map[int]string, min(len(sec.m), limit))
	for _, k := range slices.Sorted(maps.Keys(sec.m)) {
		id := sec.id(k, limit)
		if *f.err != nil {
			return
		}
		byID[id] = k
	}
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		fn(id, sec.obj(byID[id]))
	}
}
