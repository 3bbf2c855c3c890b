package luks

import (
	"bytes"
	"context"
	"crypto/aes"
	stdcipher "crypto/cipher"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lockplate/blockdev"
)

// testKey returns a key of n bytes, the same for the same seed.
func testKey(n int, seed byte) []byte {
	key := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(key)
	return key
}

// newContainer formats a container in memory with key number 1.
func newContainer(t testing.TB, size int64, o Options) (*blockdev.Mem, *Header) {
	t.Helper()
	dev := blockdev.NewMem(size)
	h, err := Format(context.Background(), dev, testKey(64, 1), o)
	if err != nil {
		t.Fatal(err)
	}
	return dev, h
}

// reread reads the header anew and fails on any warning.
func reread(t testing.TB, dev blockdev.Device) *Header {
	t.Helper()
	h, err := Read(context.Background(), dev)
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Warnings) > 0 {
		t.Fatalf("warnings: %q", h.Warnings)
	}
	return h
}

// addSlot adds a cheap keyslot.
func addSlot(t testing.TB, dev blockdev.Device, h *Header, passphrase string) *Header {
	t.Helper()
	next, _, err := h.AddKeyslot(context.Background(), dev, testKey(64, 1), []byte(passphrase), FastKDF())
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// wantKey unlocks and compares the volume key.
func wantKey(t testing.TB, dev blockdev.Device, h *Header, passphrase string, key []byte) int {
	t.Helper()
	got, slot, err := h.Unlock(context.Background(), dev, []byte(passphrase))
	if err != nil {
		t.Fatalf("passphrase %q: %v", passphrase, err)
	}
	if !bytes.Equal(got, key) {
		t.Fatalf("passphrase %q opened another key", passphrase)
	}
	return slot
}

// contents copies n bytes of dev.
func contents(t testing.TB, dev blockdev.Device, off, n int64) []byte {
	t.Helper()
	p := make([]byte, n)
	if err := dev.ReadAt(context.Background(), p, off); err != nil {
		t.Fatal(err)
	}
	return p
}

// put writes a copy of p to dev.
func put(t testing.TB, dev blockdev.Device, off int64, p []byte) {
	t.Helper()
	if err := dev.WriteAt(context.Background(), bytes.Clone(p), off, 0); err != nil {
		t.Fatal(err)
	}
}

// fromBytes makes a device of an image, padded with zeroes to size if larger.
func fromBytes(t testing.TB, p []byte, size int64) *blockdev.Mem {
	t.Helper()
	dev := blockdev.NewMem(max(size, int64(len(p))))
	put(t, dev, 0, p)
	return dev
}

// openFile opens a file as a device for the length of the test.
func openFile(t testing.TB, path string) blockdev.Device {
	t.Helper()
	ctx := context.Background()
	drive, err := blockdev.OpenDrive(ctx, "file:"+path, blockdev.DriveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dev, err := drive.Open(ctx, "data", false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close(); drive.Close() })
	return dev
}

// readFile reads the header of a file, releasing the file again.
func readFile(t testing.TB, path string, fn func(dev blockdev.Device, h *Header)) {
	t.Helper()
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dev := fromBytes(t, p, 0)
	fn(dev, reread(t, dev))
}

// strict is a device that takes whole 4096-byte sectors only and destroys
// what it was given to write, as an O_DIRECT disk below an encrypting layer may.
type strict struct{ *blockdev.Mem }

func (s strict) Info() blockdev.Info {
	i := s.Mem.Info()
	i.Align, i.LogicalSector = 4096, 4096
	return i
}

func (s strict) ReadAt(ctx context.Context, p []byte, off int64) error {
	if err := s.Info().Check(off, int64(len(p))); err != nil {
		return err
	}
	return s.Mem.ReadAt(ctx, p, off)
}

func (s strict) WriteAt(ctx context.Context, p []byte, off int64, f blockdev.Flag) error {
	if err := s.Info().Check(off, int64(len(p))); err != nil {
		return err
	}
	err := s.Mem.WriteAt(ctx, p, off, f)
	clear(p)
	return err
}

func (s strict) Zero(ctx context.Context, off, n int64, f blockdev.Flag) error {
	if err := s.Info().Check(off, n); err != nil {
		return err
	}
	return s.Mem.Zero(ctx, off, n, f)
}

// needTool skips the test when a program is missing, or fails it when
// everything has to run.
func needTool(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("LOCKPLATE_REQUIRE_ALL") != "" {
		t.Fatalf("needs %s", name)
	}
	t.Skipf("needs %s", name)
}

// tool runs a program and returns what it printed; it fails the test unless
// the program ends with code.
func tool(t testing.TB, code int, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		t.Fatalf("%s %s: %v, code %d expected\n%s", name, strings.Join(args, " "), err, code, out)
	}
	return string(out)
}

// cheap are the options that make cryptsetup's Argon2 quick.
func cheap() []string {
	return []string{"--pbkdf", "argon2id", "--pbkdf-memory", "8192", "--pbkdf-force-iterations", "4", "--pbkdf-parallel", "1"}
}

// cheapPBKDF2 does the same for PBKDF2.
func cheapPBKDF2(hash string) []string {
	return []string{"--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--hash", hash}
}

// cryptsetup runs it in batch mode, expecting success.
func cryptsetup(t testing.TB, args ...string) string {
	t.Helper()
	return tool(t, 0, "cryptsetup", append([]string{"--batch-mode"}, args...)...)
}

// newFile writes a file into the test's directory and returns its path.
func newFile(t testing.TB, dir, name string, p []byte, size int64) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, p, 0o600); err != nil {
		t.Fatal(err)
	}
	if size > int64(len(p)) {
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// pattern is recognizable plaintext: every 16 bytes say where they are.
func pattern(n int) []byte {
	var b bytes.Buffer
	for i := 0; i < n; i += 16 {
		fmt.Fprintf(&b, "plaintext%07x", i/16)
	}
	return b.Bytes()[:n]
}

// decryptXTS is AES-XTS written from IEEE 1619 for these tests alone: the
// tweak counts 512-byte units from the start of p plus ivTweak.
func decryptXTS(t testing.TB, key, p []byte, sectorSize int, ivTweak uint64) []byte {
	t.Helper()
	half := len(key) / 2
	data, tweak := mustAES(t, key[:half]), mustAES(t, key[half:])
	out := make([]byte, len(p))
	for at := 0; at < len(p); at += sectorSize {
		var tw [16]byte
		binary.LittleEndian.PutUint64(tw[:], uint64(at/512)+ivTweak)
		tweak.Encrypt(tw[:], tw[:])
		for i := at; i < at+sectorSize; i += 16 {
			var b [16]byte
			xor16(b[:], p[i:], tw[:])
			data.Decrypt(b[:], b[:])
			xor16(out[i:], b[:], tw[:])
			double(&tw)
		}
	}
	return out
}

func mustAES(t testing.TB, key []byte) stdcipher.Block {
	t.Helper()
	b, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func xor16(dst, a, b []byte) {
	for i := range 16 {
		dst[i] = a[i] ^ b[i]
	}
}

// double multiplies by x in GF(2^128), little endian.
func double(tw *[16]byte) {
	carry := byte(0)
	for i := range tw {
		next := tw[i] >> 7
		tw[i] = tw[i]<<1 | carry
		carry = next
	}
	tw[0] ^= 0x87 * carry
}
