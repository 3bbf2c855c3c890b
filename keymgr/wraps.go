package keymgr

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/google/uuid"

	"lockplate/store"
)

// Data keys are kept wrapped in pages, so that even a rekey of 10,000 volumes
// changes 79 values and fits one transaction of etcd (128 operations, 1.5 MiB)
// as well as one of bbolt. A page, big endian:
//
//	 0  4  magic "LPWP"
//	 4  1  version 1
//	 5  1  algorithm 1: HKDF-SHA-256, AES-256-GCM
//	 6  2  records in this page, 1 to 128
//	 8  4  number of this page, as in its key
//	12  4  0
//	16 16  id of the master key
//	32  8  generation of the master key
//	40  …  records, 132 bytes each:
//	         0 16  volume
//	        16  2  bytes of the data key, 1 to 64
//	        18  2  0
//	        20 32  salt
//	        52 80  ciphertext of the key, zero-padded to 64 bytes, and tag
//
// The key of a record is HKDF(master, salt, info) and used once, so the nonce
// is zero. info is wrapLabel, version, algorithm, bytes of the data key,
// cluster, master key, generation, volume; the associated data are info and
// salt. Neither names the page: a record may move.
type page []byte

const (
	magicPage    = "LPWP"
	pageVersion  = 1
	pageAlg      = 1
	pageHeader   = 40
	pageRecords  = 128
	maxDataKey   = 64
	wrapBytes    = 132
	wrapKeyLenAt = 16
	wrapSaltAt   = 20
	wrapCTAt     = 52
	wrapLabel    = "lockplate wrap 1"
)

// wrap is one record of a page.
type wrap []byte

func newPage(n uint32, master uuid.UUID, generation uint64) page {
	p := make(page, 0, pageHeader+wrapBytes)
	p = append(p, magicPage...)
	p = append(p, pageVersion, pageAlg, 0, 0)
	p = binary.BigEndian.AppendUint32(p, n)
	p = append(p, 0, 0, 0, 0)
	p = append(p, master[:]...)
	return binary.BigEndian.AppendUint64(p, generation)
}

func pageKey(n uint32) string { return fmt.Sprintf("%s%08d", prefixWraps, n) }

// parsePage checks the value at key; what passes can be used without care.
func parsePage(key string, b []byte) (page, error) {
	p := page(b)
	if len(b) < pageHeader || string(b[:4]) != magicPage {
		return nil, fmt.Errorf("%s: %w (not a page of keys)", key, ErrIntegrity)
	}
	if b[4] != pageVersion || b[5] != pageAlg {
		return nil, fmt.Errorf("%s: %w (version %d, algorithm %d)", key, ErrFormat, b[4], b[5])
	}
	n := p.count()
	if n < 1 || n > pageRecords || len(b) != pageHeader+n*wrapBytes || pageKey(p.number()) != key ||
		!bytes.Equal(b[12:16], make([]byte, 4)) {
		return nil, fmt.Errorf("%s: %w (page %d, %d records, %d bytes)", key, ErrIntegrity, p.number(), n, len(b))
	}
	for i := range n {
		if l := p.rec(i).keyLen(); l < 1 || l > maxDataKey || p.rec(i)[18] != 0 || p.rec(i)[19] != 0 {
			return nil, fmt.Errorf("%s: %w (record %d)", key, ErrIntegrity, i)
		}
	}
	return p, nil
}

func (p page) count() int         { return int(binary.BigEndian.Uint16(p[6:])) }
func (p page) number() uint32     { return binary.BigEndian.Uint32(p[8:]) }
func (p page) master() uuid.UUID  { return uuid.UUID(p[16:32]) }
func (p page) generation() uint64 { return binary.BigEndian.Uint64(p[32:]) }

func (p page) rec(i int) wrap {
	off := pageHeader + i*wrapBytes
	return wrap(p[off : off+wrapBytes : off+wrapBytes])
}

// find returns the index of a volume's record, -1 if it is not in p.
func (p page) find(volume uuid.UUID) int {
	for i := range p.count() {
		if bytes.Equal(p.rec(i)[:16], volume[:]) {
			return i
		}
	}
	return -1
}

func (p page) add(w wrap) page {
	p = append(p, w...)
	binary.BigEndian.PutUint16(p[6:], uint16(p.count()+1))
	return p
}

func (p page) dropLast() page {
	p = p[:len(p)-wrapBytes]
	binary.BigEndian.PutUint16(p[6:], uint16(p.count()-1))
	return p
}

func (w wrap) volume() uuid.UUID { return uuid.UUID(w[:16]) }
func (w wrap) keyLen() int       { return int(binary.BigEndian.Uint16(w[wrapKeyLenAt:])) }
func (w wrap) salt() []byte      { return w[wrapSaltAt:wrapCTAt] }
func (w wrap) ciphertext() []byte {
	return w[wrapCTAt:wrapBytes]
}

// wrapper wraps data keys under one master key.
type wrapper struct {
	cluster    uuid.UUID
	master     uuid.UUID
	generation uint64
	key        *Secret
	rand       io.Reader
}

// info is what a wrap is bound to.
func (m *wrapper) info(w wrap) []byte {
	b := make([]byte, 0, 128)
	b = append(b, wrapLabel...)
	b = append(b, pageVersion, pageAlg)
	b = append(b, w[wrapKeyLenAt:wrapKeyLenAt+2]...)
	b = append(b, m.cluster[:]...)
	b = append(b, m.master[:]...)
	b = binary.BigEndian.AppendUint64(b, m.generation)
	return append(b, w[:16]...)
}

// with runs fn with the record's own key and associated data.
func (m *wrapper) with(w wrap, fn func(g cipher.AEAD, aad []byte) error) error {
	info := m.info(w)
	k, err := derive(m.key.Bytes(), w.salt(), info)
	if err != nil {
		return err
	}
	defer k.Destroy()
	return withGCM(k, func(g cipher.AEAD) error { return fn(g, append(info, w.salt()...)) })
}

// wrap makes the record of a volume's data key.
func (m *wrapper) wrap(volume uuid.UUID, key *Secret) (wrap, error) {
	if n := key.Len(); n < 1 || n > maxDataKey {
		return nil, fmt.Errorf("data key of %d bytes: %w", n, ErrTooLarge)
	}
	w := make(wrap, wrapBytes)
	copy(w, volume[:])
	binary.BigEndian.PutUint16(w[wrapKeyLenAt:], uint16(key.Len()))
	if _, err := io.ReadFull(m.rand, w.salt()); err != nil {
		return nil, fmt.Errorf("read random salt: %w", err)
	}
	plain, err := newSecret(maxDataKey)
	if err != nil {
		return nil, err
	}
	defer plain.Destroy()
	copy(plain.Bytes(), key.Bytes())
	return w, m.with(w, func(g cipher.AEAD, aad []byte) error {
		g.Seal(w.ciphertext()[:0], make([]byte, g.NonceSize()), plain.Bytes(), aad)
		return nil
	})
}

// unwrap returns the data key of a record.
func (m *wrapper) unwrap(w wrap) (*Secret, error) {
	plain, err := newSecret(maxDataKey)
	if err != nil {
		return nil, err
	}
	defer plain.Destroy()
	err = m.with(w, func(g cipher.AEAD, aad []byte) error {
		_, err := g.Open(plain.Bytes()[:0], make([]byte, g.NonceSize()), w.ciphertext(), aad)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w (wrapped key does not open)", ErrIntegrity)
	}
	key, err := newSecret(w.keyLen())
	if err != nil {
		return nil, err
	}
	copy(key.Bytes(), plain.Bytes())
	return key, nil
}

// ours checks that a page is under this master key.
func (m *wrapper) ours(p page) error {
	if p.master() != m.master || p.generation() != m.generation {
		return fmt.Errorf("%s: %w (wrapped under master key %s generation %d)", pageKey(p.number()), ErrStale,
			p.master(), p.generation())
	}
	return nil
}

// pages yields every page of the store to fn until that fails.
func pages(tx store.Tx, fn func(page) error) error {
	for k, b := range tx.Scan(prefixWraps) {
		p, err := parsePage(k, b)
		if err == nil {
			err = fn(p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// putWrap adds w to the last page, or to a new one after it. So all pages but
// the last are full, and n keys take the fewest pages there can be.
func (m *wrapper) putWrap(tx store.Tx, w wrap) error {
	var last page
	err := pages(tx, func(p page) error {
		if p.find(w.volume()) >= 0 {
			return fmt.Errorf("data key of volume %s: %w", w.volume(), ErrExists)
		}
		last = p
		return m.ours(p)
	})
	if err != nil {
		return err
	}
	switch {
	case last == nil:
		last = newPage(0, m.master, m.generation)
	case last.count() == pageRecords:
		last = newPage(last.number()+1, m.master, m.generation)
	}
	return tx.Put(pageKey(last.number()), last.add(w))
}

// deleteWrap removes a volume's record and fills its place with the last record
// of the last page, in the same transaction.
func deleteWrap(tx store.Tx, volume uuid.UUID) error {
	var hit, last page
	at := -1
	err := pages(tx, func(p page) error {
		if i := p.find(volume); i >= 0 {
			hit, at = p, i
		}
		last = p
		return nil
	})
	if err != nil {
		return err
	}
	if hit == nil {
		return fmt.Errorf("data key of volume %s: %w", volume, ErrNotFound)
	}
	if hit.number() == last.number() {
		hit = last // one value, not two copies of it
	}
	if hit.master() != last.master() || hit.generation() != last.generation() {
		return fmt.Errorf("%w (pages %d and %d are under different master keys)", ErrIntegrity, hit.number(), last.number())
	}
	copy(hit.rec(at), last.rec(last.count()-1))
	if hit.number() != last.number() {
		err = tx.Put(pageKey(hit.number()), hit)
	}
	if last.count() == 1 {
		return errors.Join(err, tx.Delete(pageKey(last.number())))
	}
	return errors.Join(err, tx.Put(pageKey(last.number()), last.dropLast()))
}
