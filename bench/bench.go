// Package bench measures lockplate beside others on one machine in one run: its
// cipher against the machine's own limit and OpenSSL, its gateway against other
// NBD servers under the same outside clients, latency, and the rekey.
//
// What takes part takes turns: every round measures everything once, each time
// beginning with another one, and a ratio is taken between two values of one
// round. Only ratios mean something; the figures are there to show what they
// are ratios of.
package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Report is the outcome of one benchmark.
type Report struct {
	Name     string         `json:"name"`
	Title    string         `json:"title"`
	Time     time.Time      `json:"time"`
	Machine  Machine        `json:"machine"`
	Settings any            `json:"settings"`
	Versions []string       `json:"versions,omitempty"` // of the programs that took part
	Missing  []string       `json:"missing,omitempty"`  // what was left out, and why
	Failures []string       `json:"failures,omitempty"` // what a target could not do
	Values   []*Measurement `json:"values"`

	about  string  // one sentence on what was run
	tables []table // made when all is measured, from Values alone
	charts []chart
}

// Measurement is one quantity of one target under one workload, with its value
// in every round. Rounds are in order, so that equal places of two measurements
// were taken one after the other.
type Measurement struct {
	Case   string    `json:"case"`
	Target string    `json:"target"`
	Metric string    `json:"metric"`
	Unit   string    `json:"unit"`
	Median float64   `json:"median"`
	P25    float64   `json:"p25"`
	P75    float64   `json:"p75"`
	Rounds []float64 `json:"rounds"`
}

// add appends the value of the present round.
func (r *Report) add(job, target, metric, unit string, v float64) {
	// A run has some thousand measurements: a search is as good as an index, and
	// keeps the order in which they were taken.
	m := r.find(job, target, metric)
	if m == nil {
		m = &Measurement{Case: job, Target: target, Metric: metric, Unit: unit}
		r.Values = append(r.Values, m)
	}
	m.Rounds = append(m.Rounds, shortened(v))
	m.Median, m.P25, m.P75 = median(m.Rounds), quantile(m.Rounds, 0.25), quantile(m.Rounds, 0.75)
}

// find gives a measurement, or nil.
func (r *Report) find(job, target, metric string) *Measurement {
	i := slices.IndexFunc(r.Values, func(m *Measurement) bool {
		return m.Case == job && m.Target == target && m.Metric == metric
	})
	if i < 0 {
		return nil
	}
	return r.Values[i]
}

// rounds gives the values of a measurement, none if there is no such.
func (r *Report) rounds(job, target, metric string) []float64 {
	if m := r.find(job, target, metric); m != nil {
		return m.Rounds
	}
	return nil
}

// ratios gives a to b within each round.
func (r *Report) ratios(job, a, b, metric string) []float64 {
	return quotients(r.rounds(job, a, metric), r.rounds(job, b, metric))
}

// fail notes that a target cannot do something. It is noted once.
func (r *Report) fail(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(r.Failures, s) {
		r.Failures = append(r.Failures, s)
	}
}

// JSON writes everything that was measured, each round by itself.
func (r *Report) JSON(w io.Writer) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("encode values: %w", err)
	}
	_, err := w.Write(onOneLine(b.Bytes()))
	return err
}

// onOneLine writes lists of numbers without line breaks, which would make most
// of the file.
func onOneLine(b []byte) []byte {
	return regexp.MustCompile(`\[[-+.0-9eE,\s]*\]`).ReplaceAllFunc(b, func(list []byte) []byte {
		return bytes.ReplaceAll(bytes.Join(bytes.Fields(list), nil), []byte(","), []byte(", "))
	})
}

// Text writes the tables for a terminal.
func (r *Report) Text(w io.Writer) error {
	fmt.Fprintln(w, r.heading())
	for _, t := range r.tables {
		fmt.Fprintf(w, "\n%s\n\n", t.title)
		if err := t.text(w); err != nil {
			return err
		}
	}
	return nil
}

// Markdown gives the tables and, below them, the plots, which are in folder.
func (r *Report) Markdown(folder string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.heading())
	for _, t := range r.tables {
		fmt.Fprintf(&b, "\n%s:\n\n%s", t.title, t.markdown())
	}
	for _, c := range r.charts {
		fmt.Fprintf(&b, "\n![%s](%s/%s.svg)\n", c.title, folder, c.file)
	}
	return b.String()
}

// heading says what was measured, where and beside what.
func (r *Report) heading() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured %s on %s. %s", r.Time.UTC().Format(time.DateOnly), r.Machine, r.about)
	if len(r.Versions) > 0 {
		fmt.Fprintf(&b, " %s.", strings.Join(r.Versions, "; "))
	}
	if len(r.Missing) > 0 {
		fmt.Fprintf(&b, "\n\nLeft out: %s.", strings.Join(r.Missing, "; "))
	}
	if len(r.Failures) > 0 {
		fmt.Fprintf(&b, "\n\nCould not be done: %s.", strings.Join(r.Failures, "; "))
	}
	return b.String()
}
