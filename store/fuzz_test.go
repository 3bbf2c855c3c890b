package store

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"testing"
)

// sampleImage is a store with branch pages, long values and free pages.
func sampleImage(t testing.TB) []byte {
	path := filepath.Join(memoryDir(t), "sample.db")
	st, err := OpenBolt(path, BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		err = errors.Join(err, st.Update(t.Context(), func(tx Tx) error {
			for i := range 120 {
				if err := tx.Put(fmt.Sprintf("k/%03d", i*7%120), bytes.Repeat([]byte{byte(i)}, 10+round*30)); err != nil {
					return err
				}
			}
			return errors.Join(tx.Delete(fmt.Sprintf("k/%03d", round)), tx.Put("long", make([]byte, 9000)))
		}))
	}
	if err := errors.Join(err, st.Close()); err != nil {
		t.Fatal(err)
	}
	img, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m, err := (&verifier{f: bytes.NewReader(img)}).bestMeta(int64(len(img)))
	if err != nil || m == nil {
		t.Fatal(err)
	}
	return img[:m.high*pageSize]
}

// fixMetas makes the checksums of both meta pages right again, so that what
// they say is believed.
func fixMetas(img []byte) {
	for off := 0; off <= pageSize; off += pageSize {
		b := img[off+pageHeader:]
		h := fnv.New64a()
		h.Write(b[:metaBytes-8])
		order.PutUint64(b[metaBytes-8:], h.Sum64())
	}
}

// FuzzFile patches a good file: bytes of data are page, offset (2), value. What
// verify lets pass, bbolt must be able to read, check and change without a
// panic or a fault.
func FuzzFile(f *testing.F) {
	good := sampleImage(f)
	pages := len(good) / pageSize
	f.Add([]byte{})
	for p := range pages {
		for _, off := range []byte{0, 8, 10, 12, 16, 20, 24, 28, 40} {
			f.Add([]byte{byte(p), 0, off, 0xff})
			f.Add([]byte{byte(p), 0, off, 0x03})
		}
	}
	f.Fuzz(func(t *testing.T, patch []byte) {
		img := bytes.Clone(good)
		for ; len(patch) >= 4; patch = patch[4:] {
			off := int(patch[0])%pages*pageSize + (int(patch[1])<<8|int(patch[2]))%pageSize
			img[off] = patch[3]
		}
		fixMetas(img)
		if len(patch) > 0 {
			img = img[:len(img)-int(patch[0])*16]
		}
		useImage(t, img)
	})
}

// useImage does all that can be done with a file.
func useImage(t *testing.T, img []byte) {
	path := filepath.Join(memoryDir(t), "f.db")
	if err := os.WriteFile(path, img, 0o600); err != nil {
		t.Fatal(err)
	}
	problems, err := Check(path)
	if err != nil {
		t.Fatalf("check cannot be done: %v", err)
	}
	st, err := OpenBolt(path, BoltOptions{})
	if err != nil {
		if len(problems) == 0 {
			t.Fatalf("check found nothing, open says: %v", err)
		}
		return
	}
	defer st.Close()
	dumpAll(t, st)
	if len(problems) > 0 {
		return // a leaked page or the like: readable, that is all
	}
	err = st.Update(t.Context(), func(tx Tx) error {
		return errors.Join(tx.Put("k/050", make([]byte, 5000)), tx.Delete("k/051"), tx.Put("zz", nil))
	})
	if err != nil {
		t.Fatalf("update: %v", err)
	}
}

// TestVerifyFindsDamage breaks each kind of structure once.
func TestVerifyFindsDamage(t *testing.T) {
	good := sampleImage(t)
	m, err := (&verifier{f: bytes.NewReader(good)}).bestMeta(int64(len(good)))
	if err != nil || m == nil {
		t.Fatal(err)
	}
	root := int(m.root) * pageSize
	if p, err := verify(bytes.NewReader(good), int64(len(good))); err != nil || len(p) > 0 {
		t.Fatalf("good file: %v, %v", p, err)
	}
	free := int(m.freelist) * pageSize
	for name, breakIt := range map[string]func([]byte) []byte{
		"cut short":       func(b []byte) []byte { return b[:len(b)-1] },
		"both metas":      func(b []byte) []byte { b[20]++; b[pageSize+20]++; return b },
		"page id":         func(b []byte) []byte { b[root]++; return b },
		"page type":       func(b []byte) []byte { b[root+8] = 7; return b },
		"overflow":        func(b []byte) []byte { b[root+14] = 1; return b },
		"element outside": func(b []byte) []byte { b[root+pageHeader+7] = 1; return b },
		"count":           func(b []byte) []byte { b[root+10], b[root+11] = 0xff, 0xff; return b },
		"bucket root":     func(b []byte) []byte { b[root+pageHeader+elemBytes+len(bucketName)] = 0xfe; return b },
		"freelist":        func(b []byte) []byte { copy(b[free+pageHeader:], []byte{3}); b[free+10]++; return b },
		"freelist type":   func(b []byte) []byte { b[free+8] = 2; return b },
		"freelist count":  func(b []byte) []byte { b[free+10], b[free+11] = 0xfe, 0xff; return b },
	} {
		img := breakIt(bytes.Clone(good))
		if p, err := verify(bytes.NewReader(img), int64(len(img))); err != nil || len(p) == 0 {
			t.Errorf("%s: not found (%v)", name, err)
		}
	}
}

// TestEveryByteOfFile flips each byte of a store: it opens, perhaps with other
// values, or is refused; it never faults.
func TestEveryByteOfFile(t *testing.T) {
	good := sampleImage(t)
	refused, step := 0, 97
	for i := 0; i < len(good); i += step {
		img := bytes.Clone(good)
		img[i] ^= 0xff
		p, err := verify(bytes.NewReader(img), int64(len(img)))
		if err != nil {
			t.Fatal(err)
		}
		if len(p) > 0 {
			refused++
			continue
		}
		useImage(t, img)
	}
	if refused == 0 {
		t.Error("no flip was found")
	}
	t.Logf("%d of %d refused", refused, len(good)/step)
}
