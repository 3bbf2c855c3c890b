package keymgr

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"io"

	"golang.org/x/crypto/argon2"

	"lockplate/keymgr/tpm2seal"
)

// Argon2 are the costs of turning a passphrase into a key (Argon2id). They are
// recorded with what was sealed, so a change concerns new records only.
type Argon2 struct {
	Time    uint32 // passes
	Memory  uint32 // KiB
	Threads uint8
}

// defaultArgon2 is the second recommended choice of RFC 9106, which fits small
// machines too.
var defaultArgon2 = Argon2{Time: 3, Memory: 64 << 10, Threads: 4}

// Limits of Argon2 costs, checked before any memory is asked for.
const (
	maxArgon2Time    = 64
	maxArgon2Memory  = 1 << 20 // KiB: 1 GiB
	maxArgon2Threads = 16
)

func (a Argon2) check() error {
	if a.Time < 1 || a.Time > maxArgon2Time || a.Threads < 1 || a.Threads > maxArgon2Threads ||
		a.Memory < 8*uint32(a.Threads) || a.Memory > maxArgon2Memory {
		return fmt.Errorf("argon2 costs %d/%d/%d: %w", a.Time, a.Memory, a.Threads, ErrTooLarge)
	}
	return nil
}

// stretch turns a passphrase into a key.
func (a Argon2) stretch(pass, salt []byte) (*Secret, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	return NewSecret(argon2.IDKey(pass, salt, a.Time, a.Memory, a.Threads, keyBytes))
}

// sealKind says where the key of something sealed comes from.
type sealKind uint8

const (
	kindFile sealKind = 1 + iota
	kindPassphrase
	kindCredential
	kindTPM2
	kindShares
)

func (k sealKind) String() string {
	switch k {
	case kindFile:
		return "file"
	case kindPassphrase:
		return "passphrase"
	case kindCredential:
		return "credential"
	case kindTPM2:
		return "tpm2"
	case kindShares:
		return "shares"
	}
	return fmt.Sprintf("sealer %d", uint8(k))
}

// header begins everything sealed, in headerBytes, big endian:
//
//	 0  4  magic: "LPSB" a sealed key, "LPBK" a backup
//	 4  1  version 1
//	 5  1  kind of sealer: 1 file, 2 passphrase, 3 credential, 4 tpm2, 5 shares
//	 6  1  Argon2id threads   (0 unless kind 2)
//	 7  1  0
//	 8  4  Argon2id passes    (0 unless kind 2)
//	12  4  Argon2id KiB       (0 unless kind 2)
//	16 32  salt
//	48  8  check value of the sealing key
//	56 12  nonce; 0 in a backup
//	68  4  bytes of ciphertext with tag; in a backup: of plaintext in a chunk
//	72  8  first bytes of SHA-256 over 0-71 and, in a sealed key, all that follows
//
// A key of kind 4 goes on with what the TPM unseals: 2 bytes of length and an
// object of tpm2seal. Then, in every sealed key, the ciphertext.
//
// The check value tells a wrong key from a damaged record, the last field
// damage of the header from a wrong passphrase. Neither is what protects:
// bytes 0-71, and the object with its length, are associated data of every
// AES-GCM operation.
type header struct {
	magic  string
	kind   sealKind
	argon2 Argon2
	salt   [32]byte
	check  [kcvBytes]byte
	nonce  [12]byte
	length uint32
	object []byte // kind 4 only
}

const (
	magicSealed = "LPSB"
	magicBackup = "LPBK"

	headerBytes   = 80
	headerAAD     = 72
	sealedVersion = 1
	tagBytes      = 16
	maxSealed     = 4096 // bytes of ciphertext in a sealed key
)

// aad is what of the header is bound to the ciphertext.
func (h *header) aad() []byte { return append(h.fixed(), h.sized()...) }

// sized is the object with its length, nothing where there is none.
func (h *header) sized() []byte {
	if h.kind != kindTPM2 {
		return nil
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(h.object))), h.object...)
}

// fixed is bytes 0-71.
func (h *header) fixed() []byte {
	b := make([]byte, 0, headerBytes)
	b = append(b, h.magic...)
	b = append(b, sealedVersion, byte(h.kind), h.argon2.Threads, 0)
	b = binary.BigEndian.AppendUint32(b, h.argon2.Time)
	b = binary.BigEndian.AppendUint32(b, h.argon2.Memory)
	b = append(b, h.salt[:]...)
	b = append(b, h.check[:]...)
	b = append(b, h.nonce[:]...)
	return binary.BigEndian.AppendUint32(b, h.length)
}

// marshal returns all that goes before the ciphertext; payload is what the
// checksum also covers.
func (h *header) marshal(payload []byte) []byte {
	b, object := h.fixed(), h.sized()
	return append(append(b, checksum(b, append(object, payload...))...), object...)
}

func checksum(head, payload []byte) []byte {
	s := sha256.New()
	s.Write(head)
	s.Write(payload)
	return s.Sum(nil)[:headerBytes-headerAAD]
}

// parseHeader reads and bounds a header of headerBytes.
func parseHeader(b, payload []byte, magic string) (*header, error) {
	if len(b) < headerBytes || string(b[:4]) != magic {
		return nil, fmt.Errorf("%w (no %s header)", ErrIntegrity, magic)
	}
	if b[4] != sealedVersion {
		return nil, fmt.Errorf("%w (version %d)", ErrFormat, b[4])
	}
	if !bytes.Equal(checksum(b[:headerAAD], payload), b[headerAAD:headerBytes]) {
		return nil, fmt.Errorf("%w (checksum)", ErrIntegrity)
	}
	h := &header{
		magic: magic, kind: sealKind(b[5]), length: binary.BigEndian.Uint32(b[68:]),
		argon2: Argon2{Threads: b[6], Time: binary.BigEndian.Uint32(b[8:]), Memory: binary.BigEndian.Uint32(b[12:])},
		salt:   [32]byte(b[16:]), check: [kcvBytes]byte(b[48:]), nonce: [12]byte(b[56:]),
	}
	return h, h.validate(b[7])
}

func (h *header) validate(zero byte) error {
	switch {
	case h.kind < kindFile || h.kind > kindShares:
		return fmt.Errorf("%w (%v)", ErrFormat, h.kind)
	case zero != 0:
		return fmt.Errorf("%w (reserved byte)", ErrIntegrity)
	case h.kind == kindPassphrase:
		return h.argon2.check()
	case h.argon2 != Argon2{}:
		return fmt.Errorf("%w (argon2 costs without passphrase)", ErrIntegrity)
	}
	return nil
}

// keys derives the sealing key and its check value from base: the bytes of a
// key file or credential, or a stretched passphrase.
func (h *header) keys(base *Secret) (key *Secret, check [kcvBytes]byte, err error) {
	c, err := derive(base.Bytes(), h.salt[:], []byte("lockplate seal check 1"))
	if err != nil {
		return nil, check, err
	}
	defer c.Destroy()
	key, err = derive(base.Bytes(), h.salt[:], []byte("lockplate seal key 1"))
	return key, [kcvBytes]byte(c.Bytes()), err
}

// open derives the key and compares its check value; false: a different base.
func (h *header) open(base *Secret) (*Secret, bool, error) {
	key, check, err := h.keys(base)
	if err != nil {
		return nil, false, err
	}
	if subtle.ConstantTimeCompare(check[:], h.check[:]) != 1 {
		key.Destroy()
		return nil, false, nil
	}
	return key, true, nil
}

// baser is what sealers differ in.
type baser interface {
	// base returns what the sealing key comes from, owned by the caller. To
	// seal it chooses kind, costs and salt and sets them in h; else it obeys h.
	base(ctx context.Context, h *header, seal bool) (*Secret, error)
	// wrong is the error for a base that is not the one that sealed.
	wrong() error
}

// sealBlob seals plain, bound to bind, as header and ciphertext.
func sealBlob(ctx context.Context, s baser, plain *Secret, bind []byte) ([]byte, error) {
	h := &header{magic: magicSealed, length: uint32(plain.Len() + tagBytes)}
	if h.length > maxSealed {
		return nil, fmt.Errorf("seal %d bytes: %w", plain.Len(), ErrTooLarge)
	}
	base, err := s.base(ctx, h, true)
	if err != nil {
		return nil, err
	}
	defer base.Destroy()
	if _, err := io.ReadFull(rand.Reader, h.nonce[:]); err != nil {
		return nil, err
	}
	key, check, err := h.keys(base)
	if err != nil {
		return nil, err
	}
	defer key.Destroy()
	h.check = check
	var ct []byte
	err = withGCM(key, func(g cipher.AEAD) error {
		ct = g.Seal(nil, h.nonce[:], plain.Bytes(), append(h.aad(), bind...))
		return nil
	})
	return append(h.marshal(ct), ct...), err
}

// openBlob undoes sealBlob.
func openBlob(ctx context.Context, s baser, blob, bind []byte) (*Secret, error) {
	h, ct, err := parseBlob(blob)
	if err != nil {
		return nil, err
	}
	base, err := s.base(ctx, h, false)
	if err != nil {
		return nil, err
	}
	defer base.Destroy()
	key, ok, err := h.open(base)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, s.wrong()
	}
	defer key.Destroy()
	plain, err := newSecret(len(ct) - tagBytes)
	if err != nil {
		return nil, err
	}
	err = withGCM(key, func(g cipher.AEAD) error {
		_, err := g.Open(plain.Bytes()[:0], h.nonce[:], ct, append(h.aad(), bind...))
		return err
	})
	if err != nil {
		plain.Destroy()
		return nil, fmt.Errorf("%w (sealed key does not open, or belongs to another cluster)", ErrIntegrity)
	}
	return plain, nil
}

// parseBlob splits a sealed key, every length checked.
func parseBlob(blob []byte) (*header, []byte, error) {
	if len(blob) < headerBytes || len(blob) > headerBytes+2+tpm2seal.MaxObject+maxSealed {
		return nil, nil, fmt.Errorf("%w (sealed key of %d bytes)", ErrIntegrity, len(blob))
	}
	ct := blob[headerBytes:]
	h, err := parseHeader(blob, ct, magicSealed)
	if err != nil {
		return nil, nil, err
	}
	if h.kind == kindTPM2 {
		if len(ct) < 2 || int(binary.BigEndian.Uint16(ct)) > min(len(ct)-2, tpm2seal.MaxObject) {
			return nil, nil, fmt.Errorf("%w (TPM object)", ErrIntegrity)
		}
		n := 2 + int(binary.BigEndian.Uint16(ct))
		h.object, ct = ct[2:n:n], ct[n:]
	}
	if int(h.length) != len(ct) || len(ct) <= tagBytes || len(ct) > maxSealed {
		return nil, nil, fmt.Errorf("%w (sealed key has %d bytes, not %d)", ErrIntegrity, len(ct), h.length)
	}
	return h, ct, nil
}
