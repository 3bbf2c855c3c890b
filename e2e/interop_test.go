package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const interopSize = 64 << 20

func TestNbdinfoSeesWhatWeOffer(t *testing.T) {
	need(t, "nbdinfo")
	g := newGateway(t)
	g.volume("vol", strconv.Itoa(interopSize), "--discard", "zero")
	g.volume("other", "4MiB")
	var info struct {
		Protocol string
		Exports  []struct {
			Name         string   `json:"export-name"`
			Size         int64    `json:"export-size"`
			Contexts     []string `json:"contexts"`
			CanFlush     bool     `json:"can_flush"`
			CanFUA       bool     `json:"can_fua"`
			CanTrim      bool     `json:"can_trim"`
			CanZero      bool     `json:"can_zero"`
			CanCache     bool     `json:"can_cache"`
			CanDF        bool     `json:"can_df"`
			CanMultiConn bool     `json:"can_multi_conn"`
			ReadOnly     bool     `json:"is_read_only"`
			BlockMin     int64    `json:"block_size_minimum"`
			BlockMax     int64    `json:"block_size_maximum"`
		}
	}
	out := run(t, "nbdinfo", "--json", g.uri("vol"))
	must(t, json.Unmarshal([]byte(out), &info))
	if len(info.Exports) != 1 || info.Protocol != "newstyle-fixed" {
		t.Fatalf("nbdinfo: %s", out)
	}
	e := info.Exports[0]
	if e.Size != interopSize || e.ReadOnly || !e.CanFlush || !e.CanFUA || !e.CanTrim || !e.CanZero || !e.CanMultiConn || !e.CanCache || !e.CanDF {
		t.Errorf("size or abilities: %s", out)
	}
	if e.BlockMin != 1 || e.BlockMax < 32<<20 || len(e.Contexts) != 1 || e.Contexts[0] != "base:allocation" {
		t.Errorf("block sizes or contexts: %s", out)
	}
	list := run(t, "nbdinfo", "--list", "--json", "nbd+unix:///?socket="+g.sock)
	for _, name := range []string{"vol", "other"} {
		if !strings.Contains(list, `"export-name": "`+name+`"`) {
			t.Errorf("the list lacks %s:\n%s", name, list)
		}
	}
	if r := try(t, "nbdinfo", g.uri("absent")); r.code == 0 {
		t.Errorf("an export that does not exist: %v", r)
	}
}

// transports are the ways to reach a gateway that every client can take.
func transports(t *testing.T, g *gateway, f func(t *testing.T, uri func(string) string)) {
	t.Helper()
	tcp := "nbd://" + g.tcp + "/"
	for _, tt := range []struct {
		name string
		uri  func(string) string
	}{
		{"unix", g.uri},
		{"tcp", func(name string) string { return tcp + name }},
	} {
		t.Run(tt.name, func(t *testing.T) { f(t, tt.uri) })
	}
}

func TestNbdcopyBothWaysAndBetweenVolumes(t *testing.T) {
	need(t, "nbdcopy")
	g := newGateway(t, withTCP)
	g.volume("a", strconv.Itoa(interopSize))
	g.volume("b", strconv.Itoa(interopSize))
	transports(t, g, func(t *testing.T, uri func(string) string) {
		for _, conns := range []int{1, 4} {
			t.Run(fmt.Sprintf("%d connections", conns), func(t *testing.T) {
				dir := t.TempDir()
				want := randomBytes(interopSize)
				src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
				must(t, os.WriteFile(src, want, 0o600))
				c := fmt.Sprintf("--connections=%d", conns)
				run(t, "nbdcopy", c, "--flush", src, uri("a"))
				run(t, "nbdcopy", c, "--flush", uri("a"), uri("b"))
				run(t, "nbdcopy", c, uri("b"), dst)
				sameFile(t, dst, want)
			})
		}
	})
}

func sameFile(t *testing.T, name string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(name)
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes, which differ from the %d expected", filepath.Base(name), len(got), len(want))
	}
}

func TestQemuImgConvertsComparesAndMaps(t *testing.T) {
	need(t, "qemu-img", "nbdcopy")
	g := newGateway(t, withTCP)
	g.volume("vol", strconv.Itoa(interopSize))
	transports(t, g, func(t *testing.T, uri func(string) string) {
		dir := t.TempDir()
		src, qcow, back := filepath.Join(dir, "src"), filepath.Join(dir, "q.qcow2"), filepath.Join(dir, "back")
		want := randomBytes(interopSize)
		clear(want[1<<20 : 9<<20]) // qemu-img sends write-zeroes for this
		must(t, os.WriteFile(src, want, 0o600))
		run(t, "qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", src, uri("vol"))
		run(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", src, uri("vol"))
		run(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", uri("vol"), qcow)
		run(t, "qemu-img", "compare", "-f", "qcow2", "-F", "raw", qcow, uri("vol"))
		run(t, "nbdcopy", uri("vol"), back)
		sameFile(t, back, want)
		run(t, "qemu-io", "-f", "raw", "-c", "write -P 7 777 1000", uri("vol"))
		if r := try(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", src, uri("vol")); r.code != 1 {
			t.Errorf("compare after a change: %v", r)
		}
		var extents []struct {
			Start, Length int64
			Zero          bool
		}
		out := run(t, "qemu-img", "map", "--output=json", "-f", "raw", uri("vol"))
		must(t, json.Unmarshal([]byte(out), &extents))
		var sum int64
		for _, e := range extents {
			if e.Zero {
				t.Errorf("an encrypted volume promises zeroes: %s", out)
			}
			sum += e.Length
		}
		if sum != interopSize {
			t.Errorf("the map covers %d bytes: %s", sum, out)
		}
	})
}

func TestQemuIoPatternsZeroAndDiscard(t *testing.T) {
	need(t, "qemu-io")
	g := newGateway(t, withTCP)
	g.volume("vol", strconv.Itoa(interopSize), "--discard", "zero")
	transports(t, g, func(t *testing.T, uri func(string) string) {
		args := []string{"-f", "raw"}
		for _, cmd := range []string{
			"write -P 0x11 0 1M", "write -f -P 0x22 12345 6789", "read -P 0x11 0 12345", "read -P 0x22 12345 6789", "read -P 0x11 19134 1000",
			"write -z 100 5000", "read -P 0 100 5000", "read -P 0x11 0 100", "read -P 0x11 5100 100",
			"write -z -u 65536 131072", "read -P 0 65536 131072",
			"discard 262144 262144", "read -P 0 262144 262144", "read -P 0x11 261000 1144",
			"aio_write -P 0x33 512k 64k", "aio_write -P 0x44 576k 64k", "aio_flush", "read -P 0x33 512k 64k", "read -P 0x44 576k 64k", "flush",
		} {
			args = append(args, "-c", cmd)
		}
		out := run(t, "qemu-io", append(args, uri("vol"))...)
		if strings.Contains(out, "failed") || strings.Contains(out, "error") {
			t.Errorf("qemu-io:\n%s", out)
		}
		if r := try(t, "qemu-io", "-f", "raw", "-c", "read -P 0x99 0 4096", uri("vol")); !strings.Contains(r.out, "verification failed") {
			t.Errorf("a wrong pattern was not noticed: %v", r)
		}
	})
}

func TestFioVerifies(t *testing.T) {
	need(t, "fio")
	g := newGateway(t, withTCP)
	g.volume("vol", strconv.Itoa(interopSize))
	transports(t, g, func(t *testing.T, uri func(string) string) {
		for _, jobs := range []int{1, 4} {
			for _, blocks := range []string{"--bs=4k", "--bsrange=512-64k", "--bsrange=1k-1m"} {
				t.Run(fmt.Sprintf("%d connections %s", jobs, blocks), func(t *testing.T) {
					fioVerify(t, uri("vol"), jobs, blocks)
				})
			}
		}
	})
}

// fioVerify writes every block of the volume in random order, each connection
// its own part, and reads it back checking the hash in each block.
func fioVerify(t *testing.T, uri string, jobs int, blocks string) {
	t.Helper()
	part := strconv.Itoa(interopSize / jobs)
	cmd := []string{
		"--name=verify", "--ioengine=nbd", "--uri=" + uri, "--rw=randwrite", blocks, "--iodepth=16", "--thread",
		"--numjobs=" + strconv.Itoa(jobs), "--size=" + part, "--offset_increment=" + part,
		"--verify=sha256", "--verify_fatal=1", "--do_verify=1", "--verify_state_save=0", "--group_reporting", "--output-format=terse",
	}
	out := run(t, "fio", cmd...)
	if strings.Contains(out, "verify:") {
		t.Errorf("fio: %s", out)
	}
}
