package bench

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// chart is a plot: horizontal bars in groups or, with at, lines over two
// logarithmic axes.
type chart struct {
	file   string // without .svg
	title  string
	unit   string
	groups []string  // labels of the groups of bars
	at     []float64 // places of the points of the lines
	xUnit  string
	one    bool // bars are ratios: a line stands at 1
	series []series
}

// series is one target: a value for each group or place, NaN where there is
// none, and the spread where it is known.
type series struct {
	name      string
	values    []float64
	low, high []float64
}

// Measures of a plot in pixels.
const (
	svgWidth  = 860
	svgLabel  = 250 // to the left of the bars
	svgRight  = 70  // to the right of the longest one, for its value
	svgTop    = 34
	barHeight = 9
	groupGap  = 12
	lineSpace = 300 // height of the area of lines
)

// colour gives the n-th of seven colours that stay apart for the colour-blind
// and are readable on white and on black (Paul Tol's "bright").
func colour(n int) string {
	c := []string{"#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#999999"}
	return c[n%len(c)]
}

// style has texts in a grey that can be read on white and on black, since the
// page around a picture may have another theme than the reader's system;
// nothing is painted behind them.
const style = `<style>text{font:12px system-ui,sans-serif;fill:#737b85}.t{font-weight:600;font-size:14px}.v{font-size:9px}` +
	`.g{stroke:#8888;stroke-width:1}.e{stroke:#888;stroke-width:1}</style>`

// drawing collects the elements of a plot.
type drawing struct{ strings.Builder }

func (d *drawing) text(x, y float64, anchor, class, s string) {
	fmt.Fprintf(d, `<text x="%.1f" y="%.1f" text-anchor="%s" class="%s">%s</text>`+"\n", x, y, anchor, class, html.EscapeString(s))
}

func (d *drawing) line(x1, y1, x2, y2 float64, class string) {
	fmt.Fprintf(d, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s"/>`+"\n", x1, y1, x2, y2, class)
}

func (d *drawing) box(x, y, w, h float64, fill string) {
	fmt.Fprintf(d, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", x, y, w, h, fill)
}

// svg draws the plot.
func (c chart) svg() string {
	var d drawing
	height := c.draw(&d)
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%.0f" viewBox="0 0 %[1]d %.0f" role="img" aria-label="%s">`+"\n%s\n%s</svg>\n",
		svgWidth, height, html.EscapeString(c.title), style, d.String())
}

// draw draws the plot and gives its height.
func (c chart) draw(d *drawing) (height float64) {
	d.text(8, 18, "start", "t", c.title+", "+c.unit)
	if c.at != nil {
		height = c.drawLines(d)
	} else {
		height = c.drawBars(d)
	}
	return c.legend(d, height)
}

// legend names the colours below the plot, and gives the height with it.
func (c chart) legend(d *drawing, y float64) float64 {
	x := 8.0
	for i, s := range c.series {
		w := 24 + 7*float64(len(s.name))
		if x+w > svgWidth {
			x, y = 8, y+18
		}
		d.box(x, y+4, 10, 10, colour(i))
		d.text(x+14, y+13, "start", "", s.name)
		x += w
	}
	return y + 24
}

// drawBars draws one bar for each series in each group.
func (c chart) drawBars(d *drawing) float64 {
	// Labels are to the left of the bars, values to the right: the longest bar
	// has what is between.
	most := c.most()
	scale := (svgWidth - svgLabel - svgRight) / most
	y := float64(svgTop)
	for g, name := range c.groups {
		tall := float64(len(c.series) * barHeight)
		d.text(svgLabel-8, y+tall/2+4, "end", "", name)
		for i, s := range c.series {
			if g < len(s.values) && !math.IsNaN(s.values[g]) {
				c.bar(d, i, g, y+float64(i*barHeight), scale)
			}
		}
		y += tall + groupGap
	}
	d.line(svgLabel, svgTop-4, svgLabel, y-groupGap+4, "g")
	if c.one {
		d.line(svgLabel+scale, svgTop-4, svgLabel+scale, y-groupGap+4, "e")
		d.text(svgLabel+scale, svgTop-6, "middle", "v", "1")
	}
	return y
}

// bar draws a bar with its value, and a thin line from the lower to the upper
// quarter of its rounds.
func (c chart) bar(d *drawing, i, g int, y, scale float64) {
	s := c.series[i]
	d.box(svgLabel, y, s.values[g]*scale, barHeight-1, colour(i))
	end := s.values[g]
	if g < len(s.low) && g < len(s.high) {
		mid := y + (barHeight-1)/2.0
		d.line(svgLabel+s.low[g]*scale, mid, svgLabel+s.high[g]*scale, mid, "e")
		end = max(end, s.high[g])
	}
	d.text(svgLabel+end*scale+3, y+barHeight-1, "start", "v", number(s.values[g]))
}

// most is the largest number that is drawn.
func (c chart) most() float64 {
	most := 0.0
	if c.one {
		most = 1
	}
	for _, s := range c.series {
		for _, v := range append(append([]float64{}, s.values...), s.high...) {
			if !math.IsNaN(v) {
				most = max(most, v)
			}
		}
	}
	if most == 0 {
		return 1
	}
	return most
}

// drawLines draws each series over c.at, both axes by powers of ten.
func (c chart) drawLines(d *drawing) float64 {
	var all []float64
	for _, s := range c.series {
		all = append(all, s.values...)
	}
	x0, x1 := decades(c.at)
	y0, y1 := decades(all)
	px := func(v float64) float64 { return 80 + (math.Log10(v)-x0)/(x1-x0)*(svgWidth-80-svgRight) }
	py := func(v float64) float64 { return svgTop + lineSpace - (math.Log10(v)-y0)/(y1-y0)*lineSpace }
	for e := x0; e <= x1; e++ {
		v := math.Pow(10, e)
		d.line(px(v), svgTop, px(v), svgTop+lineSpace, "g")
		d.text(px(v), svgTop+lineSpace+16, "middle", "", fmt.Sprintf("%.0f %s", v, c.xUnit))
	}
	for e := y0; e <= y1; e++ {
		v := math.Pow(10, e)
		d.line(80, py(v), svgWidth-svgRight, py(v), "g")
		d.text(74, py(v)+4, "end", "", fmt.Sprintf("%g", v))
	}
	for i, s := range c.series {
		c.points(d, i, s, px, py)
	}
	return svgTop + lineSpace + 24
}

// points draws the line of one series, with a dot and the value at each place.
func (c chart) points(d *drawing, i int, s series, px, py func(float64) float64) {
	var path []string
	for k, v := range s.values {
		if v <= 0 || math.IsNaN(v) {
			continue
		}
		path = append(path, fmt.Sprintf("%.1f,%.1f", px(c.at[k]), py(v)))
		fmt.Fprintf(d, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>`+"\n", px(c.at[k]), py(v), colour(i))
		d.text(px(c.at[k])+6, py(v)-6, "start", "v", number(v))
	}
	fmt.Fprintf(d, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(path, " "), colour(i))
}

// decades gives the exponents of ten around the positive numbers of v, at least
// one apart.
func decades(v []float64) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, x := range v {
		if x > 0 {
			low, high = min(low, math.Floor(math.Log10(x))), max(high, math.Ceil(math.Log10(x)))
		}
	}
	switch {
	case low > high:
		return 0, 1
	case low == high:
		return low, low + 1
	}
	return low, high
}

// push adds the median of v and the quarters around it, or a gap.
func (s *series) push(v []float64) {
	m, low, high := math.NaN(), math.NaN(), math.NaN()
	if len(v) > 0 {
		m, low, high = median(v), quantile(v, 0.25), quantile(v, 0.75)
	}
	s.values, s.low, s.high = append(s.values, m), append(s.low, low), append(s.high, high)
}
