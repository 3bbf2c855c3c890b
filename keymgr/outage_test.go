package keymgr_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lockplate/keymgr"
	"lockplate/keymgr/kmip"
	"lockplate/keymgr/kmiptest"
	"lockplate/store"
	"lockplate/store/storetest"
)

// external has a cluster whose master key is at provider 0, and the index of
// that provider's servers.
func newExternal(t *testing.T, volumes int) *rekeyRig {
	t.Helper()
	r := newRekeyRig(t, volumes)
	r.ended(r.rekey(r.toProvider(0)))
	r.clean()
	return r
}

// TestLostAndDroppedRequests loses answers, and requests, of every operation a
// rekey sends: it comes to its end all the same, with nothing left over.
func TestLostAndDroppedRequests(t *testing.T) {
	t.Parallel()
	r := newExternal(t, 2)
	for op, name := range map[uint32]string{
		kmiptest.OpCreate: "Create", kmiptest.OpActivate: "Activate", kmiptest.OpGet: "Get",
		kmiptest.OpGetAttributes: "GetAttributes", kmiptest.OpRevoke: "Revoke", kmiptest.OpLocate: "Locate",
	} {
		for _, f := range []kmiptest.Fault{{Op: op, Times: 1, Lose: true}, {Op: op, Times: 1, Drop: true}} {
			for _, to := range []int{1, 0} { // away from provider 0, and back
				for i, s := range r.k.servers {
					if op != kmiptest.OpLocate || i/2 == to { // Test uses Locate too
						s.Inject(f)
					}
				}
				text := ""
				if h, err := r.m.Rekey(t.Context(), r.toProvider(to)); err == nil {
					text = r.ended(h)
				} else if op != kmiptest.OpLocate {
					t.Fatal(err)
				}
				for _, s := range r.k.servers {
					s.Heal()
				}
				r.clean()
				if op != kmiptest.OpLocate && !strings.Contains(text, "state:Ready") {
					t.Errorf("%s, lost %v: %s", name, f.Lose, text)
				}
			}
			r.wantWhole(t, name)
		}
	}
}

// TestKeyMadeTwice finds two keys of the planned name: one is used, the other
// one destroyed.
func TestKeyMadeTwice(t *testing.T) {
	t.Parallel()
	r := newRekeyRig(t, 2)
	if point := r.dieBefore(t, "before Create", r.toProvider(0)); point == "" {
		t.Fatal("no such point")
	}
	raw := r.rawClient(t, 1)
	var name string
	h, err := r.history(t)
	if err != nil || len(h) != 2 {
		t.Fatal(h, err)
	}
	name = "lockplate/" + r.cluster + "/mk/" + h[1].ID
	for range 2 {
		if _, err := raw.Create(t.Context(), kmip.Object{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	before := r.k.servers[0].Requests(kmiptest.OpCreate)
	r.m = r.mustOpen()
	r.ended(100)
	r.wantWhole(t, "two keys")
	if n := r.k.servers[0].Requests(kmiptest.OpCreate) - before; n != 0 {
		t.Errorf("%d more keys made", n)
	}
	if n := r.k.servers[0].Keys.Count(); n != 1 {
		t.Errorf("%d keys left", n)
	}
}

func (r *rekeyRig) history(t *testing.T) (out []keymgr.MasterKey, err error) {
	m := r.mustOpenQuiet(t)
	defer m.Close()
	return m.History(t.Context())
}

// mustOpenQuiet opens in a process that cannot write, so that no job goes on.
func (r *rekeyRig) mustOpenQuiet(t *testing.T) *keymgr.Manager {
	t.Helper()
	p := newMortal(r.st, 1)
	o := r.options()
	m, err := keymgr.Open(t.Context(), quiet{p}, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// quiet is a store that cannot be written.
type quiet struct{ store.Store }

func (quiet) Update(context.Context, func(store.Tx) error) error { return errDead }

// dieBefore dies at the first point of that name; the manager stays closed.
func (r *rekeyRig) dieBefore(t *testing.T, name string, to keymgr.RekeyTarget) string {
	t.Helper()
	r.m.Close()
	p := newMortal(r.st, 0)
	r.point = func(what string) error {
		if what == name {
			p.mu.Lock()
			p.at = len(p.passed) + 1
			p.mu.Unlock()
		}
		return p.pass(what)
	}
	m, err := keymgr.Open(t.Context(), p, r.options())
	r.point = nil
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Rekey(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	p.settled(t)
	m.Close()
	if !p.isDead() {
		return ""
	}
	return name
}

// rawClient speaks to server n, from 1, as the cluster does.
func (r *rekeyRig) rawClient(t *testing.T, n int) *kmip.Client {
	t.Helper()
	cert := r.k.raw(t)
	c, err := kmip.New(kmip.Config{
		Addresses: []string{r.k.servers[n-1].Address}, CACertificates: r.k.ca.PEM(), Certificate: cert,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestReplicationGrace: the answer to Create is lost, and the servers do not
// tell of the key at first. It is waited for, not made twice.
func TestReplicationGrace(t *testing.T) {
	t.Parallel()
	r := newRekeyRig(t, 2)
	blind := kmiptest.EditPayload(kmiptest.OpLocate, func(p *kmiptest.Node) { p.Kids = nil })
	blind.Times = 1
	r.point = func(what string) error {
		if what == "before Create" {
			for _, s := range r.k.servers[:2] {
				s.Inject(kmiptest.Fault{Op: kmiptest.OpCreate, Times: 1, Lose: true}, blind)
			}
		}
		return nil
	}
	r.reopen()
	text := r.ended(r.rekey(r.toProvider(0)))
	r.wantWhole(t, "grace")
	n := r.k.servers[0].Requests(kmiptest.OpCreate) + r.k.servers[1].Requests(kmiptest.OpCreate)
	if n != 1 || !strings.Contains(text, "state:Ready") {
		t.Errorf("%d keys made; %s", n, text)
	}
}

// TestUnsafeKeyIsNotUsed gives keys that must not be used: the job fails, the
// old key stays, and the new one is destroyed.
func TestUnsafeKeyIsNotUsed(t *testing.T) {
	t.Parallel()
	r := newExternal(t, 2)
	old := r.k.servers[0].Keys.Material("1")
	material := func(change func([]byte) []byte) kmiptest.Fault {
		return kmiptest.EditPayload(kmiptest.OpGet, func(p *kmiptest.Node) {
			m := p.Find(kmiptest.TagSymmetricKey, kmiptest.TagKeyBlock, kmiptest.TagKeyValue, kmiptest.TagKeyMaterial)
			m.Value = change(m.Value)
		})
	}
	for name, c := range map[string]struct {
		fault   kmiptest.Fault
		servers []int
		want    string
	}{
		"all zero":         {material(func(b []byte) []byte { return make([]byte, len(b)) }), []int{2, 3}, "xKmipKeyConflict"},
		"wrong length":     {material(func(b []byte) []byte { return b[:31] }), []int{2, 3}, "xKmip"},
		"the old key":      {material(func([]byte) []byte { return slices.Clone(old) }), []int{2, 3}, "the same as the old one"},
		"differing hosts":  {kmiptest.Garble(), []int{3}, "another key than"},
		"denied":           {kmiptest.Deny(kmiptest.OpGet), []int{2, 3}, "xKmipAuthenticationFailure"},
		"gone":             {kmiptest.Missing(kmiptest.OpGet), []int{2, 3}, "xKmipKeyNotFound"},
		"Create is denied": {kmiptest.Deny(kmiptest.OpCreate), []int{2, 3}, "xKmipAuthenticationFailure"},
	} {
		was := r.m.Master()
		for _, i := range c.servers {
			r.k.servers[i].Inject(c.fault)
		}
		if name == "differing hosts" { // nor do they find it by its name
			blind := kmiptest.EditPayload(kmiptest.OpLocate, func(p *kmiptest.Node) { p.Kids = nil })
			r.k.servers[2].Inject(blind)
			r.k.servers[3].Inject(blind)
		}
		text := r.ended(r.rekey(r.toProvider(1)))
		r.clean()
		if !strings.Contains(text, c.want) {
			t.Errorf("%s: %s", name, text)
		}
		if r.m.Master().ID != was.ID {
			t.Errorf("%s: the current key changed", name)
		}
		for _, s := range r.k.servers {
			s.Heal()
		}
		r.wantWhole(t, name)
		if p, err := r.m.KeyProvider(t.Context(), r.p[1]); err != nil || p.Active {
			t.Errorf("%s: provider %+v, %v", name, p, err)
		}
	}
}

// TestUnreachableWhileRekeying: until the limit the job waits; then it fails,
// and what it left is cleaned up when the servers are back.
func TestUnreachableWhileRekeying(t *testing.T) {
	t.Parallel()
	for _, heals := range []bool{true, false} {
		for _, point := range []string{"before Create", "after Create", "before Activate", "before Get"} {
			r := newRekeyRig(t, 2)
			if !heals {
				r.timing.Limit = time.Millisecond
			}
			down := make(chan struct{})
			r.point = func(what string) error {
				if what == point && down != nil {
					for _, s := range r.k.servers[:2] {
						s.Refuse()
						s.HangUp()
					}
					close(down)
					down = nil
				}
				return nil
			}
			wait := down
			r.reopen()
			was := r.m.Master()
			h := r.rekey(r.toProvider(0))
			<-wait
			r.wantKeys(r.m, r.model) // all the time
			if !heals {
				if text := r.ended(h); !strings.Contains(text, "xKmipConnectionFailure") {
					t.Errorf("%s: %s", point, text)
				}
			}
			for _, s := range r.k.servers[:2] {
				s.Heal()
			}
			r.m.Unlock(t.Context())
			text := r.ended(h)
			if heals != strings.Contains(text, "state:Ready") || heals == (r.m.Master().ID == was.ID) {
				t.Errorf("%s, heals %v: %s", point, heals, text)
			}
			r.wantWhole(t, point)
		}
	}
}

// TestUnconfirmedKeyKeepsTheOldOne damages a wrap between commit and
// confirmation: both keys are kept until it is repaired.
func TestUnconfirmedKeyKeepsTheOldOne(t *testing.T) {
	t.Parallel()
	t.Run("internal", func(t *testing.T) { newRekeyRig(t, 2).unconfirmed(t, 100) })
	t.Run("external", func(t *testing.T) { newExternal(t, 2).unconfirmed(t, 101) })
}

func (r *rekeyRig) unconfirmed(t *testing.T, handle int64) {
	t.Helper()
	job := fmt.Sprint("test/job/", handle)
	r.m.Close()
	p := newMortal(r.st, 0)
	m, err := keymgr.Open(t.Context(), commitThenDie{p}, r.options())
	if err != nil {
		t.Fatal(err)
	}
	old := m.Master().ID
	h, err := m.Rekey(t.Context(), internal)
	if err != nil {
		t.Fatal(err)
	}
	p.settled(t)
	m.Close()
	good := storetest.Dump(t, r.st)["wraps/00000000"]
	bad := []byte(good)
	bad[40+60] ^= 1
	storetest.Put(t, r.st, "wraps/00000000", string(bad))
	for range 2 { // also after another restart
		r.m = r.mustOpen()
		r.watch(func(records map[string]string) bool { return strings.Contains(records["rekey"], "halted") })
		var running *keymgr.RekeyRunningError
		if _, err := r.m.Rekey(t.Context(), internal); !errors.As(err, &running) || running.Handle != h {
			t.Errorf("rekey on top: %v", err)
		}
		if err := r.m.DestroyKey(t.Context(), old); !errors.Is(err, keymgr.ErrKeyInUse) {
			t.Errorf("destroy the old key: %v", err)
		}
		if _, err := r.m.ForgetKey(t.Context(), old); !errors.Is(err, keymgr.ErrKeyInUse) {
			t.Errorf("forget the old key: %v", err)
		}
		if key, kept, why, err := r.m.Halted(t.Context()); key != r.m.Master().ID || kept != old || why == "" || err != nil {
			t.Errorf("halted: %s, %s, %q, %v", key, kept, why, err)
		}
		d := storetest.Dump(t, r.st)
		if gone := d["sealed/"+old] == "" && r.held(0) == 0; gone || strings.Contains(d[job], "state:Ready") || !strings.Contains(d[job], "xRekeyFailed") {
			t.Errorf("old key is gone, or the job ended with %s", d[job])
		}
		r.m.Close()
	}
	if p, err := keymgr.Check(t.Context(), r.st); err != nil || len(p) != 1 {
		t.Errorf("check says %v, %v", p, err)
	}
	r.m = r.mustOpen()
	r.haltedAgain(t, h)
	storetest.Put(t, r.st, "wraps/00000000", good)
	_, _ = r.m.Rekey(t.Context(), internal) // has the job tried again, or finds it done
	r.wantWhole(t, "repaired")
	if key, _, _, err := r.m.Halted(t.Context()); key != "" || err != nil {
		t.Errorf("repaired, and halted: %s, %v", key, err)
	}
	if d := storetest.Dump(t, r.st); d["sealed/"+old] != "" || !strings.Contains(d["master/"+old], `"decommissioned"`) {
		t.Error("the old key was not retired")
	}
}

// haltedAgain tries the damaged job once more.
func (r *rekeyRig) haltedAgain(t *testing.T, handle int64) {
	t.Helper()
	before := storetest.Dump(t, r.st)["rekey"]
	var running *keymgr.RekeyRunningError
	if _, err := r.m.Rekey(t.Context(), internal); !errors.As(err, &running) || running.Handle != handle {
		t.Errorf("rekey on top: %v", err)
	}
	if now := storetest.Dump(t, r.st)["rekey"]; now != before {
		t.Errorf("job was %s, is %s", before, now)
	}
}

// commitThenDie dies after the transaction that makes the new key current.
type commitThenDie struct{ *mortal }

func (c commitThenDie) Update(ctx context.Context, fn func(store.Tx) error) error {
	err := c.mortal.Update(ctx, fn)
	_ = c.Store.View(ctx, func(tx store.Tx) error {
		for _, v := range tx.Scan("master/") {
			if bytes.Contains(v, []byte(`"retiring"`)) {
				c.mu.Lock()
				c.dead = true
				c.mu.Unlock()
			}
		}
		return nil
	})
	return err
}

// forgetful is a store whose first transaction that retires a key is durable, and
// fails all the same.
type forgetful struct {
	store.Store
	mu   sync.Mutex
	done bool
}

func (f *forgetful) Update(ctx context.Context, fn func(store.Tx) error) error {
	if err := f.Store.Update(ctx, fn); err != nil {
		return err
	}
	return f.View(ctx, func(tx store.Tx) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, v := range tx.Scan("master/") {
			if !f.done && bytes.Contains(v, []byte(`"retiring"`)) {
				f.done = true
				return errors.New("answer lost")
			}
		}
		return nil
	})
}

// TestCommitThatSeemsToFail goes on from what the store says.
func TestCommitThatSeemsToFail(t *testing.T) {
	t.Parallel()
	r := newExternal(t, 3)
	r.m.Close()
	st := &forgetful{Store: r.st}
	m, err := keymgr.Open(t.Context(), st, r.options())
	if err != nil {
		t.Fatal(err)
	}
	old := m.Master().ID
	h, err := m.Rekey(t.Context(), internal)
	if err != nil {
		t.Fatal(err)
	}
	if text := r.ended(h); !strings.Contains(text, "state:Ready") || !st.done {
		t.Errorf("ended with %s", text)
	}
	r.clean()
	if k := m.Master(); k.ID == old || k.Type != keymgr.Internal {
		t.Errorf("master %+v", k)
	}
	r.rig.wantKeys(m, r.model)
	m.Close()
	r.m = r.mustOpen()
	r.wantWhole(t, "commit")
}

// TestStartWithoutKeyServer opens locked, says why, and unlocks when the server
// is back. A wrong key is never used.
func TestStartWithoutKeyServer(t *testing.T) {
	t.Parallel()
	r := newExternal(t, 2)
	s := r.k.servers[:2]
	for name, c := range map[string]struct {
		hurt func()
		want kmip.Class
	}{
		"refused": {func() { s[0].Refuse(); s[1].Refuse() }, kmip.ClassReset},
		"denied":  {func() { s[0].Inject(kmiptest.Deny(kmiptest.OpGet)); s[1].Inject(kmiptest.Deny(kmiptest.OpGet)) }, kmip.ClassPermissionDenied},
		"missing": {func() { s[0].Inject(kmiptest.Missing(kmiptest.OpGet)); s[1].Inject(kmiptest.Missing(kmiptest.OpGet)) }, kmip.ClassKeyNotFound},
		"garbled": {func() { s[0].Inject(kmiptest.Garble()); s[1].Inject(kmiptest.Garble()) }, kmip.ClassKeyMismatch},
	} {
		c.hurt()
		r.reopen()
		err := r.m.Locked()
		if !errors.Is(err, keymgr.ErrLocked) || kmip.ClassOf(err) != c.want || kmip.HintOf(err) == "" {
			t.Errorf("%s: locked: %v", name, err)
		}
		for v := range r.model {
			if _, err := r.key(r.m, v); !errors.Is(err, keymgr.ErrLocked) {
				t.Errorf("%s: data key: %v", name, err)
			}
		}
		if _, err := r.m.Rekey(t.Context(), internal); !errors.Is(err, keymgr.ErrLocked) {
			t.Errorf("%s: rekey: %v", name, err)
		}
		if k := r.m.Master(); k.Type != keymgr.External || k.ProviderID != r.p[0] {
			t.Errorf("%s: master %+v", name, k)
		}
		s[1].Heal() // one is enough
		if err := r.m.Unlock(t.Context()); err != nil || r.m.Locked() != nil {
			t.Errorf("%s: healed: %v", name, err)
		}
		r.wantKeys(r.m, r.model)
		s[0].Heal()
	}
	r.m.Close()
	if err := r.m.Unlock(t.Context()); !errors.Is(err, keymgr.ErrClosed) {
		t.Errorf("unlock after close: %v", err)
	}
}
