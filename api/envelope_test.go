package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"lockplate/api/wire"
	"lockplate/cluster"
)

// Every row is something that a client sends or that somebody might.
func TestEnvelope(t *testing.T) {
	r := newAPIRig(t)
	deep := strings.Repeat("[", 33) + strings.Repeat("]", 33)
	for _, c := range []struct{ what, body, name, message string }{
		{"plain", `{"method":"GetAPI","params":{},"id":1}`, "", ""},
		{"params null (Go SDK)", `{"method":"GetAPI","params":null,"id":1}`, "", ""},
		{"no params", `{"method":"GetAPI","id":1}`, "", ""},
		{"no id (Terraform)", `{"method":"GetAPI","params":{}}`, "", ""},
		{"lower case (documentation)", `{"method":"getsoftwareencryptionatrestinfo"}`, "", ""},
		{"upper case", `{"method":"GETAPI"}`, "", ""},
		{"JSON-RPC 2.0 marker", `{"jsonrpc":"2.0","method":"GetAPI"}`, "", ""},
		{"white space around", " \r\n\t{\"method\":\"GetAPI\"}\n", "", ""},
		{"member METHOD is not method", `{"METHOD":"GetAPI"}`, wire.ErrMissingParameter, "Missing member=[method]"},
		{"array params", `{"method":"GetAPI","params":[]}`, wire.ErrParameterType, "params"},
		{"string params", `{"method":"GetAPI","params":"x"}`, wire.ErrParameterType, "params"},
		{"unknown method", `{"method":"Frobnicate"}`, wire.ErrUnknownMethod, " method=Frobnicate"},
		{"empty method", `{"method":""}`, wire.ErrUnknownMethod, " method="},
		{"method null", `{"method":null}`, wire.ErrParameterType, "method"},
		{"method number", `{"method":1}`, wire.ErrParameterType, "method"},
		{"batch", `[{"method":"GetAPI"}]`, wire.ErrJSONParse, "one JSON object"},
		{"null", `null`, wire.ErrJSONParse, "one JSON object"},
		{"string", `"GetAPI"`, wire.ErrJSONParse, "one JSON object"},
		{"empty body", ``, wire.ErrJSONParse, "not JSON"},
		{"cut short", `{"method":"GetAPI"`, wire.ErrJSONParse, "not JSON"},
		{"two values", `{"method":"GetAPI"}{}`, wire.ErrJSONParse, "not JSON"},
		{"raw line break", "{\"method\":\"GetAPI\",\"params\":{\"x\":\"-----BEGIN\nMII\"}}", wire.ErrJSONParse, `raw line break`},
		{"too deep", `{"method":"GetAPI","params":{"x":` + deep + `}}`, wire.ErrJSONParse, "deeper"},
		{"braces in a string are not depth", `{"method":"GetAPI","params":{"x":"` + strings.Repeat("{[", 99) + `\""}}`, "", ""},
		{"missing parameter", `{"method":"DeleteVolume"}`, wire.ErrMissingParameter, "Missing member=[volumeID]"},
		{"null parameter is missing", `{"method":"DeleteVolume","params":{"volumeID":null}}`, wire.ErrMissingParameter, "Missing member=[volumeID]"},
		{"digits in a string", `{"method":"DeleteVolume","params":{"volumeID":"7"}}`, "", ""},
		{"whole float", `{"method":"DeleteVolume","params":{"volumeID":7.0}}`, "", ""},
		{"fraction", `{"method":"DeleteVolume","params":{"volumeID":7.5}}`, wire.ErrParameterType, "volumeID"},
		{"object as integer", `{"method":"DeleteVolume","params":{"volumeID":{}}}`, wire.ErrParameterType, "volumeID"},
		{"string as bool", `{"method":"GetAsyncResult","params":{"asyncHandle":3,"keepResult":"yes"}}`, wire.ErrParameterType, "keepResult: must be of type bool, not string"},
		{"number as string", `{"method":"AdoptVolume","params":{"name":5}}`, wire.ErrParameterType, "name"},
		{"null optional parameter", `{"method":"GetAsyncResult","params":{"asyncHandle":3,"keepResult":null}}`, "", ""},
		{"unknown enum", `{"method":"ListClusterFaults","params":{"faultTypes":"Current"}}`, wire.ErrUnrecognizedEnum, "Current"},
		{"unknown handle", `{"method":"GetAsyncResult","params":{"asyncHandle":99}}`, wire.ErrAsyncNotFound, "Async handle 99 does not exist."},
	} {
		reply := r.post(c.body)
		if c.name != "" {
			r.wantError(c.what, reply, c.name, c.message)
		} else if reply["error"] != nil {
			t.Errorf("%s: %s", c.what, reply["error"])
		}
	}
}

func TestIDIsEchoedAsSent(t *testing.T) {
	r := newAPIRig(t)
	for in, want := range map[string]string{
		`"id":1`: "1", `"id":"x"`: `"x"`, `"id":null`: "null", `"id":0`: "0", `"id":12345678901234567890`: "12345678901234567890",
		`"id":1.50`: "1.50", `"id":[1,2]`: "[1,2]", `"x":1`: "null",
	} {
		for _, method := range []string{"GetAPI", "Nothing"} {
			reply := r.post(`{` + in + `,"method":"` + method + `"}`)
			if string(reply["id"]) != want {
				t.Errorf("%s: id %s, want %s", in, reply["id"], want)
			}
		}
	}
	if got := r.post(`{"id":5,"params":[],"method":"GetAPI"}`); string(got["id"]) != "5" {
		t.Errorf("id beside an envelope error: %s", got["id"])
	}
}

func TestUnusedParametersAreNamed(t *testing.T) {
	r := newAPIRig(t)
	reply := r.post(`{"method":"GetAPI","params":{"zeta":1,"alpha":null}}`)
	if got := string(reply["unusedParameters"]); got != `["alpha","zeta"]` {
		t.Errorf("unusedParameters %s", got)
	}
	if reply = r.post(`{"method":"GetAPI","params":{}}`); reply["unusedParameters"] != nil {
		t.Errorf("unusedParameters without any: %s", reply["unusedParameters"])
	}
	var many strings.Builder
	for i := range 1000 {
		many.WriteString(`"` + strings.Repeat("n", 500) + itoa(i) + `":1,`)
	}
	reply = r.post(`{"method":"GetAPI","params":{` + many.String() + `"z":1}}`)
	if n := len(reply["unusedParameters"]); n > maxUnused*(maxNameEchoed+8) {
		t.Errorf("%d bytes of unusedParameters", n)
	}
}

func TestBodyIsBounded(t *testing.T) {
	r := newAPIRig(t)
	reply := r.post(`{"method":"GetAPI","id":1,"params":{"x":"` + strings.Repeat("x", maxBody) + `"}}`)
	r.wantError("huge", reply, wire.ErrExceededLimit, "over 1048576 bytes")
}

func TestLongNamesAreNotEchoedWhole(t *testing.T) {
	r := newAPIRig(t)
	w := r.do(http.MethodPost, endpoint, `{"method":"`+strings.Repeat("x", 1<<19)+`"}`, asAdmin)
	if w.Body.Len() > 1024 {
		t.Errorf("%d bytes of answer", w.Body.Len())
	}
}

func TestContentTypeOfTheRequestIsIgnored(t *testing.T) {
	r := newAPIRig(t)
	for _, ct := range []string{"", "application/json", "application/json-rpc", "text/plain", "multipart/form-data"} {
		r.reply(r.do(http.MethodPost, endpoint, `{"method":"GetAPI"}`, asAdmin, func(q *http.Request) {
			q.Header.Set("Content-Type", ct)
		}))
	}
}

func TestEveryListedVersionIsServed(t *testing.T) {
	r := newAPIRig(t)
	for _, v := range wire.Versions() {
		for _, slash := range []string{"", "/"} {
			r.reply(r.do(http.MethodPost, "/json-rpc/"+v+slash, `{"method":"GetAPI"}`, asAdmin))
		}
	}
}

func TestOutsideTheEndpointIsNotFound(t *testing.T) {
	r := newAPIRig(t)
	for _, path := range []string{
		"/", "/json-rpc", "/json-rpc/", "/json-rpc/99.9", "/json-rpc/12.3//", "/json-rpc/12.3/x",
		"/json-rpc/../json-rpc/12.3", "/JSON-RPC/12.3", "/metrics",
	} {
		w := r.do(http.MethodPost, path, `{"method":"GetAPI"}`, asAdmin)
		if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "404 Not Found") || w.Header().Get("Location") != "" {
			t.Errorf("%s: HTTP %d %q", path, w.Code, w.Body)
		}
	}
}

func TestOtherVerbsAreRefused(t *testing.T) {
	r := newAPIRig(t)
	for _, m := range []string{"PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"} {
		if w := r.do(m, endpoint, "", asAdmin); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") == "" {
			t.Errorf("%s: HTTP %d", m, w.Code)
		}
	}
}

func TestGetForm(t *testing.T) {
	r := newAPIRig(t)
	get := func(query string) map[string]json.RawMessage {
		return r.reply(r.do(http.MethodGet, endpoint+"?"+query, "", asAdmin))
	}
	reply := get("method=ListVolumes&volumeIDs=[7]&includeVirtualVolumes=true&id=5")
	var res wire.ListVolumesResult
	if json.Unmarshal(reply["result"], &res); len(res.Volumes) != 1 || res.Volumes[0].VolumeID != 7 || string(reply["id"]) != "5" {
		t.Errorf("%s %s", reply["id"], reply["result"])
	}
	// A declared string stays one even if it looks like a number or JSON.
	reply = get("method=ListVolumes&volumeName=" + url.QueryEscape(`7`))
	if reply["error"] != nil {
		t.Errorf("volumeName=7: %s", reply["error"])
	}
	if reply = get("method=getapi&x=1&id=abc"); string(reply["unusedParameters"]) != `["x"]` || string(reply["id"]) != `"abc"` {
		t.Errorf("%s %s", reply["unusedParameters"], reply["id"])
	}
	r.wantError("no method", get("x=1"), wire.ErrMissingParameter, "Missing member=[method]")
	r.wantError("bad integer", get("method=GetAsyncResult&asyncHandle=x"), wire.ErrParameterType, "asyncHandle")
	r.wantError("too deep", get("method=ListVolumes&volumeIDs="+strings.Repeat("[", 99)), wire.ErrParameterType, "volumeIDs")
}

// A link on another site must not change anything.
func TestGetChangesNothing(t *testing.T) {
	r := newAPIRig(t)
	for _, name := range r.srv.methods.names {
		if r.srv.methods.find(name).access != adminOnly {
			continue
		}
		reply := r.reply(r.do(http.MethodGet, endpoint+"?method="+name+"&volumeID=7", "", asAdmin))
		r.wantError(name, reply, wire.ErrPermissionDenied, "use POST")
	}
	r.do(http.MethodGet, endpoint+"?method=GetAsyncResult&asyncHandle=3", "", asAdmin)
	if !r.kept {
		t.Error("GET ended an async handle")
	}
	r.post(`{"method":"GetAsyncResult","params":{"asyncHandle":3}}`)
	if r.kept {
		t.Error("POST kept an async handle")
	}
}

func TestErrorsHaveNames(t *testing.T) {
	r := newAPIRig(t)
	for err, want := range map[error]string{
		cluster.ErrNoCluster:     wire.ErrNoCluster,
		cluster.ErrClusterExists: wire.ErrClusterExists,
		cluster.ErrExists:        wire.ErrAlreadyExists,
		cluster.ErrInUse:         wire.ErrInUse,
		cluster.ErrState:         wire.ErrNotPermitted,
		cluster.ErrLimit:         wire.ErrExceededLimit,
		cluster.ErrClosed:        wire.ErrRetry,
		errors.New("strange"):    wire.ErrInternal,
		&cluster.InvalidError{Param: "name", Reason: "long"}: wire.ErrInvalidParameter,
		&cluster.NotFoundError{Kind: "volume", ID: "7"}:      wire.ErrVolumeNotFound,
		&cluster.NotFoundError{Kind: "drive", ID: "7"}:       wire.ErrDriveNotFound,
		&cluster.NotFoundError{Kind: "user", ID: "7"}:        wire.ErrClusterAdminGone,
		&cluster.NotFoundError{Kind: "account", ID: "7"}:     wire.ErrAccountNotFound,
		&cluster.NotFoundError{Kind: "slot", ID: "7"}:        wire.ErrKeyslotNotFound,
		&cluster.NotFoundError{Kind: "hat", ID: "7"}:         wire.ErrNotFound,
	} {
		r.err = err
		r.wantError(err.Error(), r.post(`{"method":"DeleteVolume","params":{"volumeID":7}}`), want, err.Error())
	}
}

// Each cause must have a name of its own, or it comes out as internal error.
func TestEveryCauseHasAName(t *testing.T) {
	for _, cause := range []error{
		cluster.ErrNotExist, cluster.ErrNoSpace, cluster.ErrReadOnly, cluster.ErrPassphrase, cluster.ErrKey,
		cluster.ErrKeyMissing, cluster.ErrDamaged, cluster.ErrUnsupported, cluster.ErrInvalid,
		cluster.ErrStateBusy, cluster.ErrDenied, cluster.ErrRateLimited,
	} {
		if causeName(cause) == "" {
			t.Errorf("%v has no name", cause)
		}
	}
}

func TestPanicIsAnError(t *testing.T) {
	r := newAPIRig(t)
	r.panics = true
	r.wantError("panic", r.post(`{"method":"ListVolumes"}`), wire.ErrInternal, "internal error")
	if !strings.Contains(r.log.String(), "a bug") {
		t.Error("the panic was not logged")
	}
}

func FuzzEnvelope(f *testing.F) {
	for _, s := range []string{
		`{"method":"GetAPI","params":{},"id":1}`, `{"method":"CreateVolume","params":{"name":"v","totalSize":"1"}}`,
		`{"method":"AddDrives","params":{"drives":[1,{"uri":"mem:1G"}]}}`, `[]`, `{"id":{}}`, `{"method":"\ud800"}`,
		`{"method":"CreateCluster","params":{"acceptEula":true,"username":"a","password":"\u0000\ud83d"}}`,
		`{"method":"ModifyVolume","params":{"volumeID":1,"attributes":null,"totalSize":1e3}}`,
	} {
		f.Add([]byte(s))
	}

	srv, err := NewServer(Config{Cluster: newFake()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c, bad := parseBody(body)
		if bad != nil {
			if bad.Code != wire.CodeError || bad.Name == "" {
				t.Errorf("%q: %+v", body, bad)
			}
			return
		}
		reply := wire.Reply{ID: c.id}
		m, e := srv.lookup(&c, identity{admin: true})
		if reply.Error = e; e == nil {
			reply.Result, reply.UnusedParameters, reply.Error = srv.run(t.Context(), m, identity{admin: true}, &c)
		}
		b, err := json.Marshal(&reply)
		if err != nil || !json.Valid(b) {
			t.Errorf("%q: answer %q, %v", body, b, err)
		}
	})
}

func FuzzQuery(f *testing.F) {
	f.Add("method=ListVolumes&volumeIDs=[7]&id=5")
	f.Add("method=GetAsyncResult&asyncHandle=3&keepResult=tru")
	srv, err := NewServer(Config{Cluster: newFake()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, query string) {
		q, _ := url.ParseQuery(query)
		c, bad := parseQuery(q)
		if bad != nil {
			return
		}
		reply := wire.Reply{ID: c.id}
		m, e := srv.lookup(&c, identity{admin: true, get: true})
		if reply.Error = e; e == nil {
			reply.Result, reply.UnusedParameters, reply.Error = srv.run(t.Context(), m, identity{admin: true, get: true}, &c)
		}
		if b, err := json.Marshal(&reply); err != nil || !json.Valid(b) {
			t.Errorf("%q: answer %q, %v", query, b, err)
		}
	})
}
