package api

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// serve starts the rig's server on a TCP port and on a socket, and stops it
// when the test ends.
func (r *apiRig) serve() (addr, socket string) {
	r.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	socket = filepath.Join(r.t.TempDir(), "api.sock")
	un, err := ListenUnix(socket)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.srv.Reload(); err != nil { // the certificate is there from now on
		r.t.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() { ended <- r.srv.ServeTLS(ln) }()
	go func() { ended <- r.srv.ServeUnix(un) }()
	r.t.Cleanup(func() {
		if err := r.srv.Shutdown(context.Background()); err != nil {
			r.t.Errorf("shutdown: %v", err)
		}
		for range 2 {
			if err := <-ended; err != nil {
				r.t.Errorf("serve: %v", err)
			}
		}
	})
	return ln.Addr().String(), socket
}

// httpsClient trusts the rig's certificate.
func (r *apiRig) httpsClient(change ...func(*tls.Config)) *http.Client {
	r.t.Helper()
	b, err := os.ReadFile(r.srv.certs.cert)
	if err != nil {
		r.t.Fatal(err)
	}
	cfg := &tls.Config{RootCAs: x509.NewCertPool()}
	cfg.RootCAs.AppendCertsFromPEM(b)
	for _, c := range change {
		c(cfg)
	}
	tr := &http.Transport{TLSClientConfig: cfg}
	r.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func get(t *testing.T, c *http.Client, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("ann", "password")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

func TestServesHTTPSWithTheCertificateItMade(t *testing.T) {
	r := newAPIRig(t)
	addr, _ := r.serve()
	_, port, _ := net.SplitHostPort(addr)
	for _, host := range []string{"localhost", "127.0.0.1"} {
		code, body := get(t, r.httpsClient(), "https://"+host+":"+port+endpoint+"?method=GetAPI")
		if code != 200 || !strings.Contains(body, "currentVersion") {
			t.Errorf("%s: HTTP %d %s", host, code, body)
		}
	}
	st, err := os.Stat(r.srv.certs.key)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v %v", st.Mode(), err)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	r := newAPIRig(t)
	addr, _ := r.serve()
	c := r.httpsClient(func(cfg *tls.Config) { cfg.MaxVersion = tls.VersionTLS12 })
	if _, err := c.Get("https://" + addr + endpoint + "?method=GetAPI"); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.2: %v", err)
	}
}

func TestServesTheSocketByPeerCredentials(t *testing.T) {
	r := newAPIRig(t)
	_, socket := r.serve()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Post("http://x"+endpoint, "", strings.NewReader(`{"method":"DeleteVolume","params":{"volumeID":7}}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 || r.last != int64(7) {
		t.Errorf("HTTP %d, reached %v: the gateway's own user was not let in", resp.StatusCode, r.last)
	}
}

func TestSocketIsNotForEverybody(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm()&0o007 != 0 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if _, err := ListenUnix(path); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("second listener: %v, want EADDRINUSE", err)
	}
	ln.SetUnlinkOnClose(false) // as after kill -9
	ln.Close()
	ln, err = ListenUnix(path)
	if err != nil {
		t.Fatalf("stale socket: %v", err)
	}
	ln.Close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenUnix(path); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file in the way: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Error("the file in the way was destroyed")
	}
}

func TestChangedCertificateIsServedWithoutRestart(t *testing.T) {
	r := newAPIRig(t)
	addr, _ := r.serve()
	serial := func() string {
		t.Helper()
		c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	write := func(cert, key []byte, at time.Time) {
		t.Helper()
		for path, b := range map[string][]byte{r.srv.certs.key: key, r.srv.certs.cert: cert} {
			if err := errors.Join(replaceFile(path, b, 0o600), os.Chtimes(path, at, at)); err != nil {
				t.Fatal(err)
			}
		}
	}
	cert, key, err := selfSigned(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	write(cert, key, time.Unix(1e9, 0))
	second := serial()
	if second == first {
		t.Error("the new certificate is not served")
	}
	write([]byte("rubbish"), key, time.Unix(1e9+1, 0))
	if got := serial(); got != second {
		t.Error("a bad file replaced the good certificate")
	}
	if err := r.srv.Reload(); err == nil || !strings.Contains(err.Error(), r.srv.certs.cert) {
		t.Errorf("Reload of a bad file: %v", err)
	}
	if !strings.Contains(r.log.String(), "the old one stays") {
		t.Error("the bad file was not logged")
	}
	if err := os.Remove(r.srv.certs.cert); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != second {
		t.Error("a missing file took the certificate away")
	}
}

func TestCertificateIsKeptOverRestarts(t *testing.T) {
	r := newAPIRig(t)
	if err := r.srv.Reload(); err != nil {
		t.Fatal(err)
	}
	first, _ := os.ReadFile(r.srv.certs.cert)
	again := newCertificates(Config{StateDir: filepath.Dir(r.srv.certs.cert), Logger: r.srv.log, Now: time.Now})
	if err := again.reload(); err != nil {
		t.Fatal(err)
	}
	if second, _ := os.ReadFile(r.srv.certs.cert); string(first) != string(second) {
		t.Error("a second start made another certificate")
	}
}

func TestGivenCertificateIsNeverMade(t *testing.T) {
	dir := t.TempDir()
	s, err := NewServer(Config{Cluster: newFake(), StateDir: dir, CertFile: dir + "/x.crt", KeyFile: dir + "/x.key"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Reload: %v", err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ServeTLS(ln); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ServeTLS: %v", err)
	}
	if left, _ := filepath.Glob(dir + "/*"); len(left) != 0 {
		t.Errorf("made %v", left)
	}
}

func TestShutdownWaitsForRequestsAtWork(t *testing.T) {
	r := newAPIRig(t)
	r.wait, r.arrived = make(chan struct{}), make(chan struct{})
	addr, _ := r.serve()
	answered := make(chan int)
	go func() {
		code, _ := get(t, r.httpsClient(), "https://"+addr+endpoint+"?method=ListVolumes")
		answered <- code
	}()
	<-r.arrived
	down := make(chan error)
	go func() { down <- r.srv.Shutdown(t.Context()) }()
	for { // until the listener is closed
		c, err := net.Dial("tcp", addr)
		if err != nil {
			break
		}
		c.Close()
	}
	select {
	case <-down:
		t.Error("shutdown did not wait")
	default:
	}
	close(r.wait)
	if code := <-answered; code != 200 {
		t.Errorf("the request at work got HTTP %d", code)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
}

func TestShutdownCutsWhatDoesNotEnd(t *testing.T) {
	r := newAPIRig(t)
	r.wait, r.arrived = make(chan struct{}), make(chan struct{})
	addr, _ := r.serve()
	failed := make(chan error)
	go func() {
		_, err := r.httpsClient().Get("https://ann:password@" + addr + endpoint + "?method=ListVolumes")
		failed <- err
	}()
	<-r.arrived
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.srv.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("shutdown: %v", err)
	}
	if <-failed == nil {
		t.Error("the request was not cut")
	}
}

// pipes is a listener of in-memory connections.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.done:
	default:
		close(p.done)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// dial connects, or reports false if nobody accepts for a while.
func (p *pipes) dial() (net.Conn, bool) {
	a, b := net.Pipe()
	select {
	case p.conns <- b:
		return a, true
	case <-time.After(time.Second):
		return nil, false
	}
}

// onPipes runs test against a server on pipes, in a bubble with its own time.
func onPipes(t *testing.T, test func(t *testing.T, r *apiRig, p *pipes)) {
	synctest.Test(t, func(t *testing.T) {
		r, p := newAPIRig(t), newPipes()
		ended := make(chan error)
		go func() { ended <- r.srv.ServeUnix(p) }()
		test(t, r, p)
		if err := r.srv.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestSlowClientsAreCut(t *testing.T) {
	const head = "POST /json-rpc/12.3 HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YW5uOnBhc3N3b3Jk\r\nContent-Length: 100000\r\n\r\n"
	for _, c := range []struct {
		what, first string
		within      time.Duration
	}{
		{"says nothing", "", headerTime},
		{"drips headers", "POST /json-rpc/12.3 HTTP/1.1\r\nX: ", headerTime},
		{"drips the body", head, readTime},
	} {
		onPipes(t, func(t *testing.T, _ *apiRig, p *pipes) {
			conn, _ := p.dial()
			defer conn.Close()
			go io.Copy(io.Discard, conn)
			start := time.Now()
			io.WriteString(conn, c.first)
			for {
				if _, err := io.WriteString(conn, "x"); err != nil {
					break
				}
				time.Sleep(time.Second)
			}
			if took := time.Since(start); took > c.within+2*time.Second {
				t.Errorf("%s: cut after %v, want %v", c.what, took, c.within)
			}
		})
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	onPipes(t, func(t *testing.T, r *apiRig, p *pipes) {
		var open []net.Conn
		for range maxLocalConns {
			c, ok := p.dial()
			if !ok {
				t.Fatalf("connection %d was not accepted", len(open))
			}
			open = append(open, c)
		}
		if _, ok := p.dial(); ok {
			t.Error("one connection too many was accepted")
		}
		open[0].Close()
		c, ok := p.dial()
		if !ok {
			t.Fatal("the slot of a closed connection was not given back")
		}
		io.WriteString(c, "GET /json-rpc/12.3?method=GetAPI HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YW5uOnBhc3N3b3Jk\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 200 {
			t.Errorf("on it: %v %v", resp, err)
		}
		resp.Body.Close()
		for _, o := range append(open, c) {
			o.Close()
		}
	})
}

func TestHeadersAreBounded(t *testing.T) {
	r := newAPIRig(t)
	addr, _ := r.serve()
	req, _ := http.NewRequest(http.MethodGet, "https://"+addr+endpoint+"?method=GetAPI", nil)
	req.Header.Set("X", strings.Repeat("x", 64<<10))
	resp, err := r.httpsClient().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("HTTP %d", resp.StatusCode)
	}
}

// A method that hangs is given up before the client's SDK gives up.
func TestWorkIsBoundedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAPIRig(t)
		r.wait = make(chan struct{})
		start := time.Now()
		r.wantError("hanging method", r.post(`{"method":"ListVolumes"}`), "xDBConnectionLoss", "deadline")
		if took := time.Since(start); took != workTime {
			t.Errorf("gave up after %v", took)
		}
	})
}

func TestWorkIsBoundedInNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAPIRig(t)
		for range maxWorking {
			r.srv.working <- struct{}{}
		}
		r.wantError("no slot", r.post(`{"method":"ListVolumes"}`), "xDBConnectionLoss", "too many requests")
		<-r.srv.working
		if reply := r.post(`{"method":"ListVolumes"}`); reply["error"] != nil {
			t.Errorf("with a slot: %s", reply["error"])
		}
	})
}

// A change must not stop half-way because its client hung up.
func TestChangeOutlivesItsClient(t *testing.T) {
	r := newAPIRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var sawCancel bool
	row := &method{name: "X", access: adminOnly, run: func(ctx context.Context, _ identity, _ *call) (any, []string, error) {
		sawCancel = ctx.Err() != nil
		return struct{}{}, nil, nil
	}}
	if _, _, bad := r.srv.run(ctx, row, identity{}, &call{}); bad != nil || sawCancel {
		t.Errorf("%v, cancelled: %v", bad, sawCancel)
	}
}
