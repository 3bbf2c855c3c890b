package bench

import (
	"fmt"
	"math"
	"slices"
)

// cipherTables makes what people read of the values.
func (r *Report) cipherTables(o CipherOptions, openssl []openSSL) {
	r.about = fmt.Sprintf("One core, AES-256; %d interleaved rounds, in each the best of %d tries of about %.3g ms; medians, "+
		"ratios within a round. The limit is AES rounds back to back with nothing else, 14 a block, with the registers of that engine.",
		o.Rounds, tries, o.Seconds*1000)
	// What takes part is named by its version: figures of OpenSSL differ by a
	// factor of three between versions.
	for _, p := range openssl {
		r.Versions = append(r.Versions, p.name)
	}
	r.speedTable(o)
	if slices.ContainsFunc(o.Engines, func(e string) bool { f, _ := aesLimit(e); return f != nil }) {
		r.limitTable(o)
	}
	r.opensslTable(o, openssl)
	r.generalTable(o)
	r.cipherChart(o)
}

// limitShape is the one beside which the limit itself is shown.
func limitShape() shape { return shape{sector: 4096, call: 64 << 10} }

// speedTable has the figures, those done apart; in place is in the raw values
// and in the table of limits.
func (r *Report) speedTable(o CipherOptions) {
	t := table{title: "GB/s (10^9 bytes; quarters around the median)", head: append([]string{"call"}, o.Engines...)}
	for _, s := range shapes() {
		row := []string{s.String()}
		for _, e := range o.Engines {
			row = append(row, spread(r.rounds(s.String(), e, rate)))
		}
		t.row(row...)
	}
	row := []string{"limit: AES rounds alone"}
	for _, e := range o.Engines {
		row = append(row, spread(r.rounds(limitShape().limit(), limitOf+e, rate)))
	}
	t.row(row...)
	r.tables = append(r.tables, t)
}

// limitTable has the share of the limit that each engine reaches.
func (r *Report) limitTable(o CipherOptions) {
	t := table{title: "Share of the engine's own limit, in the same round", head: []string{"call"}}
	var fast []string
	for _, e := range o.Engines {
		if f, _ := aesLimit(e); f != nil {
			fast = append(fast, e)
		}
	}
	t.head = append(t.head, fast...)
	for _, s := range shapes() {
		row := []string{s.String()}
		for _, e := range fast {
			row = append(row, middle(quotients(r.rounds(s.String(), e, rate), r.rounds(s.limit(), limitOf+e, rate))))
		}
		t.row(row...)
	}
	r.tables = append(r.tables, t)
}

// opensslTable compares averages of encryption.
func (r *Report) opensslTable(o CipherOptions, programs []openSSL) {
	for _, p := range programs {
		t := table{
			title: "Times " + p.name + " (its own speed command: one data unit a call, a tweak set once; averages on both sides)",
			head:  []string{"encrypt", "engine", "GB/s", p.name + " GB/s", "ratio"},
		}
		for _, sector := range []int{4096, 512} {
			theirs := r.rounds(fmt.Sprintf(opensslCaseName, sector), p.name, besideOpenSSL)
			for _, call := range []int{sector, 64 << 10} {
				s := shape{sector: sector, call: call}
				for _, e := range o.Engines {
					if ours := r.rounds(s.String(), e, besideOpenSSL); ours != nil {
						t.row(fmt.Sprintf("%d B sectors, %s a call", sector, bytesText(call)), e, middle(ours), middle(theirs), spread(quotients(ours, theirs)))
					}
				}
			}
		}
		r.tables = append(r.tables, t)
	}
}

// generalTable has what is one number for each engine.
func (r *Report) generalTable(o CipherOptions) {
	t := table{
		title: "4096 B sectors, 64 KiB a call, apart",
		head:  []string{"engine", "times x/crypto", "decrypt / encrypt", "allocations a call"},
	}
	enc, dec := limitShape(), limitShape()
	dec.decrypt = true
	for _, e := range o.Engines {
		t.row(e, middle(r.ratios(enc.String(), e, plainEngine, rate)),
			middle(quotients(r.rounds(dec.String(), e, rate), r.rounds(enc.String(), e, rate))),
			middle(r.rounds(enc.String(), e, "allocations")))
	}
	r.tables = append(r.tables, t)
}

// cipherChart draws encryption apart.
func (r *Report) cipherChart(o CipherOptions) {
	c := chart{file: "cipher", title: "AES-256-XTS encryption on one core, by sector and call", unit: perSecond}
	var jobs []string
	for _, s := range shapes() {
		if !s.decrypt && !s.inPlace {
			jobs = append(jobs, s.String())
			c.groups = append(c.groups, fmt.Sprintf("%d B sectors, %s a call", s.sector, bytesText(s.call)))
		}
	}
	for _, e := range o.Engines {
		s := r.line(e, rate, jobs)
		v := r.line(limitOf+e, rate, []string{limitShape().limit()})
		s.values = append(s.values, v.values...)
		c.series = append(c.series, s)
	}
	c.groups = append(c.groups, "limit: AES rounds alone")
	r.charts = append(r.charts, c)
}

// line gives the medians of a target over jobs, NaN where it has none.
func (r *Report) line(target, metric string, jobs []string) series {
	s := series{name: target}
	for _, j := range jobs {
		v := math.NaN()
		if m := r.find(j, target, metric); m != nil {
			v = m.Median
		}
		s.values = append(s.values, v)
	}
	return s
}
