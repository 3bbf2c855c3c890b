// Command tally reads the event stream of go test -json and prints what a
// person needs of it: one line a package, the whole output of what failed,
// every skip with its reason, and as the last line the counts:
//
//	go test -json ./... | go run ./e2e/tally
//
// It ends with 1 if anything failed, did not build or did not finish, and also
// if no test ran at all. Examples, fuzz seeds and subtests count as tests; a
// test with subtests is not counted beside them.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	ok, err := run(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// maxLine bounds one line of the stream; go test cuts test output into lines.
const maxLine = 4 << 20

// event is one line of the stream (go doc test2json, go help buildjson).
type event struct {
	Action, Package, Test, Output string
	ImportPath                    string // of build output
	FailedBuild                   string
	Elapsed                       float64
}

// id names a test or, with an empty Test, a package.
type id struct{ pkg, test string }

type tally struct {
	out                     io.Writer
	output                  map[id][]string
	state                   map[id]string // last action of what has begun
	parents                 map[id]bool
	order                   []id
	skips                   []string
	passed, failed, skipped int
	broken                  bool
}

// run reads the stream to its end and reports whether everything passed.
func run(r io.Reader, w io.Writer) (bool, error) {
	t := &tally{out: w, output: map[id][]string{}, state: map[id]string{}, parents: map[id]bool{}}
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 64<<10), maxLine)
	for sc.Scan() {
		var e event
		if json.Unmarshal(sc.Bytes(), &e) != nil {
			fmt.Fprintln(w, sc.Text()) // what go itself prints is not JSON
			continue
		}
		t.add(e)
	}
	t.finish()
	return !t.broken && t.failed == 0 && t.passed > 0, sc.Err()
}

func (t *tally) add(e event) {
	if e.Package == "" {
		e.Package = e.ImportPath
	}
	k := id{e.Package, e.Test}
	switch e.Action {
	case "run", "start":
		t.begin(k)
	case "output", "build-output":
		t.output[k] = append(t.output[k], e.Output)
	case "pass", "fail", "skip":
		t.end(k, e)
	case "build-fail":
		t.broken = true
		t.dump(k, "did not build")
	}
}

func (t *tally) begin(k id) {
	t.state[k] = "run"
	t.order = append(t.order, k)
	if i := strings.LastIndexByte(k.test, '/'); i >= 0 {
		t.parents[id{k.pkg, k.test[:i]}] = true
	}
}

func (t *tally) end(k id, e event) {
	t.state[k] = e.Action
	switch {
	case k.test == "":
		t.endPackage(k, e)
	case e.Action == "fail":
		t.failed++
		t.dump(k, "failed")
	case t.parents[k]: // its subtests were counted
	case e.Action == "skip":
		t.skipped++
		t.skips = append(t.skips, fmt.Sprintf("skip %s %s: %s", k.pkg, k.test, reason(t.output[k])))
	default:
		t.passed++
	}
	delete(t.output, k)
}

func (t *tally) endPackage(k id, e event) {
	switch e.Action {
	case "fail":
		t.broken = true
		if e.FailedBuild == "" {
			t.dump(k, "failed")
		}
	case "pass":
		fmt.Fprintf(t.out, "ok   %s %.1fs\n", k.pkg, e.Elapsed)
	}
}

// finish reports what began and did not end: a crash or a timeout.
func (t *tally) finish() {
	for _, k := range t.order {
		if t.state[k] == "run" && k.test != "" {
			t.failed++
			t.dump(k, "did not finish")
		}
	}
	slices.Sort(t.skips)
	for _, s := range t.skips {
		fmt.Fprintln(t.out, s)
	}
	fmt.Fprintf(t.out, "%d passed, %d failed, %d skipped\n", t.passed, t.failed, t.skipped)
}

func (t *tally) dump(k id, what string) {
	fmt.Fprintf(t.out, "--- %s %s %s\n%s", strings.TrimSpace(k.pkg), k.test, what, strings.Join(t.output[k], ""))
}

// reason is the text that a test gave to Skip.
func reason(lines []string) string {
	for _, l := range slices.Backward(lines) {
		l = strings.TrimSpace(l)
		if l == "" || strings.HasPrefix(l, "---") || strings.HasPrefix(l, "===") {
			continue
		}
		if _, text, ok := strings.Cut(l, ".go:"); ok {
			_, text, _ = strings.Cut(text, ": ")
			return text
		}
		return l
	}
	return "no reason given"
}
