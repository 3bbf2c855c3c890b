package api

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"lockplate/api/wire"
	"lockplate/cluster"
	"lockplate/keymgr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a Backend with one of everything. It records what it was asked.
type fake struct {
	mu      sync.Mutex
	exists  bool
	err     error // of every method, if set
	created cluster.CreateParams
	last    any           // parameters of the last call
	kept    bool          // of Async
	wait    chan struct{} // if set, Volumes waits for it
	arrived chan struct{} // if set, Volumes tells that it was reached
	users   map[string]cluster.User
	async   cluster.Async
	filter  cluster.EventFilter // of Events
	entries []cluster.AuditEntry
	noAudit error
	cert    func() *x509.Certificate
	plain   bool // made without encryption
	panics  bool
}

var day = time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)

const someUUID = "6f1c2e0a-30d5-4d8e-9c43-0f6a5b7d8e91"

func newFake() *fake {
	return &fake{
		exists: true,
		users: map[string]cluster.User{
			"ann": {ID: 1, Name: "ann", Roles: []cluster.Role{cluster.RoleAdmin}, Created: day},
			"ron": {ID: 2, Name: "ron", Roles: []cluster.Role{cluster.RoleReader}, Created: day},
		},
		async: cluster.Async{
			Handle: 3, Type: "DriveAdd", Created: day, Updated: day, Done: true, Progress: 100,
			Result: map[string]any{"drives": []int{1}},
		},
	}
}

func (f *fake) note(v any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = v
	return f.err
}

func (f *fake) Exists() bool { return f.exists }

func (f *fake) Create(_ context.Context, p cluster.CreateParams) error {
	p.Password = append([]byte(nil), p.Password...)
	p.SealPassphrase = append([]byte(nil), p.SealPassphrase...)
	f.created = p
	return f.note(p)
}

func (f *fake) Info(context.Context) (cluster.Info, error) {
	return cluster.Info{
		Name: "attic", UUID: someUUID, Created: day, SoftwareEncryption: true, NodeID: 1, NodeName: "host",
	}, f.err
}

func (f *fake) Encryption(context.Context) (cluster.Encryption, error) {
	if f.plain {
		return cluster.Encryption{}, nil
	}
	return cluster.Encryption{Enabled: true, Version: 1, RekeyHandle: 5, Master: &keymgr.MasterKey{
		ID: someUUID, Type: keymgr.Internal, Created: day, Sealed: false, Sealer: "file", Warning: "beside the data",
	}, Shares: &keymgr.SharesInfo{Set: "0badcafe", Threshold: 3, Shares: 5, Created: day, Covers: true}}, f.err
}

func (f *fake) Faults(context.Context) ([]cluster.Fault, error) {
	return []cluster.Fault{
		{ID: 3, Code: "driveFailed", Severity: "error", Type: "drive", Text: "Drive 2 cannot be used.", DriveID: 2, Since: day},
		{ID: 2, Code: "volumesOffline", Severity: "error", Type: "volume", Text: "Volume \"v\" is offline.", VolumeID: 7, Since: day},
	}, f.err
}

func (f *fake) FaultHistory(context.Context) ([]cluster.Fault, error) {
	return []cluster.Fault{{
		ID: 1, Code: "volumesDegraded", Severity: "warning", Type: "volume", Text: "Volume \"v\": it was.",
		VolumeID: 7, Since: day.Add(-time.Hour), Resolved: day,
	}}, f.err
}

func (f *fake) WatchServerCertificate(current func() *x509.Certificate) { f.cert = current }

func (f *fake) ClearFaults(_ context.Context, which cluster.FaultSet) error { return f.note(which) }

func (f *fake) Events(_ context.Context, filter cluster.EventFilter) ([]cluster.Event, error) {
	f.filter = filter
	return []cluster.Event{
		{ID: 1, Type: cluster.EventAPI, Message: "Cluster created", Time: day},
		{
			ID: 2, Type: cluster.EventDrive, Message: "Cluster fault raised: driveFailed", Severity: 2, DriveID: 2, Time: day,
			Details: map[string]any{"code": "driveFailed"},
		},
	}, f.err
}

func (f *fake) Drives(context.Context) ([]cluster.Drive, error) {
	return []cluster.Drive{
		{
			ID: 1, UUID: someUUID, URI: "dir:/srv/d1", Role: cluster.RoleBlock, Status: cluster.DriveActive,
			Capacity: 1 << 40, Free: 1 << 39, Added: day, Volumes: []int64{7},
		},
		{ID: 2, UUID: someUUID, URI: "disk:/dev/sdb", Role: cluster.RoleMetadata, Status: cluster.DriveFailed, Reason: "not there", Serial: "S1", Model: "M"},
	}, f.err
}

func (f *fake) AddDrives(_ context.Context, d []cluster.AddDrive) (int64, error) { return 3, f.note(d) }

func (f *fake) RemoveDrives(_ context.Context, ids []int64) (int64, error) { return 4, f.note(ids) }

func (f *fake) ForgetDrive(_ context.Context, id int64) error { return f.note(id) }

func volume(id int64, name string) cluster.Volume {
	return cluster.Volume{
		ID: id, UUID: someUUID, Name: name, AccountID: 1, Size: 1 << 30, SectorSize: 4096, Emulate512: true,
		Access: cluster.AccessReadWrite, State: cluster.VolumeOnline, Encrypted: true, Cipher: "aes-xts-plain64",
		KeyBits: 512, DriveID: 1, Path: "/srv/d1/" + name + ".img", Discard: "off", Created: day, QoS: cluster.NoQoS(),
	}
}

func (f *fake) Volumes(ctx context.Context) ([]cluster.Volume, error) {
	if f.arrived != nil {
		f.arrived <- struct{}{}
	}
	if f.wait != nil {
		select {
		case <-f.wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if f.panics {
		panic("a bug")
	}
	gone := volume(8, "gone")
	gone.State, gone.Deleted, gone.Purge = cluster.VolumeDeleted, day, day.Add(8*time.Hour)
	other := volume(9, "other")
	other.AccountID, other.State, other.Reason = 2, cluster.VolumeLocked, "its key is missing"
	return []cluster.Volume{volume(7, "v"), gone, other}, f.err
}

func (f *fake) Volume(_ context.Context, id int64) (cluster.Volume, error) {
	return volume(id, "v"), f.err
}

func (f *fake) CreateVolume(_ context.Context, p cluster.CreateVolume) (cluster.Volume, error) {
	p.Passphrase = append([]byte(nil), p.Passphrase...)
	return volume(7, p.Name), f.note(p)
}

func (f *fake) AdoptVolume(_ context.Context, p cluster.AdoptVolume) (cluster.Volume, error) {
	return volume(7, p.Name), f.note(p)
}

func (f *fake) ModifyVolume(_ context.Context, id int64, m cluster.ModifyVolume) (cluster.Volume, error) {
	return volume(id, "v"), f.note(m)
}

func (f *fake) DeleteVolume(_ context.Context, id int64) (cluster.Volume, error) {
	v := volume(id, "v")
	v.State, v.Deleted, v.Purge = cluster.VolumeDeleted, day, day.Add(8*time.Hour)
	return v, f.note(id)
}

func (f *fake) RestoreVolume(_ context.Context, id int64) (cluster.Volume, error) {
	return volume(id, "v"), f.note(id)
}

func (f *fake) PurgeVolume(_ context.Context, id int64) error { return f.note(id) }

func (f *fake) VolumeStats(context.Context) ([]cluster.VolumeStats, error) {
	return []cluster.VolumeStats{{
		VolumeID: 7, ReadOps: 10, WriteOps: 20, TrimOps: 1, ZeroOps: 2, FlushOps: 3, Errors: 4,
		ReadBytes: 40960, WriteBytes: 163840, ReadLatency: time.Millisecond, WriteLatency: 4 * time.Millisecond, InFlight: 2,
		Allocated: 5000,
	}}, f.err
}

func policy(id int64) cluster.QoSPolicy {
	return cluster.QoSPolicy{
		ID: id, Name: "bronze", QoS: cluster.QoS{MinIOPS: 50, MaxIOPS: 15000, BurstIOPS: 15000, BurstTime: 60}, Volumes: []int64{7},
	}
}

func (f *fake) CreateQoSPolicy(_ context.Context, name string, q cluster.QoSChange) (cluster.QoSPolicy, error) {
	p := policy(2)
	p.Volumes = nil
	return p, f.note([]any{name, q})
}

func (f *fake) ModifyQoSPolicy(_ context.Context, id int64, name *string, q *cluster.QoSChange) (cluster.QoSPolicy, error) {
	return policy(id), f.note([]any{id, name, q})
}

func (f *fake) DeleteQoSPolicy(_ context.Context, id int64) error { return f.note(id) }

func (f *fake) QoSPolicy(_ context.Context, id int64) (cluster.QoSPolicy, error) {
	return policy(id), f.err
}

func (f *fake) QoSPolicies(context.Context) ([]cluster.QoSPolicy, error) {
	return []cluster.QoSPolicy{policy(2)}, f.err
}

func (f *fake) AddRecoveryKey(_ context.Context, id int64, pass []byte, kdf string) (int, error) {
	return 0, f.note([]any{id, string(pass), kdf})
}

func (f *fake) RecoveryKeys(context.Context, int64) ([]cluster.RecoveryKey, error) {
	return []cluster.RecoveryKey{{Slot: 0, KDF: "argon2id"}}, f.err
}

func (f *fake) RemoveRecoveryKey(_ context.Context, id int64, slot int) error {
	return f.note([]int64{id, int64(slot)})
}

func (f *fake) Async(_ context.Context, handle int64, keep bool) (cluster.Async, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kept = keep
	if handle != f.async.Handle {
		return cluster.Async{}, &cluster.NotFoundError{Kind: "async", ID: itoa(int(handle))}
	}
	return f.async, f.err
}

func (f *fake) Asyncs(context.Context) ([]cluster.Async, error) {
	failed := cluster.Async{Handle: 4, Type: "DriveRemoval", Created: day, Updated: day, Done: true, ErrName: "xInUse", ErrText: "in use"}
	return []cluster.Async{f.async, failed}, f.err
}

func (f *fake) Backup(_ context.Context, w io.Writer, _ []byte) error {
	io.WriteString(w, "sealed")
	return f.err
}

func (f *fake) CheckStore(context.Context) ([]string, error) { return nil, f.err }

func (f *fake) CreateKeyPair(_ context.Context, s keymgr.Subject) error { return f.note(s) }

func (f *fake) SigningRequest(context.Context) (string, error) {
	return "-----BEGIN CERTIFICATE REQUEST-----\n", f.err
}

func keyServer(id, provider int64) keymgr.KeyServer {
	return keymgr.KeyServer{
		ID: id, ProviderID: provider, Active: provider == 1, Name: "eks", Hostnames: []string{"eks.example.org"}, Port: 5696,
		CACertificate: "ca", ClientCertificate: "cert",
	}
}

func (f *fake) CreateKeyServer(_ context.Context, k keymgr.KeyServer) (keymgr.KeyServer, error) {
	return keyServer(4, 0), f.note(k)
}

func (f *fake) ModifyKeyServer(_ context.Context, id int64, c keymgr.KeyServerChange) (keymgr.KeyServer, error) {
	return keyServer(id, 1), f.note(c)
}

func (f *fake) DeleteKeyServer(_ context.Context, id int64) error { return f.note(id) }

func (f *fake) KeyServer(_ context.Context, id int64) (keymgr.KeyServer, error) {
	return keyServer(id, 1), f.err
}

func (f *fake) KeyServers(context.Context) ([]keymgr.KeyServer, error) {
	return []keymgr.KeyServer{keyServer(1, 1), keyServer(2, 2), keyServer(3, 0)}, f.err
}

func (f *fake) TestKeyServer(_ context.Context, id int64) error { return f.note(id) }

func keyProvider(id int64, servers ...int64) keymgr.KeyProvider {
	return keymgr.KeyProvider{ID: id, Name: "vault", Active: id == 1, ServerIDs: servers, Capabilities: "KMIP"}
}

func (f *fake) CreateKeyProvider(_ context.Context, name string) (keymgr.KeyProvider, error) {
	return keyProvider(3), f.note(name)
}

func (f *fake) DeleteKeyProvider(_ context.Context, id int64) error { return f.note(id) }

func (f *fake) KeyProvider(_ context.Context, id int64) (keymgr.KeyProvider, error) {
	return keyProvider(id, 1), f.err
}

func (f *fake) KeyProviders(context.Context) ([]keymgr.KeyProvider, error) {
	return []keymgr.KeyProvider{keyProvider(1, 1), keyProvider(2, 2), keyProvider(3)}, f.err
}

func (f *fake) TestKeyProvider(_ context.Context, id int64) error { return f.note(id) }

func (f *fake) AddServerToProvider(_ context.Context, provider, server int64) error {
	return f.note([]int64{provider, server})
}

func (f *fake) RemoveServerFromProvider(_ context.Context, server int64) error { return f.note(server) }

func (f *fake) Rekey(_ context.Context, t keymgr.RekeyTarget) (int64, error) { return 5, f.note(t) }

func (f *fake) MasterKeys(context.Context) ([]keymgr.MasterKey, error) {
	return []keymgr.MasterKey{
		{ID: someUUID, Type: keymgr.Internal, Created: day, State: keymgr.StateDecommissioned, Destroyed: day.Add(time.Hour)},
		{ID: someUUID, Type: keymgr.Internal, Created: day, State: keymgr.StateDecommissioned},
		{
			ID: someUUID, Type: keymgr.External, ProviderID: 1, Created: day, State: keymgr.StateDecommissioned,
			Forgotten: day.Add(time.Hour), Left: []string{"eks:5696"},
		},
		{ID: someUUID, Type: keymgr.External, ProviderID: 1, Created: day, State: keymgr.StateCurrent},
	}, f.err
}

func (f *fake) DestroyKey(_ context.Context, id string) error { return f.note(id) }

func (f *fake) ForgetKey(_ context.Context, id string) ([]string, error) {
	return []string{"eks:5696"}, f.note("forget " + id)
}

func (f *fake) Reseal(_ context.Context, spec string, pass []byte) error {
	return f.note(spec + " " + string(pass))
}

func (f *fake) CreateShares(_ context.Context, threshold, shares int, replace bool) ([][]byte, error) {
	return [][]byte{[]byte("lockplate-share-1-A"), []byte("lockplate-share-1-B")}, f.note([]any{threshold, shares, replace})
}

func (f *fake) VerifyShares(_ context.Context, texts [][]byte) error {
	return f.note(string(texts[0]))
}

func (f *fake) RemoveShares(context.Context) error { return f.note("remove shares") }

// Audit keeps what it is told, unless it is to fail.
func (f *fake) Audit(_ context.Context, e cluster.AuditEntry) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.noAudit != nil {
		return f.noAudit
	}
	f.entries = append(f.entries, e)
	return nil
}

func (f *fake) AddUser(_ context.Context, name string, _ []byte, roles []cluster.Role, _ map[string]any) (cluster.User, error) {
	return cluster.User{ID: 3, Name: name, Roles: roles}, f.note(roles)
}

func (f *fake) Users(context.Context) ([]cluster.User, error) {
	return []cluster.User{f.users["ann"], f.users["ron"]}, f.err
}

func (f *fake) ModifyUser(_ context.Context, id int64, _ []byte, roles []cluster.Role) (cluster.User, error) {
	return cluster.User{ID: id}, f.note(roles)
}

func (f *fake) RemoveUser(_ context.Context, id int64) error { return f.note(id) }

// Authenticate knows everybody by the password "password", and "limited" as
// the name of somebody who failed too often.
func (f *fake) Authenticate(_ context.Context, name string, password []byte, from string) (cluster.User, error) {
	if name == "limited" {
		return cluster.User{}, cluster.ErrRateLimited
	}
	u, ok := f.users[name]
	if !ok || string(password) != "password" {
		return cluster.User{}, cluster.ErrDenied
	}
	return u, nil
}

// apiRig is a server on a fake, called without a network.
type apiRig struct {
	t *testing.T
	*fake
	srv *Server
	log *strings.Builder
	reg *prometheus.Registry
}

func newAPIRig(t *testing.T) *apiRig {
	t.Helper()
	r := &apiRig{t: t, fake: newFake(), log: &strings.Builder{}, reg: prometheus.NewRegistry()}
	s, err := NewServer(Config{
		Cluster: r.fake, Registerer: r.reg, StateDir: t.TempDir(),
		Logger: slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Now:    func() time.Time { return day },
		Info: func() wire.GetGatewayInfoResult {
			return wire.GetGatewayInfoResult{
				Version: "1.2.3", GoVersion: "go1.26", Engine: "x/crypto", StartTime: "2026-01-02T03:04:05Z", StateDir: "/state",
				Listeners: []wire.Listener{
					{Kind: "nbd", Address: "unix:/state/nbd.sock"},
					{Kind: "nbd", Address: "tcp:127.0.0.1:10809"},
					{Kind: "api", Address: "tcp:[::1]:10811", TLS: true},
				},
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.srv = s
	s.host = func() hostUsage {
		return hostUsage{arch: "amd64", cpuModel: "some CPU", threads: 8, kernel: "6.1.0", memory: 16 << 30, resident: 50 << 20, cpu: 90 * time.Second}
	}
	return r
}

// do sends a request as a peer of the socket (admin or not) and, given a user,
// with a password.
func (r *apiRig) do(method, target, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r.t.Helper()
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	for _, c := range change {
		c(req)
	}
	w := httptest.NewRecorder()
	r.srv.ServeHTTP(w, req)
	return w
}

func asAdmin(r *http.Request) { r.SetBasicAuth("ann", "password") }

func asReader(r *http.Request) { r.SetBasicAuth("ron", "password") }

const endpoint = "/json-rpc/12.3"

// post sends an envelope as administrator and returns the reply as sent.
func (r *apiRig) post(body string) map[string]json.RawMessage {
	r.t.Helper()
	return r.reply(r.do(http.MethodPost, endpoint, body, asAdmin))
}

// reply checks what every answer of the endpoint must be.
func (r *apiRig) reply(w *httptest.ResponseRecorder) map[string]json.RawMessage {
	r.t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil || w.Code != http.StatusOK {
		r.t.Fatalf("HTTP %d %q: %v", w.Code, w.Body, err)
	}
	if ct := w.Header().Get("Content-Type"); !strings.Contains(ct, "json") {
		r.t.Errorf("content type %q", ct)
	}
	_, id := m["id"]
	_, res := m["result"]
	_, bad := m["error"]
	if !id || res == bad {
		r.t.Errorf("reply must have an id and either result or error: %s", w.Body)
	}
	return m
}

// wantError checks the error of a reply.
func (r *apiRig) wantError(what string, reply map[string]json.RawMessage, name, message string) {
	r.t.Helper()
	var e wire.Error
	if err := json.Unmarshal(reply["error"], &e); err != nil {
		r.t.Errorf("%s: no error in %s", what, reply["result"])
		return
	}
	if e.Code != 500 || e.Name != name || !strings.Contains(e.Message, message) {
		r.t.Errorf("%s: %d %s %q; want 500 %s with %q", what, e.Code, e.Name, e.Message, name, message)
	}
}
