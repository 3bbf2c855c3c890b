package main

import (
	"strings"
	"testing"
)

func TestTally(t *testing.T) {
	const start = `{"Action":"start","Package":"p"}` + "\n"
	for _, c := range []struct {
		name, in string
		ok       bool
		want     []string
	}{
		{
			"pass and skip with its reason", start +
				`{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0.1}
{"Action":"run","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Test":"TestB","Output":"=== RUN   TestB\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:7: needs fio\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"pass","Package":"p","Elapsed":1.25}`, true,
			[]string{"ok   p 1.2s", "skip p TestB: needs fio", "1 passed, 0 failed, 1 skipped"},
		},
		{"subtests count, their parent does not", start +
			`{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/x"}
{"Action":"run","Package":"p","Test":"TestA/y"}
{"Action":"pass","Package":"p","Test":"TestA/x"}
{"Action":"pass","Package":"p","Test":"TestA/y"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p"}`, true, []string{"2 passed, 0 failed, 0 skipped"}},
		{"a failure shows its output", start +
			`{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"got 1, want 2\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}`, false, []string{"--- p TestA failed\ngot 1, want 2\n", "0 passed, 1 failed, 0 skipped"}},
		{"a package that does not build", `{"ImportPath":"p [p.test]","Action":"build-output","Output":"p.go:1: undefined: x\n"}
{"ImportPath":"p [p.test]","Action":"build-fail"}
{"Action":"start","Package":"p"}
{"Action":"fail","Package":"p","FailedBuild":"p [p.test]"}`, false, []string{"did not build\np.go:1: undefined: x\n"}},
		{"a test that a timeout cut short", start +
			`{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"panic: test timed out\n"}
{"Action":"fail","Package":"p"}`, false, []string{"TestA did not finish\npanic: test timed out\n", "0 passed, 1 failed"}},
		{"nothing ran", "", false, []string{"0 passed, 0 failed, 0 skipped"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b strings.Builder
			ok, err := run(strings.NewReader(c.in), &b)
			if err != nil || ok != c.ok {
				t.Errorf("run = %v, %v; want %v", ok, err, c.ok)
			}
			for _, w := range c.want {
				if !strings.Contains(b.String(), w) {
					t.Errorf("no %q in:\n%s", w, b.String())
				}
			}
		})
	}
}
