package cluster

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"lockplate/keymgr"
)

// ioOp is a kind of client request.
type ioOp int

const (
	opRead ioOp = iota
	opWrite
	opTrim
	opZero
	opFlush
	opCount
)

var opNames = [opCount]string{"read", "write", "trim", "zero", "flush"}

// frontendIO counts the requests of one volume that came by one front end. The
// hot path touches only atomics and a histogram looked up beforehand.
type frontendIO struct {
	ops, bytes, errs, nanos [opCount]atomic.Uint64
	inFlight                atomic.Int64
	hist                    [opCount]prometheus.Observer
	made                    time.Time
}

// start is the time since f was made: time.Since reads one clock, time.Now two.
func (f *frontendIO) start() time.Duration {
	f.inFlight.Add(1)
	return time.Since(f.made)
}

// end counts a finished request and hands its error through.
func (f *frontendIO) end(op ioOp, start time.Duration, n int64, err error) error {
	d := time.Since(f.made) - start
	f.inFlight.Add(-1)
	f.ops[op].Add(1)
	f.nanos[op].Add(uint64(d))
	f.hist[op].Observe(d.Seconds())
	if err != nil {
		f.errs[op].Add(1)
		return err
	}
	f.bytes[op].Add(uint64(n))
	return nil
}

// part counts what is done of a request that goes on.
func (f *frontendIO) part(op ioOp, start time.Duration, n int64) {
	f.inFlight.Add(-1)
	f.nanos[op].Add(uint64(time.Since(f.made) - start))
	f.bytes[op].Add(uint64(n))
}

// refuse counts a request that was not begun.
func (f *frontendIO) refuse(op ioOp, err error) error {
	f.errs[op].Add(1)
	return err
}

// volumeIO holds the counters of one volume, by front end.
type volumeIO struct {
	m      *metrics
	mu     sync.Mutex
	name   string
	fronts map[string]*frontendIO

	throttled atomic.Int64 // ns that requests waited for the QoS
	held      atomic.Int64 // requests that did
}

func (v *volumeIO) frontend(name string) *frontendIO {
	v.mu.Lock()
	defer v.mu.Unlock()
	f := v.fronts[name]
	if f == nil {
		f = &frontendIO{made: time.Now()}
		for op := range opCount {
			f.hist[op] = v.m.duration.WithLabelValues(v.name, opNames[op])
		}
		v.fronts[name] = f
	}
	return f
}

// each calls fn for every front end.
func (v *volumeIO) each(fn func(frontend string, f *frontendIO)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for name, f := range v.fronts {
		fn(name, f)
	}
}

// metrics is the collector of volumes, drives, faults and the master key.
// Everything but the histogram is read from the live objects at scrape time.
type metrics struct {
	c        *Cluster
	duration *prometheus.HistogramVec
	ops      [opCount]*prometheus.Desc
	bytes    map[ioOp]*prometheus.Desc
	errors   *prometheus.Desc
	ioTime   *prometheus.Desc
	inflight *prometheus.Desc
	conns    *prometheus.Desc
	throttle *prometheus.Desc
	held     *prometheus.Desc
	size     *prometheus.Desc
	state    *prometheus.Desc
	drives   *prometheus.Desc
	capacity *prometheus.Desc
	free     *prometheus.Desc
	faults   *prometheus.Desc
	keyInfo  *prometheus.Desc
	keyTime  *prometheus.Desc
	keyHere  *prometheus.Desc
	certEnd  *prometheus.Desc
	auditUp  *prometheus.Desc
	auditN   *prometheus.Desc

	auditLost, auditDown *prometheus.Desc
	kmip                 keymgr.Observer
}

// ioBuckets are powers of two from 10 µs to 0.33 s.
func ioBuckets() []float64 { return prometheus.ExponentialBuckets(10e-6, 2, 16) }

func newMetrics(reg prometheus.Registerer, c *Cluster) *metrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("lockplate_"+name, help, labels, nil)
	}
	m := &metrics{
		c: c,
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "lockplate_volume_io_duration_seconds", Help: "Time from request to answer, by volume and operation.",
			Buckets: ioBuckets(), NativeHistogramBucketFactor: 1.1,
			NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
		}, []string{"volume", "op"}),
		ops: [opCount]*prometheus.Desc{
			desc("volume_reads_completed_total", "Reads finished.", "volume", "frontend"),
			desc("volume_writes_completed_total", "Writes finished.", "volume", "frontend"),
			desc("volume_discards_completed_total", "Trims finished.", "volume", "frontend"),
			desc("volume_zeroes_completed_total", "Write-zeroes requests finished.", "volume", "frontend"),
			desc("volume_flush_requests_total", "Flushes finished.", "volume", "frontend"),
		},
		bytes: map[ioOp]*prometheus.Desc{
			opRead:  desc("volume_read_bytes_total", "Bytes read by clients.", "volume", "frontend"),
			opWrite: desc("volume_written_bytes_total", "Bytes written by clients.", "volume", "frontend"),
			opTrim:  desc("volume_discarded_bytes_total", "Bytes trimmed by clients.", "volume", "frontend"),
		},
		errors:    desc("volume_io_errors_total", "Requests answered with an error.", "volume", "op"),
		ioTime:    desc("volume_io_time_weighted_seconds_total", "Sum of the time of all requests.", "volume"),
		inflight:  desc("volume_inflight_requests", "Requests being worked on.", "volume"),
		conns:     desc("volume_connections", "Clients attached.", "volume"),
		throttle:  desc("volume_qos_throttled_seconds_total", "Sum of the time that requests waited for maxIOPS or burstIOPS of the volume.", "volume"),
		held:      desc("volume_qos_throttled_requests_total", "Requests that waited for maxIOPS or burstIOPS of the volume.", "volume"),
		size:      desc("volume_size_bytes", "Size that clients see.", "volume"),
		state:     desc("volume_state", "1 for the present state of the volume.", "volume", "state"),
		drives:    desc("drive_info", "A drive, with its state; 1.", "drive", "kind", "role", "state"),
		capacity:  desc("drive_capacity_bytes", "Bytes the drive can hold.", "drive"),
		free:      desc("drive_free_bytes", "Bytes to be had on the drive.", "drive"),
		faults:    desc("cluster_faults", "Faults that hold now.", "code", "severity"),
		keyInfo:   desc("master_key_info", "The current master key; 1.", "key_id", "key_management_type", "sealed"),
		keyTime:   desc("master_key_created_timestamp_seconds", "When the current master key was made."),
		keyHere:   desc("master_key_available", "1 while the current master key is in memory, 0 while volumes wait for a key server."),
		certEnd:   desc("key_server_certificate_expiry_timestamp_seconds", "When a certificate of a key server ends; of several the first.", "server", "certificate"),
		auditUp:   desc("audit_up", "1 while at least one sink of the audit log can be written, else 0."),
		auditLost: desc("audit_missed_records_total", "Records that no sink of the audit log could take."),
		auditDown: desc("audit_sinks_down", "Sinks of the audit log that cannot be written."),
		auditN:    desc("audit_records", "Number of the last record in the audit log."),
	}
	reg.MustRegister(m, m.duration)
	m.kmip = kmipMetrics(reg)
	return m
}

func (m *metrics) newVolumeIO(name string) *volumeIO {
	return &volumeIO{m: m, name: name, fronts: map[string]*frontendIO{}}
}

// forget drops the histogram of a volume that is gone.
func (m *metrics) forget(name string) {
	m.duration.DeletePartialMatch(prometheus.Labels{"volume": name})
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range m.ops {
		ch <- d
	}
	for _, d := range m.bytes {
		ch <- d
	}
	for _, d := range []*prometheus.Desc{
		m.errors, m.ioTime, m.inflight, m.conns, m.size, m.state, m.throttle, m.held,
		m.drives, m.capacity, m.free, m.faults, m.keyInfo, m.keyTime,
		m.keyHere, m.certEnd, m.auditUp, m.auditN, m.auditLost, m.auditDown,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	if !m.c.Exists() {
		return
	}
	for _, v := range m.c.liveVolumes() {
		if r := v.record(); r.live() {
			m.collectVolume(ch, v, r)
		}
	}
	ctx := context.Background()
	m.collectDrives(ctx, ch)
	if faults, err := m.c.Faults(ctx); err == nil {
		m.collectFaults(ch, faults)
	}
	m.collectKeys(ctx, ch)
	m.collectAudit(ch)
}

func (m *metrics) collectVolume(ch chan<- prometheus.Metric, v *liveVolume, r volumeRecord) {
	counter := func(d *prometheus.Desc, n float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, n, append([]string{r.Name}, labels...)...)
	}
	gauge := func(d *prometheus.Desc, n float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n, append([]string{r.Name}, labels...)...)
	}
	var errs, nanos [opCount]uint64
	v.io.each(func(front string, f *frontendIO) {
		for op := range opCount {
			counter(m.ops[op], float64(f.ops[op].Load()), front)
			if d := m.bytes[op]; d != nil {
				counter(d, float64(f.bytes[op].Load()), front)
			}
			errs[op] += f.errs[op].Load()
			nanos[op] += f.nanos[op].Load()
		}
	})
	var total uint64
	for op := range opCount {
		counter(m.errors, float64(errs[op]), opNames[op])
		total += nanos[op]
	}
	counter(m.ioTime, float64(total)/1e9)
	counter(m.throttle, float64(v.io.throttled.Load())/1e9)
	counter(m.held, float64(v.io.held.Load()))
	s := v.status()
	gauge(m.conns, float64(s.Connections))
	gauge(m.size, float64(s.Size))
	gauge(m.inflight, float64(v.io.inFlight()))
	for _, st := range []VolumeState{VolumeOnline, VolumeLocked, VolumeOffline} {
		n := 0.0
		if s.State == st {
			n = 1
		}
		gauge(m.state, n, string(st))
	}
}

func (v *volumeIO) inFlight() (n int64) {
	v.each(func(_ string, f *frontendIO) { n += f.inFlight.Load() })
	return n
}

func (m *metrics) collectDrives(ctx context.Context, ch chan<- prometheus.Metric) {
	for _, d := range m.c.liveDrives() {
		s := d.status(ctx)
		id := idString(s.ID)
		kind, _, _ := strings.Cut(s.URI, ":")
		ch <- prometheus.MustNewConstMetric(m.drives, prometheus.GaugeValue, 1, id, kind, string(s.Role), string(s.Status))
		if s.Status == DriveActive {
			ch <- prometheus.MustNewConstMetric(m.capacity, prometheus.GaugeValue, float64(s.Capacity), id)
			ch <- prometheus.MustNewConstMetric(m.free, prometheus.GaugeValue, float64(s.Free), id)
		}
	}
}

func (m *metrics) collectFaults(ch chan<- prometheus.Metric, faults []Fault) {
	type key struct{ code, severity string }
	n := map[key]float64{}
	for _, f := range faults {
		n[key{f.Code, f.Severity}]++
	}
	for k, v := range n {
		ch <- prometheus.MustNewConstMetric(m.faults, prometheus.GaugeValue, v, k.code, k.severity)
	}
}

// VolumeStats are the I/O counters of every live volume, front ends summed.
func (c *Cluster) VolumeStats(context.Context) ([]VolumeStats, error) {
	if _, err := c.require(); err != nil {
		return nil, err
	}
	var out []VolumeStats
	for _, v := range c.liveVolumes() {
		r := v.record()
		if !r.live() {
			continue
		}
		s := VolumeStats{VolumeID: r.ID, InFlight: v.io.inFlight(), Allocated: c.allocated(&r)}
		s.BurstCredit = v.limit.Load().credit()
		v.io.each(func(_ string, f *frontendIO) { s.add(f) })
		out = append(out, s)
	}
	return out, nil
}

// allocated is what a volume's data takes on its drive: of a file the blocks
// that it has (its LUKS header among them), of anything else all of it. It is
// 0 while the drive cannot be asked.
func (c *Cluster) allocated(r *volumeRecord) int64 {
	be, err := c.backend(r.DriveID)
	if err != nil {
		return 0
	}
	var st unix.Stat_t
	switch path := be.Path(r.Image); {
	case path == "":
		return r.Size
	case unix.Stat(path, &st) != nil:
		return 0
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return r.Size
	}
	return min(st.Blocks*512, r.Size) // stat(2) counts in 512 bytes whatever the file system has
}

func (s *VolumeStats) add(f *frontendIO) {
	s.ReadOps += f.ops[opRead].Load()
	s.WriteOps += f.ops[opWrite].Load()
	s.TrimOps += f.ops[opTrim].Load()
	s.ZeroOps += f.ops[opZero].Load()
	s.FlushOps += f.ops[opFlush].Load()
	s.ReadBytes += f.bytes[opRead].Load()
	s.WriteBytes += f.bytes[opWrite].Load()
	s.ReadLatency += time.Duration(f.nanos[opRead].Load())
	s.WriteLatency += time.Duration(f.nanos[opWrite].Load())
	for op := range opCount {
		s.Errors += f.errs[op].Load()
	}
}
