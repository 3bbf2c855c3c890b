// Package wire holds the request and reply types of the management API: the
// JSON-RPC of NetApp Element, with its exact member names, plus the members
// and methods that lockplate adds. Server and client share it, so that a name
// is written once.
//
// # Conventions
//
//   - The type of a method's parameters is its name and "Params", that of its
//     result its name and "Result". A method without either uses Empty.
//   - A parameter that must be given carries the tag param:"required". All
//     others are optional; absent and null mean the same.
//   - Numbers in parameters are Int: digits in a string are accepted too.
//     Results always have plain JSON integers.
//   - Passwords are Password: they print as "[secret]" and can be wiped.
//   - What Element does not know is in a member called "lockplate", or is
//     marked "extension" in its comment.
//   - Times are strings in UTC, "2021-01-01T22:29:18Z"; see FormatTime.
package wire

import "encoding/json"

// Version is the API version whose shapes are served, and the one that a
// client of ours asks for.
const Version = "12.3"

// Path is where the API is served: Path + "/" + any version of Versions.
const Path = "/json-rpc"

// Versions lists the API versions that are accepted, oldest first. All get
// the same answers, those after Version too: clients made for them ask for
// nothing here that changed since.
func Versions() []string {
	return []string{
		"1.0", "2.0", "3.0", "4.0", "5.0", "5.1", "6.0",
		"7.0", "7.1", "7.2", "7.3", "7.4",
		"8.0", "8.1", "8.2", "8.3", "8.4", "8.5", "8.6", "8.7",
		"9.0", "9.1", "9.2", "9.3", "9.4", "9.5", "9.6",
		"10.0", "10.1", "10.2", "10.3", "10.4", "10.5", "10.6", "10.7",
		"11.0", "11.1", "11.3", "11.5", "11.7", "11.8",
		"12.0", "12.2", Version, "12.5", "12.7", "12.8",
	}
}

// Request is the envelope of a call.
type Request struct {
	Method string          `json:"method"`
	Params any             `json:"params,omitempty"` // an object or nil, never an array
	ID     json.RawMessage `json:"id,omitempty"`     // any JSON value; echoed as sent
}

// Reply is the envelope of an answer: Result or Error, never both.
type Reply struct {
	ID     json.RawMessage `json:"id"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *Error          `json:"error,omitempty"`
	// UnusedParameters are members of params that the method does not know.
	UnusedParameters []string `json:"unusedParameters,omitempty"`
}

// Error is a failure as clients see it. Name is one of the Err constants.
type Error struct {
	Code    int    `json:"code"` // CodeError
	Name    string `json:"name"`
	Message string `json:"message"` // ends with HintMark and the hint, if there is one

	Lockplate *ErrorDetails `json:"lockplate,omitempty"` // extension
}

// ErrorDetails are what Element's errors have no member for (extension).
type ErrorDetails struct {
	Hint string `json:"hint"` // which step failed and what to do
}

// HintMark stands between an error and its hint.
const HintMark = "; "

// CodeError is the code of every error. Other codes make clients take an
// error for a failure of the transport and lose its name.
const CodeError = 500

// Empty is the parameters or the result of a method that has none.
type Empty struct{}

// Error gives name and message.
func (e *Error) Error() string { return e.Name + ": " + e.Message }
