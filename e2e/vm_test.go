package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// rig runs one of the guests in testdata and reports each of its checks.
func rig(t *testing.T, env []string, script string, args ...string) {
	t.Helper()
	need(t, "qemu-system-x86_64", "nbd-client", "cryptsetup", "mkfs.ext4", "cpio", "apt-get", "dpkg", "bash")
	if testing.Short() {
		t.Skip("boots a guest, not with -short")
	}
	console := filepath.Join(t.TempDir(), "console")
	env = append(env, "KEEP_LOG="+console)
	r := try(t, "env", append(append(env, "bash", filepath.Join("testdata", script)), args...)...)
	if r.code == 2 {
		lack(t, "no guest: "+strings.TrimSpace(r.err))
	}
	t.Log(r.out)
	if r.code != 0 || strings.Contains(r.out, " FAIL") || !strings.HasSuffix(r.out, "PASS\n") {
		b, _ := os.ReadFile(console)
		t.Errorf("%s failed: %v\nconsole:\n%s", script, r, b)
	}
}

func port(t *testing.T, addr string) string {
	t.Helper()
	_, p, err := net.SplitHostPort(addr)
	must(t, err)
	return p
}

// restarter gives a command that kills the daemon and starts it again with the
// same command line; a process of the test's replaces it in the end.
func restarter(t *testing.T, g *gateway) string {
	t.Helper()
	pidFile := filepath.Join(g.dir, "restarted.pid")
	t.Cleanup(func() {
		b, err := os.ReadFile(pidFile)
		if err != nil {
			return
		}
		if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			if p, err := os.FindProcess(pid); err == nil {
				_ = p.Kill()
			}
		}
	})
	quoted := make([]string, 0, 16)
	for _, a := range append([]string{os.Getenv(envBinary)}, g.serveArgs()...) {
		quoted = append(quoted, "'"+strings.ReplaceAll(a, "'", `'\''`)+"'")
	}
	return "kill -9 " + strconv.Itoa(g.proc.cmd.Process.Pid) + "; sleep 2; " + strings.Join(quoted, " ") +
		" >>" + g.log() + " 2>&1 </dev/null & echo $! >" + pidFile
}

func TestKernelAttaches(t *testing.T) {
	t.Parallel()
	const size = 256 << 20
	g := newGateway(t, withTCP)
	g.volume("vol", strconv.Itoa(size), "--discard", "zero")
	rig(t, []string{"EXPECT_SIZE=" + strconv.Itoa(size), "BENCH_MB=16", "RESTART_CMD=" + restarter(t, g)},
		"vm_nbd_attach.sh", port(t, g.tcp), "vol")
}

func TestKernelAttachesOverTLS(t *testing.T) {
	t.Parallel()
	const size = 256 << 20
	a := newAuthority(t)
	g := newGateway(t, append(a.serveArgs(), "--nbd-tls-min", "1.2")...) // nbd-client 3.24 knows no newer
	g.volume("vol", strconv.Itoa(size), "--discard", "zero")
	options := "-cacertfile /files/ca-cert.pem -certfile /files/client-cert.pem -keyfile /files/client-key.pem -tlshostname localhost"
	rig(t, []string{"EXPECT_SIZE=" + strconv.Itoa(size), "BENCH_MB=16", "GUEST_FILES=" + a.dir, "NBD_CLIENT_OPTS=" + options},
		"vm_nbd_attach.sh", port(t, g.tcp), "vol")
}

func TestKernelOpensOurContainer(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	g.recoverable("vol", "64MiB", "--kdf", "pbkdf2")
	a := attach(t, g.uri("vol"))
	a.mkfs()
	dir := a.mount()
	files := writeTree(t, dir, 90)
	unmount(t, dir)
	a.detach()
	image := g.show("vol").Lockplate.Path
	g.stop()
	rig(t, nil, "vm_dm_crypt.sh", image, filepath.Join(g.dir, "recovery"), g.file("sums", files))
}
