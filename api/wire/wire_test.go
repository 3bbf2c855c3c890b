package wire

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestIntReadsWhatClientsSend(t *testing.T) {
	for _, c := range []struct {
		json string
		want Int
		ok   bool
	}{
		{`15`, 15, true},
		{`"15"`, 15, true},
		{`-1`, -1, true},
		{`"-1"`, -1, true},
		{`15.0`, 15, true},
		{`1.5e1`, 15, true},
		{`1073741824.0`, 1 << 30, true},
		{`9223372036854775807`, 1<<63 - 1, true},
		{`"9223372036854775807"`, 1<<63 - 1, true},
		{`-9223372036854775808`, -1 << 63, true},
		{`null`, 7, true},
		{`9223372036854775808`, 0, false},
		{`1e400`, 0, false},
		{`1e19`, 0, false},
		{`1.5`, 0, false},
		{`"1.5"`, 0, false},
		{`"1e3"`, 0, false},
		{`""`, 0, false},
		{`"+1"`, 0, false},
		{`" 1"`, 0, false},
		{`"1x"`, 0, false},
		{`"0x10"`, 0, false},
		{`true`, 0, false},
		{`[1]`, 0, false},
		{`{}`, 0, false},
		{`"\"1\""`, 0, false},
		{`1e-2147483648`, 0, false},
		{`"` + strings.Repeat("0", 99) + `"`, 0, false},
	} {
		got := Int(7)
		err := json.Unmarshal([]byte(c.json), &got)
		if (err == nil) != c.ok || c.ok && got != c.want {
			t.Errorf("%.40s: %d, %v; want %d, ok %v", c.json, got, err, c.want, c.ok)
		}
	}
	if b, _ := json.Marshal(Int(15)); string(b) != "15" {
		t.Errorf("Int(15) is written as %s", b)
	}
}

func FuzzInt(f *testing.F) {
	for _, s := range []string{`1`, `"15"`, `1.0`, `1e3`, `1e-999999999`, `-0`, `"-"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var i Int
		if json.Unmarshal([]byte(s), &i) != nil {
			return
		}
		var back Int
		b, err := json.Marshal(i)
		if err != nil || json.Unmarshal(b, &back) != nil || back != i {
			t.Errorf("%q: read as %d, written as %s", s, i, b)
		}
	})
}

func TestPasswordNeverShows(t *testing.T) {
	const secret = "correct horse"
	v := struct{ P Password }{Password(secret)}
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "p", v.P)
	for _, s := range []string{
		fmt.Sprint(v), fmt.Sprintf("%v %+v %#v %s", v, v, v, v), fmt.Sprintf("%s %q %v", v.P, v.P, v.P),
		fmt.Sprintf("%x %X %d", v.P, v.P, v.P), logged.String(),
	} {
		if strings.Contains(s, secret) || strings.Contains(s, fmt.Sprintf("%x", secret)) || strings.Contains(s, "99 111 114") {
			t.Errorf("shown: %s", s)
		}
	}
}

func TestPasswordOnTheWire(t *testing.T) {
	for _, c := range []struct{ json, want string }{
		{`"plain"`, "plain"},
		{`"a\"b\\c\nd"`, "a\"b\\c\nd"},
		{`"Grüße"`, "Grüße"},
		{`"\u00fc\ud83d\ude00"`, "ü😀"},
		{`""`, ""},
	} {
		var p Password
		if err := json.Unmarshal([]byte(c.json), &p); err != nil || string(p) != c.want {
			t.Errorf("%s: %q %v, want %q", c.json, string(p), err, c.want)
		}
		b, err := json.Marshal(p)
		var s string
		if json.Unmarshal(b, &s) != nil || s != c.want || err != nil {
			t.Errorf("%q is written as %s, %v", c.want, b, err)
		}
	}
	for _, bad := range []string{`1`, `["x"]`, `{}`, "\"\xff\""} {
		if err := new(Password).UnmarshalJSON([]byte(bad)); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
	if _, err := json.Marshal(Password("\xff")); err == nil {
		t.Error("a password that is no text was written")
	}
	p := Password("secret")
	if p.Wipe(); string(p) != "\x00\x00\x00\x00\x00\x00" {
		t.Errorf("after Wipe: %q", string(p))
	}
}

func TestPasswordDoesNotKeepItsInput(t *testing.T) {
	in := []byte(`"secret"`)
	var p Password
	if err := p.UnmarshalJSON(in); err != nil {
		t.Fatal(err)
	}
	clear(in)
	if string(p) != "secret" {
		t.Errorf("%q after the input was wiped", string(p))
	}
}

func TestTimesAreElements(t *testing.T) {
	at := time.Date(2021, 1, 1, 23, 29, 18, 123456789, time.FixedZone("CET", 3600))
	for _, c := range []struct{ got, want string }{
		{FormatTime(at), "2021-01-01T22:29:18Z"},
		{FormatTimeMicro(at), "2021-01-01T22:29:18.123456Z"},
		{FormatTime(time.Time{}), ""},
		{FormatTimeMicro(time.Time{}), ""},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestGetAPIHasAMemberNamedLikeTheVersion(t *testing.T) {
	in := GetAPIResult{Version, Versions(), []string{"GetAPI", "ListDrives"}}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if json.Unmarshal(b, &m); m["currentVersion"] != Version || len(m[Version].([]any)) != 2 {
		t.Errorf("%s", b)
	}
	var out GetAPIResult
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(in, out); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{`[]`, `{}`, `{"currentVersion":"1"}`, `{"currentVersion":"1","supportedVersions":[]}`} {
		if json.Unmarshal([]byte(bad), &out) == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

func TestVersionsHoldTheOnesThatClientsAskFor(t *testing.T) {
	for _, v := range []string{"1.0", "7.0", "11.3", "12.0", "12.3", "12.5", "12.7", "12.8", Version} {
		if !slices.Contains(Versions(), v) {
			t.Errorf("%s is not served", v)
		}
	}
}

func TestAddDrivesTakesBareIDs(t *testing.T) {
	var p AddDrivesParams
	const in = `{"drives":[1,"2",{"driveID":3,"type":"block"},{"uri":"dir:/srv"}]}`
	if err := json.Unmarshal([]byte(in), &p); err != nil {
		t.Fatal(err)
	}
	want := []NewDrive{{DriveID: 1}, {DriveID: 2}, {DriveID: 3, Type: "block"}, {URI: "dir:/srv"}}
	if d := cmp.Diff(want, p.Drives); d != "" {
		t.Error(d)
	}
	if json.Unmarshal([]byte(`{"drives":[[1]]}`), &p) == nil {
		t.Error("an array was taken for a drive")
	}
}

// A job that succeeded with nothing to tell must still have a result: clients
// look for exactly one of result and error.
func TestEmptyAsyncResultIsSent(t *testing.T) {
	b, _ := json.Marshal(GetAsyncResultResult{Status: AsyncComplete, Result: map[string]any{}})
	if !strings.Contains(string(b), `"result":{}`) || strings.Contains(string(b), `"error"`) || strings.Contains(string(b), `"details"`) {
		t.Errorf("%s", b)
	}
}

func TestErrorNamesAreUnique(t *testing.T) {
	names := ErrorNames()
	slices.Sort(names)
	if len(slices.Compact(names)) != len(ErrorNames()) {
		t.Error("a name is listed twice")
	}
	e := &Error{Code: CodeError, Name: ErrInUse, Message: "volume 7: in use"}
	if e.Error() != "xInUse: volume 7: in use" {
		t.Error(e)
	}
}
