package nbd

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Results of a connection: the values of the label result.
const (
	resultOK           = "ok"
	resultTLSFailed    = "tls_failed"
	resultAuthFailed   = "auth_failed" // a client certificate missing or refused
	resultLimit        = "limit"
	resultBadHandshake = "bad_handshake"
	resultNoExport     = "no_export"
	resultTLSRequired  = "tls_required"
	resultDeadline     = "deadline"
	resultAborted      = "aborted"
)

// commandNames are the values of the label command.
var commandNames = [commands + 1]string{
	"read", "write", "disc", "flush", "trim", "cache", "write_zeroes", "block_status", "unknown",
}

// commandName is the label of a command.
func commandName(typ uint16) string { return commandNames[min(typ, commands)] }

// metrics is what the server tells about itself. Label export is set only to
// names of exports that were opened.
type metrics struct {
	opened         *prometheus.GaugeVec
	connections    *prometheus.CounterVec
	handshake      *prometheus.HistogramVec
	tlsFailures    *prometheus.CounterVec
	protocolErrors *prometheus.CounterVec
	acceptErrors   prometheus.Counter
	requests       [commands + 1]prometheus.Counter
	errors         map[Errno]prometheus.Counter

	exports Exports

	mu      sync.Mutex
	counts  map[string]int      // open connections by export
	series  map[string]struct{} // exports with series in connections
	pruneAt int                 // size of series at which those of gone exports are dropped
}

// newMetrics makes the metrics of s and registers them if reg is not nil.
func newMetrics(reg prometheus.Registerer, s *Server) (*metrics, error) {
	m := &metrics{counts: map[string]int{}, errors: map[Errno]prometheus.Counter{}}
	m.exports, m.series, m.pruneAt = s.exports, map[string]struct{}{}, spareSeries
	m.opened = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "lockplate_nbd_connections", Help: "NBD connections in transmission now.",
	}, []string{"export"})
	m.connections = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lockplate_nbd_connections_total", Help: "NBD connections by how their handshake ended.",
	}, []string{"export", "result"})
	m.handshake = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "lockplate_nbd_handshake_duration_seconds", Help: "Time from accept to transmission.",
		Buckets:                         prometheus.ExponentialBuckets(1e-3, 2, 14),
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  160,
		NativeHistogramMinResetDuration: time.Hour,
	}, []string{"tls"})
	m.tlsFailures = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lockplate_nbd_tls_failures_total", Help: "TLS handshakes of NBD clients that failed, by reason.",
	}, []string{"reason"})
	m.protocolErrors = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lockplate_nbd_protocol_errors_total", Help: "NBD connections closed for breaking the protocol, by kind.",
	}, []string{"kind"})
	m.acceptErrors = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "lockplate_nbd_accept_errors_total", Help: "Failures to accept an NBD connection, as with too many open files.",
	})
	all := append([]prometheus.Collector{m.opened, m.connections, m.handshake, m.tlsFailures, m.protocolErrors, m.acceptErrors},
		append(m.requestMetrics(), gauges(s)...)...)
	if reg == nil {
		return m, nil
	}
	for _, c := range all {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// requestMetrics makes the counters of requests and of errors answered, each
// child resolved beforehand.
func (m *metrics) requestMetrics() []prometheus.Collector {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lockplate_nbd_requests_total", Help: "NBD requests received, by command.",
	}, []string{"command"})
	for i, name := range commandNames {
		m.requests[i] = requests.WithLabelValues(name)
	}
	failed := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lockplate_nbd_request_errors_total", Help: "NBD requests answered with an error, by error of the protocol.",
	}, []string{"errno"})
	for e, name := range errnoNames {
		m.errors[e] = failed.WithLabelValues(name)
	}
	return []prometheus.Collector{requests, failed}
}

// gauges are the figures that the server keeps anyway.
func gauges(s *Server) []prometheus.Collector {
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "lockplate_nbd_inflight_requests", Help: "NBD requests read and not yet answered.",
		}, func() float64 { return float64(s.inflight.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "lockplate_nbd_inflight_bytes", Help: "Memory of NBD requests in flight.",
		}, func() float64 { return float64(s.budget.inUse()) }),
	}
}

// request counts a request.
func (m *metrics) request(typ uint16) { m.requests[min(typ, commands)].Inc() }

// answer counts an answer that is an error.
func (m *metrics) answer(e Errno) {
	if e != 0 {
		m.errors[e].Inc()
	}
}

// connection counts a connection by how its handshake ended.
func (m *metrics) connection(export, result string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.connections.WithLabelValues(export, result).Inc()
	m.series[export] = struct{}{}
	if len(m.series) >= m.pruneAt {
		m.prune()
	}
}

// prune drops the series of exports that are gone, so that volumes that come
// and go for years take no more memory. The lock is held.
func (m *metrics) prune() {
	m.pruneAt = 2*len(m.series) + spareSeries
	names, err := m.exports.Names(context.Background())
	if err != nil {
		return // next time
	}
	there := make(map[string]bool, len(names)+1)
	there[""] = true // handshakes that came to no export
	for _, n := range names {
		there[n] = true
	}
	for export := range m.series {
		if !there[export] && m.counts[export] == 0 {
			m.connections.DeletePartialMatch(prometheus.Labels{"export": export})
			delete(m.series, export)
		}
	}
	m.pruneAt = 2*len(m.series) + spareSeries
}

// open counts a connection as open until the function it returns is called.
// The series of an export without connections is dropped.
func (m *metrics) open(export string) (done func()) {
	m.connection(export, resultOK)
	m.count(export, 1)
	return func() { m.count(export, -1) }
}

// count changes the number of open connections of an export by d.
func (m *metrics) count(export string, d int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts[export] += d
	if m.counts[export] == 0 {
		delete(m.counts, export)
		m.opened.DeleteLabelValues(export)
		return
	}
	m.opened.WithLabelValues(export).Set(float64(m.counts[export]))
}

// handshakeFailed counts a handshake that did not come to transmission.
func (m *metrics) handshakeFailed(err error) {
	var t *tlsError
	if errors.As(err, &t) {
		m.tlsFailures.WithLabelValues(t.reason()).Inc()
	}
	m.connection("", handshakeResult(err))
}

// handshakeResult is the label of a failed handshake.
func handshakeResult(err error) string {
	var t *tlsError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return resultDeadline
	case errors.As(err, &t):
		return t.result()
	case errors.Is(err, errAborted):
		return resultAborted
	case errors.Is(err, errTLSRequired):
		return resultTLSRequired
	case errors.Is(err, errNoExport):
		return resultNoExport
	}
	return resultBadHandshake
}

// tlsLabel is the label tls.
func tlsLabel(secure bool) string {
	if secure {
		return "yes"
	}
	return "no"
}
