package keymgr

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"lockplate/keymgr/shamir"
	"lockplate/store"
	"lockplate/store/storetest"
)

// goldenRecovery is testdata/recovery-1.json: a store of version 1 with recovery
// shares, made once, and three shares that open it for ever.
type goldenRecovery struct {
	Records map[string]string `json:"records"` // hex
	Shares  []string          `json:"shares"`
}

func recoveryGolden(t *testing.T) (g goldenRecovery) {
	t.Helper()
	path := filepath.Join("testdata", "recovery-1.json")
	if *updateGolden {
		writeRecoveryGolden(t, path)
	}
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &g)
	}
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func writeRecoveryGolden(t *testing.T, path string) {
	st := newStore(t)
	m, err := Create(context.Background(), st, "passphrase", goldenOptions(t))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	k, err := NewSecret([]byte(goldenKey))
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Update(context.Background(), func(tx store.Tx) error { return m.PutDataKey(tx, goldenVolume, k) }); err != nil {
		t.Fatal(err)
	}
	all, err := m.CreateShares(context.Background(), 3, 5, false)
	if err != nil {
		t.Fatal(err)
	}
	g := goldenRecovery{Records: map[string]string{}}
	for _, s := range all[2:] {
		g.Shares = append(g.Shares, string(s.Text()))
	}
	for k, v := range storetest.Dump(t, st) {
		g.Records[k] = hex.EncodeToString([]byte(v))
	}
	b, err := json.MarshalIndent(g, "", " ")
	if err == nil {
		err = os.WriteFile(path, append(b, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestGoldenSharesOpen(t *testing.T) {
	g := recoveryGolden(t)
	st := newStore(t)
	err := st.Update(t.Context(), func(tx store.Tx) error {
		for k, v := range g.Records {
			if err := tx.Put(k, unhex(t, v)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseSealer("shares", SealerOptions{Shares: func(want SharesInfo) (*shamir.Set, error) {
		if want.Threshold != 3 || want.Shares != 5 || !want.Created.Equal(time.Unix(1800000000, 0)) {
			t.Errorf("wanted are %+v", want)
		}
		var texts [][]byte
		for _, text := range g.Shares {
			texts = append(texts, []byte(text))
		}
		return ParseShares(texts)
	}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(t.Context(), st, Options{Cluster: goldenCluster, Sealer: s})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	k, err := m.DataKey(t.Context(), goldenVolume)
	if err != nil || string(k.Bytes()) != goldenKey {
		t.Errorf("golden data key: %v", err)
	}
}

// TestSecondImplementationOfRecovery opens recovery/ID as docs/FORMAT describes
// it, with offsets written out.
func TestSecondImplementationOfRecovery(t *testing.T) {
	g := recoveryGolden(t)
	var set shamir.Set
	for _, text := range g.Shares {
		s, err := shamir.Parse([]byte(text))
		if err == nil {
			err = set.Add(s)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	key, err := set.Combine()
	if err != nil {
		t.Fatal(err)
	}
	var rec struct{ Set, KCV, Sealed string }
	if err := json.Unmarshal(unhex(t, g.Records["recovery"]), &rec); err != nil {
		t.Fatal(err)
	}
	if rec.Set != set.ID().String() || rec.KCV != hex.EncodeToString(hk(t, key, nil, "kcv")[:8]) {
		t.Errorf("record %+v is not about these shares", rec)
	}
	cluster := uuid.MustParse(goldenCluster)
	for k, v := range g.Records {
		id, ok := strings.CutPrefix(k, "recovery/")
		if !ok {
			continue
		}
		b, master := unhex(t, v), uuid.MustParse(id)
		if b[5] != 5 {
			t.Errorf("kind %d", b[5])
		}
		plain, err := openGCM(hk(t, key, b[16:48], "lockplate seal key 1"), b[56:68], b[80:],
			cat(b[:72], []byte("lockplate master 1"), cluster[:], master[:]))
		if err != nil || len(plain) != 32 {
			t.Errorf("%s: %d bytes, %v", k, len(plain), err)
		}
		if strings.Contains(string(unhex(t, g.Records["recovery"])), base64.StdEncoding.EncodeToString(key)) {
			t.Error("the recovery key can be read")
		}
	}
}

// TestSecondImplementationOfTPM opens a key with a TPM object in it as
// docs/FORMAT describes it; the 32 bytes that the TPM gives are known here.
func TestSecondImplementationOfTPM(t *testing.T) {
	base := []byte(strings.Repeat("b", 32))
	have, err := NewSecret([]byte(strings.Repeat("b", 32)))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("tpm2seal", "testdata", "object-1.hex"))
	if err != nil {
		t.Fatal(err)
	}
	object := unhex(t, strings.Join(strings.Fields(string(text)), ""))
	s := sealer{&tpmSealer{have: have, object: object}}
	plain, err := NewSecret([]byte(strings.Repeat("m", 32)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Seal(t.Context(), plain, []byte("bind"))
	if err != nil {
		t.Fatal(err)
	}
	n := int(b[80])<<8 | int(b[81])
	if b[5] != 4 || string(b[82:82+n]) != string(object) {
		t.Errorf("kind %d, object of %d bytes", b[5], n)
	}
	got, err := openGCM(hk(t, base, b[16:48], "lockplate seal key 1"), b[56:68], b[82+n:], cat(b[:72], b[80:82+n], []byte("bind")))
	if err != nil || string(got) != strings.Repeat("m", 32) {
		t.Errorf("opens to %q, %v", got, err)
	}
}
