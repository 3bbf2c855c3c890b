package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		in      []float64
		q, want float64
	}{
		{nil, 0.5, 0},
		{[]float64{3}, 0.5, 3},
		{[]float64{9, 1, 5}, 0.5, 5},
		{[]float64{4, 1, 2, 100}, 0.5, 3},
		{[]float64{1, 2, 3, 4, 5}, 0.25, 2},
		{[]float64{5, 4, 3, 2, 1}, 0.75, 4},
		{[]float64{1, 2}, 0.25, 1.25},
		{[]float64{1, 2}, 1, 2},
	} {
		before := slices.Clone(c.in)
		if got := quantile(c.in, c.q); got != c.want {
			t.Errorf("quantile(%v, %v) = %v, want %v", c.in, c.q, got, c.want)
		}
		if !slices.Equal(before, c.in) {
			t.Errorf("quantile changed the order: %v", c.in)
		}
	}
}

// A ratio of medians would hide that the machine was slow in one round.
func TestRatioIsTakenWithinARound(t *testing.T) {
	r := &Report{}
	for i, v := range []float64{10, 200, 30} {
		r.add("job", "a", rate, "MB/s", v)
		r.add("job", "b", rate, "MB/s", []float64{20, 800, 60}[i])
	}
	if got := r.ratios("job", "a", "b", rate); !slices.Equal(got, []float64{0.5, 0.25, 0.5}) {
		t.Errorf("ratios = %v", got)
	}
	if got := r.ratios("job", "a", "nobody", rate); len(got) != 0 {
		t.Errorf("ratios to nobody = %v", got)
	}
	if m := r.find("job", "a", rate); m.Median != 30 || m.P25 != 20 || m.P75 != 115 {
		t.Errorf("median and quarters: %+v", m)
	}
}

func TestEveryRoundBeginsWithAnother(t *testing.T) {
	first := map[int]bool{}
	for round := range 3 {
		order := rotated(3, round)
		first[order[0]] = true
		if slices.Sort(order); !slices.Equal(order, []int{0, 1, 2}) {
			t.Errorf("round %d: %v", round, order)
		}
	}
	if len(first) != 3 {
		t.Errorf("rounds begin with %v only", first)
	}
}

func TestNumbersHaveThreeDigits(t *testing.T) {
	for v, want := range map[float64]string{12345.6: "12346", 99.96: "100.0", 12.34: "12.3", 1.2345: "1.23", 0: "0.00", 0.01234: "0.0123", -4: "-4.00"} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
	if got := spread([]float64{1, 2, 3}); got != "2.00 (1.50–2.50)" {
		t.Errorf("spread = %q", got)
	}
	if got := spread(nil); got != noValue {
		t.Errorf("spread of nothing = %q", got)
	}
}

// sampleReport is a run of two servers, one of which cannot flush.
func sampleReport() (*Report, []job) {
	o := GatewayOptions{Dir: "/nowhere", Size: 64 << 20, Rounds: 1, Seconds: 2, Base: nbdkit}
	r := &Report{Name: "gateway", Time: time.Unix(0, 0), Settings: o, Missing: []string{"nbd-server (not installed: nbd-server)"}}
	list := jobs()
	for _, j := range list {
		for _, s := range []string{ours, nbdkit} {
			if s == nbdkit && j.name == "flush4k" {
				r.fail("%s on %s", j.name, s)
				continue
			}
			v := map[string]float64{ours: 300, nbdkit: 200}[s]
			r.add(j.name, s, rate, j.unit(), v)
			r.add(j.name, s, serverCPU, "s", 3*v)
			r.add(j.name, s, clientCPU, "s", 2*v)
			r.add(j.name, s, "p50", "us", 5000/v)
		}
	}
	r.gatewayTables(o, list, []string{ours, nbdkit})
	return r, list
}

func TestMarkdownHasEveryServerAndWorkload(t *testing.T) {
	r, list := sampleReport()
	got := r.Markdown("bench")
	for _, w := range []string{
		"| workload | what | lockplate | nbdkit file |", "Left out: nbd-server (not installed", "| 1.50 | 1.00 |", "| MB/s | 300 | 200 |",
		"Could not be done: flush4k on nbdkit file", "1970-01-01", "900 + 600 (1.50)", "16.7 / - / - (0.67)", "](bench/gateway-small.svg)", "64 MiB",
	} {
		if !strings.Contains(got, w) {
			t.Errorf("no %q in\n%s", w, got)
		}
	}
	for _, j := range list {
		if strings.Count(got, "\n| "+j.name+" |") < 4 {
			t.Errorf("%s is missing from a table", j.name)
		}
	}
}

func TestTextIsAlignedAndJSONHasEveryRound(t *testing.T) {
	r, _ := sampleReport()
	var text, raw bytes.Buffer
	if err := r.Text(&text); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "\nseqr1m ") || strings.Contains(text.String(), "|") {
		t.Errorf("text:\n%s", text.String())
	}
	if err := r.JSON(&raw); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(raw.String(), `"rounds": [300]`) {
		t.Errorf("values take lines of their own:\n%.600s", raw.String())
	}
	var back Report
	if err := json.Unmarshal(raw.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if m := back.find("seqr1m", ours, rate); m == nil || m.Median != 300 || len(m.Rounds) != 1 {
		t.Errorf("read back: %+v", m)
	}
}

func TestWriteReplacesOnlyItsOwnPart(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, page)
	begin, end := marks("gateway")
	otherBegin, otherEnd := marks("gateway-tls")
	tail := end + "\ntail\n" + otherBegin + "\nold\n" + otherEnd + "\n"
	writeFile(t, file, "head\n"+begin+"\nold\n"+tail)
	r, _ := sampleReport()
	for range 2 { // the second time it replaces what it wrote
		if err := r.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	got := readText(file)
	if want := "head\n" + begin + "\n\n" + r.Markdown(folder) + "\n" + tail; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, name := range []string{"gateway.json", "gateway-bulk.svg", "gateway-small.svg", "gateway-small-cpu.svg"} {
		if readText(filepath.Join(dir, folder, name)) == "" {
			t.Errorf("%s was not written", name)
		}
	}
	writeFile(t, file, "no marks")
	if err := r.Write(dir); err == nil {
		t.Error("a page without marks was written")
	}
}

func TestChosenKeepsTheOrderAndNamesWhatIsUnknown(t *testing.T) {
	name := func(t target) string { return t.name }
	got, err := chosen(targets(false), []string{"nbdkit luks", "lockplate"}, "target", name)
	if err != nil || len(got) != 2 || got[0].name != "lockplate" || got[1].name != "nbdkit luks" {
		t.Errorf("chosen = %v, %v", got, err)
	}
	if _, err := chosen(targets(false), []string{"nbdkat"}, "target", name); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), `"nbdkat"; there are lockplate, `) {
		t.Errorf("an unknown name: %v", err)
	}
}

func TestBaseIsTheOneAskedForIfItRuns(t *testing.T) {
	r := &Report{}
	for _, c := range []struct {
		o       GatewayOptions
		servers []string
		want    string
	}{
		{GatewayOptions{Base: nbdkit}, []string{ours, nbdkit}, nbdkit},
		{GatewayOptions{Base: "go-nbd"}, []string{ours, nbdkit}, ours},
		{GatewayOptions{Base: "go-nbd", TLS: true}, []string{ours, nbdkit + tlsSuffix}, nbdkit + tlsSuffix},
		{GatewayOptions{Base: nbdkit}, []string{ours}, ""},
	} {
		if got := r.base(c.o, c.servers); got != c.want {
			t.Errorf("base of %v among %v = %q, want %q", c.o.Base, c.servers, got, c.want)
		}
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
