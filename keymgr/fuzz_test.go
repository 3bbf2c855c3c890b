package keymgr

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"lockplate/store"
	"lockplate/store/storetest"
)

// seed adds the golden records whose key has the prefix.
func seed(f *testing.F, prefix string) {
	f.Helper()
	g := golden(f)
	for _, k := range slices.Sorted(maps.Keys(g)) {
		if strings.HasPrefix(k, prefix) {
			f.Add(g[k])
		}
	}
	f.Add([]byte{})
}

// FuzzPage parses pages; what passes is read in full, and changed.
func FuzzPage(f *testing.F) {
	seed(f, "wraps/")
	w := &wrapper{key: must(newSecret(keyBytes))}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, key := range []string{pageKey(0), pageKey(7)} {
			p, err := parsePage(key, b)
			if err != nil {
				continue
			}
			if pageKey(p.number()) != key || p.find(p.rec(p.count()-1).volume()) < 0 {
				t.Fatalf("page %d passes for %s", p.number(), key)
			}
			if _, err := w.unwrap(p.rec(0)); err == nil {
				t.Fatal("a key nobody wrapped")
			}
			n := p.count()
			if q := p.add(bytes.Clone(p.rec(0))).dropLast(); q.count() != n || len(q) != len(b) {
				t.Fatal("adding and dropping a record changes the page")
			}
		}
	})
}

func must(s *Secret, err error) *Secret {
	if err != nil {
		panic(err)
	}
	return s
}

// FuzzSealed parses sealed keys; costs of a passphrase must be within limits
// before anything is spent on them.
func FuzzSealed(f *testing.F) {
	seed(f, "sealed/")
	object := &header{magic: magicSealed, kind: kindTPM2, object: []byte("object"), length: 20}
	f.Add(append(object.marshal(make([]byte, 20)), make([]byte, 20)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= headerBytes { // let the fuzzer past the checksum
			copy(b[headerAAD:], checksum(b[:headerAAD], b[headerBytes:]))
		}
		h, ct, err := parseBlob(b)
		if err != nil {
			return
		}
		if (h.object != nil) != (h.kind == kindTPM2) {
			t.Fatalf("kind %v with an object of %d bytes", h.kind, len(h.object))
		}
		if h.kind == kindPassphrase && h.argon2.check() != nil {
			t.Fatalf("costs %+v", h.argon2)
		}
		if !bytes.Equal(append(h.marshal(ct), ct...), b) {
			t.Fatal("header does not marshal to what it was parsed from")
		}
	})
}

// FuzzMaster parses master key and sealer records.
func FuzzMaster(f *testing.F) {
	seed(f, "master/")
	seed(f, "sealer")
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = parseRecord(b, &sealerRecord{})
		r, err := parseMaster(prefixMaster+"aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", b)
		if err == nil && (r.proven() && len(r.kcv()) != kcvBytes || uuid.Validate(r.ID) != nil) {
			t.Fatalf("record %+v passes", r)
		}
	})
}

// FuzzDump parses the plaintext of a backup and restores what passes.
func FuzzDump(f *testing.F) {
	f.Add(must0(hex.DecodeString(hex.EncodeToString([]byte(backupLabel)) + "000600000011" +
		hex.EncodeToString([]byte("format"+store.Format)) + "0000" + "0000000000000001")))
	f.Fuzz(func(t *testing.T, b []byte) {
		recs, err := parseDump(b)
		if err != nil {
			return
		}
		st := newStore(t)
		err = st.Update(t.Context(), func(tx store.Tx) error {
			for _, c := range recs {
				if err := tx.Put(c.Key, c.Value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || len(storetest.Dump(t, st)) != len(recs)-1 {
			t.Fatalf("%d records pass, the store says %v", len(recs), err)
		}
		if again, err := dump(t.Context(), st); err != nil || !bytes.Equal(again, b) {
			t.Fatal("dump differs after a restore")
		}
	})
}

func must0(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// FuzzBackup opens backups with hostile headers and chunks under a cheap
// passphrase.
func FuzzBackup(f *testing.F) {
	seed(f, "backup")
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= headerBytes {
			b[6], b[8], b[9], b[10], b[11], b[12], b[13] = b[6]&3, 0, 0, 0, b[11]&1, 0, 0 // cheap costs only
			copy(b[headerAAD:], checksum(b[:headerAAD], nil))
		}
		plain, err := readBackup(t.Context(), bytes.NewReader(b), []byte(backupPass))
		if err == nil && !bytes.HasPrefix(plain, []byte(backupLabel)) {
			t.Fatal("a backup nobody made")
		}
	})
}

// FuzzRecords parses the JSON records of key servers, providers, key pair and
// job; what passes is checked and shown without a panic.
func FuzzRecords(f *testing.F) {
	f.Add([]byte(`{"version":1,"id":1,"name":"n","hostnames":["h"],"port":5696,"caCertificate":"c","clientCertificate":"c"}`))
	f.Add([]byte(`{"version":1,"id":1,"name":"n","created":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{"version":1,"created":"2026-01-02T03:04:05Z","request":"-----BEGIN","sealed":"TFBTQg=="}`))
	f.Add([]byte(`{"version":1,"set":"00112233","threshold":2,"shares":3,"created":"2026-01-02T03:04:05Z","kcv":"0","sealed":"TFBTQg=="}`))
	f.Add([]byte(`{"version":1,"handle":1,"old":"o","new":"n","started":"2026-01-02T03:04:05Z","halted":"why"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		tx := oneValue(b)
		c := checker{masters: map[string]*masterRecord{}}
		c.checkTrust(tx)
		c.checkServers(tx)
		c.checkJob(tx)
		c.checkRecovery(tx)
		if r, err := getRecovery(tx); err == nil && (r.Threshold < 2 || r.Shares < r.Threshold) {
			t.Fatalf("recovery record %+v", r)
		}
		if r, err := getServer(tx, 1); err == nil {
			if again, err := json.Marshal(r); err != nil || r.ID != 1 || r.describe(nil).ID != 1 {
				t.Fatalf("key server %s: %v", again, err)
			}
			_ = (&Manager{}).checkServer(r)
		}
		if r, err := getProvider(tx, 1); err == nil && r.ID != 1 {
			t.Fatalf("key provider %+v", r)
		}
		if j, err := getJob(tx); err == nil && j == nil {
			t.Fatal("no job where one is recorded")
		}
	})
}

// oneValue is a store that has the same value under every key.
type oneValue []byte

func (v oneValue) Get(string) ([]byte, error) { return v, nil }

func (oneValue) Put(string, []byte) error { return store.ErrReadOnly }

func (oneValue) Delete(string) error { return store.ErrReadOnly }

func (v oneValue) Scan(prefix string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) { yield(prefix+"0000000001", v) }
}
