package cluster

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lockplate/keymgr"
)

// kmipMetrics counts what is asked of key servers. It is an Observer's target:
// its labels come from keymgr's own lists, so they are bounded.
func kmipMetrics(reg prometheus.Registerer) keymgr.Observer {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lockplate_kmip_requests_total", Help: "Requests to key servers, by outcome: ok, or what there is to be fixed.",
	}, []string{"operation", "class"})
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "lockplate_kmip_request_duration_seconds", Help: "Time that requests to key servers took.",
		Buckets: prometheus.ExponentialBuckets(1e-3, 2, 14),
	}, []string{"operation"})
	failovers := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lockplate_kmip_failovers_total", Help: "Requests that were answered by another address than the first.",
	}, []string{"operation"})
	reg.MustRegister(requests, duration, failovers)
	return keymgr.Observer{
		Request: func(operation, class string, took time.Duration) {
			requests.WithLabelValues(operation, class).Inc()
			duration.WithLabelValues(operation).Observe(took.Seconds())
		},
		Failover: func(operation, _, _ string) { failovers.WithLabelValues(operation).Inc() },
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// collectKeys reports the master key and the certificates of key servers.
func (m *metrics) collectKeys(ctx context.Context, ch chan<- prometheus.Metric) {
	e, err := m.c.Encryption(ctx)
	if err != nil || e.Master == nil {
		return
	}
	sealed := "false"
	if e.Master.Sealed {
		sealed = "true"
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(m.keyInfo, 1, e.Master.ID, string(e.Master.Type), sealed)
	gauge(m.keyTime, float64(e.Master.Created.Unix()))
	gauge(m.keyHere, oneIf(e.Locked == nil))
	servers, err := m.c.KeyServers(ctx)
	if err != nil {
		return
	}
	for _, s := range servers {
		for name, text := range map[string]string{"ca": s.CACertificate, "client": s.ClientCertificate} {
			if certs := certificates(text); len(certs) > 0 {
				gauge(m.certEnd, float64(firstToEnd(certs).NotAfter.Unix()), idString(s.ID), name)
			}
		}
	}
}

// collectAudit reports the audit log.
func (m *metrics) collectAudit(ch chan<- prometheus.Metric) {
	down, all := m.c.audit.down()
	last, missed := m.c.audit.counts()
	ch <- prometheus.MustNewConstMetric(m.auditUp, prometheus.GaugeValue, oneIf(!all))
	ch <- prometheus.MustNewConstMetric(m.auditN, prometheus.GaugeValue, float64(last))
	ch <- prometheus.MustNewConstMetric(m.auditLost, prometheus.CounterValue, float64(missed))
	ch <- prometheus.MustNewConstMetric(m.auditDown, prometheus.GaugeValue, float64(len(down)))
}
