package luks

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
)

// newHash names the hashes that LUKS headers may use here.
func newHash(name string) (func() hash.Hash, error) {
	switch name {
	case "sha1":
		return sha1.New, nil
	case "sha224":
		return sha256.New224, nil
	case "sha256":
		return sha256.New, nil
	case "sha384":
		return sha512.New384, nil
	case "sha512":
		return sha512.New, nil
	}
	return nil, fmt.Errorf("%w: hash %q (sha1, sha224, sha256, sha384, sha512 are)", ErrUnsupported, name)
}

// The anti-forensic splitter (LUKS1 specification, section 2.4) spreads a key
// over many stripes so that destroying any part of them destroys the key:
//
//	d[0] = 0; d[i] = H(d[i-1] xor s[i]); key = d[n-1] xor s[n]
//
// All stripes but the last are random.

// afSplit returns stripes times len(key) bytes.
func afSplit(key []byte, stripes int, newH func() hash.Hash, rnd io.Reader) ([]byte, error) {
	n := len(key)
	out, err := randomBytes(rnd, n*stripes)
	if err != nil {
		return nil, err
	}
	last := out[n*(stripes-1):]
	d := afChain(out, n, stripes, newH)
	subtle.XORBytes(last, d, key)
	clear(d)
	return out, nil
}

// afMerge is the inverse; the key is fresh memory of the caller's to wipe.
func afMerge(split []byte, n, stripes int, newH func() hash.Hash) []byte {
	key := afChain(split, n, stripes, newH)
	subtle.XORBytes(key, key, split[n*(stripes-1):n*stripes])
	return key
}

// afChain folds all stripes but the last.
func afChain(split []byte, n, stripes int, newH func() hash.Hash) []byte {
	d, h := make([]byte, n), newH()
	sum := make([]byte, 0, h.Size())
	for i := range stripes - 1 {
		subtle.XORBytes(d, d, split[i*n:(i+1)*n])
		afDiffuse(d, h, sum)
	}
	return d
}

// afDiffuse replaces every hash-sized piece of d by the hash of its number
// and itself; the last piece keeps its length.
func afDiffuse(d []byte, h hash.Hash, sum []byte) {
	var num [4]byte
	for i := 0; i*h.Size() < len(d); i++ {
		piece := d[i*h.Size() : min((i+1)*h.Size(), len(d))]
		binary.BigEndian.PutUint32(num[:], uint32(i))
		h.Reset()
		h.Write(num[:])
		h.Write(piece)
		copy(piece, h.Sum(sum[:0]))
	}
}
