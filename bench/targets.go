package bench

import (
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

	"golang.org/x/sys/unix"
)

// work is the scratch folder of a run and what all servers in it share.
type work struct {
	GatewayOptions
	dir        string
	sockets    string // folder of the sockets, whose paths must be short (108 bytes, unix(7))
	passphrase string // a file
	src        string // a file as large as a volume, once it is needed
}

// target is a server that can be measured. command prepares its image in dir
// and says how to start it at the end point.
type target struct {
	name    string
	tools   []string // programs it needs
	tls     bool     // clients must speak TLS
	command func(ctx context.Context, w *work, dir string, e endpoint) (launch, error)
}

// The names that others refer to.
const (
	ours      = "lockplate"
	oursPlain = "lockplate plain"
	nbdkit    = "nbdkit file"
	tlsSuffix = " tls"
	export    = "bench"
)

// targets are the servers that are known. Over TLS, where fio does not reach,
// only those that are compared there, all over TCP.
func targets(overTLS bool) []target {
	if overTLS {
		return []target{
			{ours, nil, false, lockplate(true)},
			{ours + tlsSuffix, nil, true, lockplate(true)},
			{nbdkit, []string{"nbdkit"}, false, nbdkitFile},
			{nbdkit + tlsSuffix, []string{"nbdkit"}, true, nbdkitFile},
		}
	}
	return []target{
		{ours, nil, false, lockplate(true)},
		{oursPlain, nil, false, lockplate(false)},
		{nbdkit, []string{"nbdkit"}, false, nbdkitFile},
		{"nbdkit luks", []string{"nbdkit", "cryptsetup"}, false, nbdkitLUKS},
		{"qemu-nbd raw", []string{"qemu-nbd"}, false, qemuRaw},
		{"qemu-nbd luks", []string{"qemu-nbd", "cryptsetup"}, false, qemuLUKS},
		{"nbd-server", []string{"nbd-server"}, false, nbdServer},
		{"go-nbd", nil, false, goNBD},
	}
}

// endpoint is where a server shall listen.
type endpoint struct {
	socket string // or, if empty,
	port   string // on 127.0.0.1
	certs  string // folder of certificates, for TLS
}

// launch is how to start args there, serving name.
func (e endpoint) launch(name string, args ...string) launch {
	switch {
	case e.socket != "":
		return launch{args: args, network: "unix", at: e.socket, uri: "nbd+unix:///" + name + "?socket=" + e.socket}
	case e.certs != "": // by name: a client compares it with the certificate's
		return launch{args: args, network: "tcp", at: "127.0.0.1:" + e.port, uri: "nbds://localhost:" + e.port + "/" + name + "?tls-certificates=" + e.certs}
	}
	return launch{args: args, network: "tcp", at: "127.0.0.1:" + e.port, uri: "nbd://localhost:" + e.port + "/" + name}
}

// prepare makes the scratch folder's common part, and refuses what cannot work.
func prepare(dir, sockets string, o GatewayOptions) (*work, error) {
	for _, tool := range []string{"fio", "nbdcopy"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("the client is missing: %w", err)
		}
	}
	w := &work{GatewayOptions: o, dir: dir, sockets: sockets, passphrase: filepath.Join(dir, "passphrase")}
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return w, os.WriteFile(w.passphrase, []byte(hex.EncodeToString(b)), 0o600)
}

// checkSpace refuses a run whose images would fill the folder, which may be
// memory.
func checkSpace(dir string, need int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("free space of %s: %w", dir, err)
	}
	if free := int64(st.Bavail) * st.Bsize; free < need {
		return fmt.Errorf("%s has %d MiB free and the images need %d: take a smaller size, fewer targets or another folder", dir, free>>20, need>>20)
	}
	return nil
}

// inMemory says whether dir is no disk.
func inMemory(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && st.Type == unix.TMPFS_MAGIC
}

// source makes, once, a file of noise as large as a volume.
func (w *work) source() (string, error) {
	if w.src != "" { // shared by all servers and rounds
		return w.src, nil
	}
	name := filepath.Join(w.dir, "source")
	f, err := os.Create(name)
	if err != nil {
		return "", err
	}
	_, err = io.CopyN(f, rand.Reader, w.Size)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("fill %s: %w", name, err)
	}
	w.src = name
	return name, nil
}

// start prepares and starts one target.
func (w *work) start(ctx context.Context, t target) (*server, error) {
	for _, tool := range t.tools {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%s (not installed: %s)", t.name, tool)
		}
	}
	dir, err := os.MkdirTemp(w.dir, "")
	if err != nil {
		return nil, err
	}
	e, err := w.endpoint(dir, t.tls)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.name, err)
	}
	l, err := t.command(ctx, w, dir, e)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.name, err)
	}
	return startServer(ctx, t.name, l)
}

// endpoint finds a place to listen: a Unix socket, or with --tls a free port.
func (w *work) endpoint(dir string, tls bool) (e endpoint, err error) {
	if !w.TLS {
		return endpoint{socket: filepath.Join(w.sockets, filepath.Base(dir))}, nil
	}
	if e.port, err = freePort(); err != nil || !tls {
		return e, err
	}
	e.certs = filepath.Join(dir, "certs")
	return e, makeCertificates(e.certs)
}

// freePort finds a TCP port that nobody listens on.
// Somebody may take it before the server does; then the server says so.
func freePort() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(ln.Addr().String())
	return port, errors.Join(err, ln.Close())
}

// image makes an empty file of a size.
func image(dir, name string, size int64) (string, error) {
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return "", err
	}
	return file, os.Truncate(file, size)
}

// tool runs a program to its end; what it printed is in the error.
func (w *work) tool(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %v: %w\n%s", filepath.Base(name), args, err, out)
	}
	return nil
}

// lockplate makes a cluster of its own and a volume in it.
func lockplate(encrypted bool) func(context.Context, *work, string, endpoint) (launch, error) {
	return func(ctx context.Context, w *work, dir string, e endpoint) (launch, error) {
		state, drive := filepath.Join(w.sockets, filepath.Base(dir)+"-state"), filepath.Join(dir, "drive")
		if err := os.Mkdir(drive, 0o700); err != nil {
			return launch{}, err
		}
		init := []string{"init", "--state", state, "--no-software-encryption"}
		if encrypted {
			init = []string{"init", "--state", state, "--seal", "file:" + filepath.Join(dir, "seal.key")}
		}
		if err := w.tool(ctx, w.Binary, init...); err != nil {
			return launch{}, err
		}
		serve := []string{w.Binary, "serve", "--state", state, "--api", "none", "--metrics", "none", "--nbd"}
		sock := filepath.Join(w.sockets, filepath.Base(dir)+"-first")
		// A volume is made by a running daemon; this one goes away again, and the
		// one that is measured has done nothing before.
		s, err := startServer(ctx, "prepare", endpoint{socket: sock}.launch("", append(serve, "unix:"+sock)...))
		if err != nil {
			return launch{}, err
		}
		defer s.stop()
		for _, args := range [][]string{
			{"drive", "add", "dir:" + drive, "--state", state},
			{"volume", "create", export, "--size", strconv.FormatInt(w.Size, 10), "--state", state},
		} {
			if err := w.tool(ctx, w.Binary, args...); err != nil {
				return launch{}, err
			}
		}
		return e.launch(export, append(serve, e.lockplate()...)...), nil
	}
}

// lockplate gives the address and what TLS needs as arguments of serve.
func (e endpoint) lockplate() []string {
	switch {
	case e.socket != "":
		return []string{"unix:" + e.socket}
	case e.certs != "": // with a certificate, TCP clients must use TLS
		return []string{"tcp:127.0.0.1:" + e.port, "--nbd-cert", filepath.Join(e.certs, "server-cert.pem"), "--nbd-key", filepath.Join(e.certs, "server-key.pem")}
	}
	return []string{"tcp:127.0.0.1:" + e.port}
}
