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
	"fmt"
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

// TestWholeRekeyIsOneUpdate rewraps the keys of 10,000 volumes under a new
// master key in one transaction of 79 pages, checking each, as the rekey will.
func TestWholeRekeyIsOneUpdate(t *testing.T) {
	const volumes = 10000
	bolt, err := store.OpenBolt(filepath.Join(t.TempDir(), "s.db"), store.BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer bolt.Close()
	from, to := testWrapper(t, 1), testWrapper(t, 2)
	k, err := RandomSecret(from.rand, maxDataKey)
	if err != nil {
		t.Fatal(err)
	}
	var all []page
	for i := range volumes {
		if i%pageRecords == 0 {
			all = append(all, newPage(uint32(len(all)), from.master, from.generation))
		}
		w, err := from.wrap(uuid.New(), k)
		if err != nil {
			t.Fatal(err)
		}
		all[len(all)-1] = all[len(all)-1].add(w)
	}
	total := 0
	put := func(tx store.Tx, ps []page) error {
		total = 0
		for _, p := range ps {
			total += len(p)
			if err := tx.Put(pageKey(p.number()), p); err != nil {
				return err
			}
		}
		return nil
	}
	if err := bolt.Update(t.Context(), func(tx store.Tx) error { return put(tx, all) }); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	err = bolt.Update(t.Context(), func(tx store.Tx) error {
		var next []page
		err := pages(tx, func(p page) error {
			q, err := rewrap(from, to, p)
			next = append(next, q)
			return err
		})
		if err != nil {
			return err
		}
		return put(tx, next)
	})
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	t.Logf("%d volumes, %d pages, %d bytes: %v", volumes, len(all), total, took)
	if len(all) != 79 || total > 3<<19 {
		t.Errorf("%d pages of %d bytes do not fit a transaction of etcd", len(all), total)
	}
	if took > 15*time.Second {
		t.Errorf("rekey of %d volumes took %v", volumes, took)
	}
}

func testWrapper(t *testing.T, generation uint64) *wrapper {
	o := Options{Cluster: goldenCluster, Sealer: sealer{&passSealer{}}}
	if err := o.fill(); err != nil {
		t.Fatal(err)
	}
	k, err := RandomSecret(o.Rand, keyBytes)
	if err != nil {
		t.Fatal(err)
	}
	return &wrapper{cluster: uuid.MustParse(goldenCluster), master: uuid.New(), generation: generation, key: k, rand: o.Rand}
}

func rewrap(from, to *wrapper, p page) (page, error) {
	q := newPage(p.number(), to.master, to.generation)
	for i := range p.count() {
		k, err := from.unwrap(p.rec(i))
		if err != nil {
			return nil, err
		}
		w, err := to.wrap(p.rec(i).volume(), k)
		if err != nil {
			return nil, err
		}
		back, err := to.unwrap(w)
		if err != nil || !back.Equal(k) {
			return nil, fmt.Errorf("wrap does not open again: %w", err)
		}
		back.Destroy()
		k.Destroy()
		q = q.add(w)
	}
	return q, nil
}
