package bench

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lockplate/cipher"
	"lockplate/nbd"
)

// need skips a test without the programs it drives.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err == nil {
			continue
		}
		if os.Getenv("LOCKPLATE_REQUIRE_ALL") != "" {
			t.Fatalf("needs %s", p)
		}
		t.Skipf("needs %s", p)
	}
}

func TestCipherMeasuresEveryEngine(t *testing.T) {
	r, err := Cipher(t.Context(), CipherOptions{Rounds: 1, Seconds: 1e-5, OpenSSL: []string{"no-such-openssl"}, Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	at := limitShape()
	for _, e := range cipher.Engines() {
		if m := r.find(at.String(), e, rate); m == nil || m.Median <= 0 {
			t.Errorf("%s: %+v", e, m)
		}
		if f, _ := aesLimit(e); f == nil { // x/crypto, which allocates under the race detector
			continue
		}
		if m := r.find(at.String(), e, "allocations"); m == nil || m.Median != 0 {
			t.Errorf("%s allocates: %+v", e, m)
		}
		if m := r.find(at.limit(), limitOf+e, rate); m == nil || m.Median <= 0 {
			t.Errorf("limit of %s: %+v", e, m)
		}
	}
	if len(r.Missing) != 1 || !strings.HasPrefix(r.Missing[0], "no-such-openssl: ") {
		t.Errorf("missing: %q", r.Missing)
	}
	if len(r.charts) != 1 || len(r.tables) < 2 {
		t.Errorf("%d charts, %d tables", len(r.charts), len(r.tables))
	}
}

func TestCipherStopsWhenAskedTo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Cipher(ctx, CipherOptions{Rounds: 1, Seconds: 1, Log: t.Output()}); err != context.Canceled {
		t.Errorf("error %v", err)
	}
}

func smallRun(t *testing.T, targets, jobs []string) GatewayOptions {
	return GatewayOptions{
		Binary: "no-such-lockplate", Dir: t.TempDir(), Size: 16 << 20, Seconds: 0.1, Rounds: 2, Targets: targets, Jobs: jobs, Base: nbdkit, Log: t.Output(),
	}
}

// What cannot be started is named, and the rest is measured.
func TestGatewayMeasuresWhatThereIs(t *testing.T) {
	need(t, "fio", "nbdcopy", "nbdkit")
	o := smallRun(t, []string{"lockplate", nbdkit}, []string{"rr4k-qd1", "copy-out"})
	r, err := Gateway(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Missing) != 1 || !strings.HasPrefix(r.Missing[0], "lockplate: ") {
		t.Errorf("missing: %q", r.Missing)
	}
	for _, j := range o.Jobs {
		if m := r.find(j, nbdkit, rate); m == nil || len(m.Rounds) != 2 || m.Median <= 0 {
			t.Errorf("%s: %+v", j, m)
		}
		if m := r.find(j, nbdkit, clientCPU); m == nil || m.Median <= 0 {
			t.Errorf("%s: %+v", j, m)
		}
	}
	if m := r.find("rr4k-qd1", nbdkit, "p99"); m == nil || m.Median <= 0 {
		t.Errorf("p99: %+v", m)
	}
	left, err := os.ReadDir(o.Dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestServerThatGoesToTheBackgroundIsStopped(t *testing.T) {
	need(t, "fio", "nbdcopy", "nbd-server")
	r, err := Gateway(t.Context(), smallRun(t, []string{"nbd-server"}, []string{"copy-out"}))
	if err != nil {
		t.Fatal(err)
	}
	if m := r.find("copy-out", "nbd-server", serverCPU); m == nil || len(m.Rounds) != 2 {
		t.Errorf("%+v", m)
	}
}

func TestLatencyBesideAStreamer(t *testing.T) {
	need(t, "fio", "nbdcopy", "nbdkit")
	r, err := Latency(t.Context(), smallRun(t, []string{nbdkit}, []string{"rr4k-qd1"}))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"rr4k-qd1", "rr4k-qd1" + beside} {
		if m := r.find(name, nbdkit, "p99.9"); m == nil || m.Median <= 0 {
			t.Errorf("%s: %+v", name, m)
		}
	}
	if got := r.Markdown("bench"); !strings.Contains(got, "p99 beside / alone") {
		t.Errorf("no ratio in\n%s", got)
	}
}

func TestUnknownNamesAreRefusedBeforeAnythingStarts(t *testing.T) {
	for _, o := range []GatewayOptions{smallRun(t, []string{"x"}, nil), smallRun(t, nil, []string{"x"})} {
		if _, err := Gateway(t.Context(), o); err == nil || !strings.Contains(err.Error(), "there are") {
			t.Errorf("error %v", err)
		}
	}
}

func TestRekeyTakesOneTransaction(t *testing.T) {
	r, err := Rekey(t.Context(), RekeyOptions{Dir: t.TempDir(), Volumes: []int{1, 300}, Rounds: 2, Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"1", "300"} {
		one, whole := r.find(n, rekeyTarget, transaction), r.find(n, rekeyTarget, wholeRekey)
		if one == nil || whole == nil || len(one.Rounds) != 2 || slices.Min(one.Rounds) <= 0 || one.Median > whole.Median {
			t.Errorf("%s volumes: %+v in %+v", n, one, whole)
		}
	}
}

// failing is a workload that no server can do.
func failing(calls *int) func(context.Context, *work, *server) (outcome, error) {
	return func(context.Context, *work, *server) (outcome, error) {
		*calls++
		return outcome{}, errors.New("cannot")
	}
}

// The module's server is one that a client can write to and read from.
func TestGoNBDServes(t *testing.T) {
	dir := t.TempDir()
	img, err := image(dir, "img", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	socket := filepath.Join(dir, "s")
	go func() { ended <- ServeGoNBD(ctx, socket, img) }()
	var c *nbd.Client
	err = poll(t.Context(), startLimit, func() bool {
		c, err = nbd.Dial(t.Context(), "nbd+unix:///"+export+"?socket="+socket, nbd.DialOptions{})
		return err == nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.WriteAt(t.Context(), []byte("hello"), 4096, 0); err != nil {
		t.Error(err)
	}
	got := make([]byte, 5)
	if err := c.ReadAt(t.Context(), got, 4096); err != nil || string(got) != "hello" {
		t.Errorf("read %q, %v", got, err)
	}
	c.Close()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

// A server that dies at once, or never greets, must not hold up the run.
func TestServerThatEndsAtOnceIsReported(t *testing.T) {
	l := endpoint{socket: filepath.Join(t.TempDir(), "s")}.launch("", "sh", "-c", "echo out of cheese >&2; exit 1")
	if _, err := startServer(t.Context(), "broken", l); err == nil || !strings.Contains(err.Error(), "ended at once") || !strings.Contains(err.Error(), "out of cheese") {
		t.Errorf("error %v", err)
	}
	if _, err := startServer(t.Context(), "absent", endpoint{}.launch("", "no-such-program")); err == nil || !strings.HasPrefix(err.Error(), "absent: ") {
		t.Errorf("error %v", err)
	}
}

// A server that goes to the background and then writes no process id must not
// stay there.
func TestStrayServerIsKilled(t *testing.T) {
	const arg = "600.125" // seconds, and a number that nobody else has
	cmd := exec.Command("sleep", arg)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killStray("some other argument")
	killStray(arg)
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Errorf("ended with %v", err)
	}
}
