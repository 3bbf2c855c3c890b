package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"lockplate/cluster"
)

// newRegistry is the registry of the process: Go, process and build info; the
// packages add their own.
func newRegistry() *prometheus.Registry {
	v := readVersion()
	reg := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "lockplate_build_info", Help: "What this binary is. Always 1.",
		ConstLabels: prometheus.Labels{
			"version": v.Version, "revision": v.Revision, "goversion": v.Go, "cipher_impl": v.Engine,
		},
	})
	build.Set(1)
	reg.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// reloadMetrics tell how the last reload of the certificates went.
type reloadMetrics struct{ ok, at prometheus.Gauge }

func newReloadMetrics(reg prometheus.Registerer) *reloadMetrics {
	m := &reloadMetrics{
		ok: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "lockplate_config_last_reload_successful", Help: "1 if the last reload of the certificates worked, else 0.",
		}),
		at: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "lockplate_config_last_reload_success_timestamp_seconds", Help: "When certificates were last loaded with success.",
		}),
	}
	reg.MustRegister(m.ok, m.at)
	m.done(true)
	return m
}

func (m *reloadMetrics) done(ok bool) {
	m.ok.Set(0)
	if ok {
		m.ok.Set(1)
		m.at.SetToCurrentTime()
	}
}

// health is the answer of /healthz.
type health struct {
	Status  string   `json:"status"`  // ok, degraded, failed
	Reasons []string `json:"reasons"` // why not ok, with what to do
}

// Values of health.Status.
const (
	healthOK       = "ok"
	healthDegraded = "degraded" // works, but somebody should look
	healthFailed   = "failed"   // something is not served; HTTP 503
)

// health tells whether every volume is served.
func (d *daemon) health(ctx context.Context) health {
	if !d.cluster.Exists() {
		return health{healthFailed, []string{cluster.ErrNoCluster.Error()}}
	}
	faults, err := d.cluster.Faults(ctx)
	if err != nil {
		return health{healthFailed, []string{err.Error()}}
	}
	h := health{healthOK, []string{}}
	for _, f := range faults {
		h.Reasons = append(h.Reasons, f.Code+": "+f.Text)
		if f.Severity == "error" || f.Severity == "critical" {
			h.Status = healthFailed
		} else if h.Status == healthOK {
			h.Status = healthDegraded
		}
	}
	return h
}

// Limits of the metrics listener: small requests, one answer at a time.
const (
	metricsHeaderTime = 5 * time.Second
	metricsWriteTime  = 30 * time.Second
	metricsHeader     = 16 << 10 // bytes
)

// newMetricsServer serves /metrics and /healthz and nothing else.
func newMetricsServer(reg *prometheus.Registry, check func(context.Context) health, log *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{EnableOpenMetrics: true, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError)}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		h := check(r.Context())
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if h.Status == healthFailed {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		if err := json.NewEncoder(w).Encode(h); err != nil {
			log.Debug("health answer not sent", "err", err)
		}
	})
	return &http.Server{
		Handler: mux, ReadHeaderTimeout: metricsHeaderTime, ReadTimeout: metricsHeaderTime,
		WriteTimeout: metricsWriteTime, MaxHeaderBytes: metricsHeader,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
