package cluster

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"lockplate/keymgr"
	"lockplate/keymgr/kmiptest"
	"lockplate/store"
)

// authority signs certificates, for clients and for anything else.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	root *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	a.root = a.issue(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, &a.key.PublicKey, time.Now().AddDate(1, 0, 0))
	return a
}

func (a *authority) issue(c *x509.Certificate, public any, end time.Time) *x509.Certificate {
	a.t.Helper()
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(1), end.AddDate(-2, 0, 0), end
	if c.RawSubject == nil {
		c.Subject = pkix.Name{CommonName: "clients"}
	}
	parent := a.root
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, public, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return out
}

// sign answers a certificate signing request.
func (a *authority) sign(request string) string {
	a.t.Helper()
	b, _ := pem.Decode([]byte(request))
	csr, err := x509.ParseCertificateRequest(b.Bytes)
	if err != nil {
		a.t.Fatal(err)
	}
	return pemOf(a.issue(&x509.Certificate{
		RawSubject: csr.RawSubject, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, csr.PublicKey, time.Now().AddDate(1, 0, 0)))
}

func pemOf(certs ...*x509.Certificate) string {
	var b strings.Builder
	for _, c := range certs {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return b.String()
}

// withKeyServer is withCluster, on today's clock, with a fake key server as
// provider 1.
func withKeyServer(t *testing.T) (*rig, *kmiptest.Server) {
	t.Helper()
	r := withCluster(t)
	return r, r.keyServer()
}

// keyServer starts a fake key server and makes it provider 1.
func (r *rig) keyServer() *kmiptest.Server {
	t := r.t
	t.Helper()
	r.clock.advance(time.Since(r.clock.now()))
	ca, clients := kmiptest.NewCA(t, "servers"), newAuthority(t)
	srv := kmiptest.Start(t, ca, kmiptest.Options{TLS: func(c *tls.Config) {
		c.ClientCAs = x509.NewCertPool()
		c.ClientCAs.AddCert(clients.root)
	}})
	host, port, err := net.SplitHostPort(srv.Address)
	r.must(err)
	n, err := strconv.Atoi(port)
	r.must(err)
	ctx := t.Context()
	r.must(r.CreateKeyPair(ctx, keymgr.Subject{CommonName: "lockplate"}))
	request, err := r.SigningRequest(ctx)
	r.must(err)
	p, err := r.CreateKeyProvider(ctx, "provider")
	r.must(err)
	s, err := r.CreateKeyServer(ctx, keymgr.KeyServer{
		Name: "server", Hostnames: []string{host}, Port: n,
		CACertificate: string(ca.PEM()), ClientCertificate: clients.sign(request),
	})
	r.must(err)
	r.must(r.AddServerToProvider(ctx, p.ID, s.ID))
	return srv
}

// rekey rekeys to provider 1 and waits for the end.
func (r *rig) rekey() Async {
	r.t.Helper()
	h, err := r.Rekey(r.t.Context(), keymgr.RekeyTarget{Type: keymgr.External, ProviderID: 1})
	r.must(err)
	var a Async
	r.eventually(func() bool {
		a, err = r.Async(r.t.Context(), h, true)
		r.must(err)
		return a.Done
	})
	return a
}

func TestRekeyToAProviderIsAJob(t *testing.T) {
	t.Parallel()
	r, _ := withKeyServer(t)
	r.create(CreateVolume{Name: "v", Size: mib})
	dev, data := r.attach("v"), random(4096)
	r.write(dev, 0, data)
	before, err := r.Encryption(t.Context())
	r.must(err)
	a := r.rekey()
	r.expect(dev, 0, data)
	old, _ := a.Result["keyToDecommission"].(map[string]any)
	now, _ := a.Result["newKey"].(map[string]any)
	if a.Type != AsyncRekey || a.ErrName != "" || a.Progress != 100 || a.Result["state"] != keymgr.RekeyReady {
		t.Errorf("job %+v", a)
	}
	after, err := r.Encryption(t.Context())
	r.must(err)
	if old["keyID"] != before.Master.ID || now["keyID"] != after.Master.ID || after.Master.Type != keymgr.External {
		t.Errorf("result %v; keys were %+v, are %+v", a.Result, before.Master, after.Master)
	}
	if after.RekeyHandle != a.Handle || before.RekeyHandle != 0 || after.Locked != nil {
		t.Errorf("rekey handle %d then %d, want 0 then %d", before.RekeyHandle, after.RekeyHandle, a.Handle)
	}
	_, err = r.Async(t.Context(), a.Handle, false)
	r.must(err)
	if e, err := r.Encryption(t.Context()); err != nil || e.RekeyHandle != 0 {
		t.Errorf("handle of a result that was fetched: %d, %v", e.RekeyHandle, err)
	}
	if keys, err := r.MasterKeys(t.Context()); err != nil || len(keys) != 2 {
		t.Errorf("history %+v, %v", keys, err)
	}
	events, err := r.Events(t.Context(), EventFilter{Type: EventEncryption})
	r.must(err)
	var text string
	for _, e := range events {
		text += e.Message + "\n"
	}
	for _, want := range []string{"key pair created", "Key provider created", "Key server created", "Key server added", "Rekey of the master key began", "Rekey of the master key is complete"} {
		if !strings.Contains(text, want) {
			t.Errorf("no event %q in %q", want, text)
		}
	}
}

// Element names the latest rekey, or none once its result is gone; never an
// older one that nobody asked for.
func TestLastRekeyEndsWithItsResult(t *testing.T) {
	t.Parallel()
	r, _ := withKeyServer(t)
	r.rekey()
	a := r.rekey()
	r.restart()
	for _, want := range []int64{a.Handle, 0} {
		e, err := r.Encryption(t.Context())
		r.must(err)
		if e.RekeyHandle != want {
			t.Errorf("handle %d, want %d", e.RekeyHandle, want)
		}
		_, _ = r.Async(t.Context(), a.Handle, false)
	}
}

// Mission row 11: without its key server the cluster starts locked, says so,
// and heals when the server is back.
func TestKeyServerOutageLocksAndHeals(t *testing.T) {
	t.Parallel()
	r, srv := withKeyServer(t)
	v := r.create(CreateVolume{Name: "v", Size: mib})
	data := random(4096)
	r.write(r.attach("v"), 0, data)
	if a := r.rekey(); a.ErrName != "" {
		t.Fatalf("rekey: %s: %s", a.ErrName, a.ErrText)
	}
	r.shutdown()
	srv.Refuse()
	srv.HangUp()
	r.start()
	if got := r.volume(v.ID); got.State != VolumeLocked || !strings.Contains(got.Reason, "kmipServerFault") {
		t.Errorf("volume is %s: %s", got.State, got.Reason)
	}
	if _, err := r.Exports("nbd").Open(t.Context(), "v"); !errors.Is(err, keymgr.ErrLocked) || Cause(err) != ErrKeyMissing {
		t.Errorf("attach of a locked volume = %v", err)
	}
	if _, err := r.CreateVolume(t.Context(), CreateVolume{Name: "w", Size: mib}); !errors.Is(err, keymgr.ErrLocked) {
		t.Errorf("volume made without its key = %v, want ErrLocked", err)
	}
	down := r.current()
	if codes(down) != "volumesOffline kmipServerFault" {
		t.Fatalf("faults %q", codes(down))
	}
	for _, want := range []string{"connection failure", "TestKeyProviderKmip"} {
		if !strings.Contains(down[1].Text, want) {
			t.Errorf("fault %q lacks %q", down[1].Text, want)
		}
	}
	r.unlock(t.Context()) // once more in vain
	if again := r.current(); again[1] != down[1] {
		t.Errorf("fault changed from %+v to %+v", down[1], again[1])
	}
	srv.Heal()
	r.eventually(func() bool { return r.volume(v.ID).State == VolumeOnline })
	r.eventually(func() bool { return len(r.current()) == 0 })
	r.expect(r.attach("v"), 0, data)
	r.wantEvents("Master key is not at hand, volumes are locked", "Master key fetched, volumes are unlocked")
}

// A running cluster hears of an outage too, and its volumes do not.
func TestKeyServerOutageWhileRunning(t *testing.T) {
	t.Parallel()
	r, srv := withKeyServer(t)
	r.create(CreateVolume{Name: "v", Size: mib})
	dev, data := r.attach("v"), random(4096)
	r.rekey()
	r.watchServers(t.Context())
	if got := r.current(); len(got) != 0 {
		t.Fatalf("faults before the outage: %+v", got)
	}
	srv.Refuse()
	srv.HangUp()
	r.eventually(func() bool { return codes(r.current()) == "kmipServerFault" })
	f := r.current()[0]
	if f.Severity != sevError || !strings.Contains(f.Text, "Key server 1 (server)") || !strings.Contains(f.Text, "connection failure") {
		t.Errorf("fault %+v", f)
	}
	r.write(dev, 0, data)
	r.expect(dev, 0, data)
	r.create(CreateVolume{Name: "w", Size: mib}) // the master key is in memory
	srv.Heal()
	r.eventually(func() bool { return len(r.current()) == 0 })
}

func TestOneOfTwoKeyServersIsAWarning(t *testing.T) {
	var w keyWatch
	a := watched{server: keymgr.KeyServer{ID: 1}}
	b := watched{server: keymgr.KeyServer{ID: 2}, bad: errors.New("gone")}
	w.set([]watched{a, b})
	if got := w.conditions(); len(got) != 1 || got[0].severity != sevWarning || got[0].key != "server/2" {
		t.Errorf("one of two: %+v", got)
	}
	a.bad = b.bad
	w.set([]watched{a, b})
	if got := w.conditions(); len(got) != 2 || got[0].severity != "" {
		t.Errorf("both: %+v", got)
	}
}

// The three causes of a kmipServerFault, and a key that is missing or another.
func TestStartNamesWhyTheKeyCannotBeHad(t *testing.T) {
	t.Parallel()
	r, srv := withKeyServer(t)
	v := r.create(CreateVolume{Name: "v", Size: mib})
	r.rekey()
	for _, tc := range []struct {
		fault kmiptest.Fault
		want  string
	}{
		{kmiptest.Deny(kmiptest.OpGet), "authentication failure"},
		{kmiptest.Missing(kmiptest.OpGet), "key missing"},
		{kmiptest.Garble(), "key different"},
		{kmiptest.Fault{Op: kmiptest.OpGet, Drop: true}, "connection failure"},
	} {
		srv.Inject(tc.fault)
		r.restart()
		r.unlock(t.Context())
		faults := r.current()
		i := slices.IndexFunc(faults, func(f Fault) bool { return f.Code == faultKmipServer })
		if i < 0 || !strings.Contains(faults[i].Text, tc.want) || r.volume(v.ID).State != VolumeLocked {
			t.Errorf("%s: volume %s, faults %+v", tc.want, r.volume(v.ID).State, faults)
		}
		srv.Heal()
		r.eventually(func() bool { return r.volume(v.ID).State == VolumeOnline })
	}
}

func TestLockReasons(t *testing.T) {
	for want, err := range map[string]error{
		"no key servers":     keymgr.ErrNoServers,
		"key pair":           keymgr.ErrNoKeyPair,
		"no such key prov":   keymgr.ErrNoKeyProvider,
		"connection failure": context.DeadlineExceeded,
	} {
		if got := lockReason(fmt.Errorf("%w: %w", keymgr.ErrLocked, err)); !strings.Contains(got, want) {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

func TestCertificateFaults(t *testing.T) {
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	a := newAuthority(t)
	const day = 24 * time.Hour
	cert := func(left time.Duration) *x509.Certificate {
		return a.issue(&x509.Certificate{}, &a.key.PublicKey, now.Add(left))
	}
	good := pemOf(cert(400 * day))
	for _, tc := range []struct {
		name, ca, client string
		want             string
	}{
		{"good", good, good, ""},
		{"31 days", pemOf(cert(31 * day)), good, ""},
		{"30 days", pemOf(cert(30 * day)), good, "1/CA warning"},
		{"7 days", good, pemOf(cert(7 * day)), "1/client error"},
		{"3 days", good, pemOf(cert(3 * day)), "1/client critical"},
		{"expired", good, pemOf(cert(-time.Second)), "1/client critical"},
		{"not yet valid", good, pemOf(cert(3 * 365 * day)), "1/client critical"},
		{"second of two", pemOf(cert(400*day), cert(day)), good, "1/CA critical"},
		{"bare base64", good, base64.StdEncoding.EncodeToString(cert(20 * day).Raw), "1/client warning"},
		{"unreadable", "x", good, "1/CA critical"},
	} {
		var got []string
		for _, c := range certificateConditions(keymgr.KeyServer{ID: 1, Name: "s", CACertificate: tc.ca, ClientCertificate: tc.client}, now) {
			got = append(got, c.key+" "+c.severity)
		}
		if s := strings.Join(got, ", "); s != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, s, tc.want)
		}
	}
}

func TestCertificateFaultOfAProvidersServer(t *testing.T) {
	t.Parallel()
	r, _ := withKeyServer(t)
	r.clock.advance(360 * 24 * time.Hour)
	var text bytes.Buffer
	for _, f := range r.current() {
		fmt.Fprintln(&text, f.Code, f.Severity, f.Text)
	}
	if !strings.Contains(text.String(), "kmipCertificateFault error The client certificate of key server 1 (server) expires on") {
		t.Errorf("faults %s", text.String())
	}
}

func TestKeyMetrics(t *testing.T) {
	t.Parallel()
	r := withCluster(t)
	r.shutdown()
	reg := prometheus.NewRegistry()
	r.reg = reg
	r.start()
	r.keyServer()
	want := `
# HELP lockplate_audit_up 1 while at least one sink of the audit log can be written, else 0.
# TYPE lockplate_audit_up gauge
lockplate_audit_up 1
# HELP lockplate_master_key_available 1 while the current master key is in memory, 0 while volumes wait for a key server.
# TYPE lockplate_master_key_available gauge
lockplate_master_key_available 1
`
	err := testutil.GatherAndCompare(reg, strings.NewReader(want), "lockplate_master_key_available", "lockplate_audit_up")
	if err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(reg, "lockplate_key_server_certificate_expiry_timestamp_seconds"); err != nil || n != 2 {
		t.Errorf("%d certificates, %v; want 2", n, err)
	}
	if n, err := testutil.GatherAndCount(reg, "lockplate_kmip_requests_total"); err != nil || n == 0 {
		t.Errorf("requests to the key server are not counted: %v", err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

func TestFailedRekeyIsAFault(t *testing.T) {
	t.Parallel()
	r, srv := withKeyServer(t)
	srv.Inject(kmiptest.Deny(kmiptest.OpCreate))
	if a := r.rekey(); a.ErrName == "" || a.ErrText == "" {
		t.Fatalf("rekey that was denied: %+v", a)
	}
	if got := codes(r.current()); got != "rekeyFailed" {
		t.Errorf("faults after a failed rekey: %q", got)
	}
	srv.Heal()
	if a := r.rekey(); a.ErrName != "" {
		t.Fatalf("rekey: %s: %s", a.ErrName, a.ErrText)
	}
	if got := codes(r.current()); got != "" {
		t.Errorf("faults after a good rekey: %q", got)
	}
}

func TestAsyncResultsAreBounded(t *testing.T) {
	r := withCluster(t)
	r.must(r.store.Update(t.Context(), func(tx store.Tx) error {
		running, err := beginRekey(tx, r.now())
		if err != nil {
			return err
		}
		for range maxAsyncs + 20 {
			if _, err := r.putDone(tx, asyncDriveAdd, nil); err != nil {
				return err
			}
		}
		_, err = getByID[asyncRecord](tx, prefixAsync, "async", running)
		return err
	}))
	all, err := r.Asyncs(t.Context())
	r.must(err)
	if len(all) != maxAsyncs+1 || all[0].Done {
		t.Errorf("%d results, the first %+v", len(all), all[0])
	}
}

func TestRekeyJobRecordSurvivesRestart(t *testing.T) {
	r := withCluster(t)
	ctx := t.Context()
	var h int64
	r.must(r.store.Update(ctx, func(tx store.Tx) (err error) {
		h, err = beginRekey(tx, r.now())
		return err
	}))
	r.rekeyProgress(h, keymgr.RekeyRewrap, 45)
	r.restart()
	a, err := r.Async(ctx, h, false) // running: the handle stays
	r.must(err)
	if a.Done || a.State != keymgr.RekeyRewrap || a.Progress != 45 {
		t.Errorf("running job after restart: %+v", a)
	}
	r.must(r.store.Update(ctx, func(tx store.Tx) error { return r.endRekey(tx, h, nil, "xKmipServerError", "why") }))
	r.rekeyProgress(h, keymgr.RekeyCreate, 1) // late: changes nothing
	a, err = r.Async(ctx, h, true)
	r.must(err)
	if !a.Done || a.ErrName != "xKmipServerError" || a.ErrText != "why" {
		t.Errorf("failed job: %+v", a)
	}
	r.must(r.store.Update(ctx, func(tx store.Tx) error { return r.endRekey(tx, h+1, map[string]any{"a": "b"}, "", "") }))
	if a, err = r.Async(ctx, h+1, true); err != nil || !a.Done || a.Result["a"] != "b" {
		t.Errorf("job whose record was gone: %+v, %v", a, err)
	}
}

func TestKeysNeedSoftwareEncryption(t *testing.T) {
	r := newRig(t)
	r.must(r.Create(t.Context(), CreateParams{}))
	if _, err := r.KeyProviders(t.Context()); !errors.Is(err, ErrState) {
		t.Errorf("key providers = %v, want ErrState", err)
	}
	if _, err := r.Rekey(t.Context(), keymgr.RekeyTarget{}); !errors.Is(err, ErrState) {
		t.Errorf("rekey = %v, want ErrState", err)
	}
	if got := r.current(); len(got) != 0 {
		t.Errorf("faults %q", codes(got))
	}
}
