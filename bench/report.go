package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// The table is put between these marks.
const (
	markBegin = "<!-- bench: begin, written by make bench -->"
	markEnd   = "<!-- bench: end -->"
)

type cell struct{ target, job string }

// results holds one value per round in every cell.
type results struct {
	config
	targets []string
	missing []string
	jobs    []job
	values  map[cell][]float64
}

// ratio is the median over the rounds of target to base within one round.
func (r *results) ratio(target, base, job string) float64 {
	a, b := r.values[cell{target, job}], r.values[cell{base, job}]
	ratios := make([]float64, min(len(a), len(b)))
	for i := range ratios {
		ratios[i] = a[i] / b[i]
	}
	return median(ratios)
}

// median of v; 0 if there is none. v keeps its order.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// markdown gives the two tables, ratios first, with what was run and where.
func (r *results) markdown(now time.Time) string {
	var b strings.Builder
	base := r.base
	if !slices.Contains(r.targets, base) {
		base = r.targets[0]
	}
	fmt.Fprintf(&b, "Measured %s on %s, %d cores, Linux %s, images in memory, %d MiB each; %d rounds of %.3g s. %s %s\n\n",
		now.UTC().Format(time.DateOnly), cpuModel(), runtime.NumCPU(), kernel(), r.size>>20, r.rounds, r.seconds, loadAverage(), r.versions())
	if len(r.missing) > 0 {
		fmt.Fprintf(&b, "Not installed or not startable, so left out: %s.\n\n", strings.Join(r.missing, ", "))
	}
	fmt.Fprintf(&b, "Ratio to %s in the same round (median of the rounds, more is better):\n\n", base)
	r.table(&b, "", func(t string, j job) string { return fmt.Sprintf("%.2f", r.ratio(t, base, j.name)) })
	b.WriteString("\nMedian value:\n\n")
	r.table(&b, "unit", func(t string, j job) string { return fmt.Sprintf("%.0f", median(r.values[cell{t, j.name}])) })
	return b.String()
}

// table has a row a workload and a column a server.
func (r *results) table(b *strings.Builder, unit string, value func(string, job) string) {
	head := []string{"workload", "what"}
	if unit != "" {
		head = append(head, unit)
	}
	head = append(head, r.targets...)
	fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	for _, j := range r.jobs {
		row := []string{j.name, j.what}
		if unit != "" {
			row = append(row, j.unit)
		}
		for _, t := range r.targets {
			row = append(row, value(t, j))
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
	}
}

// versions names the programs that took part.
func (r *results) versions() string {
	var v []string
	for _, c := range [][]string{{r.binary, "version"}, {"nbdkit", "--version"}, {"qemu-nbd", "--version"}, {"fio", "--version"}} {
		if out, err := exec.Command(c[0], c[1:]...).Output(); err == nil {
			line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
			v = append(v, line)
		}
	}
	return strings.Join(v, "; ") + "."
}

func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return runtime.GOARCH
}

// loadAverage tells whether the machine was busy with other work: client and
// server alone keep about three tasks running.
func loadAverage() string {
	b, _ := os.ReadFile("/proc/loadavg")
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return "Load average unknown."
	}
	return "Load average over the last five minutes " + f[1] + ", of which about 3 is the bench itself."
}

func kernel() string {
	b, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(b))
}

// replaceMarked puts text between the marks of the file, leaving the rest.
func replaceMarked(file, text string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(b), markBegin)
	_, after, ok2 := strings.Cut(rest, markEnd)
	if !ok || !ok2 {
		return errors.New(file + ": the marks are missing: " + markBegin + " and " + markEnd)
	}
	return os.WriteFile(file, []byte(before+markBegin+"\n\n"+text+"\n"+markEnd+after), 0o644)
}
