package e2e

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var soakTime = flag.Duration("soak", 20*time.Second, "time of TestSoak; 'make soak' has it from SOAKTIME")

const (
	soakPhases  = 4                // at least; between them the gateway is idle and is looked at
	soakPhase   = 30 * time.Second // at most
	soakVolume  = 8 << 20
	soakGrowth  = 40 << 20 // bytes of memory more than after the first phase, what was freed and is not given back yet among it
	soakHeap    = 8 << 20  // bytes in use of those
	soakLargest = 128 << 10
)

// soak is a gateway and everything that goes on around it.
type soak struct {
	t   *testing.T
	g   *gateway
	api *admin
	url string // of the profiles

	mu     sync.Mutex
	counts map[string]int64
}

func (s *soak) count(what string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[what] += n
}

// part is something that goes on, again and again, until the end of a phase.
type part struct {
	name string
	step func(rng *rand.Rand) error
}

// Everything at once for a long time: clients that check every byte, clients
// that come and go politely or not, fio, rekeys, volumes made, locked and
// purged, a drive that goes away. No client sees an error, and when all are
// gone the gateway holds no more than after the first phase.
func TestSoak(t *testing.T) {
	profiles, metrics := freeAddr(t), freeAddr(t)
	g := newCluster(t, withTCP, "--metrics", "tcp:"+metrics, "--pprof", "tcp:"+profiles)
	s := &soak{t: t, g: g, url: "http://" + profiles + "/debug/pprof/", counts: map[string]int64{}}
	parts := s.prepare()
	length := *soakTime
	if testing.Short() {
		length /= 4
	}
	phase := min(length/soakPhases, soakPhase)
	var first, last held
	for n := 0; time.Duration(n)*phase < length; n++ {
		s.phase(parts, phase, uint64(n))
		last = s.settled(first)
		if n == 0 {
			first = last
		}
		t.Logf("after %v: %d goroutines, %d descriptors, %.1f MiB of memory, %.2f MiB of heap", time.Duration(n+1)*phase, last.goroutines, last.files, float64(last.rss)/(1<<20), float64(last.heap)/(1<<20))
		if t.Failed() {
			break
		}
	}
	t.Logf("%v", s.counts)
	if last.rss > first.rss+soakGrowth || last.heap > first.heap+soakHeap {
		t.Errorf("memory grew from %d to %d KiB, the heap from %d to %d", first.rss>>10, last.rss>>10, first.heap>>10, last.heap>>10)
	}
	for _, m := range regexp.MustCompile(`(?m)^lockplate_(?:volume_io|nbd_request)_errors_total\{[^}]*\} [^0].*$`).FindAllString(httpGet(t, "http://"+metrics+"/metrics"), -1) {
		t.Errorf("requests failed: %s", m)
	}
	for _, what := range []string{"requests", "attached", "broken off", "rekeys", "volumes made", "drive faults"} {
		if s.counts[what] == 0 {
			t.Errorf("the soak had no %s", what)
		}
	}
	g.stop()
	g.cli("store", "check")
}

// phase lets all parts run at once for some time.
func (s *soak) phase(parts []part, length time.Duration, seed uint64) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), length)
	defer cancel()
	var wg sync.WaitGroup
	var failed atomic.Bool
	for i, p := range parts {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		wg.Go(func() {
			for ctx.Err() == nil && !failed.Load() {
				if err := p.step(rng); err != nil {
					s.t.Errorf("%s: %v", p.name, err)
					failed.Store(true)
				}
			}
		})
	}
	wg.Wait()
}

// held is what an idle gateway holds.
type held struct {
	goroutines, files int
	rss, heap         int64
}

// settled waits until the clients that left are forgotten: until goroutines
// and descriptors are as few as they were, if that is known.
func (s *soak) settled(want held) (h held) {
	s.t.Helper()
	s.api.http.CloseIdleConnections()
	http.DefaultClient.CloseIdleConnections()
	deadline := time.Now().Add(waitLimit / 3)
	for same := 0; same < 3 && time.Now().Before(deadline); {
		was := h
		h = s.look()
		switch {
		case want.files > 0 && (h.goroutines > want.goroutines || h.files > want.files), h.goroutines != was.goroutines, h.files != was.files:
			same = 0
		default:
			same++
		}
	}
	if want.files > 0 && (h.goroutines > want.goroutines || h.files > want.files) {
		s.t.Errorf("%d goroutines and %d descriptors, %d and %d before:\n%s", h.goroutines, h.files, want.goroutines, want.files, s.profile("goroutine?debug=1"))
	}
	return h
}

var (
	goroutineTotal = regexp.MustCompile(`goroutine profile: total (\d+)`)
	heapInuse      = regexp.MustCompile(`# HeapInuse = (\d+)`)
)

// look collects garbage, which the profile of the heap does when asked, and
// counts what is left.
func (s *soak) look() held {
	s.t.Helper()
	heap := s.profile("heap?gc=1&debug=1")
	goroutines := s.profile("goroutine?debug=1")
	u := s.g.proc.usage(s.t)
	return held{firstInt(s.t, goroutineTotal, goroutines), u.files, u.rss, int64(firstInt(s.t, heapInuse, heap))}
}

func firstInt(t *testing.T, re *regexp.Regexp, text string) int {
	t.Helper()
	m := re.FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no %v in %s", re, text)
	}
	n, err := strconv.Atoi(m[1])
	must(t, err)
	return n
}

func (s *soak) profile(name string) string {
	s.t.Helper()
	return httpGet(s.t, s.url+name)
}

// prepare serves, makes the volumes, and gives what is to go on.
func (s *soak) prepare() []part {
	s.t.Helper()
	s.g.drive = memoryDir(s.t)
	s.g.start()
	s.g.cli("drive", "add", "dir:"+s.g.drive)
	s.api = s.g.admin()
	away := s.g.drive + "/other"
	must(s.t, os.Mkdir(away, 0o700))
	s.g.cli("drive", "add", "dir:"+away)
	parts := []part{
		{"rekey", s.rekey},
		{"make and purge", s.makeAndPurge},
		{"come and go", s.comeAndGo},
		{"break off", s.breakOff},
		{"drive", func(rng *rand.Rand) error { return s.driveAway(away, rng) }},
	}
	s.g.volume("shared", strconv.Itoa(soakVolume))
	s.g.fill("shared")
	for i := range 3 {
		c := newChecker(s, "checked"+strconv.Itoa(i))
		parts = append(parts, part{"check", c.step})
	}
	if _, err := exec.LookPath("fio"); err == nil {
		s.g.volume("fio", strconv.Itoa(interopSize))
		parts = append(parts, part{"fio", s.fio})
	}
	return parts
}

// checker writes and reads one volume and knows every byte of it.
type checker struct {
	s    *soak
	name string
	want []byte
}

func newChecker(s *soak, name string) *checker {
	s.g.volume(name, strconv.Itoa(soakVolume))
	return &checker{s, name, known(s.t, s.g, name, soakVolume)}
}

// step is one client's life: some hundred requests of any size and place.
func (k *checker) step(rng *rand.Rand) error {
	c, err := k.s.attach(k.name, rng)
	if err != nil {
		return err
	}
	defer c.close()
	for range 200 {
		if err := k.request(c, rng); err != nil {
			return err
		}
		k.s.count("requests", 1)
	}
	return nil
}

func (k *checker) request(c *client, rng *rand.Rand) error {
	n := 1 + rng.Int64N(soakLargest)
	off := rng.Int64N(soakVolume - n)
	if rng.IntN(2) == 0 { // half of them in whole blocks
		n, off = 4096*(1+n/8192), off&^4095
		n = min(n, soakVolume-off)
	}
	switch rng.IntN(8) {
	case 0:
		return c.flush()
	case 1, 2, 3:
		p := k.want[off : off+n]
		for i := 0; i < len(p); i += 64 {
			p[i] = byte(rng.Uint32())
		}
		return c.do(cmdWrite, uint16(rng.IntN(8)/7*flagFUA), off, p)
	}
	got := make([]byte, n)
	if err := c.readAt(got, off); err != nil {
		return err
	}
	if !bytes.Equal(got, k.want[off:off+n]) {
		return fmt.Errorf("%d bytes at %d of %s are not what was written", n, off, k.name)
	}
	return nil
}

// attach dials by one of the two ways there are.
func (s *soak) attach(name string, rng *rand.Rand) (*client, error) {
	s.count("attached", 1)
	if rng.IntN(2) == 0 {
		return dial("tcp", s.g.tcp, name)
	}
	return dial("unix", s.g.sock, name)
}

// comeAndGo is a client with one request, after which it leaves as it should.
func (s *soak) comeAndGo(rng *rand.Rand) error {
	c, err := s.attach("shared", rng)
	if err != nil {
		return err
	}
	defer c.close()
	return c.readAt(make([]byte, 4096), rng.Int64N(soakVolume-4096))
}

// breakOff is a client that is gone in the middle of something: of the
// handshake, of a payload, of answers that it does not read, of nonsense.
func (s *soak) breakOff(rng *rand.Rand) error {
	s.count("broken off", 1)
	if rng.IntN(4) == 0 {
		conn, err := net.Dial("unix", s.g.sock)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = io.CopyN(conn, bytes.NewReader(randomBytes(64)), 1+rng.Int64N(64))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		return nil // it may have been thrown out before it was through
	}
	c, err := s.attach("shared", rng)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	_ = c.conn.SetDeadline(time.Now().Add(waitLimit))
	if rng.IntN(2) == 0 {
		for range 1 + rng.IntN(16) {
			if err := c.send(cmdRead, 0, 0, make([]byte, 1<<20)); err != nil {
				return err
			}
		}
		return nil
	}
	c.conn = &shortConn{c.conn, 28 + rng.IntN(64<<10)}
	_ = c.send(cmdWrite, 0, 0, make([]byte, 64<<10))
	return nil
}

// shortConn writes no more than left bytes.
type shortConn struct {
	net.Conn
	left int
}

func (c *shortConn) Write(p []byte) (int, error) { return c.Conn.Write(p[:min(len(p), c.left)]) }

// rekey has the master key replaced, and waits for the result.
func (s *soak) rekey(*rand.Rand) error {
	out, err := s.api.call("RekeySoftwareEncryptionAtRestMasterKey", object{"keyManagementType": "internal"})
	if err != nil {
		return err
	}
	s.count("rekeys", 1)
	return s.until("the rekey", func() (bool, error) {
		answer, err := s.api.call("GetAsyncResult", object{"asyncHandle": out["asyncHandle"], "keepResult": true})
		if err == nil && answer["status"] == "complete" && answer["result"] == nil {
			err = fmt.Errorf("rekey ended with %v", answer)
		}
		return answer["status"] == "complete", err
	})
}

// until asks again and again until it is done.
func (s *soak) until(what string, done func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(waitLimit)
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-deadline:
			return fmt.Errorf("%s: not done within %v", what, waitLimit)
		}
	}
}

// makeAndPurge is the life of a volume, with a client in it.
func (s *soak) makeAndPurge(rng *rand.Rand) error {
	name := "short-lived-" + strconv.FormatUint(rng.Uint64(), 36)
	out, err := s.api.call("CreateVolume", object{"name": name, "accountID": 1, "totalSize": soakVolume})
	if err != nil {
		return err
	}
	s.count("volumes made", 1)
	id := object{"volumeID": out["volumeID"]}
	c, err := s.attach(name, rng)
	if err != nil {
		return err
	}
	err = errors.Join(c.writeAt(make([]byte, 1<<20), 12345), c.flush())
	c.close()
	if err != nil {
		return err
	}
	for _, access := range []string{"locked", "readOnly", "readWrite"} {
		if _, err := s.api.call("ModifyVolume", object{"volumeID": out["volumeID"], "access": access}); err != nil {
			return err
		}
	}
	if _, err = s.api.call("DeleteVolume", id); err == nil {
		_, err = s.api.call("PurgeDeletedVolume", id)
	}
	return err
}

// driveAway takes away a drive until there is a fault, and gives it back.
func (s *soak) driveAway(dir string, _ *rand.Rand) error {
	faulty := func(want bool) func() (bool, error) {
		return func() (bool, error) {
			out, err := s.api.call("ListClusterFaults", object{"faultTypes": "current"})
			return strings.Contains(fmt.Sprint(out), "driveFailed") == want, err
		}
	}
	if err := os.Rename(dir, dir+"-away"); err != nil {
		return err
	}
	err := s.until("the fault", faulty(true))
	s.count("drive faults", 1)
	return errors.Join(err, os.Rename(dir+"-away", dir), s.until("the end of the fault", faulty(false)))
}

// fio writes a volume over four connections and verifies it.
func (s *soak) fio(*rand.Rand) error {
	part := strconv.Itoa(interopSize / 16)
	out, err := exec.Command("fio", "--name=soak", "--ioengine=nbd", "--uri="+s.g.uri("fio"), "--rw=randwrite", "--bsrange=512-64k", "--iodepth=16",
		"--thread", "--numjobs=4", "--size="+part, "--offset_increment="+part, "--verify=crc32c", "--verify_fatal=1", "--do_verify=1",
		"--verify_state_save=0", "--group_reporting", "--output-format=terse").CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("verify:")) {
		return fmt.Errorf("fio: %w: %s", err, out)
	}
	s.count("runs of fio", 1)
	return nil
}
