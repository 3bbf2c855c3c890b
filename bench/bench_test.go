package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 2, 100}, 3}} {
		if got := median(c.in); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.in, got, c.want)
		}
	}
}

// A ratio of medians would hide that the machine was slow in one round.
func TestRatioIsTakenWithinARound(t *testing.T) {
	r := &results{values: map[cell][]float64{{"a", "j"}: {10, 200, 30}, {"b", "j"}: {20, 400, 60}}}
	if got := r.ratio("a", "b", "j"); got != 0.5 {
		t.Errorf("ratio = %v, want 0.5", got)
	}
}

func TestFioResult(t *testing.T) {
	const report = "note: something\n" + `{"jobs":[{"error":0,"read":{"iops":10.5,"bw_bytes":3000000},"write":{"iops":1,"bw_bytes":1000000}}]}`
	for _, c := range []struct {
		name, in string
		iops     bool
		want     float64
		bad      bool
	}{
		{"bytes", report, false, 4, false},
		{"requests", report, true, 11.5, false},
		{"an error in the job", strings.Replace(report, `"error":0`, `"error":5`, 1), true, 0, true},
		{"nothing moved", `{"jobs":[{"error":0}]}`, true, 0, true},
		{"no report", "oops", true, 0, true},
	} {
		got, err := fioResult([]byte(c.in), c.iops)
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("%s: fioResult = %v, %v", c.name, got, err)
		}
	}
}

func TestReplaceMarkedKeepsTheRest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "b.md")
	for _, text := range []string{"first\n", "second\n"} {
		if text == "first\n" {
			writeFile(t, file, "head\n"+markBegin+"\nold\n"+markEnd+"\ntail\n")
		}
		if err := replaceMarked(file, text); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if want := "head\n" + markBegin + "\n\n" + text + "\n" + markEnd + "\ntail\n"; string(b) != want {
			t.Errorf("got %q, want %q", b, want)
		}
	}
	writeFile(t, file, "no marks")
	if err := replaceMarked(file, "x"); err == nil {
		t.Error("a file without marks was written")
	}
}

func TestMarkdownHasEveryServerAndWorkload(t *testing.T) {
	const baseline = "nbdkit file"
	r := &results{config: config{base: baseline}, targets: []string{"lockplate", baseline}, jobs: jobs(), missing: []string{"nbd-server"}, values: map[cell][]float64{}}
	for _, j := range r.jobs {
		r.values[cell{"lockplate", j.name}] = []float64{300}
		r.values[cell{baseline, j.name}] = []float64{200}
	}
	got := r.markdown(time.Unix(0, 0))
	for _, w := range []string{"| lockplate | nbdkit file |", "left out: nbd-server", "| 1.50 | 1.00 |", "| MB/s | 300 | 200 |", "1970-01-01"} {
		if !strings.Contains(got, w) {
			t.Errorf("no %q in\n%s", w, got)
		}
	}
	if got := strings.Count(got, "\n| copy-out "); got != 2 {
		t.Errorf("copy-out has %d rows, want one in each table", got)
	}
}

func TestChosenKeepsTheOrder(t *testing.T) {
	got := chosen(targets(), []string{"nbdkit luks", "lockplate"}, func(t target) string { return t.name })
	if len(got) != 2 || got[0].name != "lockplate" || got[1].name != "nbdkit luks" {
		t.Errorf("chosen = %v", got)
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
