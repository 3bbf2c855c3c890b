package api

import (
	"os"
	"slices"
	"strings"
	"testing"

	"lockplate/cluster"
)

// docs/ELEMENT tells code, type and severity of every fault there is, and of
// no other.
func TestDocsListEveryFault(t *testing.T) {
	page, err := os.ReadFile("../docs/ELEMENT.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Fault codes\n")
	section, _, _ = strings.Cut(section, "\n## ")
	rows := map[string][]string{}
	for line := range strings.Lines(section) {
		if cells := strings.Split(line, " | "); strings.HasPrefix(line, "| `") && len(cells) == 6 {
			rows[strings.Trim(cells[0], "| `")] = cells
		}
	}
	var codes []string
	for _, f := range cluster.FaultRules() {
		codes = append(codes, f.Code)
		row := rows[f.Code]
		if row == nil {
			t.Errorf("docs/ELEMENT lacks fault %s (%s, %s)", f.Code, f.Type, f.Severity)
			continue
		}
		if row[2] != f.Type || !strings.HasPrefix(row[3], f.Severity) || f.Worse != "" && !strings.Contains(row[3], f.Worse) {
			t.Errorf("%s is %s, %s %s; docs/ELEMENT says %s, %s", f.Code, f.Type, f.Severity, f.Worse, row[2], row[3])
		}
	}
	for code := range rows {
		if !slices.Contains(codes, code) {
			t.Errorf("docs/ELEMENT has %s, which is no fault", code)
		}
	}
}
