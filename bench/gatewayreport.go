package bench

import (
	"fmt"
	"slices"
	"strings"
)

// gatewayTables makes what people read of the values.
func (r *Report) gatewayTables(o GatewayOptions, list []job, servers []string) {
	r.aboutGateway(o)
	if base := r.base(o, servers); base != "" {
		r.ratioTable("Ratio to "+base+" in the same round (median of the rounds; more is better)", list, servers, func(job, s string) string {
			return middle(r.ratios(job, s, base, rate))
		})
		r.costTable(list, servers, base)
		r.gatewayCharts(list, servers, base)
	}
	r.oursTable(list, servers)
	r.valueTable(list, servers)
	r.latencyTable(list, servers, r.base(o, servers))
	r.ratioTable("Cores in use by server + client (medians): who is the bottleneck", list, servers, func(job, s string) string {
		if r.find(job, s, serverCores) == nil {
			return noValue
		}
		return middle(r.rounds(job, s, serverCores)) + " + " + middle(r.rounds(job, s, clientCores))
	})
}

// aboutGateway says how the servers were run.
func (r *Report) aboutGateway(o GatewayOptions) {
	where, how := "in memory", "over Unix sockets"
	if !inMemory(o.Dir) {
		where = "on disk, in the page cache"
	}
	if o.TLS {
		how = "over TCP on this machine"
	}
	r.about = fmt.Sprintf("Images of %s %s, %s; %d rounds, %.3g s a measurement.", bytesText(int(o.Size)), where, how, o.Rounds, o.Seconds)
}

// base is the server to take ratios to: the one asked for, if it ran, else the
// first; none if there is only one.
func (r *Report) base(o GatewayOptions, servers []string) string {
	switch {
	case len(servers) < 2:
		return ""
	case slices.Contains(servers, o.Base):
		return o.Base
	case o.TLS && slices.Contains(servers, nbdkit+tlsSuffix):
		return nbdkit + tlsSuffix
	}
	return servers[0]
}

// ratioTable has a row a workload and a column a server.
func (r *Report) ratioTable(title string, list []job, servers []string, cell func(job, server string) string) {
	t := table{title: title, head: append([]string{"workload", "what"}, servers...)}
	for _, j := range list {
		row := []string{j.name, j.what}
		for _, s := range servers {
			row = append(row, cell(j.name, s))
		}
		t.row(row...)
	}
	r.tables = append(r.tables, t)
}

// oursTable has lockplate to each of the others, with the spread over the
// rounds.
func (r *Report) oursTable(list []job, servers []string) {
	if !slices.Contains(servers, ours) || len(servers) < 2 {
		return
	}
	others := slices.DeleteFunc(slices.Clone(servers), func(s string) bool { return s == ours })
	r.ratioTable("lockplate, encrypted, to each of the others (quarters of the rounds around the median)", list, others,
		func(job, s string) string { return spread(r.ratios(job, ours, s, rate)) })
	if slices.Contains(servers, ours+tlsSuffix) && slices.Contains(servers, nbdkit+tlsSuffix) {
		r.costOfTLS(list)
	}
}

// costOfTLS compares with and without, and both with each other.
func (r *Report) costOfTLS(list []job) {
	t := table{title: "What TLS leaves of the throughput", head: []string{"workload", ours, nbdkit, ours + tlsSuffix + " to " + nbdkit + tlsSuffix}}
	for _, j := range list {
		t.row(j.name, spread(r.ratios(j.name, ours+tlsSuffix, ours, rate)), spread(r.ratios(j.name, nbdkit+tlsSuffix, nbdkit, rate)),
			spread(r.ratios(j.name, ours+tlsSuffix, nbdkit+tlsSuffix, rate)))
	}
	r.tables = append(r.tables, t)
}

// valueTable has the figures that the ratios are of.
func (r *Report) valueTable(list []job, servers []string) {
	t := table{title: "Median value (quarters of the rounds around it)", head: append([]string{"workload", "unit"}, servers...)}
	for _, j := range list {
		row := []string{j.name, j.unit()}
		for _, s := range servers {
			row = append(row, spread(r.rounds(j.name, s, rate)))
		}
		t.row(row...)
	}
	r.tables = append(r.tables, t)
}

// costTable has processor seconds of server and client.
func (r *Report) costTable(list []job, servers []string, base string) {
	t := table{
		title: "Processor seconds of server + client, for a GiB or a million requests (medians); in brackets the server's ratio to " + base + " in the same round (less is better)",
		head:  append([]string{"workload", "for"}, servers...),
	}
	for _, j := range list {
		row := []string{j.name, map[bool]string{false: "1 GiB", true: "10^6"}[j.small]}
		for _, s := range servers {
			cell := noValue
			if v := r.rounds(j.name, s, serverCPU); v != nil {
				cell = fmt.Sprintf("%s + %s (%s)", middle(v), middle(r.rounds(j.name, s, clientCPU)), middle(r.ratios(j.name, s, base, serverCPU)))
			}
			row = append(row, cell)
		}
		t.row(row...)
	}
	r.tables = append(r.tables, t)
}

// latencyTable has those of one request at a time.
func (r *Report) latencyTable(list []job, servers []string, base string) {
	t := table{title: "Latency of one request at a time, µs: p50 / p99 / p99.9 (medians of the rounds)", head: append([]string{"workload", "what"}, servers...)}
	if base != "" {
		t.title += "; in brackets p50 to that of " + base + " in the same round (less is better)"
	}
	for _, j := range list {
		if !j.alone {
			continue
		}
		row := []string{j.name, j.what}
		for _, s := range servers {
			cell := r.percentiles(j.name, s)
			if ratio := r.ratios(j.name, s, base, "p50"); ratio != nil && s != base {
				cell += " (" + middle(ratio) + ")"
			}
			row = append(row, cell)
		}
		t.row(row...)
	}
	if len(t.rows) > 0 {
		r.tables = append(r.tables, t)
	}
}

// percentiles writes the three latencies of a cell.
func (r *Report) percentiles(job, server string) string {
	var cells []string
	for _, p := range []string{"p50", "p99", "p99.9"} {
		cells = append(cells, middle(r.rounds(job, server, p)))
	}
	return strings.Join(cells, " / ")
}

// gatewayCharts draws the ratios to base, bulk and small requests apart, and
// the processor time of the servers.
func (r *Report) gatewayCharts(list []job, servers []string, base string) {
	for _, small := range []bool{false, true} {
		name, what := "-bulk", "Large requests"
		if small {
			name, what = "-small", "4 KiB requests"
		}
		part := slices.DeleteFunc(slices.Clone(list), func(j job) bool { return j.small != small })
		if len(part) == 0 {
			continue
		}
		r.chart(r.Name+name, what+", rate", "ratio to "+base+" (more is better)", part, servers, base, rate)
		r.chart(r.Name+name+"-cpu", what+", processor time of the server", "ratio to "+base+" (less is better)", part, servers, base, serverCPU)
	}
}

// chart adds a plot of ratios to base.
func (r *Report) chart(file, title, unit string, list []job, servers []string, base, metric string) {
	// The base itself would be a bar of length 1 everywhere: the line at 1 says it.
	c := chart{file: file, title: title, unit: unit, one: true, groups: names(list, func(j job) string { return j.name })}
	for _, s := range servers {
		if s == base {
			continue
		}
		line := series{name: s}
		for _, j := range list {
			line.push(r.ratios(j.name, s, base, metric))
		}
		c.series = append(c.series, line)
	}
	r.charts = append(r.charts, c)
}
