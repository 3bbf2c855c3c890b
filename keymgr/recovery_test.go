package keymgr_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"lockplate/keymgr"
	"lockplate/keymgr/shamir"
	"lockplate/store"
	"lockplate/store/storetest"
)

// rekey replaces the master key and waits until nothing is left of it.
func (r *rig) rekey(m *keymgr.Manager, t keymgr.RekeyTarget) {
	r.t.Helper()
	old := m.Master().ID
	if _, err := m.Rekey(r.t.Context(), t); err != nil {
		r.t.Fatal(err)
	}
	r.clean()
	if m.Master().ID == old {
		r.t.Fatal("the master key stayed")
	}
}

// shares makes recovery shares and gives their texts.
func (r *rig) shares(m *keymgr.Manager, threshold, n int) (texts []string) {
	r.t.Helper()
	all, err := m.CreateShares(r.t.Context(), threshold, n, true)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range all {
		texts = append(texts, string(s.Text()))
	}
	return texts
}

func setOf(t testing.TB, texts ...string) *shamir.Set {
	t.Helper()
	set := &shamir.Set{}
	for _, text := range texts {
		s, err := shamir.Parse([]byte(text))
		if err == nil {
			err = set.Add(s)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return set
}

// withShares has the rig open from recovery shares.
func (r *rig) withShares(texts ...string) {
	r.spec = "shares"
	r.opts.Shares = func(keymgr.SharesInfo) (*shamir.Set, error) { return setOf(r.t, texts...), nil }
}

func (r *rig) covers(m *keymgr.Manager, want bool) {
	r.t.Helper()
	if info, err := m.Shares(r.t.Context()); err != nil || info.Covers != want {
		r.t.Errorf("shares %+v, %v; want covers %v", info, err, want)
	}
	if bad, err := keymgr.Check(r.t.Context(), r.st); err != nil || len(bad) > 0 {
		r.t.Errorf("check: %v, %v", bad, err)
	}
}

// TestSharesOpenWithoutSealer loses the key file, opens from shares, and gives
// the cluster another sealer.
func TestSharesOpenWithoutSealer(t *testing.T) {
	r := newRig(t, "file")
	m := r.create()
	vol := uuid.NewString()
	r.put(m, vol, "a data key")
	if _, err := m.Shares(t.Context()); !errors.Is(err, keymgr.ErrNoShares) {
		t.Errorf("no shares yet: %v", err)
	}
	texts := r.shares(m, 3, 5)
	r.covers(m, true)
	if err := m.VerifyShares(t.Context(), setOf(t, texts[0], texts[2], texts[4])); err != nil {
		t.Error(err)
	}
	m.Close()
	os.Remove(filepath.Join(r.dir, "test.key"))
	r.wantOpenError(keymgr.ErrSealerMissing, "test.key")

	r.withShares(texts[4], texts[1])
	if _, err := r.open(); !errors.Is(err, shamir.ErrTooFew) || !strings.Contains(err.Error(), "3 are needed") {
		t.Errorf("two of three: %v", err)
	}
	r.withShares(texts[4], texts[1], texts[2])
	m = r.mustOpen()
	if k, err := r.key(m, vol); err != nil || k != "a data key" {
		t.Errorf("data key: %q, %v", k, err)
	}
	if k := m.Master(); !strings.Contains(k.Warning, "key reseal") {
		t.Errorf("described as %+v", k)
	}
	r.wantReseal(m)
	m.Close()
	r.spec, r.opts.Shares = "passphrase", nil
	m = r.mustOpen()
	if k, err := r.key(m, vol); err != nil || k != "a data key" {
		t.Errorf("data key after reseal: %q, %v", k, err)
	}
	r.covers(m, true)
}

// wantReseal proves that nothing new is sealed for shares alone, and reseals.
func (r *rig) wantReseal(m *keymgr.Manager) {
	r.t.Helper()
	if _, err := m.Rekey(r.t.Context(), keymgr.RekeyTarget{}); !errors.Is(err, keymgr.ErrReseal) {
		r.t.Errorf("rekey: %v", err)
	}
	if err := m.CreateKeyPair(r.t.Context(), keymgr.Subject{CommonName: "x"}); !errors.Is(err, keymgr.ErrReseal) {
		r.t.Errorf("key pair: %v", err)
	}
	if _, err := m.CreateShares(r.t.Context(), 2, 3, true); !errors.Is(err, keymgr.ErrReseal) {
		r.t.Errorf("other shares: %v", err)
	}
	if err := m.RemoveShares(r.t.Context()); !errors.Is(err, keymgr.ErrReseal) {
		r.t.Errorf("no shares: %v", err)
	}
	r.reseal(m, "passphrase")
	if k := m.Master(); k.Sealer != "passphrase" || k.Warning != "" {
		r.t.Errorf("described as %+v", k)
	}
}

func (r *rig) reseal(m *keymgr.Manager, spec string) {
	r.t.Helper()
	s, err := keymgr.ParseSealer(spec, r.opts)
	if err == nil {
		err = m.Reseal(r.t.Context(), spec, s)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// TestSharesStayValid through rekeys to a provider and back, a new key pair and
// another sealer; and they open the way to key servers.
func TestSharesStayValid(t *testing.T) {
	r := newRekeyRig(t, 3)
	texts := r.shares(r.m, 2, 3)
	r.covers(r.m, true)
	verify := func() {
		t.Helper()
		r.covers(r.m, true)
		r.wantData()
		if err := r.m.VerifyShares(t.Context(), setOf(t, texts[0], texts[2])); err != nil {
			t.Error(err)
		}
	}
	verify()
	r.rig.rekey(r.m, keymgr.RekeyTarget{Type: keymgr.External, ProviderID: r.p[0]})
	verify()
	if n := count(storetest.Dump(t, r.st), "recovery/"); n != 0 {
		t.Errorf("%d internal keys are sealed for shares, the master key is external", n)
	}
	r.m.Close()
	spec := r.spec
	r.withShares(texts[2], texts[1])
	r.m = r.mustOpen()
	if err := r.m.Locked(); err != nil {
		t.Fatalf("the key server was not reached with the key pair from shares: %v", err)
	}
	verify()
	r.reseal(r.m, spec)
	r.rig.rekey(r.m, keymgr.RekeyTarget{Type: keymgr.Internal})
	verify()
	r.reseal(r.m, "passphrase")
	r.rig.rekey(r.m, keymgr.RekeyTarget{Type: keymgr.Internal})
	verify()
	if n := count(storetest.Dump(t, r.st), "recovery/"); n != 1 {
		t.Errorf("%d internal keys are sealed for shares, want the current one", n)
	}
	r.m.Close()
	r.withShares(texts[0], texts[1])
	r.m = r.mustOpen()
	verify()
}

func count(records map[string]string, prefix string) (n int) {
	for k := range records {
		if strings.HasPrefix(k, prefix) {
			n++
		}
	}
	return n
}

func TestWrongSharesAreRefused(t *testing.T) {
	r := newRig(t, "file")
	m := r.create()
	old := r.shares(m, 2, 3)
	if _, err := m.CreateShares(t.Context(), 2, 3, false); !errors.Is(err, keymgr.ErrExists) {
		t.Errorf("second set: %v", err)
	}
	texts := r.shares(m, 2, 3)
	if err := m.VerifyShares(t.Context(), setOf(t, old[0], old[1])); !errors.Is(err, keymgr.ErrWrongKey) || !strings.Contains(err.Error(), "wanted are those of set") {
		t.Errorf("replaced shares: %v", err)
	}
	if err := m.VerifyShares(t.Context(), setOf(t, texts[0])); !errors.Is(err, shamir.ErrTooFew) {
		t.Errorf("one of two: %v", err)
	}
	if _, err := m.CreateShares(t.Context(), 1, 3, true); !errors.Is(err, shamir.ErrInvalid) {
		t.Errorf("threshold 1: %v", err)
	}
	if err := m.Reseal(t.Context(), "shares", r.sealer()); !errors.Is(err, keymgr.ErrBadSealer) {
		t.Errorf("reseal with shares: %v", err)
	}
	if err := m.RemoveShares(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.RemoveShares(t.Context()); !errors.Is(err, keymgr.ErrNoShares) {
		t.Errorf("removed twice: %v", err)
	}
	if err := m.VerifyShares(t.Context(), setOf(t, texts[0], texts[1])); !errors.Is(err, keymgr.ErrNoShares) {
		t.Errorf("removed shares: %v", err)
	}
	if n := count(storetest.Dump(t, r.st), "recovery"); n != 0 {
		t.Errorf("%d records of removed shares stay", n)
	}
	m.Close()
	r.withShares(texts[0], texts[1])
	r.wantOpenError(keymgr.ErrNoShares, "")
	r.opts.Shares = nil
	r.wantOpenError(keymgr.ErrNoShares, "")
	if _, err := keymgr.Create(t.Context(), storetest.Retrying(r.st), "shares", r.options()); !errors.Is(err, keymgr.ErrBadSealer) {
		t.Errorf("cluster sealed by shares: %v", err)
	}
}

// TestResealIsAtomic makes every step of a reseal fail: the old sealer or the
// new one opens the store afterwards, and the record says which.
func TestResealIsAtomic(t *testing.T) {
	r := newRig(t, "file")
	m := r.create()
	vol := uuid.NewString()
	r.put(m, vol, "a data key")
	r.shares(m, 2, 2)
	before := storetest.Dump(t, r.st)
	bad := r.opts
	bad.Passphrase = func(bool) ([]byte, error) { return nil, errors.New("nobody there") }
	s, err := keymgr.ParseSealer("passphrase", bad)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Reseal(t.Context(), "passphrase", s); err == nil {
		t.Error("sealed anew without passphrase")
	}
	r.wantNoChange(before)
	r.reseal(m, "passphrase")
	after := storetest.Dump(t, r.st)
	for _, k := range []string{"sealer", "recovery", "sealed/" + m.Master().ID, "master/" + m.Master().ID} {
		if before[k] == after[k] {
			t.Errorf("%s was not replaced", k)
		}
	}
	m.Close()
	r.wantOpenError(keymgr.ErrWrongKey, "sealed with a passphrase")
	if spec, err := keymgr.SealerSpec(t.Context(), r.st); err != nil || spec != "passphrase" {
		t.Errorf("recorded sealer %q, %v", spec, err)
	}
	r.spec = "passphrase"
	m = r.mustOpen()
	if k, err := r.key(m, vol); err != nil || k != "a data key" {
		t.Errorf("data key: %q, %v", k, err)
	}
}

func (r *rig) wantNoChange(before map[string]string) {
	r.t.Helper()
	for k, v := range storetest.Dump(r.t, r.st) {
		if before[k] != v {
			r.t.Errorf("%s changed", k)
		}
	}
}

// TestSharesAreNotInTheStore looks for what was split and for the shares.
func TestSharesAreNotInTheStore(t *testing.T) {
	r := newRig(t, "file")
	m := r.create()
	all, err := m.CreateShares(t.Context(), 2, 3, false)
	if err != nil {
		t.Fatal(err)
	}
	set := &shamir.Set{}
	needles := [][]byte{}
	for _, s := range all {
		needles = append(needles, s.Text()[30:60])
		if err := set.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	key, err := set.Combine()
	if err != nil {
		t.Fatal(err)
	}
	var dump bytes.Buffer
	for k, v := range storetest.Dump(t, r.st) {
		dump.WriteString(k + v)
	}
	for _, n := range append(needles, key) {
		if bytes.Contains(dump.Bytes(), n) {
			t.Error("the store has a share or the recovery key in it")
		}
	}
}

// TestDamagedRecoveryRecord: shares are refused, the sealer still opens, and the
// check names the record.
func TestDamagedRecoveryRecord(t *testing.T) {
	for _, bad := range []string{`{`, `{"version":2}`, `{"version":1,"set":"zz","threshold":2,"shares":3}`} {
		r := newRig(t, "file")
		m := r.create()
		texts := r.shares(m, 2, 3)
		m.Close()
		if err := r.st.Update(t.Context(), func(tx store.Tx) error { return tx.Put("recovery", []byte(bad)) }); err != nil {
			t.Fatal(err)
		}
		r.mustOpen().Close()
		if problems, err := keymgr.Check(t.Context(), r.st); err != nil || len(problems) < 1 {
			t.Errorf("%s: check finds %v, %v", bad, problems, err)
		}
		r.withShares(texts[0], texts[1])
		if _, err := r.open(); !errors.Is(err, keymgr.ErrIntegrity) && !errors.Is(err, keymgr.ErrFormat) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
