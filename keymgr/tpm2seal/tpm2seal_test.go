package tpm2seal_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"lockplate/keymgr/swtpmtest"
	"lockplate/keymgr/tpm2seal"
)

var secret = []byte("0123456789abcdef0123456789ABCDEF")

// auth is what a PIN is turned into.
func auth(pin string) []byte {
	h := sha256.Sum256([]byte(pin))
	return h[:]
}

func seal(t *testing.T, c tpm2seal.Config, auth []byte) []byte {
	t.Helper()
	obj, err := tpm2seal.Seal(t.Context(), c, secret, auth)
	if err != nil {
		t.Fatal(err)
	}
	return obj
}

func wantBack(t *testing.T, path string, obj, auth []byte) {
	t.Helper()
	back, err := tpm2seal.Unseal(t.Context(), path, obj, auth)
	if err != nil || !bytes.Equal(back, secret) {
		t.Errorf("unseal: %q, %v", back, err)
	}
}

func TestSealedSecretComesBackAfterPowerCycle(t *testing.T) {
	for _, c := range []struct {
		name string
		pcrs []int
		auth []byte
	}{
		{"no binding", nil, nil},
		{"PCR 7", []int{7}, nil},
		{"PIN", nil, auth("1234")},
		{"PIN and PCRs", []int{11, 0, 7, 7}, auth("1234")},
		{"more PCRs than one answer holds", []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14, 23}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := swtpmtest.Start(t)
			obj := seal(t, tpm2seal.Config{Device: p.Path, PCRs: c.pcrs}, c.auth)
			if bytes.Contains(obj, secret) || c.auth != nil && bytes.Contains(obj, c.auth) {
				t.Error("the object has the secret in it")
			}
			wantBack(t, p.Path, obj, c.auth)
			if n := p.Loaded(t); n != 0 {
				t.Errorf("%d objects and sessions stay in the TPM", n)
			}
			p.PowerCycle(t)
			wantBack(t, p.Path, obj, c.auth)
			if needs, err := tpm2seal.NeedsPIN(obj); err != nil || needs != (c.auth != nil) {
				t.Errorf("needs PIN: %v, %v", needs, err)
			}
		})
	}
}

func TestChangedPCRsAreNamed(t *testing.T) {
	p := swtpmtest.Start(t)
	obj := seal(t, tpm2seal.Config{Device: p.Path, PCRs: []int{7, 4, 11}}, auth("1234"))
	p.Extend(t, 5)
	wantBack(t, p.Path, obj, auth("1234")) // not one of them
	p.Extend(t, 11)
	_, err := tpm2seal.Unseal(t.Context(), p.Path, obj, auth("wrong"))
	var e *tpm2seal.PCRError
	if !errors.As(err, &e) || !slices.Equal(e.Changed, []int{11}) || !slices.Equal(e.Bound, []int{4, 7, 11}) {
		t.Fatalf("PCR 11 extended: %v", err)
	}
	if !strings.Contains(err.Error(), "PCR 11 changed; bound to PCR 4+7+11") {
		t.Errorf("text: %v", err)
	}
	if n := p.Property(t, tpm2.TPMPTLockoutCounter); n != 0 {
		t.Errorf("the PIN was tried in a state that could not work: %d failures", n)
	}
	if n := p.Loaded(t); n != 0 {
		t.Errorf("%d objects and sessions stay in the TPM", n)
	}
	p.PowerCycle(t)
	wantBack(t, p.Path, obj, auth("1234"))
}

// TestTPMEnforcesPCRs alters what is recorded, so that only the TPM is left to
// refuse.
func TestTPMEnforcesPCRs(t *testing.T) {
	p := swtpmtest.Start(t)
	obj := seal(t, tpm2seal.Config{Device: p.Path, PCRs: []int{7}}, nil)
	p.Extend(t, 7)
	now := seal(t, tpm2seal.Config{Device: p.Path, PCRs: []int{7}}, nil)
	copy(obj[:42+32], now[:42+32]) // the values that are expected
	if _, err := tpm2seal.Unseal(t.Context(), p.Path, obj, nil); !errors.Is(err, tpm2seal.ErrObject) {
		t.Errorf("recorded values altered: %v", err)
	}
	if _, err := tpm2seal.UnsealUnchecked(t.Context(), p.Path, obj); err == nil {
		t.Error("the TPM gave the secret with another PCR 7")
	} else if e := (*tpm2seal.PCRError)(nil); !errors.As(err, &e) {
		t.Errorf("refused by the TPM: %v", err)
	}
}

func TestWrongPINCountsOnce(t *testing.T) {
	p := swtpmtest.Start(t)
	obj := seal(t, tpm2seal.Config{Device: p.Path, PCRs: []int{7}}, auth("1234"))
	for i := uint32(1); i <= 2; i++ {
		if _, err := tpm2seal.Unseal(t.Context(), p.Path, obj, auth("4321")); !errors.Is(err, tpm2seal.ErrWrongPIN) {
			t.Fatalf("wrong PIN: %v", err)
		}
		if n := p.Property(t, tpm2.TPMPTLockoutCounter); n != i {
			t.Fatalf("%d attempts, the TPM counts %d", i, n)
		}
	}
	wantBack(t, p.Path, obj, auth("1234"))
	for range p.Property(t, tpm2.TPMPTMaxAuthFail) - p.Property(t, tpm2.TPMPTLockoutCounter) {
		if _, err := tpm2seal.Unseal(t.Context(), p.Path, obj, auth("4321")); !errors.Is(err, tpm2seal.ErrWrongPIN) {
			t.Fatalf("wrong PIN: %v", err)
		}
	}
	full := p.Property(t, tpm2.TPMPTLockoutCounter)
	for range 5 {
		_, err := tpm2seal.Unseal(t.Context(), p.Path, obj, auth("1234"))
		var e *tpm2seal.LockoutError
		if !errors.As(err, &e) || e.Wait <= 0 || !strings.Contains(err.Error(), e.Wait.String()) {
			t.Fatalf("locked: %v", err)
		}
	}
	if n := p.Property(t, tpm2.TPMPTLockoutCounter); n != full {
		t.Errorf("counter went from %d to %d while locked", full, n)
	}
	plain := seal(t, tpm2seal.Config{Device: p.Path}, nil)
	wantBack(t, p.Path, plain, nil) // without PIN there is nothing to guess, so no lockout
}

func TestOtherTPMIsRefused(t *testing.T) {
	p, q := swtpmtest.Start(t), swtpmtest.Start(t)
	obj := seal(t, tpm2seal.Config{Device: p.Path}, nil)
	if _, err := tpm2seal.Unseal(t.Context(), q.Path, obj, nil); !errors.Is(err, tpm2seal.ErrOtherTPM) {
		t.Errorf("other TPM: %v", err)
	}
	p.Clear(t)
	if _, err := tpm2seal.Unseal(t.Context(), p.Path, obj, nil); !errors.Is(err, tpm2seal.ErrOtherTPM) {
		t.Errorf("cleared TPM: %v", err)
	}
}

func TestNoTPM(t *testing.T) {
	p := swtpmtest.Start(t)
	obj := seal(t, tpm2seal.Config{Device: p.Path}, nil)
	p.Stop(t)
	file := filepath.Join(t.TempDir(), "none")
	for _, path := range []string{p.Path, file, filepath.Dir(file), "/dev/null"} {
		if _, err := tpm2seal.Unseal(t.Context(), path, obj, nil); !errors.Is(err, tpm2seal.ErrNoTPM) {
			t.Errorf("%s: %v", path, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tpm2seal.Seal(ctx, tpm2seal.Config{Device: p.Path}, secret, nil); err == nil {
		t.Error("sealed after the end")
	}
}

// TestSecretDoesNotCrossTheBus listens between us and the TPM.
func TestSecretDoesNotCrossTheBus(t *testing.T) {
	p := swtpmtest.Start(t)
	path, seen := p.Snoop(t)
	obj := seal(t, tpm2seal.Config{Device: path, PCRs: []int{7}}, auth("1234")) // unseals too
	all := seen()
	if len(all) < 1000 || !bytes.Contains(all, obj[8+34+32+2:][:50]) {
		t.Fatalf("%d bytes seen", len(all))
	}
	for n := 0; n+8 <= len(secret); n++ {
		if bytes.Contains(all, secret[n:n+8]) {
			t.Fatal("the secret can be read")
		}
	}
	if bytes.Contains(all, auth("1234")[:8]) {
		t.Fatal("the PIN can be read")
	}
}

// TestDamagedObject flips every bit: never a secret, and never a panic.
func TestDamagedObject(t *testing.T) {
	p := swtpmtest.Start(t)
	obj := seal(t, tpm2seal.Config{Device: p.Path, PCRs: []int{7}}, nil)
	step := 5
	if testing.Short() {
		step = 41
	}
	for i := 0; i < len(obj)*8; i += step {
		b := bytes.Clone(obj)
		b[i/8] ^= 1 << (i % 8)
		if got, err := tpm2seal.Unseal(t.Context(), p.Path, b, nil); err == nil {
			t.Fatalf("bit %d flipped: %q", i, got)
		}
	}
	for n := range obj {
		if _, err := tpm2seal.NeedsPIN(obj[:n]); !errors.Is(err, tpm2seal.ErrObject) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	if n := p.Loaded(t); n != 0 {
		t.Errorf("%d objects and sessions stay in the TPM", n)
	}
}

func TestBadChoices(t *testing.T) {
	for _, c := range []struct {
		pcrs   []int
		secret string
		auth   []byte
	}{
		{[]int{24}, "s", nil},
		{[]int{-1}, "s", nil},
		{nil, "", nil},
		{nil, strings.Repeat("s", 129), nil},
		{nil, "s", []byte("short")},
	} {
		_, err := tpm2seal.Seal(t.Context(), tpm2seal.Config{Device: "/nowhere", PCRs: c.pcrs}, []byte(c.secret), c.auth)
		if !errors.Is(err, tpm2seal.ErrConfig) {
			t.Errorf("%v %d bytes: %v", c.pcrs, len(c.secret), err)
		}
	}
	p := swtpmtest.Start(t)
	obj := seal(t, tpm2seal.Config{Device: p.Path}, nil)
	if _, err := tpm2seal.Unseal(t.Context(), p.Path, obj, auth("1")); !errors.Is(err, tpm2seal.ErrConfig) {
		t.Errorf("PIN where none is needed: %v", err)
	}
}

func FuzzObject(f *testing.F) {
	f.Add([]byte{})
	f.Add(append([]byte{1, 0, 0, 11, 0, 0, 0, 128, 0, 11}, make([]byte, 80)...))
	f.Add(tpm2seal.Golden())
	f.Fuzz(func(t *testing.T, b []byte) { tpm2seal.CheckObject(t, b) })
}
