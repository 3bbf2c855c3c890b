package nbd

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"lockplate/blockdev"
)

func TestMetricsLintAndCount(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	s := startServer(t, Config{Exports: one(blockdev.NewMem(1 << 20)), Registerer: reg})
	a, b := s.enter(t, modeSimple), s.enter(t, modeSimple)
	a.ask(cmdRead, 0, 1<<30, 512, nil)
	a.ask(77, 0, 0, 512, nil)
	b.ask(cmdWrite, 0, 0, 512, make([]byte, 512))
	miss := s.greeted(t)
	miss.last(optGo, goData("none"))
	miss.last(optAbort, nil)
	miss.closed()
	wrong := s.raw(t)
	wrong.send(be32(0xff))
	wrong.closed()
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) != 0 {
		t.Errorf("lint: %v, err %v", problems, err)
	}
	a.Close()
	b.send(make([]byte, 28))
	b.closed()
	b.Close()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	const want = `
# HELP lockplate_nbd_connections_total NBD connections by how their handshake ended.
# TYPE lockplate_nbd_connections_total counter
lockplate_nbd_connections_total{export="",result="bad_handshake"} 1
lockplate_nbd_connections_total{export="",result="no_export"} 1
lockplate_nbd_connections_total{export="disk",result="ok"} 2
# HELP lockplate_nbd_inflight_bytes Memory of NBD requests in flight.
# TYPE lockplate_nbd_inflight_bytes gauge
lockplate_nbd_inflight_bytes 0
# HELP lockplate_nbd_inflight_requests NBD requests read and not yet answered.
# TYPE lockplate_nbd_inflight_requests gauge
lockplate_nbd_inflight_requests 0
# HELP lockplate_nbd_protocol_errors_total NBD connections closed for breaking the protocol, by kind.
# TYPE lockplate_nbd_protocol_errors_total counter
lockplate_nbd_protocol_errors_total{kind="request_magic"} 1
# HELP lockplate_nbd_request_errors_total NBD requests answered with an error, by error of the protocol.
# TYPE lockplate_nbd_request_errors_total counter
lockplate_nbd_request_errors_total{errno="EINVAL"} 2
lockplate_nbd_request_errors_total{errno="EIO"} 0
lockplate_nbd_request_errors_total{errno="ENOMEM"} 0
lockplate_nbd_request_errors_total{errno="ENOSPC"} 0
lockplate_nbd_request_errors_total{errno="ENOTSUP"} 0
lockplate_nbd_request_errors_total{errno="EOVERFLOW"} 0
lockplate_nbd_request_errors_total{errno="EPERM"} 0
lockplate_nbd_request_errors_total{errno="ESHUTDOWN"} 0
# HELP lockplate_nbd_requests_total NBD requests received, by command.
# TYPE lockplate_nbd_requests_total counter
lockplate_nbd_requests_total{command="block_status"} 0
lockplate_nbd_requests_total{command="cache"} 0
lockplate_nbd_requests_total{command="disc"} 0
lockplate_nbd_requests_total{command="flush"} 0
lockplate_nbd_requests_total{command="read"} 1
lockplate_nbd_requests_total{command="trim"} 0
lockplate_nbd_requests_total{command="unknown"} 1
lockplate_nbd_requests_total{command="write"} 1
lockplate_nbd_requests_total{command="write_zeroes"} 0
`
	err = testutil.GatherAndCompare(reg, strings.NewReader(want), "lockplate_nbd_connections",
		"lockplate_nbd_connections_total", "lockplate_nbd_inflight_bytes", "lockplate_nbd_inflight_requests",
		"lockplate_nbd_protocol_errors_total", "lockplate_nbd_requests_total", "lockplate_nbd_request_errors_total")
	if err != nil {
		t.Error(err)
	}
	if _, err := NewServer(Config{Exports: one(blockdev.NewMem(1)), Registerer: reg}); err == nil {
		t.Error("registered twice")
	}
}

// fleeting has one export at a time.
type fleeting struct{ Exports }

func (f *fleeting) Names(context.Context) ([]string, error) { return []string{"now"}, nil }

func TestMetricsOfGoneExportsAreDropped(t *testing.T) {
	m := startServer(t, Config{Exports: &fleeting{}}).metrics
	stays := m.open("in use")
	m.open("now")()
	for i := range 10 * spareSeries {
		m.open(fmt.Sprint("volume ", i))()
	}
	if n := testutil.CollectAndCount(m.connections); n > 2*spareSeries {
		t.Errorf("%d series of connections, after %d volumes that are gone", n, 10*spareSeries)
	}
	for _, name := range []string{"in use", "now"} {
		if got := testutil.ToFloat64(m.connections.WithLabelValues(name, resultOK)); got != 1 {
			t.Errorf("%s: %v connections", name, got)
		}
	}
	stays()
}
