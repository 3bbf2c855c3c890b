package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// nbdkit gives nbdkit's own options for the end point.
func (e endpoint) nbdkit() []string {
	args := []string{"nbdkit", "-f"}
	if e.socket != "" {
		return append(args, "-U", e.socket)
	}
	if e.certs != "" {
		args = append(args, "--tls=require", "--tls-certificates="+e.certs)
	}
	return append(args, "-i", "127.0.0.1", "-p", e.port)
}

// nbdkitFile is a plain file: what a fast server without encryption does.
func nbdkitFile(_ context.Context, w *work, dir string, e endpoint) (launch, error) {
	img, err := image(dir, "plain.img", w.Size)
	return e.launch("", append(e.nbdkit(), "file", img)...), err
}

// nbdkitLUKS decrypts in a filter above the file, by GnuTLS.
func nbdkitLUKS(ctx context.Context, w *work, dir string, e endpoint) (launch, error) {
	img, err := w.luks1(ctx, dir)
	return e.launch("", append(e.nbdkit(), "--filter=luks", "file", img, "passphrase=+"+w.passphrase)...), err
}

// qemu gives the options that both of qemu's servers run with: as many
// connections as asked for, writes into the page cache as with the others.
func (e endpoint) qemu() []string {
	return []string{"qemu-nbd", "-t", "-e", "16", "-k", e.socket, "--cache=writeback"}
}

// qemuRaw hands each request to a pool of threads.
func qemuRaw(_ context.Context, w *work, dir string, e endpoint) (launch, error) {
	img, err := image(dir, "plain.img", w.Size)
	return e.launch("", append(e.qemu(), "-f", "raw", "--aio=threads", "--discard=unmap", img)...), err
}

// qemuLUKS decrypts in its one I/O thread.
func qemuLUKS(ctx context.Context, w *work, dir string, e endpoint) (launch, error) {
	img, err := w.luks1(ctx, dir)
	return e.launch("", append(e.qemu(), "--object", "secret,id=s0,file="+w.passphrase,
		"--image-opts", "driver=luks,key-secret=s0,file.driver=file,file.filename="+img)...), err
}

// luksPayload is where cryptsetup puts the data of a LUKS1 container with this
// key size (bytes).
const luksPayload = 2 << 20

// luks1 makes an AES-256-XTS container that both peers can open; neither opens
// LUKS2.
func (w *work) luks1(ctx context.Context, dir string) (string, error) {
	img, err := image(dir, "luks.img", w.Size+luksPayload)
	if err != nil {
		return "", err
	}
	return img, w.tool(ctx, "cryptsetup", "luksFormat", "--batch-mode", "--type", "luks1", "--cipher", "aes-xts-plain64",
		"--key-size", "512", "--pbkdf-force-iterations", "1000", img, w.passphrase)
}

// nbdServer is the reference server. It goes to the background (its switch
// against that breaks Unix sockets in 3.24) and forks for each connection.
func nbdServer(_ context.Context, w *work, dir string, e endpoint) (launch, error) {
	img, err := image(dir, "plain.img", w.Size)
	if err != nil {
		return launch{}, err
	}
	port, err := freePort()
	if err != nil {
		return launch{}, err
	}
	conf, pid := filepath.Join(dir, "conf"), filepath.Join(dir, "pid")
	text := fmt.Sprintf("[generic]\nunixsock = %s\nlistenaddr = 127.0.0.1\nport = %s\n[%s]\nexportname = %s\nflush = true\nfua = true\ntrim = true\n",
		e.socket, port, export, img)
	l := e.launch(export, "nbd-server", "-C", conf, "-p", pid)
	l.pidFile = pid
	return l, os.WriteFile(conf, []byte(text), 0o600)
}

// goNBD is the server of the go-nbd module, which this program serves itself;
// see ServeGoNBD.
func goNBD(_ context.Context, w *work, dir string, e endpoint) (launch, error) {
	img, err := image(dir, "plain.img", w.Size)
	return e.launch(export, w.Binary, "bench", "go-nbd", e.socket, img), err
}
