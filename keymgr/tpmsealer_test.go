package keymgr_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/uuid"

	"lockplate/keymgr"
	"lockplate/keymgr/keymgrtest"
	"lockplate/keymgr/swtpmtest"
	"lockplate/keymgr/tpm2seal"
)

func TestTPMSource(t *testing.T) {
	p := swtpmtest.Start(t)
	keymgrtest.TestSource(t, func(t *testing.T) func() keymgr.KeySource {
		r := newRig(t, "tpm2:"+p.Path+",pcrs=7+11,pin")
		return func() keymgr.KeySource { return r.source() }
	})
}

func TestParseTPM(t *testing.T) {
	for _, good := range []string{"tpm2", "tpm2:pin", "tpm2:/dev/tpm0", "tpm2:pcrs=none", "tpm2:pcrs=0+23,pin,/run/swtpm.sock"} {
		s, err := keymgr.ParseSealer(good, keymgr.SealerOptions{})
		if err != nil {
			t.Errorf("%s: %v", good, err)
			continue
		}
		if ok, why := s.Protects(); s.Kind() != "tpm2" || !ok || why != "" {
			t.Errorf("%s: %s, protects %v %s", good, s.Kind(), ok, why)
		}
		if asks, _ := keymgr.SealerAsks(good); (asks == "PIN") != strings.Contains(good, "pin") {
			t.Errorf("%s asks for %q", good, asks)
		}
	}
	for _, bad := range []string{
		"tpm2:", "tpm2:relative", "tpm2:pcrs=", "tpm2:pcrs=24", "tpm2:pcrs=7+7", "tpm2:pcrs=7,pcrs=8", "tpm2:pin,pin",
		"tpm2:/a,/b", "tpm2:pin=1234", "tpm2:pcrs=-1", "tpm2:pcrs=7,", "tpm2:bank=sha1",
	} {
		if _, err := keymgr.ParseSealer(bad, keymgr.SealerOptions{}); !errors.Is(err, keymgr.ErrBadSealer) {
			t.Errorf("%q: %v, want ErrBadSealer", bad, err)
		}
	}
}

// TestTPMOpensAfterRestarts: of the process, of the machine, and after a rekey.
func TestTPMOpensAfterRestarts(t *testing.T) {
	p := swtpmtest.Start(t)
	r := newRig(t, "tpm2:"+p.Path)
	m := r.create()
	vol := uuid.NewString()
	r.put(m, vol, "a data key")
	if k := m.Master(); !k.Sealed || k.Sealer != "tpm2" || k.Warning != "" {
		t.Errorf("described as %+v", k)
	}
	m.Close()
	m = r.mustOpen()
	r.rekey(m, keymgr.RekeyTarget{Type: keymgr.Internal})
	m.Close()
	p.PowerCycle(t)
	m = r.mustOpen()
	if k, err := r.key(m, vol); err != nil || k != "a data key" {
		t.Errorf("data key: %q, %v", k, err)
	}
	if bad, err := keymgr.Check(t.Context(), r.st); err != nil || len(bad) > 0 {
		t.Errorf("check: %v, %v", bad, err)
	}
}

func TestTPMRefusesAnotherState(t *testing.T) {
	p := swtpmtest.Start(t)
	r := newRig(t, "tpm2:"+p.Path+",pcrs=7+11")
	r.create().Close()
	p.Extend(t, 11)
	r.wantOpenError(keymgr.ErrWrongKey, "PCR 11 changed; bound to PCR 7+11")
	r.wantOpenError(keymgr.ErrWrongKey, "serve --seal shares")
	p.PowerCycle(t)
	r.mustOpen().Close()

	other := swtpmtest.Start(t)
	right := r.spec
	r.spec = "tpm2:" + other.Path + ",pcrs=7+11"
	r.wantOpenError(keymgr.ErrWrongKey, "another TPM")
	r.spec = right
	p.Stop(t)
	r.wantOpenError(keymgr.ErrSealerMissing, "no TPM 2.0 answers there")
}

// TestPINIsTriedOnce: neither at a start nor by a rekey is one tried that the
// user did not give just then.
func TestPINIsTriedOnce(t *testing.T) {
	p := swtpmtest.Start(t)
	r := newRig(t, "tpm2:"+p.Path+",pin")
	asked := 0
	pin := "1234"
	r.opts.Passphrase = func(bool) ([]byte, error) { asked++; return []byte(pin), nil }
	m := r.create()
	if asked != 1 {
		t.Errorf("asked %d times to make the cluster", asked)
	}
	m.Close()
	pin = "wrong"
	r.wantOpenError(keymgr.ErrWrongPassphrase, "wrong PIN")
	if n := p.Property(t, tpm2.TPMPTLockoutCounter); n != 1 || asked != 2 {
		t.Errorf("one wrong PIN: the TPM counts %d, asked %d times", n, asked)
	}
	pin = "1234"
	m = r.mustOpen()
	pin = "wrong"
	r.rekey(m, keymgr.RekeyTarget{Type: keymgr.Internal})
	if n := p.Property(t, tpm2.TPMPTLockoutCounter); n > 1 || asked != 3 {
		t.Errorf("after a rekey: the TPM counts %d, asked %d times", n, asked)
	}
	m.Close()
	for n := p.Property(t, tpm2.TPMPTLockoutCounter); n < p.Property(t, tpm2.TPMPTMaxAuthFail); n++ {
		r.wantOpenError(keymgr.ErrWrongPassphrase, "wrong PIN")
	}
	pin = "1234"
	r.wantOpenError(keymgr.ErrSealerMissing, "takes none for at most")
	if _, err := r.open(); !errors.As(err, new(*tpm2seal.LockoutError)) {
		t.Errorf("locked: %v", err)
	}
	r.opts.Passphrase = nil
	r.wantOpenError(keymgr.ErrSealerMissing, "nobody to ask for the PIN")
}

// TestSealedKeyWithObject flips bits of a key sealed by a TPM.
func TestSealedKeyWithObject(t *testing.T) {
	p := swtpmtest.Start(t)
	r := newRig(t, "tpm2:"+p.Path)
	s := r.sealer()
	k := secret(t, strings.Repeat("k", 32))
	blob, err := s.Seal(t.Context(), k, []byte("bind"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(blob) * 8 {
		b := append([]byte(nil), blob...)
		b[i/8] ^= 1 << (i % 8)
		if _, err := s.Unseal(t.Context(), b, []byte("bind")); !errors.Is(err, keymgr.ErrIntegrity) && !errors.Is(err, keymgr.ErrFormat) {
			t.Fatalf("bit %d flipped: %v", i, err)
		}
	}
	for n := range blob {
		if _, err := s.Unseal(t.Context(), blob[:n], []byte("bind")); !errors.Is(err, keymgr.ErrIntegrity) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	if back, err := r.sealer().Unseal(t.Context(), blob, []byte("bind")); err != nil || !back.Equal(k) {
		t.Errorf("untouched, in a new process: %v", err)
	}
}
