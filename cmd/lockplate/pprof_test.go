package main

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"lockplate/keymgr"
)

func TestProfilesAreServedAndArgumentsAreNot(t *testing.T) {
	h := newPprofServer(slog.New(slog.DiscardHandler)).Handler
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/debug/pprof/", 200},
		{"GET", "/debug/pprof/heap", 200},
		{"GET", "/debug/pprof/allocs?debug=1", 200},
		{"GET", "/debug/pprof/goroutine", 200},
		{"GET", "/debug/pprof/goroutine?debug=1", 200},
		{"GET", "/debug/pprof/goroutine?debug=2", 403},
		{"GET", "/debug/pprof/goroutine?debug=002", 403},
		{"GET", "/debug/pprof/goroutine?seconds=0&debug=9", 403},
		{"GET", "/debug/pprof/cmdline", 200},
		{"GET", "/debug/pprof/symbol", 200},
		{"POST", "/debug/pprof/symbol", 200},
		{"GET", "/debug/pprof/nothing", 404},
		{"GET", "/", 404},
		{"GET", "/metrics", 404},
	} {
		r, err := http.NewRequest(c.method, c.path, strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		w := &recorder{header: http.Header{}, code: http.StatusOK}
		h.ServeHTTP(w, r)
		if w.code != c.want {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, w.code, c.want)
		}
		// What a traceback looks like when it has arguments: f(0xc000..., 0x20).
		if strings.Contains(c.path, "goroutine") && regexp.MustCompile(`\(0x[0-9a-f]+[,)]`).Match(w.Bytes()) {
			t.Errorf("%s prints arguments:\n%s", c.path, w.Bytes())
		}
	}
}

func TestProfilesAreForThisMachineOnly(t *testing.T) {
	for at, local := range map[string]bool{
		"tcp:127.0.0.1:1": true, "tcp:[::1]:1": true, "tcp:localhost:1": true, "unix:/x": true,
		"tcp:0.0.0.0:1": false, "tcp::1": false, "tcp:[::]:1": false, "tcp:192.0.2.1:1": false, "tcp:host.example:1": false,
	} {
		a, err := parseAddress(at)
		if err != nil {
			t.Fatal(err)
		}
		err = checkPprof(a)
		if (err == nil) != local {
			t.Errorf("%s: error %v, want refused: %v", at, err, !local)
		}
		if err != nil && (exitCode(err) != exitUsage || hintFor(err) == "") {
			t.Errorf("%s: %v is no usage error with a hint", at, err)
		}
	}
}

// pprofDaemon is a daemon without a cluster that serves profiles.
func pprofDaemon(t *testing.T, at string) (*daemon, error) {
	t.Helper()
	dir := t.TempDir()
	cfg := &config{
		State: filepath.Join(dir, "s"), NBD: []string{"none"}, API: []string{"tcp:127.0.0.1:0"},
		Metrics: "tcp:127.0.0.1:0", Pprof: at,
	}
	if err := cfg.complete(); err != nil {
		t.Fatal(err)
	}
	return startDaemon(t.Context(), cfg, keymgr.SealerOptions{}, nil, slog.New(slog.DiscardHandler))
}

// A profile under way does not hold up the end of the daemon.
func TestStopDoesNotWaitForAProfile(t *testing.T) {
	d, err := pprofDaemon(t, "tcp:127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", d.tcp(t, usePprof))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /debug/pprof/profile?seconds=3600 HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	// A second profile is refused while one is made: then the first has begun.
	deadline := time.Now().Add(30 * time.Second)
	for busy := false; !busy && time.Now().Before(deadline); {
		r, err := http.Get("http://" + d.tcp(t, usePprof) + "/debug/pprof/profile?seconds=1")
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		busy = r.StatusCode != http.StatusOK
	}
	begin := time.Now()
	if err := d.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > drainTime/2 {
		t.Errorf("stop took %v", took)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestProfilesAreOffUnlessAskedFor(t *testing.T) {
	d, err := pprofDaemon(t, "")
	if err != nil {
		t.Fatal(err)
	}
	defer d.stop()
	for _, l := range d.listening {
		if l.Kind == usePprof {
			t.Errorf("%s listens for profiles", l.Address)
		}
	}
	r, err := http.Get("http://" + d.tcp(t, useMetrics) + "/debug/pprof/")
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusNotFound {
		t.Errorf("the metrics listener serves profiles: %s", r.Status)
	}
	for _, s := range []*http.Server{d.metrics, d.pprof} {
		if s.Handler == nil || s.Handler == http.Handler(http.DefaultServeMux) {
			t.Error("the default mux, where profiles register themselves, is served")
		}
	}
}
