package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The page in the folder of docs, and the folder beside it for raw values and
// plots.
const (
	page   = "BENCHMARKS.md"
	folder = "bench"
)

// marks stand around the tables of one benchmark in the page.
func marks(name string) (begin, end string) {
	return "<!-- bench " + name + ": begin, written by lockplate bench -->", "<!-- bench " + name + ": end -->"
}

// Write puts the tables between the marks of the page in docs, and raw values
// and plots into the folder beside it.
func (r *Report) Write(docs string) error {
	// The page goes first: without its marks nothing is written at all.
	begin, end := marks(r.Name)
	if err := replaceMarked(filepath.Join(docs, page), begin, end, r.Markdown(folder)); err != nil {
		return err
	}
	dir := filepath.Join(docs, folder)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	var raw bytes.Buffer
	if err := r.JSON(&raw); err != nil {
		return err
	}
	errs := []error{os.WriteFile(filepath.Join(dir, r.Name+".json"), raw.Bytes(), 0o644)}
	for _, c := range r.charts {
		errs = append(errs, os.WriteFile(filepath.Join(dir, c.file+".svg"), []byte(c.svg()), 0o644))
	}
	return errors.Join(errs...)
}

// replaceMarked puts text between the marks of the file, leaving the rest.
func replaceMarked(file, begin, end, text string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the page: %w", err)
	}
	before, rest, ok := strings.Cut(string(b), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s: the marks are missing: %s and %s", file, begin, end)
	}
	return os.WriteFile(file, []byte(before+begin+"\n\n"+text+"\n"+end+after), 0o644)
}
