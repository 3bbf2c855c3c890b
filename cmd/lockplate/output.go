package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// show prints a result: v as JSON with --json, else what text writes. v is
// the API's own result object where there is one, with its exact numbers.
func (a *app) show(v any, text func(io.Writer)) error {
	if a.opt.json {
		return a.showJSON(v)
	}
	text(a.out)
	return nil
}

func (a *app) showJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// table writes rows under a header in aligned columns. An empty cell shows
// as "-" and no cell has a space, so that columns can be cut by white space.
func table(w io.Writer, header string, rows [][]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(strings.Fields(header), "\t"))
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(dashes(r), "\t"))
	}
	t.Flush()
}

// pairs writes name and value on each line. Pairs without a value are left
// out.
func pairs(w io.Writer, nameValue ...string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := 0; i+1 < len(nameValue); i += 2 {
		if nameValue[i+1] != "" {
			fmt.Fprintf(t, "%s\t%s\n", nameValue[i], nameValue[i+1])
		}
	}
	t.Flush()
}

// dashes fills empty cells.
func dashes(cells []string) []string {
	out := make([]string, len(cells))
	for i, c := range cells {
		if out[i] = c; c == "" {
			out[i] = "-"
		}
	}
	return out
}

// yesNo shows a bool in tables.
func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
