package api

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lockplate/api/wire"
)

// Label values beside those of the tables.
const (
	okCode        = "ok"
	unknownMethod = "unknown"
)

type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	denied   *prometheus.CounterVec
}

// newMetrics registers the metrics of the API. Labels are bounded by the
// method table and by wire.ErrorNames.
func newMetrics(reg prometheus.Registerer, t methodTable) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lockplate_api_requests_total",
			Help: "API calls by method and outcome: ok, or the name of the error.",
		}, []string{"method", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "lockplate_api_request_duration_seconds",
			Help:    "Time that API calls took, from envelope to result.",
			Buckets: []float64{.001, .005, .025, .1, .5, 2.5, 10, 25},
		}, []string{"method"}),
		denied: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lockplate_api_auth_failures_total",
			Help: "Requests refused for their credentials: missing, wrong, limited (too many failures before), error.",
		}, []string{"reason"}),
	}
	for _, r := range []string{"missing", "wrong", "limited", "error"} {
		m.denied.WithLabelValues(r)
	}
	for _, name := range t.names {
		m.requests.WithLabelValues(name, okCode)
	}
	return m, errors.Join(reg.Register(m.requests), reg.Register(m.duration), reg.Register(m.denied))
}

// authFailed counts a request refused for its credentials.
func (m *metrics) authFailed(reason string) { m.denied.WithLabelValues(reason).Inc() }

// observe counts a call and its time.
func (m *metrics) observe(method string, bad *wire.Error, took time.Duration) {
	code := okCode
	if bad != nil {
		code = bad.Name
	}
	m.requests.WithLabelValues(method, code).Inc()
	m.duration.WithLabelValues(method).Observe(took.Seconds())
}
