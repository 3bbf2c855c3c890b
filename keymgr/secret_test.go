package keymgr

import (
	"bytes"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const shown = "hunter2-hunter2-hunter2"

func TestSecretIsNeverShown(t *testing.T) {
	s, err := NewSecret([]byte(shown))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Destroy()
	type holder struct {
		Key  *Secret
		note string
		key  *Secret
		val  Secret
	}
	h := holder{s, "n", s, *s}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%T"} {
		fmt.Fprintf(&out, verb+" "+verb+" "+verb+" "+verb+"\n", s, *s, h, &h)
	}
	fmt.Fprintln(&out, s, *s, h)
	for _, l := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(l).Info("m", "key", s, "holder", h, "copy", *s)
	}
	fmt.Fprintln(&out, fmt.Errorf("wrap %v", s))
	text := out.String()
	for _, bad := range []string{shown, hex.EncodeToString([]byte(shown)), fmt.Sprint([]byte(shown)), strings.ToUpper(hex.EncodeToString([]byte(shown)))} {
		if strings.Contains(text, bad) {
			t.Errorf("output shows the secret: %s", text)
		}
	}
	if fmt.Sprint(s) != "[secret]" || fmt.Sprintf("%x", s) != "[secret]" {
		t.Errorf("prints as %v and %x", s, s)
	}
}

func TestSecretRefusesToMarshal(t *testing.T) {
	s, err := NewSecret([]byte(shown))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Destroy()
	for name, enc := range map[string]func(io.Writer) error{
		"json":        func(w io.Writer) error { return json.NewEncoder(w).Encode(s) },
		"json member": func(w io.Writer) error { return json.NewEncoder(w).Encode(struct{ K *Secret }{s}) },
		"json key":    func(w io.Writer) error { return json.NewEncoder(w).Encode(map[string]any{"k": []any{s}}) },
		"xml":         func(w io.Writer) error { return xml.NewEncoder(w).Encode(s) },
		"gob":         func(w io.Writer) error { return gob.NewEncoder(w).Encode(s) },
	} {
		var b bytes.Buffer
		if err := enc(&b); err == nil || !strings.Contains(err.Error(), ErrMarshal.Error()) {
			t.Errorf("%s: %v, wrote %q", name, err, b.String())
		}
	}
	if _, err := s.MarshalBinary(); !errors.Is(err, ErrMarshal) {
		t.Errorf("binary: %v", err)
	}
}

func TestSecretLife(t *testing.T) {
	src := []byte(shown)
	s, err := NewSecret(src)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(src, make([]byte, len(src))) {
		t.Error("NewSecret leaves its source")
	}
	if string(s.Bytes()) != shown || s.Len() != len(shown) || cap(s.Bytes()) != len(shown) {
		t.Error("secret differs from its source")
	}
	same, err := NewSecret([]byte(shown))
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewSecret([]byte(shown[1:] + "x"))
	if err != nil {
		t.Fatal(err)
	}
	if !s.Equal(same) || s.Equal(other) {
		t.Error("Equal is wrong")
	}
	mem := s.Bytes()
	s.Destroy()
	s.Destroy()
	if !bytes.Equal(mem, make([]byte, len(mem))) || s.Bytes() != nil || s.Equal(s) || s.Len() != 0 {
		t.Error("destroyed secret is still there")
	}
	same.Destroy()
	other.Destroy()
	(*Secret)(nil).Destroy()
	for _, n := range []int{0, maxSecret + 1} {
		b := bytes.Repeat([]byte{7}, n)
		if _, err := NewSecret(b); !errors.Is(err, ErrTooLarge) || bytes.Contains(b, []byte{7}) {
			t.Errorf("secret of %d bytes: %v; wiped: %v", n, err, !bytes.Contains(b, []byte{7}))
		}
	}
	if _, err := RandomSecret(strings.NewReader("short"), 32); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("short random source: %v", err)
	}
}

// TestArenaMatchesModel makes and destroys secrets of all sizes; none may
// change another, and none may stay locked.
func TestArenaMatchesModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 3))
	type held struct {
		s *Secret
		c byte
	}
	var all []held
	check := func(h held) {
		if b := h.s.Bytes(); bytes.Count(b, []byte{h.c}) != len(b) || len(b) == 0 {
			t.Fatalf("secret of %d bytes was changed", len(b))
		}
	}
	for i := range 20000 {
		if len(all) > 0 && rng.IntN(100) < 49 {
			j := rng.IntN(len(all))
			check(all[j])
			all[j].s.Destroy()
			all[j] = all[len(all)-1]
			all = all[:len(all)-1]
			continue
		}
		n := 1 + rng.IntN(200)
		if rng.IntN(500) == 0 {
			n = 1 + rng.IntN(maxSecret)
		}
		s, err := newSecret(n)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(s.Bytes(), make([]byte, n)) {
			t.Fatal("new secret is not zero")
		}
		h := held{s, byte(1 + i%255)}
		copy(s.Bytes(), bytes.Repeat([]byte{h.c}, n))
		all = append(all, h)
	}
	for _, h := range all {
		check(h)
		h.s.Destroy()
	}
	if n := len(locked.regions); n > 1 {
		t.Errorf("%d regions stay locked", n)
	}
}

// TestManySecretsFitTheLimit holds the data keys of 10,000 volumes under the
// usual limit of 8 MiB, with half of it to spare.
func TestManySecretsFitTheLimit(t *testing.T) {
	before := lockedKiB(t)
	var all []*Secret
	for range 10000 {
		s, err := newSecret(maxDataKey)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	if used := lockedKiB(t) - before; used < 500 || used > 4096 {
		t.Errorf("10,000 keys lock %d KiB", used)
	}
	for _, s := range all {
		s.Destroy()
	}
	if left := lockedKiB(t) - before; left > 64 {
		t.Errorf("%d KiB stay locked", left)
	}
}

func lockedKiB(t *testing.T) (n int) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if _, err := fmt.Sscanf(line, "VmLck: %d kB", &n); err == nil {
			return n
		}
	}
	t.Fatal("no VmLck")
	return 0
}

// childEnv names what TestMain does instead of tests.
const childEnv = "LOCKPLATE_KEYMGR_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "harden":
		os.Exit(childHardened())
	case "lock":
		os.Exit(childLocked())
	case "memlock":
		os.Exit(childMemlock())
	}
	os.Exit(m.Run())
}

func runChild(t *testing.T, what string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+what)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestHardenProcess(t *testing.T) { runChild(t, "harden") }

func childHardened() int {
	if err := HardenProcess(); err != nil {
		fmt.Println(err)
		return 1
	}
	var core unix.Rlimit
	d, err1 := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	err2 := unix.Getrlimit(unix.RLIMIT_CORE, &core)
	if err := errors.Join(err1, err2); err != nil || d != 0 || core.Cur != 0 || core.Max != 0 {
		fmt.Println("dumpable:", d, "core:", core, err)
		return 1
	}
	return 0
}

func TestLockMemory(t *testing.T) { runChild(t, "lock") }

// childLocked locks everything, finds memory touched later locked too and still
// given back to the system, and is refused without the right.
func childLocked() int {
	if err := LockMemory(); errors.Is(err, ErrMayNotLock) {
		return 0 // an ordinary user: the refusal is all there is to see
	} else if err != nil {
		fmt.Println(err)
		return 1
	}
	b, err := unix.Mmap(-1, 0, 8<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	clear(b)
	smaps, err := os.ReadFile("/proc/self/status")
	var kB int
	for line := range strings.Lines(string(smaps)) {
		fmt.Sscanf(line, "VmLck: %d kB", &kB)
	}
	if err != nil || kB < 8<<10 {
		fmt.Println("locked:", kB, "kB", err)
		return 1
	}
	debug.FreeOSMemory() // the runtime must cope with pages it cannot simply drop
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	runtime.LockOSThread()
	if err := errors.Join(unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{}), unix.Capset(&hdr, &none[0])); err != nil {
		fmt.Println(err)
		return 1
	}
	if err := LockMemory(); !errors.Is(err, ErrMayNotLock) {
		fmt.Println("without the right:", err)
		return 1
	}
	return 0
}

func TestMemlockLimitIsNamed(t *testing.T) { runChild(t, "memlock") }

// childMemlock has no right to lock memory: root may lock beyond the limit
// only with CAP_IPC_LOCK, which is dropped first.
func childMemlock() int {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	err1 := unix.Capset(&hdr, &data[0])
	err2 := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{})
	if err := errors.Join(err1, err2); err != nil {
		fmt.Println(err)
		return 1
	}
	secret := []byte(shown)
	_, err := NewSecret(secret)
	if !errors.Is(err, ErrMemlock) || !strings.Contains(err.Error(), "LimitMEMLOCK") || secret[0] != 0 {
		fmt.Println("error:", err, "source:", string(secret))
		return 1
	}
	return 0
}

// TestSecretMemoryIsProtected reads what the kernel says of the mapping:
// locked, not dumped, not inherited, guarded on both sides.
func TestSecretMemoryIsProtected(t *testing.T) {
	s, err := newSecret(32)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Destroy()
	b, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Skipf("needs /proc/self/smaps: %v", err)
	}
	r := s.s.block.r
	start := fmt.Sprintf("%x-", addr(r.slots))
	var flags string
	for i, m := range bytes.Split(b, []byte("VmFlags:")) {
		if i > 0 && flags == "found" {
			flags = string(m[:bytes.IndexByte(m, '\n')])
			break
		}
		if bytes.Contains(m, []byte("\n"+start)) {
			flags = "found"
		}
	}
	for _, want := range []string{" lo", " dd", " dc"} {
		if !strings.Contains(flags, want) {
			t.Errorf("mapping has flags %q, want %q", flags, want)
		}
	}
}
