package keymgr

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"fmt"
	"reflect"
	"unsafe"
)

// The standard library's hkdf and hmac leave copies of their keys in heap
// memory that nobody can reach to wipe. The functions here are the same
// (RFC 5869, RFC 2104; the tests compare), but every block that SHA-256 sees is
// laid out in locked memory, padding included, so that the digest has nothing
// to keep; its state is wiped by Reset. What remains are registers and
// short-lived stack.

const keyBytes = 32 // of a master key, of AES-256, and of a SHA-256 value

// kcvBytes is the length of a key check value.
const kcvBytes = 8

// derive fills a new Secret of 32 bytes: HKDF-SHA-256, one block of output.
func derive(key, salt, info []byte) (*Secret, error) {
	work, err := newSecret(2*keyBytes + macWork(max(len(key), len(info)+1)))
	if err != nil {
		return nil, err
	}
	defer work.Destroy()
	out, err := newSecret(keyBytes)
	if err != nil {
		return nil, err
	}
	w := work.Bytes()
	prk, w := w[:keyBytes], w[2*keyBytes:]
	mac(prk, w, salt, key)
	mac(out.Bytes(), w, prk, append(info[:len(info):len(info)], 1))
	return out, nil
}

// macWork is how much locked memory mac needs for a message of n bytes.
func macWork(n int) int { return sha256.BlockSize + padded(n) + 2*sha256.BlockSize + stateBytes }

// padded is n bytes with SHA-256's padding: 0x80, zeroes, 64-bit length.
func padded(n int) int { return (n + 9 + sha256.BlockSize - 1) / sha256.BlockSize * sha256.BlockSize }

// mac sets dst to HMAC-SHA-256(key, msg), in work of macWork(len(msg)) bytes.
// key has at most one block. dst and key may be the same.
func mac(dst, work, key, msg []byte) {
	inner, work := work[:sha256.BlockSize+padded(len(msg))], work[sha256.BlockSize+padded(len(msg)):]
	outer, state := work[:2*sha256.BlockSize], work[2*sha256.BlockSize:]
	clear(inner)
	clear(outer)
	copy(inner, key)
	copy(outer, key)
	for i := range sha256.BlockSize {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	n := sha256.BlockSize + copy(inner[sha256.BlockSize:], msg)
	compress(outer[sha256.BlockSize:], state, inner, n)
	compress(dst, state, outer, sha256.BlockSize+sha256.Size)
}

// stateBytes is the size of a marshalled SHA-256 state, and stateAt where the
// eight words of its value are: after four bytes of magic.
const (
	stateBytes = 108
	stateAt    = 4
)

// compress pads the n bytes in blocks, which has room for it, and sets dst to
// their SHA-256.
func compress(dst, state, blocks []byte, n int) {
	blocks[n] = 0x80
	binary.BigEndian.PutUint64(blocks[len(blocks)-8:], uint64(n)*8)
	h := sha256.New()
	h.Write(blocks) // whole blocks: none is kept
	b, err := h.(encoding.BinaryAppender).AppendBinary(state[:0])
	if err != nil || len(b) != stateBytes || &b[0] != &state[0] {
		panic("keymgr: SHA-256 state is not as expected")
	}
	copy(dst[:sha256.Size], b[stateAt:])
	h.Reset()
}

// kcv is the check value of a master key: it shows that a key is the same one,
// and nothing else about it.
func kcv(master *Secret) ([kcvBytes]byte, error) {
	k, err := derive(master.Bytes(), nil, []byte("kcv"))
	if err != nil {
		return [kcvBytes]byte{}, err
	}
	defer k.Destroy()
	return [kcvBytes]byte(k.Bytes()), nil
}

// withGCM runs fn with AES-256-GCM under key, and wipes the key schedule after.
func withGCM(key *Secret, fn func(cipher.AEAD) error) error {
	b, err := aes.NewCipher(key.Bytes())
	if err != nil {
		return fmt.Errorf("set up AES: %w", err)
	}
	defer wipe(b)
	g, err := cipher.NewGCM(b)
	if err != nil {
		return fmt.Errorf("set up GCM: %w", err)
	}
	defer wipe(g)
	return fn(g)
}

// wipe zeroes the struct that v points to. The first 32 bytes of an AES-256 key
// schedule are the key, so it must not stay in the heap; crypto/aes has no way
// to say so. A struct with pointers in it is left alone: zeroing those behind
// the collector's back is not allowed. The tests fail if that ever is the case.
func wipe(v any) bool {
	p := reflect.ValueOf(v)
	if p.Kind() != reflect.Pointer || !plain(p.Type().Elem()) {
		return false
	}
	clear(unsafe.Slice((*byte)(p.UnsafePointer()), p.Type().Elem().Size()))
	return true
}

// plain says that values of type t hold no pointers.
func plain(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return plain(t.Elem())
	case reflect.Struct:
		for f := range t.Fields() {
			if !plain(f.Type) {
				return false
			}
		}
		return true
	}
	return t.Kind() >= reflect.Bool && t.Kind() <= reflect.Complex128 && t.Kind() != reflect.Uintptr
}
