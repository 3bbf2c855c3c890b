package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"lockplate/api/wire"
)

// Limits of a request, checked before anything is allocated for it.
const (
	maxBody       = 1 << 20 // bytes
	maxDepth      = 32      // of nested objects and arrays
	maxNameEchoed = 128     // bytes of a client's text in an error
	maxUnused     = 32      // names in unusedParameters
)

// call is a request, parsed as far as its method.
type call struct {
	id     json.RawMessage
	method string
	params map[string]json.RawMessage
	query  bool // from a GET: values of params are plain text
}

// fail makes an error for the client.
func fail(name, format string, a ...any) *wire.Error {
	return &wire.Error{Code: wire.CodeError, Name: name, Message: fmt.Sprintf(format, a...)}
}

// parseBody reads the envelope of a POST. The call carries the id whenever
// one could be read, even beside an error.
func parseBody(body []byte) (call, *wire.Error) {
	var c call
	if err := checkText(body); err != nil {
		return c, fail(wire.ErrJSONParse, "request: %v", err)
	}
	var env map[string]json.RawMessage // exact names: a struct would ignore case
	if err := json.Unmarshal(body, &env); err != nil || env == nil {
		return c, fail(wire.ErrJSONParse, "request: must be one JSON object with a method")
	}
	c.id = env["id"]
	switch m := env["method"]; {
	case m == nil:
		return c, missing("method")
	case json.Unmarshal(m, &c.method) != nil || m[0] != '"':
		return c, wrongType("method", "a string")
	}
	p := env["params"]
	if p != nil && p[0] != '{' && string(p) != "null" {
		return c, wrongType("params", "an object")
	}
	defer clear(p) // it may hold a password, and is copied once more now
	if p != nil && json.Unmarshal(p, &c.params) != nil {
		return c, wrongType("params", "an object")
	}
	return c, nil
}

// wipe overwrites the parameters as they came.
func (c *call) wipe() {
	for _, raw := range c.params {
		clear(raw)
	}
}

// parseQuery reads the GET form. It has the first value of each name.
func parseQuery(q url.Values) (call, *wire.Error) {
	c := call{query: true, params: map[string]json.RawMessage{}}
	for name, v := range q {
		switch name {
		case "method":
			c.method = v[0]
		case "id":
			c.id = textValue(v[0])
		default:
			c.params[name] = json.RawMessage(v[0])
		}
	}
	if c.method == "" {
		return c, missing("method")
	}
	return c, nil
}

// textValue takes s as JSON if it is, else as a string.
func textValue(s string) json.RawMessage {
	if checkText([]byte(s)) == nil {
		return json.RawMessage(s)
	}
	return quote(s)
}

// quote makes a JSON string.
func quote(s string) json.RawMessage {
	b, _ := json.Marshal(s) // a string always marshals
	return b
}

// missing has the text that clients of the product know.
func missing(name string) *wire.Error {
	return fail(wire.ErrMissingParameter, "Missing member=[%s]", name)
}

// wrongType says what a member should have been.
func wrongType(name, want string) *wire.Error {
	return fail(wire.ErrParameterType, "%s: must be %s", name, want)
}

var (
	errDepth    = fmt.Errorf("nested deeper than %d", maxDepth)
	errRawBreak = errors.New(`a string holds a raw line break or control character; JSON wants \n there (certificates: replace each line end by \n)`)
	errNotJSON  = errors.New("is not JSON")
)

// checkText says whether b is one JSON value within the depth limit. It
// allocates nothing.
func checkText(b []byte) error {
	depth, inString := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString && c < 0x20:
			return errRawBreak
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return errDepth
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	if !json.Valid(b) {
		return errNotJSON
	}
	return nil
}

// clip bounds a client's text before it goes into an answer or a log.
func clip(s string) string {
	if len(s) > maxNameEchoed {
		return s[:maxNameEchoed] + "…"
	}
	return s
}
