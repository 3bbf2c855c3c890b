package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lockplate/store"
)

// codes lists the codes of faults, in their order.
func codes(faults []Fault) string {
	var s []string
	for _, f := range faults {
		s = append(s, f.Code)
	}
	return strings.Join(s, " ")
}

func (r *rig) current() []Fault {
	r.t.Helper()
	f, err := r.Faults(r.t.Context())
	r.must(err)
	return f
}

func (r *rig) resolved() []Fault {
	r.t.Helper()
	f, err := r.FaultHistory(r.t.Context())
	r.must(err)
	return f
}

// breakDrive moves a drive's directory away and gives the way back.
func (r *rig) breakDrive(name string) (mend func()) {
	r.t.Helper()
	at, away := filepath.Join(r.dir, name), filepath.Join(r.dir, name+".away")
	r.must(os.Rename(at, away))
	return func() { r.must(os.Rename(away, at)) }
}

func TestFaultKeepsItsIDAndTimeAcrossRestart(t *testing.T) {
	r := withCluster(t)
	mend := r.breakDrive("d1")
	before := r.current()
	if codes(before) != "driveFailed" || !strings.Contains(before[0].Text, "d1") {
		t.Fatalf("faults %+v", before)
	}
	r.clock.advance(time.Hour)
	r.restart()
	after := r.current()
	if len(after) != 1 || after[0].ID != before[0].ID || !after[0].Since.Equal(before[0].Since) {
		t.Errorf("after restart %+v, want the same fault as %+v", after, before)
	}
	mend()
	r.heal(t.Context())
	if got := r.current(); len(got) != 0 {
		t.Errorf("faults after mending: %q", codes(got))
	}
	r.restart()
	ended := r.resolved()
	if len(ended) != 1 || ended[0].ID != before[0].ID || ended[0].Resolved.IsZero() {
		t.Errorf("history %+v, want fault %d resolved", ended, before[0].ID)
	}
}

func TestClearFaults(t *testing.T) {
	r := withCluster(t)
	ctx := t.Context()
	mend := r.breakDrive("d1")
	first := r.current()[0].ID
	mend()
	r.heal(ctx)
	r.current()
	mend = r.breakDrive("d1")
	defer mend()
	second := r.current()[0].ID
	if second <= first {
		t.Errorf("a new fault has id %d, an old one %d", second, first)
	}
	r.must(r.ClearFaults(ctx, FaultsResolved))
	if got := r.resolved(); len(got) != 0 {
		t.Errorf("history after clear: %+v", got)
	}
	if got := r.current(); len(got) != 1 || got[0].ID != second {
		t.Errorf("clearing resolved faults touched the current: %+v", got)
	}
	r.must(r.ClearFaults(ctx, FaultsCurrent))
	if got := r.current(); codes(got) != "driveFailed" || got[0].ID <= second {
		t.Errorf("condition still holds, but faults are %+v", got)
	}
	r.restart()
	if got := r.resolved(); len(got) != 0 {
		t.Errorf("cleared faults came back: %+v", got)
	}
	var invalid *InvalidError
	if err := r.ClearFaults(ctx, "some"); !errors.As(err, &invalid) {
		t.Errorf("unknown set = %v, want InvalidError", err)
	}
}

func TestFaultRules(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range FaultRules() {
		if seen[r.Code] || r.Code == "" || r.Severity == "" || r.Type == "" || r.Text == "" {
			t.Errorf("rule %+v is incomplete or there twice", r)
		}
		if (r.Worse == "") != (r.WorseAfter == 0) {
			t.Errorf("%s: a worse severity needs its time", r.Code)
		}
		seen[r.Code] = true
	}
}

func TestOperationsListsEveryFault(t *testing.T) {
	doc, err := os.ReadFile("../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range FaultRules() {
		row := fmt.Sprintf("| `%s` | %s | %s", r.Code, r.Type, r.Severity)
		if r.Worse != "" {
			row += fmt.Sprintf(", %s after %s", r.Worse, strings.TrimSuffix(r.WorseAfter.String(), "0s"))
		}
		if !strings.Contains(string(doc), row+" |") {
			t.Errorf("docs/OPERATIONS.md lacks the row %q", row)
		}
	}
}

func TestFaultTableHoldsWorsensAndForgets(t *testing.T) {
	rules := map[string]FaultRule{"x": {
		Code: "x", Severity: sevWarning, Text: "%s", Hold: 2 * time.Second, Worse: sevError, WorseAfter: time.Minute,
	}}
	var ft faultTable
	st := newStore(t)
	if err := ft.load(t.Context(), st); err != nil {
		t.Fatal(err)
	}
	t0 := time.Unix(1000, 0)
	now := []condition{{code: "x", args: []any{"a"}}}
	all := func(*faultRecord) bool { return true }
	steps := []struct {
		at       time.Duration
		conds    []condition
		news     int
		severity string // of the only fault, "" for none
	}{
		{0, now, 0, ""},
		{time.Second, now, 0, ""},
		{2 * time.Second, now, 1, sevWarning},
		{59 * time.Second, now, 0, sevWarning},
		{61 * time.Second, now, 0, sevError},
		{62 * time.Second, nil, 1, sevError},
		{63 * time.Second, now, 0, sevError},
		{64 * time.Second, nil, 0, sevError}, // a short one is never shown
	}
	for _, s := range steps {
		news := ft.update(s.conds, rules, t0.Add(s.at))
		list := ft.list(all)
		if len(news) != s.news || (s.severity == "") != (len(list) == 0) || len(list) > 0 && list[0].Severity != s.severity {
			t.Errorf("at %v: news %v, faults %+v", s.at, news, list)
		}
	}
	for i := range maxResolved + 10 {
		c := []condition{{code: "x", severity: sevError, args: []any{"a"}}}
		at := t0.Add(time.Hour + time.Duration(i)*time.Minute)
		ft.update(c, rules, at)
		ft.update(c, rules, at.Add(10*time.Second))
		ft.update(nil, rules, at.Add(20*time.Second))
	}
	if n := len(ft.list(all)); n != maxResolved {
		t.Errorf("history has %d faults, want %d", n, maxResolved)
	}
}

func newStore(t *testing.T) store.Store {
	t.Helper()
	st, err := store.OpenBolt(filepath.Join(t.TempDir(), "db"), store.BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func TestFaultIsShownThoughTheStoreFails(t *testing.T) {
	r := withCluster(t)
	good := r.store
	r.faults.mu.Lock()
	r.store = failingStore{good}
	r.faults.mu.Unlock()
	mend := r.breakDrive("d1")
	defer mend()
	r.current()
	if got := codes(r.current()); got != "driveFailed storeUnwritable" {
		t.Errorf("faults %q", got)
	}
	r.faults.mu.Lock()
	r.store = good
	r.faults.mu.Unlock()
	r.current()
	if got := codes(r.current()); got != "driveFailed" {
		t.Errorf("faults once the store can be written: %q", got)
	}
	r.restart()
	if got := codes(r.current()); got != "driveFailed" {
		t.Errorf("faults after restart: %q", got)
	}
}
