// Package swtpmtest runs swtpm, a TPM 2.0 in software that is none of ours, for
// tests.
package swtpmtest

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// TPM is one software TPM, with its state in a directory of its own.
type TPM struct {
	Path string // of its socket
	dir  string
	cmd  *exec.Cmd
}

// Start makes a new TPM and turns it on. It ends with the test. Without swtpm
// the test is skipped, or fails if LOCKPLATE_REQUIRE_ALL is set.
func Start(t testing.TB) *TPM {
	t.Helper()
	if _, err := exec.LookPath("swtpm"); err != nil {
		if os.Getenv("LOCKPLATE_REQUIRE_ALL") != "" {
			t.Fatalf("needs swtpm: %v", err)
		}
		t.Skipf("needs swtpm: %v", err)
	}
	dir, err := os.MkdirTemp("", "swtpm") // short: a socket's path is bounded
	if err != nil {
		t.Fatal(err)
	}
	p := &TPM{Path: filepath.Join(dir, "sock"), dir: dir}
	t.Cleanup(func() {
		p.off(t)
		os.RemoveAll(dir)
	})
	p.on(t)
	return p
}

// PowerCycle turns the TPM off in good order and on again: PCRs are as at a
// start, what was loaded is gone.
func (p *TPM) PowerCycle(t testing.TB) {
	t.Helper()
	p.do(t, func(c transport.TPM) error {
		_, err := tpm2.Shutdown{ShutdownType: tpm2.TPMSUClear}.Execute(c)
		return err
	})
	p.off(t)
	p.on(t)
}

// Stop turns the TPM off.
func (p *TPM) Stop(t testing.TB) { p.off(t) }

// on starts the process and waits until it answers.
func (p *TPM) on(t testing.TB) {
	t.Helper()
	os.Remove(p.Path)
	p.cmd = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+p.dir,
		"--server", "type=unixio,path="+p.Path, "--flags", "not-need-init,startup-clear")
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := (&net.Dialer{}).DialContext(ctx, "unix", p.Path)
		if err == nil {
			c.Close()
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("swtpm does not answer: %v", err)
		}
	}
}

// off ends the process, if it runs.
func (p *TPM) off(t testing.TB) {
	if p.cmd == nil {
		return
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	_ = p.cmd.Wait() // its exit code does not matter
	p.cmd = nil
}

// do runs fn with the TPM.
func (p *TPM) do(t testing.TB, fn func(transport.TPM) error) {
	t.Helper()
	c, err := net.Dial("unix", p.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := fn(transport.FromReadWriter(c)); err != nil {
		t.Fatal(err)
	}
}

// Extend changes the value of a PCR, as firmware does at a start with other
// settings.
func (p *TPM) Extend(t testing.TB, pcr int) {
	t.Helper()
	p.do(t, func(c transport.TPM) error {
		_, err := tpm2.PCRExtend{
			PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
			Digests: tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{
				{HashAlg: tpm2.TPMAlgSHA256, Digest: make([]byte, 32)},
			}},
		}.Execute(c)
		return err
	})
}

// Clear makes the TPM forget everything, as its owner can from the firmware's
// menu: it is another TPM then.
func (p *TPM) Clear(t testing.TB) {
	t.Helper()
	p.do(t, func(c transport.TPM) error {
		_, err := tpm2.Clear{AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHLockout, Auth: tpm2.PasswordAuth(nil)}}.Execute(c)
		return err
	})
}

// Property gives a property of the TPM, such as its count of wrong PINs.
func (p *TPM) Property(t testing.TB, id tpm2.TPMPT) (v uint32) {
	t.Helper()
	p.do(t, func(c transport.TPM) error {
		rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapTPMProperties, Property: uint32(id), PropertyCount: 1}.Execute(c)
		if err != nil {
			return err
		}
		list, err := rsp.CapabilityData.Data.TPMProperties()
		if err == nil && len(list.TPMProperty) == 1 && list.TPMProperty[0].Property == id {
			v = list.TPMProperty[0].Value
		}
		return err
	})
	return v
}

// Loaded counts objects and sessions in the TPM.
func (p *TPM) Loaded(t testing.TB) (n int) {
	t.Helper()
	p.do(t, func(c transport.TPM) error {
		for _, first := range []uint32{0x80000000, 0x02000000, 0x03000000} { // transient, sessions loaded, saved
			rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 32}.Execute(c)
			if err != nil {
				return err
			}
			list, err := rsp.CapabilityData.Data.Handles()
			if err != nil {
				return err
			}
			n += len(list.Handle)
		}
		return nil
	})
	return n
}

// Snoop gives a socket that hands on to the TPM, and a function that gives all
// that went through: what an interposer between processor and TPM sees.
func (p *TPM) Snoop(t testing.TB) (path string, seen func() []byte) {
	t.Helper()
	path = filepath.Join(p.dir, "snoop")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan []byte, 1)
	go func() {
		var all tap
		defer func() { done <- all.b }()
		near, err := l.Accept()
		if err != nil {
			return
		}
		defer near.Close()
		far, err := net.Dial("unix", p.Path)
		if err != nil {
			return
		}
		defer far.Close()
		buf := make([]byte, 8192)
		for { // one command, one response
			for _, d := range [][2]net.Conn{{near, far}, {far, near}} {
				n, err := d[0].Read(buf)
				all.Write(buf[:n])
				if err != nil {
					return
				}
				if _, err := d[1].Write(buf[:n]); err != nil {
					return
				}
			}
		}
	}()
	t.Cleanup(func() { l.Close() })
	return path, func() []byte { l.Close(); return <-done }
}

// tap keeps what is written to it.
type tap struct{ b []byte }

var _ io.Writer = (*tap)(nil)

func (t *tap) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	return len(p), nil
}
