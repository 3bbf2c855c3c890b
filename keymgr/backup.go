package keymgr

import (
	"bytes"
	"context"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"lockplate/store"
)

// A backup is the header of sealed.go with magic "LPBK" and kind passphrase,
// then chunks of AES-256-GCM. Each chunk has backupChunk bytes of plaintext, the
// last 0 to backupChunk, which is empty only if all are. The nonce is the
// chunk's number (11 bytes, big endian) and 1 for the last or 0; the associated
// data are bytes 0-71 of the header. A chunk moved, left out or cut off does
// not open. The plaintext, big endian:
//
//	8  backupLabel
//	…  records, in order of their keys:
//	     2 bytes of the key, 4 bytes of the value, key, value
//	2  0
//	8  number of records
const (
	backupChunk = 64 << 10
	backupLabel = "lpstore1"
)

// maxBackup bounds what a restore holds in memory: 100,000 volumes fit.
const maxBackup = 512 << 20

// SealBackup writes all records of st to w, sealed with a passphrase, which is
// wiped. The store is read first, at one moment, so a slow w holds nothing up.
// What is inside is sealed a second time: the master key still needs its sealer,
// that is, the same key file, passphrase or credential on another machine too.
func SealBackup(ctx context.Context, w io.Writer, st store.Store, passphrase []byte) error {
	return sealBackup(ctx, w, st, passphrase, defaultArgon2)
}

func sealBackup(ctx context.Context, w io.Writer, st store.Store, passphrase []byte, costs Argon2) error {
	defer clear(passphrase)
	plain, err := dump(ctx, st)
	if err != nil {
		return fmt.Errorf("back up store: %w", err)
	}
	h := &header{magic: magicBackup, argon2: costs, length: backupChunk}
	if err := freshSalt(h, kindPassphrase); err != nil {
		return err
	}
	base, err := backupBase(h, passphrase)
	if err != nil {
		return fmt.Errorf("back up store: %w", err)
	}
	defer base.Destroy()
	key, check, err := h.keys(base)
	if err != nil {
		return err
	}
	defer key.Destroy()
	h.check = check
	if _, err := w.Write(h.marshal(nil)); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	return withGCM(key, func(g cipher.AEAD) error { return writeChunks(ctx, w, g, h.aad(), plain) })
}

func backupBase(h *header, passphrase []byte) (*Secret, error) {
	if len(passphrase) == 0 || len(passphrase) > maxPassphrase {
		return nil, fmt.Errorf("%w: it has %d bytes, 1 to %d are allowed", ErrWrongPassphrase, len(passphrase), maxPassphrase)
	}
	return h.argon2.stretch(passphrase, h.salt[:])
}

// dump is the plaintext of a backup.
func dump(ctx context.Context, st store.Store) ([]byte, error) {
	var out []byte
	err := st.View(ctx, func(tx store.Tx) error {
		out = append(out[:0], backupLabel...)
		var n uint64
		for k, v := range tx.Scan("") {
			out = binary.BigEndian.AppendUint16(out, uint16(len(k)))
			out = binary.BigEndian.AppendUint32(out, uint32(len(v)))
			out = append(append(out, k...), v...)
			if n++; len(out) > maxBackup {
				return fmt.Errorf("backup: %w of %d bytes", ErrTooLarge, maxBackup)
			}
		}
		out = append(out, 0, 0)
		out = binary.BigEndian.AppendUint64(out, n)
		return nil
	})
	return out, err
}

func chunkNonce(i uint64, last bool) []byte {
	n := make([]byte, 12)
	binary.BigEndian.PutUint64(n[3:], i)
	if last {
		n[11] = 1
	}
	return n
}

func writeChunks(ctx context.Context, w io.Writer, g cipher.AEAD, aad, plain []byte) error {
	buf := make([]byte, 0, backupChunk+tagBytes)
	for i := uint64(0); ; i++ {
		n := min(len(plain), backupChunk)
		last := n == len(plain)
		if _, err := w.Write(g.Seal(buf, chunkNonce(i, last), plain[:n], aad)); err != nil {
			return fmt.Errorf("write backup: %w", err)
		}
		if plain = plain[n:]; last {
			return ctx.Err()
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// OpenBackup restores a backup into st, which must be empty, in one Update: all
// of it or nothing. passphrase is wiped. Errors: ErrNotBackup, ErrFormat,
// ErrWrongPassphrase, ErrTruncated, ErrIntegrity, ErrNotEmpty.
func OpenBackup(ctx context.Context, r io.Reader, st store.Store, passphrase []byte) error {
	defer clear(passphrase)
	if err := st.View(ctx, emptyStore); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	plain, err := readBackup(ctx, r, passphrase)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	recs, err := parseDump(plain)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	err = st.Update(ctx, func(tx store.Tx) error {
		if err := emptyStore(tx); err != nil {
			return err
		}
		for _, c := range recs {
			if err := tx.Put(c.Key, c.Value); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return nil
}

func emptyStore(tx store.Tx) error {
	for k := range tx.Scan("") {
		if k != store.KeyFormat {
			return fmt.Errorf("%w (it has %s)", ErrNotEmpty, k)
		}
	}
	return nil
}

// readBackup opens the seal and returns the plaintext.
func readBackup(ctx context.Context, r io.Reader, passphrase []byte) ([]byte, error) {
	head := make([]byte, headerBytes)
	if _, err := io.ReadFull(r, head); err != nil || string(head[:4]) != magicBackup {
		return nil, ErrNotBackup
	}
	h, err := parseHeader(head, nil, magicBackup)
	if err != nil {
		return nil, err
	}
	if h.kind != kindPassphrase || h.length != backupChunk || h.nonce != [12]byte{} {
		return nil, fmt.Errorf("%w (kind %v, chunks of %d bytes)", ErrFormat, h.kind, h.length)
	}
	base, err := backupBase(h, passphrase)
	if err != nil {
		return nil, err
	}
	defer base.Destroy()
	key, ok, err := h.open(base)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, ErrWrongPassphrase
	}
	defer key.Destroy()
	var plain []byte
	err = withGCM(key, func(g cipher.AEAD) (err error) {
		plain, err = readChunks(ctx, r, g, h.aad())
		return err
	})
	return plain, err
}

// readChunks reads one byte ahead, to know which chunk must be the last.
func readChunks(ctx context.Context, r io.Reader, g cipher.AEAD, aad []byte) ([]byte, error) {
	var plain []byte
	buf := make([]byte, backupChunk+tagBytes+1)
	have := 0
	for i := uint64(0); ; i++ {
		n, err := io.ReadFull(r, buf[have:])
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("read backup: %w", err)
		}
		have += n
		last := err != nil
		size := have
		if !last {
			size--
		}
		if plain, err = openChunk(g, plain, buf[:size], aad, i, last); err != nil {
			return nil, err
		}
		if last {
			return plain, nil
		}
		have = copy(buf, buf[size:have])
		if len(plain) > maxBackup {
			return nil, fmt.Errorf("backup: %w of %d bytes", ErrTooLarge, maxBackup)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// openChunk tells a backup that ends after a whole chunk, or within one, from
// one that was altered.
func openChunk(g cipher.AEAD, plain, chunk, aad []byte, i uint64, last bool) ([]byte, error) {
	out, err := g.Open(plain, chunkNonce(i, last), chunk, aad)
	if err == nil {
		return out, nil
	}
	if last {
		if len(chunk) < backupChunk+tagBytes {
			return nil, fmt.Errorf("%w, or its last %d bytes were altered", ErrTruncated, len(chunk))
		}
		if _, err := g.Open(nil, chunkNonce(i, false), chunk, aad); err == nil {
			return nil, ErrTruncated
		}
	}
	return nil, fmt.Errorf("backup chunk %d: %w", i, ErrIntegrity)
}

// parseDump reads the plaintext of a backup.
func parseDump(b []byte) ([]store.Change, error) {
	b, ok := bytes.CutPrefix(b, []byte(backupLabel))
	if !ok {
		return nil, fmt.Errorf("backup: %w (content)", ErrFormat)
	}
	var out []store.Change
	for len(b) >= 2 {
		k := int(binary.BigEndian.Uint16(b))
		if k == 0 {
			if len(b) != 10 || binary.BigEndian.Uint64(b[2:]) != uint64(len(out)) {
				break
			}
			return out, checkDump(out)
		}
		if len(b) < 6 {
			break
		}
		v := int(binary.BigEndian.Uint32(b[2:]))
		if b = b[6:]; k > store.MaxKey || v > store.MaxValue || k+v > len(b) {
			break
		}
		out = append(out, store.Change{Key: string(b[:k]), Value: b[k : k+v : k+v]})
		b = b[k+v:]
	}
	return nil, fmt.Errorf("backup: %w (after %d records)", ErrIntegrity, len(out))
}

// checkDump refuses records that a store would refuse, and formats not ours.
func checkDump(recs []store.Change) error {
	format := ""
	for i, c := range recs {
		if i > 0 && c.Key <= recs[i-1].Key {
			return fmt.Errorf("backup: %w (order of records)", ErrIntegrity)
		}
		if err := store.CheckKey(c.Key); err != nil {
			return fmt.Errorf("backup: %w (%w)", ErrIntegrity, err)
		}
		if c.Key == store.KeyFormat {
			format = string(c.Value)
		}
	}
	if format != store.Format {
		return fmt.Errorf("backup: %w (store format %.40q)", ErrFormat, format)
	}
	return nil
}
