package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lockplate/api/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateway answers every call by fn, over TLS.
func gateway(t *testing.T, fn http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(fn)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// certPath writes the server's certificate to a file.
func certPath(t *testing.T, s *httptest.Server) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "api.crt")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(p, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func newClient(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func connect(t *testing.T, s *httptest.Server) *Client {
	t.Helper()
	return newClient(t, Options{Server: s.URL, CAFile: certPath(t, s), User: "ann", Password: wire.Password("s3cret")})
}

func reply(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) }
}

func TestCallSendsTheEnvelope(t *testing.T) {
	var got map[string]any
	var path, user, pass string
	s := gateway(t, func(w http.ResponseWriter, r *http.Request) {
		path = r.URL.Path
		user, pass, _ = r.BasicAuth()
		json.NewDecoder(r.Body).Decode(&got)
		io.WriteString(w, `{"id":1,"result":{"slot":3}}`)
	})
	var res wire.AddVolumeRecoveryKeyResult
	err := connect(t, s).Call(t.Context(), wire.MethodAddRecoveryKey,
		wire.AddVolumeRecoveryKeyParams{VolumeID: 7, Passphrase: wire.Password("p")}, &res)
	if err != nil || res.Slot != 3 {
		t.Fatalf("%v %v", res, err)
	}
	params, _ := got["params"].(map[string]any)
	if got["method"] != "AddVolumeRecoveryKey" || params["volumeID"] != 7.0 || params["passphrase"] != "p" ||
		path != "/json-rpc/12.3" || user != "ann" || pass != "s3cret" {
		t.Errorf("%s %s:%s %v", path, user, pass, got)
	}
}

func TestCallTellsWhatWentWrong(t *testing.T) {
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	for _, c := range []struct {
		what string
		fn   http.HandlerFunc
		want error
		text string
	}{
		{"401", status(401), ErrUnauthorized, `user "ann"`},
		{"429", status(429), ErrRateLimited, "wait"},
		{"503", status(503), ErrUnreachable, "log"},
		{"404", status(404), ErrProtocol, "is it a lockplate gateway?"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", http.StatusMovedPermanently) }, ErrProtocol, "301"},
		{"not JSON", reply("hello"), ErrProtocol, ""},
		{"empty", reply(""), ErrProtocol, ""},
		{"neither", reply(`{"id":1}`), ErrProtocol, "neither"},
		{"wrong result", reply(`{"id":1,"result":[]}`), ErrProtocol, "decode result"},
	} {
		s := gateway(t, c.fn)
		var res wire.VolumeResult
		err := connect(t, s).Call(t.Context(), wire.MethodDeleteVolume, nil, &res)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) || !strings.HasPrefix(err.Error(), "DeleteVolume: ") {
			t.Errorf("%s: %v", c.what, err)
		}
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: the error shows the password: %v", c.what, err)
		}
	}
}

func TestGatewayErrorKeepsItsName(t *testing.T) {
	s := gateway(t, reply(`{"id":1,"error":{"code":500,"name":"xUnknownAPIMethod","message":" method=X"}}`))
	err := connect(t, s).Call(t.Context(), "X", nil, nil)
	e := (*Error)(nil)
	if !errors.As(err, &e) || e.Code != 500 || !IsName(err, wire.ErrUnknownMethod) || IsName(err, wire.ErrInUse) ||
		err.Error() != "X: method=X (xUnknownAPIMethod)" {
		t.Errorf("%#v %v", e, err)
	}
}

func TestUnreachableTellsTheWayOut(t *testing.T) {
	dir := t.TempDir()
	c := newClient(t, Options{Socket: filepath.Join(dir, "api.sock")})
	err := c.Call(t.Context(), "GetAPI", nil, nil)
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "is 'lockplate serve' running") {
		t.Errorf("no socket: %v", err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	err = newClient(t, Options{Server: addr}).Call(t.Context(), "GetAPI", nil, nil)
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), addr) {
		t.Errorf("no server: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Call(ctx, "GetAPI", nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestNoAnswerInTime(t *testing.T) {
	release := make(chan struct{})
	s := gateway(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	c := newClient(t, Options{Server: s.URL, CAFile: certPath(t, s), Timeout: 20 * time.Millisecond})
	if err := c.Call(t.Context(), "GetAPI", nil, nil); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "20ms") {
		t.Errorf("%v", err)
	}
}

func TestTrust(t *testing.T) {
	s := gateway(t, reply(`{"id":1,"result":{}}`))
	sum := sha256.Sum256(s.Certificate().Raw)
	pin := hex.EncodeToString(sum[:])
	var colons []string
	for i := 0; i < len(pin); i += 2 {
		colons = append(colons, strings.ToUpper(pin[i:i+2]))
	}
	for _, c := range []struct {
		what string
		o    Options
		ok   bool
	}{
		{"nothing", Options{}, false},
		{"its own certificate as CA", Options{CAFile: certPath(t, s)}, true},
		{"its own certificate found in the state directory", Options{LocalCert: certPath(t, s)}, true},
		{"no certificate in the state directory", Options{LocalCert: "/nonexistent/api.crt"}, false},
		{"pin", Options{Fingerprint: pin}, true},
		{"pin with colons", Options{Fingerprint: "SHA256:" + strings.Join(colons, ":")}, true},
		{"another pin", Options{Fingerprint: strings.Repeat("00", 32)}, false},
		{"a wrong pin beside the right CA", Options{Fingerprint: strings.Repeat("00", 32), CAFile: certPath(t, s)}, false},
		{"a CA file without its CA", Options{CAFile: otherCert(t)}, false},
	} {
		c.o.Server = s.URL
		err := newClient(t, c.o).Call(t.Context(), "GetAPI", nil, nil)
		if c.ok && err != nil || !c.ok && !errors.Is(err, ErrUntrusted) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// otherCert is a certificate that is not the test server's.
func otherCert(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	p := filepath.Join(t.TempDir(), "other.crt")
	if err := os.WriteFile(p, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestBadOptionsAreRefused(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{
		{},
		{Socket: "/x", Server: "https://x"},
		{Server: "http://x"},
		{Server: "https://"},
		{Server: "https://x/path"},
		{Server: "https://u:p@x"},
		{Server: "https://x", Fingerprint: "12"},
		{Server: "https://x", CAFile: "/nonexistent"},
		{Server: "https://x", CAFile: empty},
		{Server: "ftp://x"},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
	for in, want := range map[string]string{
		"host": "https://host:10811", "host:1": "https://host:1", "https://[::1]": "https://[::1]:10811", "https://h:443/": "https://h:443",
	} {
		if got, err := serverURL(in); got != want || err != nil {
			t.Errorf("%s: %s %v, want %s", in, got, err, want)
		}
	}
}

func TestWaitAsync(t *testing.T) {
	answers := []string{
		`{"id":1,"result":{"status":"running","details":{"percentComplete":10},"resultType":"DriveAdd"}}`,
		`{"id":1,"result":{"status":"running","details":{"percentComplete":60},"resultType":"DriveAdd"}}`,
		`{"id":1,"result":{"status":"complete","result":{"x":1},"resultType":"DriveAdd"}}`,
	}
	var kept []bool
	s := gateway(t, func(w http.ResponseWriter, r *http.Request) {
		var req struct{ Params wire.GetAsyncResultParams }
		json.NewDecoder(r.Body).Decode(&req)
		kept = append(kept, req.Params.KeepResult)
		io.WriteString(w, answers[min(len(kept), len(answers))-1])
	})
	var seen []int
	r, err := connect(t, s).WaitAsync(t.Context(), 3, func(r wire.GetAsyncResultResult) { seen = append(seen, Percent(r)) })
	if err != nil || r.Result["x"] != 1.0 {
		t.Errorf("%v %v", r, err)
	}
	if len(seen) != 3 || seen[0] != 10 || seen[1] != 60 || seen[2] != 100 {
		t.Errorf("progress %v", seen)
	}
	if len(kept) != 4 || !kept[0] || !kept[2] || kept[3] {
		t.Errorf("keepResult of the polls: %v; want kept until read, then ended", kept)
	}
}

func TestWaitAsyncOfFailedWork(t *testing.T) {
	s := gateway(t, reply(`{"id":1,"result":{"status":"complete","error":{"name":"xNoSpace","message":"full"}}}`))
	_, err := connect(t, s).WaitAsync(t.Context(), 3, nil)
	if !IsName(err, wire.ErrNoSpace) {
		t.Errorf("%v", err)
	}
	gone := gateway(t, reply(`{"id":1,"error":{"code":500,"name":"xAsyncHandleDoesNotExist","message":"gone"}}`))
	if _, err := connect(t, gone).WaitAsync(t.Context(), 3, nil); !IsName(err, wire.ErrAsyncNotFound) {
		t.Errorf("%v", err)
	}
}

func TestWaitAsyncHeedsTheContext(t *testing.T) {
	s := gateway(t, reply(`{"id":1,"result":{"status":"running"}}`))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := connect(t, s).WaitAsync(ctx, 3, func(wire.GetAsyncResultResult) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
