package keymgr_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lockplate/keymgr"
	"lockplate/store"
	"lockplate/store/storetest"
)

// killEnv has the order for a child of TestRekeySurvivesKill9.
const killEnv = "LOCKPLATE_KEYMGR_KILL"

// killOrder tells a child what to do, and when to die: at a point, or, with a
// fault, at the next point after a request that the key servers lose or drop.
type killOrder struct {
	Dir, Cluster, Spec string
	To                 keymgr.RekeyTarget
	At                 int // point; with a fault, request
	Fault              string
	Servers            []string // folders of PyKMIP
}

// TestRekeySurvivesKill9 kills the process that rekeys, with SIGKILL, before and
// after every durable write and every request, in all directions, with PyKMIP
// as the key servers; and once more after every request whose answer they lose,
// or which they drop. After each restart the data of all volumes is read, one
// master key is current, the rekey comes to its end, and the servers have no
// key that nobody knows. The numbers are how many kills there are, at least.
func TestRekeySurvivesKill9(t *testing.T) {
	if order := os.Getenv(killEnv); order != "" {
		rekeyUntilKilled(t, order)
		return
	}
	t.Parallel()
	var total atomic.Int64
	t.Run("from", func(t *testing.T) {
		kills := map[string]int{
			"internal to external": 40, "external to internal": 18, "external to another provider": 44, "internal to internal": 14,
		}
		for _, d := range directions() {
			if d.from == 0 && d.to == 0 { // sends and writes what another provider makes it send and write
				continue
			}
			t.Run(d.name, func(t *testing.T) {
				t.Parallel()
				n := killEverywhere(t, d)
				total.Add(int64(n))
				if want := kills[d.name]; n < want && !testing.Short() {
					t.Errorf("killed only %d times, it was %d", n, want)
				}
			})
		}
	})
	t.Logf("killed %d times, in all four directions", total.Load())
}

// killEverywhere gives how often it did. In short runs it is every seventh time.
func killEverywhere(t *testing.T, d direction) (n int) {
	r, step := newPeerRig(t, pykmipPeer, 2), 1
	if testing.Short() {
		step = 7
	}
	for _, fault := range []string{"", "lose", "drop"} {
		was := n
		for at := 1; !t.Failed() && r.survivesKill(t, d, fault, at); at += step {
			n++
		}
		t.Logf("%s: %d kills", cmp.Or(fault, "at every point"), n-was)
	}
	return n
}

// survivesKill has a child killed and checks what comes after; false when there
// is no such point or request.
func (r *peerRig) survivesKill(t *testing.T, d direction, fault string, at int) bool {
	t.Helper()
	r.goTo(t, d.from)
	was := r.m.Master()
	o := killOrder{Dir: r.dir, Cluster: r.cluster, Spec: r.spec, To: r.target(d.to), At: at, Fault: fault}
	o.Servers = []string{r.peers[0].dir, r.peers[1].dir}
	r.m.Close()
	if err := r.st.Close(); err != nil {
		t.Fatal(err)
	}
	point := o.run(t)
	r.both("")
	r.st = openStore(t, r.dir)
	r.m = r.mustOpen()
	what := fmt.Sprintf("kill -9 at %d (%s %s)", at, fault, point)
	r.wantWhole(t, what)
	planned, now := at > 1 || fault != "", r.m.Master()
	if planned != (now.ID != was.ID) || planned && (now.Type != o.To.Type || now.ProviderID != o.To.ProviderID) {
		t.Errorf("%s: current key was %+v, is %+v", what, was, now)
	}
	return point != ""
}

// run has a child rekey and kill itself, and gives at which point; "" when the
// child came to the end.
func (o killOrder) run(t *testing.T) string {
	t.Helper()
	order, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestRekeySurvivesKill9$")
	cmd.Env = append(os.Environ(), killEnv+"="+string(order))
	out, err := cmd.CombinedOutput()
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	killed := status.Signaled() && status.Signal() == syscall.SIGKILL && ctx.Err() == nil
	if err != nil && !killed {
		t.Fatalf("child for %d %s: %v\n%s", o.At, o.Fault, err, out)
	}
	if !killed {
		return ""
	}
	point, err := os.ReadFile(filepath.Join(o.Dir, "killed"))
	if err != nil {
		t.Fatal(err)
	}
	return string(point)
}

func openStore(t *testing.T, dir string) store.Store {
	t.Helper()
	st, err := store.OpenBolt(filepath.Join(dir, "store.db"), store.BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return storetest.Retrying(st)
}

// rekeyUntilKilled is the child.
func rekeyUntilKilled(t *testing.T, text string) {
	var o killOrder
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&o); err != nil {
		t.Fatal(err)
	}
	p := newMortal(openStore(t, o.Dir), o.At)
	p.die = func(point string) {
		if os.WriteFile(filepath.Join(o.Dir, "killed"), []byte(point), 0o600) == nil {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		select {}
	}
	r := &rig{
		t: t, st: p, dir: o.Dir, cluster: o.Cluster, spec: o.Spec, hooks: (&jobs{}).hooks(), timing: quick, point: p.pass,
		opts: keymgr.SealerOptions{StateDir: o.Dir, KDF: fast},
	}
	if o.Fault != "" {
		p.at = 0
		r.point = o.faultAt(p)
	}
	m := r.mustOpen()
	if _, err := m.Rekey(t.Context(), o.To); err != nil && !errors.Is(err, errDead) {
		t.Fatal(err)
	}
	p.settled(t)
	m.Close()
}

// faultAt sets the fault at a request, and death at the point after that. It is
// "times 2", for a client asks again, once, where it may.
func (o killOrder) faultAt(p *mortal) func(string) error {
	sends := 0
	return func(point string) error {
		op, before := strings.CutPrefix(point, "before ")
		if before {
			sends++
		}
		if !before || sends != o.At {
			return p.pass(point)
		}
		for _, dir := range o.Servers {
			if err := os.WriteFile(filepath.Join(dir, "fault"), []byte(o.Fault+" "+op+"\ntimes 2\n"), 0o600); err != nil {
				return err
			}
		}
		err := p.pass(point)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.at = len(p.passed) + 1
		return err
	}
}
