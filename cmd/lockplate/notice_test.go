package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestNoticeNamesEveryLinkedModule(t *testing.T) {
	notice, err := os.ReadFile("../../NOTICE")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	named := strings.Fields(string(notice))
	linked := slices.Compact(slices.Sorted(slices.Values(strings.Fields(string(out)))))
	for _, module := range linked {
		if !slices.Contains(named, module) {
			t.Errorf("NOTICE does not name %s", module)
		}
	}
	if len(linked) == 0 {
		t.Error("no module is linked: the list is wrong")
	}
}
