package cluster

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

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
	_, down := m.c.audit.state()
	ch <- prometheus.MustNewConstMetric(m.auditUp, prometheus.GaugeValue, oneIf(down == nil))
	ch <- prometheus.MustNewConstMetric(m.auditN, prometheus.GaugeValue, float64(m.c.audit.count()))
}
