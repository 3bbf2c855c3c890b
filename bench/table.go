package bench

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// table is what people read of a report.
type table struct {
	title string // without a full stop: a colon or nothing follows
	head  []string
	rows  [][]string
}

// noValue stands where nothing was measured.
const noValue = "-"

// row adds a row; it has as many cells as the head.
func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// markdown gives the table in Markdown.
func (t table) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(t.head, " | "), strings.Repeat("---|", len(t.head)))
	for _, r := range t.rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(r, " | "))
	}
	return b.String()
}

// text writes the table in aligned columns.
func (t table) text(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range append([][]string{t.head}, t.rows...) {
		fmt.Fprintln(tw, strings.Join(r, "\t"))
	}
	return tw.Flush()
}

// number writes a value with three digits, or all that are before the point.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 0.1 || a == 0:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// middle writes the median.
func middle(v []float64) string {
	if len(v) == 0 {
		return noValue
	}
	return number(median(v))
}

// spread writes the median and, from three rounds on, the quarters around it.
func spread(v []float64) string {
	if len(v) < 3 {
		return middle(v)
	}
	return fmt.Sprintf("%s (%s–%s)", middle(v), number(quantile(v, 0.25)), number(quantile(v, 0.75)))
}
