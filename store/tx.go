package store

import (
	"bytes"
	"fmt"
	"iter"

	bolt "go.etcd.io/bbolt"
)

// boltTx is a Tx on the one bucket.
type boltTx struct {
	b       *bolt.Bucket
	changes map[string]int // key to its place in log; nil in a View
	log     []Change       // in order of the last change to each key
	err     error          // first failed Put or Delete: the Update must not commit
}

func newBoltTx(btx *bolt.Tx) (*boltTx, error) {
	b := btx.Bucket([]byte(bucketName))
	if b == nil {
		return nil, fmt.Errorf("%w (not a lockplate store)", ErrFormat)
	}
	tx := &boltTx{b: b}
	if btx.Writable() {
		tx.changes = map[string]int{}
	}
	return tx, nil
}

func (t *boltTx) Get(key string) ([]byte, error) {
	v := t.b.Get([]byte(key))
	if v == nil {
		return nil, fmt.Errorf("%w: %q", ErrNotFound, key)
	}
	return bytes.Clone(v), nil
}

func (t *boltTx) Put(key string, val []byte) error {
	err := checkPair(key, val)
	if err == nil {
		val = append([]byte{}, val...) // never nil: nil means deleted
		err = t.change(key, val, func() error { return t.b.Put([]byte(key), val) })
	}
	return t.note(err)
}

func (t *boltTx) Delete(key string) error {
	err := CheckKey(key)
	if err == nil && t.changes != nil && t.b.Get([]byte(key)) == nil {
		return nil
	}
	if err == nil {
		err = t.change(key, nil, func() error { return t.b.Delete([]byte(key)) })
	}
	return t.note(err)
}

// change applies do and logs the new state of key.
func (t *boltTx) change(key string, val []byte, do func() error) error {
	if t.changes == nil {
		return fmt.Errorf("change %q: %w", key, ErrReadOnly)
	}
	if err := do(); err != nil {
		return fmt.Errorf("change %q: %w", key, err)
	}
	if i, ok := t.changes[key]; ok {
		t.log[i].Key = "" // superseded
	}
	t.changes[key] = len(t.log)
	t.log = append(t.log, Change{Key: key, Value: val})
	return nil
}

func (t *boltTx) note(err error) error {
	if t.err == nil {
		t.err = err
	}
	return err
}

// ordered returns the changes, one per key.
func (t *boltTx) ordered() []Change {
	out := t.log[:0]
	for _, c := range t.log {
		if c.Key != "" {
			out = append(out, c)
		}
	}
	return out
}

// Scan streams in a View. In an Update it collects first, because the loop may
// change what it scans, which a cursor of bbolt does not survive.
func (t *boltTx) Scan(prefix string) iter.Seq2[string, []byte] {
	if t.changes == nil {
		return t.walk(prefix)
	}
	return func(yield func(string, []byte) bool) {
		var found []Change
		for k, v := range t.walk(prefix) {
			found = append(found, Change{k, v})
		}
		for _, c := range found {
			if !yield(c.Key, c.Value) {
				return
			}
		}
	}
}

func (t *boltTx) walk(prefix string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		c := t.b.Cursor()
		p := []byte(prefix)
		for k, v := c.Seek(p); k != nil && bytes.HasPrefix(k, p); k, v = c.Next() {
			if v != nil && !yield(string(k), bytes.Clone(v)) {
				return
			}
		}
	}
}
