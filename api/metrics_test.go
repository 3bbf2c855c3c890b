package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"lockplate/api/wire"
	"lockplate/cluster"
)

func TestMetrics(t *testing.T) {
	r := newAPIRig(t)
	r.post(`{"method":"GetAPI"}`)
	r.post(`{"method":"getapi"}`)
	r.post(`{"method":"Invented1"}`)
	r.post(`{"method":"Invented2"}`)
	r.post(`nonsense`)
	r.err = cluster.ErrInUse
	r.post(`{"method":"DeleteVolume","params":{"volumeID":7}}`)
	r.do(http.MethodPost, endpoint, "{}")
	r.do(http.MethodPost, endpoint, "{}", func(q *http.Request) { q.SetBasicAuth("ann", "x") })
	r.do(http.MethodPost, endpoint, "{}", func(q *http.Request) { q.SetBasicAuth("limited", "x") })

	for labels, want := range map[[2]string]float64{
		{"GetAPI", okCode}: 2, {"unknown", wire.ErrUnknownMethod}: 2, {"unknown", wire.ErrJSONParse}: 1,
		{"DeleteVolume", wire.ErrInUse}: 1, {"ListDrives", okCode}: 0,
	} {
		if got := testutil.ToFloat64(r.srv.metrics.requests.WithLabelValues(labels[0], labels[1])); got != want {
			t.Errorf("requests %v: %v, want %v", labels, got, want)
		}
	}
	want := `
# HELP lockplate_api_auth_failures_total Requests refused for their credentials: missing, wrong, limited (too many failures before), error.
# TYPE lockplate_api_auth_failures_total counter
lockplate_api_auth_failures_total{reason="error"} 0
lockplate_api_auth_failures_total{reason="limited"} 1
lockplate_api_auth_failures_total{reason="missing"} 1
lockplate_api_auth_failures_total{reason="wrong"} 1
`
	if err := testutil.GatherAndCompare(r.reg, strings.NewReader(want), "lockplate_api_auth_failures_total"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(r.reg); err != nil || len(problems) != 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
}

func TestServerNeedsACluster(t *testing.T) {
	if _, err := NewServer(Config{}); err == nil {
		t.Error("no error")
	}
	r := newAPIRig(t)
	if _, err := NewServer(Config{Cluster: r.fake, Registerer: r.reg}); err == nil {
		t.Error("metrics registered twice: no error")
	}
}
