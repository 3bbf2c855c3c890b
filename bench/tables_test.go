package bench

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// rowOf gives the cells of the first row that begins so, of the table whose
// title begins so.
func rowOf(t *testing.T, r *Report, title string, begin ...string) []string {
	t.Helper()
	for _, tab := range r.tables {
		if !strings.HasPrefix(tab.title, title) {
			continue
		}
		for _, row := range tab.rows {
			if len(row) != len(tab.head) {
				t.Errorf("%s: %d cells under %d columns: %q", tab.title, len(row), len(tab.head), row)
			}
			if slices.Equal(row[:len(begin)], begin) {
				return row[len(begin):]
			}
		}
	}
	t.Errorf("no row %q in a table %q", begin, title)
	return nil
}

func want(t *testing.T, what string, got []string, cells ...string) {
	t.Helper()
	if !slices.Equal(got, cells) {
		t.Errorf("%s: %q, want %q", what, got, cells)
	}
}

// Values are made up so that each ratio is another number.
func TestCipherTables(t *testing.T) {
	if f, _ := aesLimit("aesni"); f == nil {
		t.Skip("needs amd64: no limit is known elsewhere")
	}
	o := CipherOptions{Rounds: 1, Seconds: 0.004, Engines: []string{"aesni", plainEngine}}
	r := &Report{}
	for _, s := range shapes() {
		v := 6.0
		if s.decrypt {
			v = 5.7
		}
		r.add(s.String(), "aesni", rate, perSecond, v)
		if !s.decrypt && !s.inPlace {
			r.add(s.limit(), limitOf+"aesni", rate, perSecond, 8)
		}
	}
	for _, sector := range []int{512, 4096} {
		s := shape{sector: sector, call: 64 << 10}
		r.add(s.String(), plainEngine, rate, perSecond, 0.3)
		r.add(s.String(), "aesni", besideOpenSSL, perSecond, 5)
		r.add(fmt.Sprintf(opensslCaseName, sector), "OpenSSL 9.9", besideOpenSSL, perSecond, 4)
	}
	r.cipherTables(o, []openSSL{{"openssl", "OpenSSL 9.9"}})
	enc, dec := limitShape().String(), shape{sector: 512, call: 512, decrypt: true, inPlace: true}.String()
	want(t, "figures", rowOf(t, r, "GB/s", enc), "6.00", "0.30")
	want(t, "figures of the limit", rowOf(t, r, "GB/s", "limit: AES rounds alone"), "8.00", noValue)
	want(t, "share of the limit", rowOf(t, r, "Share", enc), "0.75")
	want(t, "share of the limit, decrypted in place", rowOf(t, r, "Share", dec), "0.71")
	want(t, "beside OpenSSL", rowOf(t, r, "Times OpenSSL 9.9", "512 B sectors, 64 KiB a call", "aesni"), "5.00", "4.00", "1.25")
	want(t, "one number", rowOf(t, r, "4096 B sectors", "aesni"), "20.0", "0.95", noValue)
}

func TestShapesHaveNamesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range shapes() {
		if seen[s.String()] {
			t.Errorf("%s is there twice", s)
		}
		seen[s.String()] = true
		if s.call%s.sector != 0 {
			t.Errorf("%s: a call is no whole number of sectors", s)
		}
	}
	if len(seen) != 28 {
		t.Errorf("%d shapes", len(seen))
	}
}

func TestLatencyTableHasTheRatioOfOneRound(t *testing.T) {
	r := &Report{}
	list := queueOfOne()
	for round := range 3 {
		slow := float64(1 + round) // the machine, for a round
		for _, j := range list {
			for _, p := range []string{"p50", "p99", "p99.9"} {
				r.add(j.name, ours, p, "us", 10*slow)
				r.add(j.name+beside, ours, p, "us", 25*slow)
			}
		}
	}
	r.fairnessTables(GatewayOptions{Dir: "/nowhere", Size: 1 << 30}, list, []string{ours})
	row := rowOf(t, r, "Latency in", "rr4k-qd1", ours)
	if row[0] != "20.0 (15.0–25.0)" || row[len(row)-1] != "2.50 (2.50–2.50)" {
		t.Errorf("row %q", row)
	}
	if c := r.charts[0]; len(c.series) != 4 || c.series[1].values[0] != 50 {
		t.Errorf("chart %+v", c)
	}
}

func TestCostOfTLSIsToTheSameServerWithout(t *testing.T) {
	o := GatewayOptions{Dir: "/nowhere", TLS: true, Base: nbdkit}
	r := &Report{}
	servers := names(targets(true), func(t target) string { return t.name })
	for i, s := range servers {
		for _, j := range copies() {
			r.add(j.name, s, rate, j.unit(), []float64{1000, 600, 900, 300}[i])
		}
	}
	r.gatewayTables(o, copies(), servers)
	want(t, "cost", rowOf(t, r, "What TLS leaves", "copy-in"), "0.60", "0.33", "2.00")
}

// Each workload has a name of its own, and those that TLS and latency are
// measured with are among them.
func TestJobNamesAreWhatHelpSays(t *testing.T) {
	seen := map[string]string{}
	for _, j := range JobNames() {
		if seen[j[0]] != "" || j[1] == "" {
			t.Errorf("workload %q", j)
		}
		seen[j[0]] = j[1]
	}
	for _, j := range append(copies(), queueOfOne()...) {
		if seen[j.name] != j.what {
			t.Errorf("%s is %q and %q", j.name, j.what, seen[j.name])
		}
	}
	for _, name := range []string{"seqr1m", "seqw1m", "r64k", "w64k", "rr4k", "rw4k", "mix4k", "rr4k-4c", "rw4k-4c", "mix4k-4c", "mix4k-qd1", "flush4k"} {
		if seen[name] == "" {
			t.Errorf("no workload %q", name)
		}
	}
}

func TestReportNamesTellApartWhatTheDocsKeep(t *testing.T) {
	disk := t.TempDir()
	got := []string{GatewayOptions{Dir: disk, TLS: true}.name(), GatewayOptions{Dir: disk}.name()}
	if inMemory(disk) {
		t.Skip("needs a temporary directory on a disk")
	}
	if !slices.Equal(got, []string{"gateway-tls", "gateway-disk"}) {
		t.Errorf("names %q", got)
	}
}

// The page of the docs must have a place for every report.
func TestThePageHasAllMarks(t *testing.T) {
	text := readText("../docs/" + page)
	for _, name := range []string{"cipher", "gateway", "gateway-disk", "gateway-tls", "latency", "rekey"} {
		begin, end := marks(name)
		if strings.Count(text, begin) != 1 || strings.Count(text, end) != 1 || strings.Index(text, begin) > strings.Index(text, end) {
			t.Errorf("no place for %s", name)
		}
	}
}

// A server that cannot do something is asked once, and keeps nobody else from
// being measured.
func TestFailureOfOneIsNotedOnce(t *testing.T) {
	calls := 0
	broken := job{name: "job", run: nil}
	r := &Report{}
	w := &work{GatewayOptions: GatewayOptions{Log: t.Output()}}
	broken.run = failing(&calls)
	for round := range 3 {
		if err := w.measure(t.Context(), r, round, broken, &server{name: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	if calls != 1 || len(r.Failures) != 1 || r.Failures[0] != "job on x" {
		t.Errorf("asked %d times, failures %q", calls, r.Failures)
	}
}
