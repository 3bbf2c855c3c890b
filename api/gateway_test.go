package api_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lockplate/api"
	"lockplate/api/client"
	"lockplate/api/wire"
	"lockplate/cluster"
)

// gateway is a real cluster behind a real server.
type gateway struct {
	dir, addr, socket string
	log               *bytes.Buffer
}

func startGateway(t *testing.T) *gateway {
	t.Helper()
	g := &gateway{dir: t.TempDir(), log: &bytes.Buffer{}}
	if err := os.Mkdir(filepath.Join(g.dir, "d1"), 0o700); err != nil {
		t.Fatal(err)
	}
	c, err := cluster.Open(t.Context(), cluster.Config{State: g.state()})
	if err != nil {
		t.Fatal(err)
	}
	s, err := api.NewServer(api.Config{Cluster: c, StateDir: g.state(), Logger: slog.New(slog.NewTextHandler(g.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.addr, g.socket = ln.Addr().String(), filepath.Join(g.dir, "api.sock")
	un, err := api.ListenUnix(g.socket)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() { ended <- s.ServeTLS(ln) }()
	go func() { ended <- s.ServeUnix(un) }()
	t.Cleanup(func() {
		if err := errors.Join(s.Shutdown(context.Background()), <-ended, <-ended, c.Close(context.Background())); err != nil {
			t.Error(err)
		}
	})
	return g
}

func (g *gateway) state() string { return filepath.Join(g.dir, "state") }

func (g *gateway) client(t *testing.T, o client.Options) *client.Client {
	t.Helper()
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// need skips a test that lacks a tool, or fails it where none may lack.
func need(t *testing.T, tool string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil && os.Getenv("LOCKPLATE_REQUIRE_ALL") == "1" {
		t.Fatalf("needs %s", tool)
	}
	if err != nil {
		t.Skipf("needs %s", tool)
	}
	return path
}

func TestPythonClient(t *testing.T) {
	python := need(t, "python3")
	g := startGateway(t)
	cmd := exec.CommandContext(t.Context(), python, "testdata/peer.py", "https://"+g.addr, api.CertPath(g.state()), g.dir)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasSuffix(string(out), "ok\n") {
		t.Errorf("%v\n%s\n%s", err, out, g.log)
	}
	for _, secret := range []string{"correct h\u00f6rse", "only reads", "sealed"} {
		if strings.Contains(g.log.String(), secret) {
			t.Errorf("the log shows %q", secret)
		}
	}
}

// Whoever reaches the socket as root or as the gateway's own user needs no
// password; over HTTPS everybody does, and may be made less than that.
func TestCommandsOverBothWays(t *testing.T) {
	g := startGateway(t)
	local := g.client(t, client.Options{Socket: g.socket})
	ctx := t.Context()
	err := local.Call(ctx, wire.MethodListVolumes, nil, nil)
	if !client.IsName(err, wire.ErrNoCluster) {
		t.Errorf("without a cluster: %v", err)
	}
	err = local.Call(ctx, wire.MethodCreateCluster, wire.CreateClusterParams{
		AcceptEula: true, Seal: "file:" + filepath.Join(g.dir, "key"), Username: "ann", Password: wire.Password("long enough"),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	remote := func(password string) *client.Client {
		return g.client(t, client.Options{
			Server: "https://" + g.addr, LocalCert: api.CertPath(g.state()), User: "ann", Password: wire.Password(password),
		})
	}
	var h wire.AsyncHandleResult
	drives := wire.AddDrivesParams{Drives: []wire.NewDrive{{URI: "dir:" + filepath.Join(g.dir, "d1")}}}
	if err := remote("long enough").Call(ctx, wire.MethodAddDrives, drives, &h); err != nil {
		t.Fatal(err)
	}
	if _, err := local.WaitAsync(ctx, h.AsyncHandle, nil); err != nil {
		t.Fatal(err)
	}
	err = remote("wrong one").Call(ctx, wire.MethodGetAPI, nil, nil)
	if !errors.Is(err, client.ErrUnauthorized) {
		t.Errorf("wrong password: %v", err)
	}
	for range 4 {
		remote("wrong one").Call(ctx, wire.MethodGetAPI, nil, nil)
	}
	if err := remote("long enough").Call(ctx, wire.MethodGetAPI, nil, nil); !errors.Is(err, client.ErrRateLimited) {
		t.Errorf("after five failures: %v, want ErrRateLimited", err)
	}
	if err := local.Call(ctx, wire.MethodGetAPI, nil, nil); err != nil {
		t.Errorf("the socket must stay open to administrators: %v", err)
	}
}

func TestNamesOfRealFailures(t *testing.T) {
	g := startGateway(t)
	c := g.client(t, client.Options{Socket: g.socket})
	call := func(method string, params any) error { return c.Call(t.Context(), method, params, nil) }
	create := wire.CreateClusterParams{AcceptEula: true, Seal: "what:ever"}
	if err := call(wire.MethodCreateCluster, create); !client.IsName(err, wire.ErrInvalidParameter) {
		t.Errorf("bad sealer: %v", err)
	}
	create.Seal = "file:" + filepath.Join(g.dir, "key")
	if err := call(wire.MethodCreateCluster, create); err != nil {
		t.Fatal(err)
	}
	add := func(uri string) error {
		return call(wire.MethodAddDrives, wire.AddDrivesParams{Drives: []wire.NewDrive{{URI: uri}}})
	}
	if err := add("dir:" + filepath.Join(g.dir, "d1")); err != nil {
		t.Fatal(err)
	}
	junk := make([]byte, 1<<20)
	if err := os.WriteFile(filepath.Join(g.dir, "d1", "junk.img"), junk, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		what string
		err  error
		want string
	}{
		{"bad address", add("d1"), wire.ErrInvalidParameter},
		{"unknown drive", call(wire.MethodRemoveDrives, wire.RemoveDrivesParams{Drives: []wire.Int{9}}), wire.ErrDriveNotFound},
		{"unknown volume", call(wire.MethodDeleteVolume, wire.VolumeIDParams{VolumeID: 9}), wire.ErrVolumeNotFound},
		{"unknown user", call(wire.MethodRemoveClusterAdmin, wire.RemoveClusterAdminParams{ClusterAdminID: 9}), wire.ErrClusterAdminGone},
		{"no space", call(wire.MethodCreateVolume, wire.CreateVolumeParams{Name: "v", TotalSize: 1 << 59}), wire.ErrNoSpace},
		{"no image", call(wire.MethodAdoptVolume, wire.AdoptVolumeParams{Name: "a", DriveID: 1, Image: "x", Passphrase: wire.Password("p")}), wire.ErrNotFound},
		{"no container", call(wire.MethodAdoptVolume, wire.AdoptVolumeParams{Name: "a", DriveID: 1, Image: "junk", Passphrase: wire.Password("p")}), wire.ErrUnsupportedFormat},
	} {
		if !client.IsName(row.err, row.want) {
			t.Errorf("%s: %v, want %s", row.what, row.err, row.want)
		}
	}
}
