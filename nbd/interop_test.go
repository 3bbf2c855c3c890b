package nbd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lockplate/blockdev"
)

// interopDisk is the size of exports other people's tools work on.
const interopDisk = 32 << 20

// mixedImage writes a file of random runs and holes and returns its name.
func mixedImage(t *testing.T, size int) string {
	t.Helper()
	p := make([]byte, size)
	rnd := rand.NewChaCha8([32]byte{7})
	for off := 0; off < size; off += 1 << 20 {
		if off>>20%3 != 1 {
			rnd.Read(p[off:min(size, off+700_000)])
		}
	}
	name := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(name, p, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// equalFiles checks that two files are the same.
func equalFiles(t *testing.T, a, b string) {
	t.Helper()
	pa, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	pb, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(pa, pb) {
		t.Errorf("%s and %s differ", a, b)
	}
}

// twoDisks offers the exports "disk" and "other".
func twoDisks() *memExports {
	return &memExports{devs: map[string]blockdev.Device{
		"disk": blockdev.NewMem(interopDisk), "other": blockdev.NewMem(interopDisk),
	}}
}

func TestNbdinfo(t *testing.T) {
	needTool(t, "nbdinfo")
	dev := blockdev.NewMem(interopDisk)
	if err := dev.WriteAt(t.Context(), bytes.Repeat([]byte{1}, 1<<20), 4<<20, 0); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, Config{Exports: &memExports{devs: map[string]blockdev.Device{"disk": dev, "z": blockdev.NewMem(512)}}})
	var info struct {
		Exports []map[string]any
	}
	if err := json.Unmarshal([]byte(run(t, "nbdinfo", "--json", s.uri("disk"))), &info); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"export-size": float64(interopDisk), "is_read_only": false, "is_rotational": false, "can_cache": true,
		"can_df": true, "can_fast_zero": true, "can_flush": true, "can_fua": true, "can_multi_conn": true,
		"can_trim": true, "can_zero": true, "block_size_minimum": 512.0, "block_size_preferred": 4096.0,
		"block_size_maximum": float64(maxPayloadBytes), "contexts": []any{allocationContext},
	} {
		if got := info.Exports[0][key]; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", key, got, want)
		}
	}
	var extents []struct{ Offset, Length, Type int64 }
	if err := json.Unmarshal([]byte(run(t, "nbdinfo", "--map", "--json", s.uri("disk"))), &extents); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(extents), "[{0 4194304 3} {4194304 1048576 0} {5242880 28311552 3}]"; got != want {
		t.Errorf("map %v, want %v", got, want)
	}
	if list := run(t, "nbdinfo", "--list", s.uri("")); strings.Count(list, "export=") != 2 {
		t.Errorf("list:\n%s", list)
	}
}

func TestNbdcopy(t *testing.T) {
	needTool(t, "nbdcopy")
	s := startServer(t, Config{Exports: twoDisks()})
	image := mixedImage(t, interopDisk)
	run(t, "nbdcopy", "--flush", image, s.uri("disk"))
	run(t, "nbdcopy", s.uri("disk"), s.uri("other"))
	for _, args := range [][]string{{}, {"--no-extents"}, {"--connections=1", "--requests=1"}, {"--request-size=33554432"}, {"--synchronous"}} {
		out := filepath.Join(t.TempDir(), "out")
		run(t, "nbdcopy", append(args, s.uri("other"), out)...)
		equalFiles(t, image, out)
	}
}

func TestQemuImg(t *testing.T) {
	needTool(t, "qemu-img")
	s := startServer(t, Config{Exports: twoDisks()})
	image := mixedImage(t, interopDisk)
	run(t, "qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, s.uri("disk"))
	run(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", image, s.uri("disk"))
	run(t, "qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", "-W", "-m", "8", s.uri("disk"), s.uri("other"))
	run(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", s.uri("disk"), s.uri("other"))
	var extents []struct {
		Start, Length int64
		Data, Zero    bool
	}
	if err := json.Unmarshal([]byte(run(t, "qemu-img", "map", "--output=json", "-f", "raw", s.uri("disk"))), &extents); err != nil {
		t.Fatal(err)
	}
	end, holes := int64(0), 0
	for _, e := range extents {
		if e.Start != end {
			t.Errorf("map has a gap at %d", end)
		}
		end += e.Length
		if e.Zero {
			holes++
		}
	}
	if end != interopDisk || holes < 5 {
		t.Errorf("map covers %d bytes with %d holes", end, holes)
	}
}

func TestQemuIO(t *testing.T) {
	needTool(t, "qemu-io")
	s := startServer(t, Config{Exports: one(blockdev.NewMem(interopDisk))})
	args := []string{"-f", "raw", "-t", "none"}
	for _, c := range []string{
		"write -P 0x5a 0 1M", "write -f -P 0xa5 1M 64k", "read -P 0x5a 0 1M", "read -P 0xa5 1M 64k",
		"write -P 0x11 513 1000", "read -P 0x11 513 1000", "read -P 0x5a 0 513",
		"write -z 4k 8k", "read -P 0 4k 8k", "write -z -u 64k 64k", "read -P 0 64k 64k", "write -z -n 1M 4k",
		"discard 512k 256k", "flush", "aio_write -P 7 8M 16M", "aio_flush", "read -P 7 8M 16M", "writev -P 3 0 4k 8k", "read -P 3 0 12k",
	} {
		args = append(args, "-c", c)
	}
	out := run(t, "qemu-io", append(args, s.uri("disk"))...)
	if strings.Contains(out, "failed") || strings.Contains(strings.ToLower(out), "error") {
		t.Error(out)
	}
	if got := strings.Count(out, "Pattern verification"); got != 0 {
		t.Errorf("%d verifications failed:\n%s", got, out)
	}
}

// nbdshScript runs every command with every flag, also wrongly, with the
// library's own checks switched off.
const nbdshScript = `
import errno
def fails(want, f, *a, **k):
    try:
        f(*a, **k)
    except nbd.Error as e:
        assert e.errnum == want, (e.errnum, want, e.string)
        return
    assert False, ("no error", a, k)

h.set_strict_mode(0)
size = h.get_size()
h.pwrite(b"\x01" * 65536, 0)
assert h.pread(65536, 0) == b"\x01" * 65536
h.pwrite(b"\x02" * 3, 5, nbd.CMD_FLAG_FUA)
assert h.pread(10, 0) == b"\x01" * 5 + b"\x02" * 3 + b"\x01" * 2
h.zero(100, 50)
h.zero(100, 150, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
assert h.pread(300, 0)[50:250] == bytes(200)
try:
    h.zero(4096, 4096, nbd.CMD_FLAG_FAST_ZERO)
    assert h.pread(4096, 4096) == bytes(4096)
except nbd.Error as e:
    assert e.errnum == errno.ENOTSUP, e.string
h.trim(8192, 16384)
h.trim(8192, 16384, nbd.CMD_FLAG_FUA)
h.cache(65536, 0)
h.flush()
buf = bytearray()
if structured:
    h.pread_structured(65536, 0, lambda d, off, s, err: buf.extend(d), nbd.CMD_FLAG_DF)
    assert len(buf) == 65536
    seen = []
    h.block_status(size, 0, lambda c, off, e, err: seen.extend(e))
    assert sum(seen[0::2]) == size, seen
    seen.clear()
    h.block_status(size - 512, 512, lambda c, off, e, err: seen.extend(e), nbd.CMD_FLAG_REQ_ONE)
    assert len(seen) == 2, seen
fails(errno.EINVAL, h.pread, 1, size)
fails(errno.ENOSPC, h.pwrite, b"x" * 512, size - 511)
fails(errno.ENOSPC, h.zero, 2, size - 1)
fails(errno.EINVAL, h.trim, 2, size - 1)
fails(errno.EINVAL, h.cache, 2, size - 1)
fails(errno.EINVAL, h.trim, 512, 0, nbd.CMD_FLAG_NO_HOLE)
fails(errno.EINVAL, h.pwrite, b"x", 0, nbd.CMD_FLAG_DF)
big = 33 * 1024 * 1024
h.set_pread_initialize(False)
fails(errno.EOVERFLOW if structured else errno.EINVAL, h.pread, big, 0)
assert h.pread(4, 0) == b"\x01" * 4
cookies = [h.aio_pread(nbd.Buffer(4096), i * 4096) for i in range(64)]
for c in cookies:
    while not h.aio_command_completed(c):
        h.poll(-1)
h.shutdown()
`

func TestNbdsh(t *testing.T) {
	needTool(t, "nbdsh")
	// The module belongs to the system's Python, not to one put before it.
	t.Setenv("PATH", "/usr/bin:/bin:"+os.Getenv("PATH"))
	for _, structured := range []bool{true, false} {
		s := startServer(t, Config{Exports: one(blockdev.NewMem(64 << 20))})
		connect := fmt.Sprintf("structured = %s\nh.set_request_structured_replies(structured)\n"+
			"if structured: h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)\nh.connect_uri(%q)",
			map[bool]string{true: "True", false: "False"}[structured], s.uri("disk"))
		run(t, "nbdsh", "-c", connect, "-c", nbdshScript)
	}
}

// TestFio verifies random writes of random sizes through 1 and 4 connections.
func TestFio(t *testing.T) {
	needTool(t, "fio")
	if out, _ := exec.Command("fio", "--enghelp").CombinedOutput(); !bytes.Contains(out, []byte("nbd")) {
		t.Skip("needs fio with the nbd engine")
	}
	for _, jobs := range []int{1, 4} {
		s := startServer(t, Config{Exports: one(blockdev.NewMem(64 << 20))})
		run(t, "fio", "--name=v", "--ioengine=nbd", "--uri="+s.uri("disk"), "--thread", "--rw=randrw", "--bsrange=512-256k", "--bs_unaligned=0",
			"--blockalign=512", "--iodepth=16", "--size=16m", "--offset_increment=16m", fmt.Sprintf("--numjobs=%d", jobs),
			"--verify=sha256", "--verify_state_save=0", "--verify_fatal=1", "--do_verify=1", "--fsync=50", "--randseed=7")
	}
}

func TestTLSInterop(t *testing.T) {
	needTool(t, "nbdinfo", "nbdcopy")
	a := newAuthority(t)
	s := startTCP(t, Config{Exports: one(blockdev.NewMem(interopDisk)), TLS: a.serverConfig(), RequireTLS: true})
	dir := t.TempDir()
	a.pemFiles(dir, "client", a.issue("client", -time.Hour, time.Hour))
	address := s.nbds() + "?tls-certificates=" + dir
	if out := run(t, "nbdinfo", address); !strings.Contains(out, "newstyle-fixed with TLS") {
		t.Error(out)
	}
	image, out := mixedImage(t, interopDisk), filepath.Join(dir, "out")
	run(t, "nbdcopy", image, address)
	run(t, "nbdcopy", address, out)
	equalFiles(t, image, out)
	if out, err := exec.Command("nbdinfo", s.uri("disk")).CombinedOutput(); err == nil {
		t.Errorf("plain client allowed:\n%s", out)
	}
	if _, err := exec.LookPath("qemu-img"); err == nil {
		host, port, _ := strings.Cut(s.ln.Addr().String(), ":")
		run(t, "qemu-img", "info", "--object", "tls-creds-x509,id=tls,endpoint=client,dir="+dir, "--image-opts",
			fmt.Sprintf("driver=nbd,host=%s,port=%s,export=disk,tls-creds=tls", host, port))
	}
}

// TestClientToNbdkit has our client attach other people's servers.
func TestClientToNbdkit(t *testing.T) {
	needTool(t, "nbdkit")
	servers := map[string][]string{
		"nbdkit": {"nbdkit", "-f", "-U", "SOCKET", "memory", "16M"},
	}
	if _, err := exec.LookPath("qemu-nbd"); err == nil {
		image := filepath.Join(t.TempDir(), "raw")
		if err := os.WriteFile(image, make([]byte, 16<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		servers["qemu-nbd"] = []string{"qemu-nbd", "-t", "-x", "", "-e", "8", "-k", "SOCKET", "-f", "raw", image}
	}
	for name, argv := range servers {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(shortDir(t), "s")
			for i := range argv {
				argv[i] = strings.ReplaceAll(argv[i], "SOCKET", socket)
			}
			cmd := exec.Command(argv[0], argv[1:]...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
			awaitSocket(t, socket)
			for mode, o := range map[string]DialOptions{"simple": {Simple: true}, "structured": {Compact: true}, "best": {}} {
				c, err := Dial(t.Context(), "nbd+unix:///?socket="+socket, o)
				if err != nil {
					t.Fatalf("%s: %v", mode, err)
				}
				exercise(t, c)
				if err := c.Zero(t.Context(), 4096, 65536, blockdev.FUA); err != nil {
					t.Errorf("%s zero: %v", mode, err)
				}
				if err := c.Trim(t.Context(), 0, 1<<20, 0); err != nil {
					t.Errorf("%s trim: %v", mode, err)
				}
				if e, err := c.Extents(t.Context(), 0, 16<<20); err != nil || len(e) == 0 {
					t.Errorf("%s extents: %v, %v", mode, e, err)
				}
				if err := c.Flush(t.Context()); err != nil {
					t.Errorf("%s flush: %v", mode, err)
				}
				c.Close()
			}
		})
	}
}

// awaitSocket waits until something listens at path.
func awaitSocket(t *testing.T, path string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		if _, err := List(t.Context(), "nbd+unix:///?socket="+path, DialOptions{}); err == nil {
			return
		}
	}
	t.Fatalf("nothing listens at %s", path)
}
