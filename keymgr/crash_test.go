package keymgr_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"lockplate/keymgr"
	"lockplate/store"
	"lockplate/store/storetest"
)

var errDead = errors.New("the process is dead")

// mortal is a process that dies at one of its points: before and after every
// durable write, and before and after everything it asks of a key server.
// Whatever it tries afterwards fails.
type mortal struct {
	store.Store
	at int // point to die at, from 1; 0: never
	// die is called at that point, if there is one, and does not return.
	die func(point string)

	mu      sync.Mutex
	passed  []string
	dead    bool
	changed chan struct{} // one in it: look again
}

func newMortal(st store.Store, at int) *mortal {
	return &mortal{Store: st, at: at, changed: make(chan struct{}, 1)}
}

func (m *mortal) pass(what string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return errDead
	}
	m.passed = append(m.passed, what)
	m.dead = len(m.passed) == m.at
	select {
	case m.changed <- struct{}{}:
	default:
	}
	if m.dead {
		if m.die != nil {
			m.die(what)
		}
		return errDead
	}
	return nil
}

func (m *mortal) isDead() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dead
}

func (m *mortal) Update(ctx context.Context, fn func(store.Tx) error) error {
	if err := m.pass("before write"); err != nil {
		return err
	}
	if err := m.Store.Update(ctx, fn); err != nil {
		return err
	}
	return m.pass("after write")
}

func (m *mortal) View(ctx context.Context, fn func(store.Tx) error) error {
	if m.isDead() {
		return errDead
	}
	return m.Store.View(ctx, fn)
}

// settled waits until the process is dead or has nothing left to do.
func (m *mortal) settled(t *testing.T) {
	t.Helper()
	for !m.isDead() && !tidy(storetest.Dump(t, m.Store)) {
		select {
		case <-m.changed:
		case <-t.Context().Done():
			t.Fatal("nothing more happens")
		}
	}
}

// tidy says that no rekey runs and that nothing is left of one.
func tidy(records map[string]string) bool {
	for k, v := range records {
		if k == "rekey" || strings.HasPrefix(k, "master/") && (strings.Contains(v, `"sweep"`) || strings.Contains(v, `"retiring"`)) {
			return false
		}
	}
	return true
}

// dieAt begins a rekey in a process that dies at a point, and gives the point;
// "" when the rekey has fewer.
func (r *rekeyRig) dieAt(t *testing.T, to keymgr.RekeyTarget, at int) string {
	t.Helper()
	r.m.Close()
	p := newMortal(r.st, at)
	r.point = p.pass
	m, err := keymgr.Open(t.Context(), p, r.options())
	r.point = nil
	if err != nil {
		t.Fatal(err)
	}
	if _, err = m.Rekey(t.Context(), to); err != nil && !errors.Is(err, errDead) {
		t.Fatal(err)
	}
	p.settled(t)
	m.Close()
	r.m = r.mustOpen()
	if !p.isDead() {
		return ""
	}
	return p.passed[at-1]
}

// wantWhole checks all that must hold after a restart, whatever happened.
func (r *rekeyRig) wantWhole(t *testing.T, what string) {
	t.Helper()
	r.clean()
	r.wantKeys(r.m, r.model)
	r.wantData()
	if err := r.m.Locked(); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	h, err := r.m.History(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	have, current := map[int64]int{}, 0
	for _, k := range h {
		if k.State == keymgr.StateCurrent {
			current++
		}
		if k.Type == keymgr.External && k.Destroyed.IsZero() {
			have[k.ProviderID]++
		}
	}
	if current != 1 {
		t.Errorf("%s: %d master keys are current", what, current)
	}
	for i, p := range r.p {
		if n := r.held(i); n != have[p] {
			t.Errorf("%s: provider %d has %d keys, the history %d", what, p, n, have[p])
		}
	}
	wantClean(t, r.rig)
}

// TestRekeySurvivesDeathAtEveryPoint ends the process at each durable write and
// each request, in all directions. After a restart every data key is readable,
// one master key is current, a planned rekey comes to its end, and the key
// servers have no key that nobody knows. The numbers are how many points there
// are, at least.
func TestRekeySurvivesDeathAtEveryPoint(t *testing.T) {
	points := map[string]int{
		"internal to external": 30, "external to internal": 16, "external to another provider": 30,
		"external to the same provider": 30, "internal to internal": 14,
	}
	for _, d := range directions() {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			r := newRekeyRig(t, 3)
			n := 0
			for r.survives(t, r.target(d.from), r.target(d.to), n+1) && !t.Failed() {
				n++
			}
			t.Logf("%d points", n)
			if want := points[d.name]; n < want {
				t.Errorf("only %d points, there were %d", n, want)
			}
		})
	}
}

func (r *rekeyRig) target(provider int) keymgr.RekeyTarget {
	if provider < 0 {
		return internal
	}
	return r.toProvider(provider)
}

// survives dies at a point and checks what comes after; false when there is no
// such point.
func (r *rekeyRig) survives(t *testing.T, from, to keymgr.RekeyTarget, at int) bool {
	t.Helper()
	if cur := r.m.Master(); cur.Type != from.Type || cur.ProviderID != from.ProviderID {
		r.ended(r.rekey(from))
		r.clean()
	}
	was := r.m.Master()
	point := r.dieAt(t, to, at)
	what := fmt.Sprintf("death at %d (%s)", at, point)
	r.wantWhole(t, what)
	now := r.m.Master()
	if planned := at > 1; planned != (now.ID != was.ID) || planned && (now.Type != to.Type || now.ProviderID != to.ProviderID) {
		t.Errorf("%s: current key was %+v, is %+v", what, was, now)
	}
	return point != ""
}
