package keymgr

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"unsafe"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The cases of RFC 5869, appendix A.1 to A.3 (SHA-256); the first 32 bytes of
// output are one block.
func TestDeriveRFC5869(t *testing.T) {
	long := func(from, n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(from + i)
		}
		return b
	}
	for _, c := range []struct {
		ikm, salt, info []byte
		okm             string
	}{
		{bytes.Repeat([]byte{0x0b}, 22), long(0, 13), long(0xf0, 10), "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"},
		{bytes.Repeat([]byte{0x0b}, 22), nil, nil, "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"},
	} {
		k, err := derive(c.ikm, c.salt, c.info)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(k.Bytes(), unhex(t, c.okm)) {
			t.Errorf("derive = %x, want %s", k.Bytes(), c.okm)
		}
		k.Destroy()
	}
}

// TestDeriveMatchesStandardLibrary compares over all lengths of message, and
// so all cases of padding.
func TestDeriveMatchesStandardLibrary(t *testing.T) {
	src := make([]byte, 5000)
	rand.Read(src)
	for n := range 200 {
		ikm, salt, info := src[:1+n*5%4096], src[100:100+n%65], src[200:200+n]
		want, err := hkdf.Key(sha256.New, ikm, salt, string(info), 32)
		if err != nil {
			t.Fatal(err)
		}
		k, err := derive(ikm, salt, info)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(k.Bytes(), want) {
			t.Errorf("derive differs from crypto/hkdf for lengths %d, %d, %d", len(ikm), len(salt), len(info))
		}
		k.Destroy()
		h := hmac.New(sha256.New, salt)
		h.Write(ikm)
		got := make([]byte, 32)
		mac(got, make([]byte, macWork(len(ikm))), salt, ikm)
		if !bytes.Equal(got, h.Sum(nil)) {
			t.Errorf("mac differs from crypto/hmac for lengths %d, %d", len(ikm), len(salt))
		}
	}
}

func checkWiped(k *Secret) error {
	b, err := aes.NewCipher(k.Bytes())
	if err != nil {
		return err
	}
	g, err := cipher.NewGCM(b)
	if err != nil {
		return err
	}
	if bytes.Contains(raw(b), k.Bytes()[:4]) != true {
		return errors.New("key schedule does not begin with the key: look where it is now")
	}
	if !wipe(b) || !wipe(g) {
		return fmt.Errorf("%T or %T has pointers in it now: wipe it another way", b, g)
	}
	if n := len(bytes.Trim(raw(b), "\x00")) + len(bytes.Trim(raw(g), "\x00")); n > 0 {
		return fmt.Errorf("%d bytes are left", n)
	}
	return nil
}

// raw is the memory of the struct that v points to.
func raw(v any) []byte {
	p := reflect.ValueOf(v)
	return unsafe.Slice((*byte)(p.UnsafePointer()), p.Type().Elem().Size())
}

func TestWipeLeavesPointersAlone(t *testing.T) {
	v := &struct {
		n int
		p *int
	}{7, new(int)}
	if wipe(v) || v.n != 7 || v.p == nil || wipe(7) {
		t.Error("wipe touches a struct with pointers")
	}
}
