package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What tests of scale and endurance share: a fast way to the API, loads, and
// what the gateway takes meanwhile.

// admin calls the API of a gateway in this process: a thousand calls in the
// time that the command takes for twenty.
type admin struct{ http *http.Client }

func (g *gateway) admin() *admin {
	socket := filepath.Join(g.state, "api.sock")
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	tr := &http.Transport{DialContext: dial}
	g.t.Cleanup(tr.CloseIdleConnections)
	return &admin{&http.Client{Transport: tr, Timeout: waitLimit}}
}

// call runs one method and gives its result.
func (a *admin) call(method string, params object) (object, error) {
	body, err := json.Marshal(object{"method": method, "params": params, "id": 1})
	if err != nil {
		return nil, err
	}
	resp, err := a.http.Post("http://lockplate/json-rpc/12.3", "application/json", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Result object
		Error  object
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", method, resp.Status, err)
	}
	if answer.Error != nil {
		return nil, fmt.Errorf("%s: %v", method, answer.Error)
	}
	return answer.Result, nil
}

// volumes makes n volumes named PREFIX0, PREFIX1 … and gives their ids.
func (a *admin) volumes(t *testing.T, prefix string, n int, size int64) (ids []int64) {
	t.Helper()
	for i := range n {
		out, err := a.call("CreateVolume", object{"name": prefix + strconv.Itoa(i), "accountID": 1, "totalSize": size})
		must(t, err)
		ids = append(ids, number(t, out, "volumeID"))
	}
	return ids
}

// memoryDir is a folder in memory if there is one, so that no disk is measured.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "lp")
	if err != nil {
		return shortDir(t)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// usage is what a process holds, and the processor time it has used.
type usage struct {
	rss   int64 // bytes
	files int
	cpu   time.Duration
}

func (p *process) usage(t *testing.T) usage {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", p.cmd.Process.Pid)
	files, err := os.ReadDir(proc + "fd")
	must(t, err)
	stat, err := os.ReadFile(proc + "stat")
	must(t, err)
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest) // proc(5): the third field is f[0]
	user, err := strconv.ParseInt(f[11], 10, 64)
	must(t, err)
	system, err := strconv.ParseInt(f[12], 10, 64)
	must(t, err)
	const tick = 10 * time.Millisecond // USER_HZ is 100 everywhere
	return usage{p.procField(t, "VmRSS") << 10, len(files), time.Duration(user+system) * tick}
}

// load is a fio job file: one client for each of uris.
type load struct {
	rw, bs string
	depth  int
	size   int64 // of each volume
	uris   []string
	time   time.Duration
}

// figure is what a load got from the gateway, and what that took of it.
type figure struct {
	iops float64
	cpu  float64 // microseconds a request
}

func (l load) measure(t *testing.T, g *gateway) figure {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "[global]\nioengine=nbd\nthread\ntime_based\nruntime=%dms\ngroup_reporting\nrw=%s\nbs=%s\niodepth=%d\nsize=%d\n",
		l.time.Milliseconds(), l.rw, l.bs, l.depth, l.size)
	for i, uri := range l.uris {
		fmt.Fprintf(&b, "[j%d]\nuri=%s\n", i, uri)
	}
	before := g.proc.usage(t).cpu
	out := run(t, "fio", "--output-format=json", g.file("job.fio", b.String()))
	spent := g.proc.usage(t).cpu - before
	var report struct {
		Jobs []struct {
			Error       int
			Read, Write struct {
				IOPS  float64
				Total int64 `json:"total_ios"`
			}
		}
	}
	if err := json.Unmarshal([]byte(out[max(0, strings.IndexByte(out, '{')):]), &report); err != nil {
		t.Fatalf("fio: %v in %s", err, out)
	}
	var f figure
	var total int64
	for _, j := range report.Jobs {
		if j.Error != 0 {
			t.Fatalf("fio: error %d in %s", j.Error, out)
		}
		f.iops += j.Read.IOPS + j.Write.IOPS
		total += j.Read.Total + j.Write.Total
	}
	if total == 0 {
		t.Fatalf("fio moved nothing: %s", out)
	}
	f.cpu = float64(spent.Microseconds()) / float64(total)
	return f
}

// fill writes every byte of a volume, so that no hole is read.
func (g *gateway) fill(name string) {
	g.t.Helper()
	c := g.dial(name)
	defer c.close()
	p := randomBytes(1 << 20)
	for off := int64(0); off < c.size; off += int64(len(p)) {
		must(g.t, c.writeAt(p[:min(int64(len(p)), c.size-off)], off))
	}
}

// median sorts its arguments.
func median[T int | int64 | float64 | time.Duration](v []T) T {
	slices.Sort(v)
	return v[len(v)/2]
}

// burster keeps 32 requests of 4 KiB at given places in flight, 32 to a write.
type burster struct {
	*client
	in  *bufio.Reader
	out []byte
}

const burst, burstBytes = 32, 4096

func newBurster(c *client) *burster { return &burster{c, bufio.NewReaderSize(c.conn, 1<<18), nil} }

// run does n bursts of one command at places chosen from the list.
func (b *burster) run(cmd uint16, n int, places []int64, rng *rand.Rand) error {
	data := make([]byte, burstBytes)
	for range n {
		b.out = b.out[:0]
		for range burst {
			b.out = binary.BigEndian.AppendUint32(b.out, nbdReqMagic)
			b.out = binary.BigEndian.AppendUint16(b.out, 0)
			b.out = binary.BigEndian.AppendUint16(b.out, cmd)
			b.out = binary.BigEndian.AppendUint64(b.out, 0)
			b.out = binary.BigEndian.AppendUint64(b.out, uint64(places[rng.IntN(len(places))]))
			b.out = binary.BigEndian.AppendUint32(b.out, burstBytes)
			if cmd == cmdWrite {
				b.out = append(b.out, data...)
			}
		}
		if _, err := b.conn.Write(b.out); err != nil {
			return err
		}
		for range burst {
			if err := b.answer(cmd, data); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *burster) answer(cmd uint16, data []byte) error {
	var h [16]byte
	if _, err := io.ReadFull(b.in, h[:]); err != nil {
		return err
	}
	if e := binary.BigEndian.Uint32(h[4:]); binary.BigEndian.Uint32(h[:]) != nbdSimpleMagic || e != 0 {
		return fmt.Errorf("bad reply %x", h)
	}
	if cmd == cmdRead {
		_, err := io.ReadFull(b.in, data)
		return err
	}
	return nil
}
