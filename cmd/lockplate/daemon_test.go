package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"

	"lockplate/cluster"
	"lockplate/keymgr"
)

var update = flag.Bool("update", false, "write testdata/metrics.golden anew")

// testDaemon is a gateway in this process with a cluster and one volume.
func testDaemon(t *testing.T) *daemon {
	t.Helper()
	dir := t.TempDir()
	cfg := &config{
		State: filepath.Join(dir, "s"), NBD: []string{"unix:" + filepath.Join(dir, "nbd.sock")},
		API: []string{"tcp:127.0.0.1:0"}, Metrics: "tcp:127.0.0.1:0",
	}
	if err := cfg.complete(); err != nil {
		t.Fatal(err)
	}
	d, err := startDaemon(t.Context(), cfg, keymgr.SealerOptions{}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	err = d.cluster.Create(ctx, cluster.CreateParams{SoftwareEncryption: true, Seal: "file:" + filepath.Join(dir, "key")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.cluster.AddDrives(ctx, []cluster.AddDrive{{URI: "dir:" + filepath.Join(dir, "d")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.cluster.CreateVolume(ctx, cluster.CreateVolume{Name: "web", Size: 4 << 20}); err != nil {
		t.Fatal(err)
	}
	return d
}

// address of the first listener of a use on TCP.
func (d *daemon) tcp(t *testing.T, use string) string {
	t.Helper()
	for _, l := range d.listening {
		if at, ok := strings.CutPrefix(l.Address, "tcp:"); ok && l.Kind == use {
			return at
		}
	}
	t.Fatalf("no TCP listener for %s in %v", use, d.listening)
	return ""
}

func TestDaemonStopsWithoutLeavingAnything(t *testing.T) {
	before := goleak.IgnoreCurrent()
	files := openFiles(t)
	d := testDaemon(t)
	if err := d.stop(); err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
	goleak.VerifyNone(t, before)
	if now := openFiles(t); now > files {
		t.Errorf("%d open files, %d before", now, files)
	}
	if _, err := os.Stat(filepath.Join(d.cfg.State, apiSocket)); err == nil {
		t.Error("the API socket is still there")
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range list {
		// Only what a daemon opens: the runtime keeps its own poller.
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(to, "anon_inode") {
			n++
		}
	}
	return n
}

// scrape gets the metrics as Prometheus does.
func scrape(t *testing.T, at string) []byte {
	t.Helper()
	r, err := http.Get("http://" + at + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("scrape: %s, %v", r.Status, err)
	}
	return b
}

// TestScrapeIsTheDocumentedOne compares names, types, labels and help of all
// metrics of ours with testdata/metrics.golden, and lints them.
func TestScrapeIsTheDocumentedOne(t *testing.T) {
	d := testDaemon(t)
	defer func() {
		if err := d.stop(); err != nil {
			t.Error(err)
		}
	}()
	use(t, d)
	text := scrape(t, d.tcp(t, useMetrics))
	problems, err := promlint.New(bytes.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	got := summary(t, text)
	golden := filepath.Join("testdata", "metrics.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("metrics differ from %s (-want +got; write it anew with -update):\n%s", golden, diff)
	}
}

// use does some I/O, so that metrics with labels appear.
func use(t *testing.T, d *daemon) {
	t.Helper()
	ctx := context.Background()
	dev, err := d.cluster.Exports("nbd").Open(ctx, "web")
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	p := make([]byte, 4096)
	if err := dev.WriteAt(ctx, p, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := dev.ReadAt(ctx, p, 0); err != nil {
		t.Fatal(err)
	}
}

// summary is one line for each metric of ours: name, type, labels, help.
func summary(t *testing.T, text []byte) string {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if !strings.HasPrefix(name, "lockplate_") {
			continue
		}
		f := families[name]
		labels := map[string]bool{}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = true
				if len(l.GetValue()) > 64 {
					t.Errorf("%s: value of label %s is longer than 64", name, l.GetName())
				}
			}
		}
		fmt.Fprintf(&b, "%s %s {%s} %s\n", name, strings.ToLower(f.GetType().String()),
			strings.Join(slices.Sorted(maps.Keys(labels)), ","), f.GetHelp())
	}
	return b.String()
}

func TestOnlyMetricsAndHealthAreServed(t *testing.T) {
	s := newMetricsServer(prometheus.NewRegistry(), func(context.Context) health { return health{healthOK, []string{}} }, slog.New(slog.DiscardHandler))
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/metrics", 200},
		{"HEAD", "/healthz", 200},
		{"GET", "/healthz", 200},
		{"GET", "/", 404},
		{"GET", "/metrics/", 404},
		{"GET", "/debug/pprof/", 404},
		{"GET", "/favicon.ico", 404},
		{"POST", "/metrics", 405},
		{"DELETE", "/healthz", 405},
	} {
		r, err := http.NewRequest(c.method, c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		w := &recorder{header: http.Header{}, code: http.StatusOK}
		s.Handler.ServeHTTP(w, r)
		if w.code != c.want {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, w.code, c.want)
		}
	}
}

type recorder struct {
	header http.Header
	code   int
	bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }
func (r *recorder) WriteHeader(c int)   { r.code = c }

func TestHealthTellsWhy(t *testing.T) {
	d := testDaemon(t)
	defer d.stop()
	r, err := http.Get("http://" + d.tcp(t, useMetrics) + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var h health
	if err := json.NewDecoder(r.Body).Decode(&h); err != nil || h.Status != healthOK || h.Reasons == nil {
		t.Errorf("%s %+v %v", r.Status, h, err)
	}
}

func TestStartThatFailsLeavesNothing(t *testing.T) {
	before := goleak.IgnoreCurrent()
	d := testDaemon(t)
	cfg := *d.cfg
	cfg.State = filepath.Join(t.TempDir(), "s2")
	cfg.NBD = []string{"unix:" + filepath.Join(cfg.State, "nbd.sock"), "tcp:" + d.tcp(t, useMetrics)}
	_, err := startDaemon(t.Context(), &cfg, keymgr.SealerOptions{}, nil, slog.New(slog.DiscardHandler))
	if exitCode(err) != exitBusy || hintFor(err) == "" {
		t.Errorf("taken port: %v", err)
	}
	if _, err := os.Stat(filepath.Join(cfg.State, "nbd.sock")); err == nil {
		t.Error("a socket was left behind")
	}
	cfg.NBD = []string{"none"}
	cfg.API, cfg.Metrics = []string{"none"}, "none"
	again, err := startDaemon(t.Context(), &cfg, keymgr.SealerOptions{}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("the state directory was not given back: %v", err)
	}
	if err := again.stop(); err != nil {
		t.Error(err)
	}
	if err := d.stop(); err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
	goleak.VerifyNone(t, before)
}
