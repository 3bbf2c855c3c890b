package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"strconv"
	"time"
	"unicode/utf8"
)

// Int is an integer parameter. It reads 15, 15.0, 1.5e1 and "15", since
// clients and the printed examples of Element send ids as strings too; it
// writes 15.
type Int int64

// maxIntText bounds the text of an Int before it is parsed.
const maxIntText = 32

// UnmarshalJSON reads an integer, or an integer in a string.
func (i *Int) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	s := string(bytes.Trim(b, `"`))
	if b[0] == '"' && len(s) != len(b)-2 || len(s) > maxIntText {
		return fmt.Errorf("%.40q is not an integer", b)
	}
	n, err := parseInt(s, b[0] != '"')
	if err != nil {
		return err
	}
	*i = Int(n)
	return nil
}

// parseInt reads decimal digits and, if number, any JSON number whose value
// is whole.
func parseInt(s string, number bool) (int64, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && s[0] != '+' {
		return n, nil
	}
	if f, err := strconv.ParseFloat(s, 64); number && err == nil && f > -1e19 && f < 1e19 {
		if r, ok := new(big.Rat).SetString(s); ok && r.IsInt() && r.Num().IsInt64() {
			return r.Num().Int64(), nil
		}
	}
	return 0, fmt.Errorf("%.40q is not an integer", s)
}

// Password is a password or passphrase. It is written to the wire as a JSON
// string and nowhere else: it prints and logs as "[secret]".
type Password []byte

const redacted = "[secret]"

// String hides the secret.
func (Password) String() string { return redacted }

// Format hides the secret from every verb of fmt.
func (Password) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue hides the secret.
func (Password) LogValue() slog.Value { return slog.StringValue(redacted) }

// Wipe overwrites the secret.
func (p Password) Wipe() { clear(p) }

// MarshalJSON writes the secret as a string, for the client's request.
func (p Password) MarshalJSON() ([]byte, error) {
	if !utf8.Valid(p) {
		return nil, errors.New("a passphrase must be valid UTF-8 text")
	}
	return json.Marshal(string(p))
}

// UnmarshalJSON reads a string. It does not keep b; without escapes in it no
// other copy is made.
func (p *Password) UnmarshalJSON(b []byte) error {
	switch {
	case string(b) == "null":
		return nil
	case len(b) < 2 || b[0] != '"':
		return errors.New("not a string")
	case !utf8.Valid(b):
		return errors.New("not valid UTF-8")
	case bytes.IndexByte(b, '\\') < 0:
		*p = append(Password{}, b[1:len(b)-1]...)
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return errors.New("not a string")
	}
	*p = Password(s)
	return nil
}

// FormatTime gives t in Element's form, whole seconds; "" for no time.
func FormatTime(t time.Time) string { return formatTime(t, "2006-01-02T15:04:05Z") }

// FormatTimeMicro is FormatTime with microseconds, as faults have it.
func FormatTimeMicro(t time.Time) string { return formatTime(t, "2006-01-02T15:04:05.000000Z") }

func formatTime(t time.Time, layout string) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(layout)
}
