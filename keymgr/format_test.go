package keymgr

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/argon2"

	"lockplate/store"
	"lockplate/store/storetest"
)

var updateGolden = flag.Bool("keymgr.update", false, "write new golden records")

// The golden store of version 1: made once, opened for ever.
const (
	goldenCluster = "11111111-2222-3333-4444-555555555555"
	goldenVolume  = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
	goldenPass    = "golden passphrase"
	goldenKey     = "0123456789abcdef0123456789abcdef0123456789abcdefFEDCBA9876543210"
)

func goldenOptions(t testing.TB) Options {
	ask := func(bool) ([]byte, error) { return []byte(goldenPass), nil }
	s, err := ParseSealer("passphrase", SealerOptions{Passphrase: ask, KDF: Argon2{Time: 2, Memory: 256, Threads: 2}})
	if err != nil {
		t.Fatal(err)
	}
	return Options{Cluster: goldenCluster, Sealer: s, Now: func() time.Time { return time.Unix(1800000000, 0) }}
}

// golden returns the records of testdata/store-1.json: key to hex.
func golden(t testing.TB) map[string][]byte {
	path := filepath.Join("testdata", "store-1.json")
	if *updateGolden {
		writeGolden(t, path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var hexed map[string]string
	if err := json.Unmarshal(b, &hexed); err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for k, v := range hexed {
		out[k] = unhex(t, v)
	}
	return out
}

func writeGolden(t testing.TB, path string) {
	st := newStore(t)
	m, err := Create(context.Background(), st, "passphrase", goldenOptions(t))
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewSecret([]byte(goldenKey))
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Update(context.Background(), func(tx store.Tx) error { return m.PutDataKey(tx, goldenVolume, k) }); err != nil {
		t.Fatal(err)
	}
	hexed := map[string]string{}
	for k, v := range storetest.Dump(t, st) {
		hexed[k] = hex.EncodeToString([]byte(v))
	}
	hexed["backup"] = hex.EncodeToString(backup(t, st))
	b, err := json.MarshalIndent(hexed, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestGoldenStoreOpens(t *testing.T) {
	g := golden(t)
	st := newStore(t)
	if err := restore(st, g["backup"], backupPass); err != nil {
		t.Fatal(err)
	}
	delete(g, "backup")
	got := storetest.Dump(t, st)
	if len(got) != len(g) {
		t.Errorf("backup has %v, want %v", slices.Collect(maps.Keys(got)), slices.Collect(maps.Keys(g)))
	}
	for k, v := range g {
		if got[k] != string(v) {
			t.Errorf("%s differs", k)
		}
	}
	m, err := Open(t.Context(), st, goldenOptions(t))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	k, err := m.DataKey(t.Context(), goldenVolume)
	if err != nil || string(k.Bytes()) != goldenKey {
		t.Errorf("golden data key: %v", err)
	}
}

// openGCM and hk are the standard library's.
func openGCM(key, nonce, ct, aad []byte) ([]byte, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	g, err := cipher.NewGCM(b)
	if err != nil {
		return nil, err
	}
	return g.Open(nil, nonce, ct, aad)
}

func hk(t *testing.T, key, salt []byte, info string) []byte {
	k, err := hkdf.Key(sha256.New, key, salt, info, 32)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// TestSecondImplementation reads the golden records as docs/FORMAT describes
// them, with none of our code and offsets written out.
func TestSecondImplementation(t *testing.T) {
	var sealed, page, rec []byte
	var id uuid.UUID
	for k, v := range golden(t) {
		switch {
		case strings.HasPrefix(k, "sealed/"):
			sealed, id = v, uuid.MustParse(k[7:])
		case strings.HasPrefix(k, "master/"):
			rec = v
		case k == "wraps/00000000":
			page = v
		}
	}
	cluster, volume := uuid.MustParse(goldenCluster), uuid.MustParse(goldenVolume)
	// sealed master key
	h := sealed[:72]
	if string(h[:4]) != "LPSB" || h[4] != 1 || h[5] != 2 || int(binary.BigEndian.Uint32(h[68:])) != len(sealed)-80 {
		t.Fatalf("sealed header %x", h)
	}
	salt := h[16:48]
	base := argon2.IDKey([]byte(goldenPass), salt, binary.BigEndian.Uint32(h[8:]), binary.BigEndian.Uint32(h[12:]), h[6], 32)
	if !bytes.Equal(hk(t, base, salt, "lockplate seal check 1")[:8], h[48:56]) {
		t.Error("check value of the sealing key differs")
	}
	sum := sha256.Sum256(cat(h, sealed[80:]))
	if !bytes.Equal(sum[:8], sealed[72:80]) {
		t.Error("checksum differs")
	}
	master, err := openGCM(hk(t, base, salt, "lockplate seal key 1"), h[56:68], sealed[80:], cat(h, []byte("lockplate master 1"), cluster[:], id[:]))
	if err != nil || len(master) != 32 {
		t.Fatalf("sealed master key: %v", err)
	}
	// check value in the master record
	var m struct {
		KCV        string
		State      string
		Generation uint64
	}
	if err := json.Unmarshal(rec, &m); err != nil {
		t.Fatal(err)
	}
	if want := hex.EncodeToString(hk(t, master, nil, "kcv")[:8]); m.KCV != want || m.State != "current" || m.Generation != 1 {
		t.Errorf("master record %s, want check value %s", rec, want)
	}
	// wrap
	r := page[40:172]
	if string(page[:4]) != "LPWP" || !bytes.Equal(page[16:32], id[:]) || !bytes.Equal(r[:16], volume[:]) || len(page) != 172 {
		t.Fatalf("page %x", page[:60])
	}
	info := cat([]byte("lockplate wrap 1"), []byte{1, 1}, r[16:18], cluster[:], id[:], page[32:40], volume[:])
	plain, err := openGCM(hk(t, master, r[20:52], string(info)), make([]byte, 12), r[52:132], cat(info, r[20:52]))
	if err != nil || string(plain[:binary.BigEndian.Uint16(r[16:])]) != goldenKey {
		t.Errorf("wrap: %v", err)
	}
}
