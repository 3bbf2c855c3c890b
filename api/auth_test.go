package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"lockplate/api/wire"
	"lockplate/cluster"
)

func TestWithoutCredentialsIs401AsTheSDKExpects(t *testing.T) {
	r := newAPIRig(t)
	for what, change := range map[string]func(*http.Request){
		"none":           func(*http.Request) {},
		"wrong password": func(q *http.Request) { q.SetBasicAuth("ann", "Password") },
		"wrong name":     func(q *http.Request) { q.SetBasicAuth("nobody", "password") },
		"bearer":         func(q *http.Request) { q.Header.Set("Authorization", "Bearer x") },
		"not base64":     func(q *http.Request) { q.Header.Set("Authorization", "Basic !") },
	} {
		w := r.do(http.MethodPost, endpoint, `{"method":"GetAPI"}`, change)
		if w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), "401 Unauthorized.") ||
			!strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Basic") || json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: HTTP %d %v %q", what, w.Code, w.Header(), w.Body)
		}
	}
}

func TestTooManyFailuresIs429(t *testing.T) {
	r := newAPIRig(t)
	w := r.do(http.MethodPost, endpoint, `{"method":"GetAPI"}`, func(q *http.Request) { q.SetBasicAuth("limited", "x") })
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("HTTP %d %v", w.Code, w.Header())
	}
}

func TestReaderMayOnlyRead(t *testing.T) {
	r := newAPIRig(t)
	if err := r.srv.Reload(); err != nil { // for GetSSLCertificate
		t.Fatal(err)
	}
	for _, name := range r.srv.methods.names {
		w := r.do(http.MethodPost, endpoint, `{"method":"`+name+`","params":{"asyncHandle":3,"volumeID":7,"nodeID":1,"driveID":1,"accountID":1,"username":"lockplate","qosPolicyID":2}}`, asReader)
		reply := r.reply(w)
		if r.srv.methods.find(name).access != readers {
			r.wantError(name, reply, wire.ErrPermissionDenied, "may only read")
		} else if reply["error"] != nil {
			t.Errorf("%s: %s", name, reply["error"])
		}
	}
	if r.last != nil {
		t.Errorf("a reader reached %#v", r.last)
	}
	if !r.kept {
		t.Error("a reader ended an async handle")
	}
}

// Cluster creation without credentials is for who runs this machine, and only
// while there is nothing to protect.
func TestSetupNeedsNoCredentialsHere(t *testing.T) {
	const create = `{"method":"CreateCluster","params":{"acceptEula":true,"username":"ann","password":"long enough"}}`
	for _, c := range []struct {
		what, remote, body string
		exists             bool
		want               int
	}{
		{"from this machine", "127.0.0.1:999", create, false, 200},
		{"from this machine, IPv6", "[::1]:999", create, false, 200},
		{"mapped address", "[::ffff:127.0.0.1]:999", create, false, 200},
		{"SDK's first call", "127.0.0.1:999", `{"method":"GetAPI"}`, false, 200},
		{"another method", "127.0.0.1:999", `{"method":"ListDrives"}`, false, 401},
		{"unknown method", "127.0.0.1:999", `{"method":"X"}`, false, 401},
		{"from elsewhere", "192.0.2.1:999", create, false, 401},
		{"when a cluster exists", "127.0.0.1:999", create, true, 401},
	} {
		r := newAPIRig(t)
		r.exists = c.exists
		r.srv.trusted = func(q *http.Request) bool { return q.RemoteAddr != "192.0.2.1:999" }
		w := r.do(http.MethodPost, endpoint, c.body, func(q *http.Request) { q.RemoteAddr = c.remote })
		if w.Code != c.want {
			t.Errorf("%s: HTTP %d, want %d", c.what, w.Code, c.want)
		}
		if made := r.created.Username == "ann"; made != (c.want == 200 && c.body == create) {
			t.Errorf("%s: cluster made: %v", c.what, made)
		}
	}
}

func TestSetupByLinkIsRefused(t *testing.T) {
	r := newAPIRig(t)
	r.exists = false
	r.srv.trusted = func(*http.Request) bool { return true }
	w := r.do(http.MethodGet, endpoint+"?method=CreateCluster&acceptEula=true", "", func(q *http.Request) { q.RemoteAddr = "127.0.0.1:9" })
	r.wantError("GET", r.reply(w), wire.ErrPermissionDenied, "use POST")
}

func TestCrossSiteRequestsAreRefused(t *testing.T) {
	r := newAPIRig(t)
	for header, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"} {
		w := r.do(http.MethodPost, endpoint, `{"method":"DeleteVolume","params":{"volumeID":7}}`, asAdmin, func(q *http.Request) {
			q.Header.Set(header, value)
		})
		if w.Code != http.StatusForbidden || r.last != nil {
			t.Errorf("%s: HTTP %d, reached %v", header, w.Code, r.last)
		}
	}
	r.reply(r.do(http.MethodPost, endpoint, `{"method":"GetAPI"}`, asAdmin, func(q *http.Request) {
		q.Header.Set("Origin", "https://"+q.Host)
	}))
}

func asPeer(p peer) func(*http.Request) {
	return func(q *http.Request) { *q = *q.WithContext(context.WithValue(q.Context(), peerKey{}, p)) }
}

func TestPeersOfTheSocket(t *testing.T) {
	r := newAPIRig(t)
	const body = `{"method":"DeleteVolume","params":{"volumeID":7}}`
	if r.reply(r.do(http.MethodPost, endpoint, body, asPeer(peer{"uid:0", true})))["error"] != nil {
		t.Error("an administrator's process was refused")
	}
	stranger := asPeer(peer{"uid:1234", false})
	if w := r.do(http.MethodPost, endpoint, body, stranger); w.Code != http.StatusUnauthorized {
		t.Errorf("a stranger's process: HTTP %d", w.Code)
	}
	if r.reply(r.do(http.MethodPost, endpoint, body, stranger, asAdmin))["error"] != nil {
		t.Error("a stranger's process with a password was refused")
	}
	r.exists = false
	if w := r.do(http.MethodPost, endpoint, `{"method":"CreateCluster","params":{"acceptEula":true}}`, stranger); w.Code != http.StatusUnauthorized {
		t.Errorf("a stranger's process made a cluster: HTTP %d", w.Code)
	}
}

type fakeGroups map[uint32][]uint32

func (fakeGroups) id(name string) (uint32, bool) { return 77, name == adminGroup }
func (g fakeGroups) of(uid uint32) []uint32      { return g[uid] }

type noGroups struct{ fakeGroups }

func (noGroups) id(string) (uint32, bool) { return 0, false }

func TestWhoMayAdminister(t *testing.T) {
	g := fakeGroups{5: {5, 77}, 6: {6}}
	for _, c := range []struct {
		uid, gid, own uint32
		g             groups
		want          bool
	}{
		{0, 0, 9, g, true},
		{9, 9, 9, g, true},
		{5, 5, 9, g, true},
		{6, 77, 9, g, true},
		{6, 6, 9, g, false},
		{5, 77, 9, noGroups{g}, false},
		{6, 0, 9, noGroups{g}, false},
	} {
		if got := mayAdminister(c.uid, c.gid, c.own, c.g); got != c.want {
			t.Errorf("uid %d gid %d, gateway %d: %v, want %v", c.uid, c.gid, c.own, got, c.want)
		}
	}
	if id, ok := (accountGroups{}).id("root"); !ok || id != 0 {
		t.Errorf("group root is %d, %v", id, ok)
	}
	if ids := (accountGroups{}).of(0); len(ids) == 0 {
		t.Error("root is in no group")
	}
}

func TestFailuresAreCountedPerHost(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1:5": "192.0.2.1", "[::ffff:192.0.2.1]:5": "192.0.2.1", "[::1]:5": "::1",
		"[2001:db8:1:2:3:4:5:6]:5": "2001:db8:1:2::/64", "[fe80::1%eth0]:5": "fe80::/64", "x": "x",
	} {
		if got := callerAddress(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestSecretsAreNotLogged(t *testing.T) {
	r := newAPIRig(t)
	const secret = "s3cret-passphrase"
	for _, body := range []string{
		`{"method":"CreateCluster","params":{"acceptEula":true,"username":"u","password":"` + secret + `","sealPassphrase":"` + secret + `"}}`,
		`{"method":"CreateVolume","params":{"name":"v","totalSize":1,"recoveryPassphrase":"` + secret + `"}}`,
		`{"method":"AddClusterAdmin","params":{"username":"u","password":"` + secret + `","access":["read"]}}`,
		`{"method":"AddVolumeRecoveryKey","params":{"volumeID":7,"passphrase":"` + secret + `"}}`,
		`{"method":"GetStoreBackup","params":{"passphrase":"` + secret + `"}}`,
		`{"method":"NoSuch","params":{"passphrase":"` + secret + `"}}`,
		`{"method":"AddClusterAdmin","params":{"username":"u","password":["` + secret + `"],"access":5}}`,
	} {
		for _, err := range []error{nil, cluster.ErrInUse} {
			r.err = err
			w := r.do(http.MethodPost, endpoint, body, asAdmin)
			if strings.Contains(w.Body.String(), secret) {
				t.Errorf("answer shows it: %s", w.Body)
			}
		}
	}
	r.do(http.MethodPost, endpoint, "{}", func(q *http.Request) { q.SetBasicAuth("ann", secret) })
	if strings.Contains(r.log.String(), secret) {
		t.Errorf("log shows it: %s", r.log)
	}
	if !strings.Contains(r.log.String(), `"method":"CreateVolume","user":"ann"`) {
		t.Errorf("no record of a call: %s", r.log)
	}
}

func TestSecretsReachTheClusterAndAreWiped(t *testing.T) {
	r := newAPIRig(t)
	r.post(`{"method":"CreateCluster","params":{"acceptEula":true,"username":"u","password":"long enough","sealPassphrase":"p\u00e4ss"}}`)
	if string(r.created.Password) != "long enough" || string(r.created.SealPassphrase) != "päss" || !r.created.SoftwareEncryption {
		t.Errorf("created %+v", r.created)
	}
	c := call{params: map[string]json.RawMessage{"passphrase": json.RawMessage(`"secret"`)}}
	var got wire.Password
	h := bind(func(_ context.Context, _ identity, p *wire.GetStoreBackupParams) (wire.Empty, error) {
		got = p.Passphrase
		return wire.Empty{}, nil
	})
	if _, _, err := h(t.Context(), identity{}, &c); err != nil {
		t.Fatal(err)
	}
	c.wipe()
	if strings.Trim(string(got), "\x00") != "" || strings.Trim(string(c.params["passphrase"]), "\x00") != "" {
		t.Errorf("left in memory: %q %q", string(got), c.params["passphrase"])
	}
}
