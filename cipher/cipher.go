// Package cipher is AES-XTS (IEEE 1619) over runs of whole sectors: bytes in,
// bytes out, no I/O. XTS hides contents, not changes: it does not detect a
// sector that was altered, replayed or moved back to an older state, and equal
// plaintext in the same sector under the same key gives equal ciphertext.
package cipher

// Sectors encrypts and decrypts runs of whole sectors. len(src) must be a
// multiple of SectorSize and len(dst) == len(src); dst is src itself or apart
// from it, never partly over it. Sector i of the run has number first+i,
// counted in units of SectorSize from the start of the data segment. Safe for
// concurrent use. Nothing is retained or allocated.
type Sectors interface {
	SectorSize() int
	Encrypt(dst, src []byte, first uint64)
	Decrypt(dst, src []byte, first uint64)
}
