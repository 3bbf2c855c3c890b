package bench

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

// elements counts what an SVG is made of, and fails unless it is well-formed XML.
func elements(t *testing.T, svg string) map[string]int {
	t.Helper()
	n := map[string]int{}
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		if e, ok := tok.(xml.StartElement); ok {
			n[e.Name.Local]++
		}
	}
}

func TestBarsLeaveGapsAndFitThePlot(t *testing.T) {
	c := chart{
		title: "a < b & c", unit: "ratio", groups: []string{"one", "two"}, one: true,
		series: []series{{name: "x", values: []float64{0.5, 4}, low: []float64{0.4, 3}, high: []float64{0.6, 5}}, {name: "y", values: []float64{gap(), 2}}},
	}
	got := c.svg()
	n := elements(t, got)
	if n["rect"] != 3+2 { // bars and legend
		t.Errorf("%d rectangles in\n%s", n["rect"], got)
	}
	for _, bad := range []string{"NaN", "Inf", "a < b"} {
		if strings.Contains(got, bad) {
			t.Errorf("%q in\n%s", bad, got)
		}
	}
	if strings.Contains(got, "fill:#000") || strings.Contains(got, `height="100%"`) {
		t.Error("it is painted for one theme only")
	}
	if most := c.most(); most != 5 {
		t.Errorf("the scale ends at %v, before the spread of the longest bar", most)
	}
}

func TestLinesHaveAPointForEachValue(t *testing.T) {
	c := chart{
		title: "t", unit: "ms", xUnit: "volumes", at: []float64{100, 1000, 10000},
		series: []series{{name: "a", values: []float64{3, 14, 150}}, {name: "b", values: []float64{5, gap(), 200}}},
	}
	got := c.svg()
	if n := elements(t, got); n["circle"] != 5 || n["polyline"] != 2 {
		t.Errorf("points %d, lines %d", n["circle"], n["polyline"])
	}
	if strings.Contains(got, "NaN") || strings.Contains(got, "Inf") {
		t.Errorf("no number in\n%s", got)
	}
}

func TestEmptyPlotsAreStillPlots(t *testing.T) {
	for _, c := range []chart{{title: "bars", groups: []string{"a"}}, {title: "lines", at: []float64{}, series: []series{{name: "a"}}}} {
		if got := c.svg(); strings.Contains(got, "NaN") || strings.Contains(got, "Inf") {
			t.Errorf("%s:\n%s", c.title, got)
		}
	}
}

func TestDecades(t *testing.T) {
	for _, c := range []struct {
		in        []float64
		low, high float64
	}{{nil, 0, 1}, {[]float64{3, 150}, 0, 3}, {[]float64{100}, 2, 3}, {[]float64{gap(), 0, 20}, 1, 2}} {
		if low, high := decades(c.in); low != c.low || high != c.high {
			t.Errorf("decades(%v) = %v, %v", c.in, low, high)
		}
	}
}

// gap is no value.
func gap() float64 { return math.NaN() }
