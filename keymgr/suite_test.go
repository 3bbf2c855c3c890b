package keymgr_test

import (
	"strings"
	"testing"

	"lockplate/keymgr"
	"lockplate/keymgr/kmip"
)

// directions are the ways a rekey can go; a number is a provider, -1 internal.
func directions() []direction {
	return []direction{
		{"internal to external", -1, 0},
		{"external to internal", 0, -1},
		{"external to another provider", 0, 1},
		{"external to the same provider", 0, 0},
		{"internal to internal", -1, -1},
	}
}

type direction struct {
	name     string
	from, to int
}

// TestRekeySuite does the same with three key servers that share no code, a fake
// one, PyKMIP and one on ovh/kmip-go: all directions, every request lost and
// dropped in each, a start and a rekey without the server, and the end of an old key.
func TestRekeySuite(t *testing.T) {
	t.Parallel()
	for name, start := range makes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newPeerRig(t, start, 3)
			r.walkThrough(t)
			n := 0
			for _, d := range directions() {
				n += r.loseEverySend(t, d)
			}
			t.Logf("%d rekeys with a request lost or dropped", n)
			if want := 40; n < want {
				t.Errorf("only %d requests were lost or dropped, want %d or more", n, want)
			}
			r.startWithout(t)
			r.rekeyWithout(t)
			r.destroyOld(t)
		})
	}
}

// walkThrough rekeys in all directions, with a restart after each.
func (r *peerRig) walkThrough(t *testing.T) {
	t.Helper()
	for _, to := range []int{0, 0, -1, -1, 1, 0, -1} {
		if text := r.ended(r.rekey(r.target(to))); !strings.Contains(text, "state:Ready") {
			t.Fatal(text)
		}
		r.wantWhole(t, "rekey")
		r.reopen()
		r.wantWhole(t, "restart")
	}
}

// loseEverySend rekeys as often as a rekey sends something, with another
// request lost, or dropped, each time. It gives how many.
func (r *peerRig) loseEverySend(t *testing.T, d direction) (n int) {
	t.Helper()
	for _, how := range []string{"lose", "drop"} {
		for at := 1; !t.Failed(); at++ {
			r.goTo(t, d.from)
			what := r.faultAtSend(how, at, d.to)
			r.wantWhole(t, d.name+" with "+what)
			if what == "" {
				break
			}
			n++
		}
	}
	return n
}

// goTo makes the master key one of a provider, or internal.
func (r *peerRig) goTo(t *testing.T, provider int) {
	t.Helper()
	want := r.target(provider)
	if now := r.m.Master(); now.Type == want.Type && now.ProviderID == want.ProviderID {
		return
	}
	if text := r.ended(r.rekey(want)); !strings.Contains(text, "state:Ready") {
		t.Fatal(text)
	}
	r.clean()
}

// faultAtSend rekeys with a fault at one of the requests, which it gives; "" if
// there are fewer.
func (r *peerRig) faultAtSend(how string, at, to int) (what string) {
	r.t.Helper()
	sends := 0
	r.point = func(point string) error {
		if op, ok := strings.CutPrefix(point, "before "); ok && !strings.HasPrefix(op, "write") {
			if sends++; sends == at {
				what = how + " " + op
				r.both(what)
			}
		}
		return nil
	}
	r.reopen()
	r.point = nil
	if text := r.ended(r.rekey(r.target(to))); !strings.Contains(text, "state:Ready") {
		r.t.Errorf("%s: %s", what, text)
	}
	r.clean()
	r.both("")
	r.reopen()
	return what
}

// startWithout starts while the key server is away.
func (r *peerRig) startWithout(t *testing.T) {
	t.Helper()
	r.goTo(t, 0)
	r.peers[0].stop()
	r.reopen()
	if err := r.m.Locked(); kmip.ClassOf(err) != kmip.ClassRefused {
		t.Errorf("without the server: %v", err)
	}
	r.peers[0].start()
	if err := r.m.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
	r.wantWhole(t, "unlocked")
}

// rekeyWithout takes the key server away in the middle of a rekey to it.
func (r *peerRig) rekeyWithout(t *testing.T) {
	t.Helper()
	r.goTo(t, -1)
	away := make(chan struct{})
	r.point = func(point string) error {
		if point == "before Activate" && away != nil {
			r.peers[1].stop()
			close(away)
			away = nil
		}
		return nil
	}
	waiting := away
	r.reopen()
	r.point = nil
	h := r.rekey(r.target(1))
	<-waiting
	r.wantKeys(r.m, r.model) // all the time
	r.peers[1].start()
	if text := r.ended(h); !strings.Contains(text, "state:Ready") {
		t.Error(text)
	}
	r.wantWhole(t, "outage")
}

// destroyOld destroys a key that is not in use any more, and the answer is lost.
func (r *peerRig) destroyOld(t *testing.T) {
	t.Helper()
	r.goTo(t, 0)
	old, before := r.m.Master().ID, r.held(0)
	r.goTo(t, -1)
	r.peers[0].fault("lose Destroy")
	if err := r.m.DestroyKey(t.Context(), old); err != nil {
		t.Error(err)
	}
	r.peers[0].fault("")
	r.wantWhole(t, "destroyed")
	if n := r.held(0); n != before-1 {
		t.Errorf("%d keys at the server, were %d", n, before)
	}
	if k := r.m.Master(); k.Type != keymgr.Internal {
		t.Errorf("master %+v", k)
	}
}
