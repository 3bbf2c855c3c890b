package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// How long a server may take to answer on its socket, and to end.
const (
	startLimit = 20 * time.Second
	stopLimit  = 10 * time.Second
)

// work is the scratch folder of a run and what all servers in it share.
type work struct {
	config
	dir        string
	passphrase string // a file
}

// target is a server that can be measured. command prepares its image in dir
// and says how to start it on the Unix socket sock; export is its export name.
type target struct {
	name    string
	export  string
	tools   []string
	command func(ctx context.Context, w *work, dir, sock string) ([]string, error)
}

// server is a running target.
type server struct {
	name string
	uri  string
	cmd  *exec.Cmd
	done chan struct{}
}

func targets() []target {
	return []target{
		{name: "lockplate", export: "bench", command: lockplate(true)},
		{name: "lockplate plain", export: "bench", command: lockplate(false)},
		{name: "nbdkit file", tools: []string{"nbdkit"}, command: nbdkitFile},
		{name: "nbdkit luks", tools: []string{"nbdkit", "cryptsetup"}, command: nbdkitLUKS},
		{name: "qemu-nbd luks", tools: []string{"qemu-nbd", "cryptsetup"}, command: qemuLUKS},
	}
}

func prepare(ctx context.Context, dir string, c config) (*work, error) {
	for _, tool := range []string{"fio", "nbdcopy"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("the client is missing: %w", err)
		}
	}
	w := &work{config: c, dir: dir, passphrase: filepath.Join(dir, "passphrase")}
	var err error
	if w.binary, err = filepath.Abs(c.binary); err != nil {
		return nil, err
	}
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return w, os.WriteFile(w.passphrase, []byte(hex.EncodeToString(b)), 0o600)
}

// lockplate makes a cluster of its own and a volume in it.
func lockplate(encrypted bool) func(context.Context, *work, string, string) ([]string, error) {
	return func(ctx context.Context, w *work, dir, sock string) ([]string, error) {
		state, drive := filepath.Join(dir, "state"), filepath.Join(dir, "drive")
		if err := os.Mkdir(drive, 0o700); err != nil {
			return nil, err
		}
		init := []string{"init", "--state", state, "--no-software-encryption"}
		if encrypted {
			init = []string{"init", "--state", state, "--seal", "file:" + filepath.Join(dir, "seal.key")}
		}
		if err := w.tool(ctx, w.binary, init...); err != nil {
			return nil, err
		}
		serve := []string{w.binary, "serve", "--state", state, "--nbd", "unix:" + sock, "--api", "none", "--metrics", "none"}
		s, err := startServer(ctx, "prepare lockplate", "", sock, serve)
		if err != nil {
			return nil, err
		}
		defer s.stop()
		for _, args := range [][]string{
			{"drive", "add", "dir:" + drive, "--state", state},
			{"volume", "create", "bench", "--size", strconv.FormatInt(w.size, 10), "--state", state},
		} {
			if err := w.tool(ctx, w.binary, args...); err != nil {
				return nil, err
			}
		}
		return serve, nil
	}
}

func nbdkitFile(ctx context.Context, w *work, dir, sock string) ([]string, error) {
	img := filepath.Join(dir, "plain.img")
	if err := os.WriteFile(img, nil, 0o600); err != nil {
		return nil, err
	}
	return []string{"nbdkit", "-f", "-U", sock, "file", img}, os.Truncate(img, w.size)
}

func nbdkitLUKS(ctx context.Context, w *work, dir, sock string) ([]string, error) {
	img, err := w.luks1(ctx, dir)
	return []string{"nbdkit", "-f", "-U", sock, "--filter=luks", "file", img, "passphrase=+" + w.passphrase}, err
}

func qemuLUKS(ctx context.Context, w *work, dir, sock string) ([]string, error) {
	img, err := w.luks1(ctx, dir)
	return []string{
		"qemu-nbd", "-t", "-e", "16", "-k", sock, "--object", "secret,id=s0,file=" + w.passphrase, "--cache=writeback",
		"--image-opts", "driver=luks,key-secret=s0,file.driver=file,file.filename=" + img,
	}, err
}

// luksPayload is where cryptsetup puts the data of a LUKS1 container with this key size.
const luksPayload = 2 << 20

// luks1 makes an AES-256-XTS container that both peers can open; neither opens LUKS2.
func (w *work) luks1(ctx context.Context, dir string) (string, error) {
	img := filepath.Join(dir, "luks.img")
	if err := os.WriteFile(img, nil, 0o600); err != nil {
		return "", err
	}
	if err := os.Truncate(img, w.size+luksPayload); err != nil {
		return "", err
	}
	return img, w.tool(ctx, "cryptsetup", "luksFormat", "--batch-mode", "--type", "luks1", "--cipher", "aes-xts-plain64",
		"--key-size", "512", "--pbkdf-force-iterations", "1000", img, w.passphrase)
}

// start prepares and starts one target.
func (w *work) start(ctx context.Context, t target) (*server, error) {
	for _, tool := range t.tools {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
	}
	dir, err := os.MkdirTemp(w.dir, "")
	if err != nil {
		return nil, err
	}
	sock := filepath.Join(dir, "nbd.sock")
	args, err := t.command(ctx, w, dir, sock)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.name, err)
	}
	return startServer(ctx, t.name, t.export, sock, args)
}

func startServer(ctx context.Context, name, export, sock string, args []string) (*server, error) {
	var stderr bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s := &server{name: name, uri: "nbd+unix:///" + export + "?socket=" + sock, cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(s.done)
	}()
	if err := s.ready(ctx, sock); err != nil {
		s.stop()
		return nil, fmt.Errorf("%s: %w\n%s", name, err, stderr.Bytes())
	}
	return s, nil
}

// ready waits until somebody greets on the socket.
func (s *server) ready(ctx context.Context, sock string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial("unix", sock); err == nil {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(startLimit))
			_, err = io.ReadFull(c, make([]byte, 18))
			return err
		}
		select {
		case <-s.done:
			return errors.New("ended at once")
		case <-ctx.Done():
			return errors.New("not ready in time")
		case <-tick.C:
		}
	}
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(stopLimit):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
}

// tool runs a program to its end; what it printed is in the error.
func (w *work) tool(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %v: %w\n%s", filepath.Base(name), args, err, out)
	}
	return nil
}
