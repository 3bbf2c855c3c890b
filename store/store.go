// Package store keeps lockplate's durable state: small records under
// slash-separated keys, changed in transactions. OpenBolt gives the store of
// one node, a bbolt file; the interface is narrow enough that etcd fits behind
// it, so callers keep to what both can do: functions that may run twice, no
// more than about 128 changes in one Update, and values of at most 1 MiB.
//
// What the records mean is not known here, save one: KeyFormat, which names
// the version of the whole.
package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"
)

// KeyFormat is the key of the record that names the format, Format.
const (
	KeyFormat = "format"
	Format    = "lockplate-store-1"
)

// Limits of every store.
const (
	MaxKey   = 512     // bytes of a key
	MaxValue = 1 << 20 // bytes of a value
)

// Store is a transactional map from keys to values. All methods may be called
// concurrently. Implementations pass storetest.TestStore.
type Store interface {
	// View runs fn on a consistent snapshot.
	View(ctx context.Context, fn func(Tx) error) error
	// Update runs fn and makes all its changes durable, or none: none when fn
	// fails, when ctx ends first, or when the process or machine dies before
	// Update returns nil. fn may run again after a conflict, so it only
	// touches its Tx and variables that it sets afresh. It must not call the
	// store itself.
	Update(ctx context.Context, fn func(Tx) error) error
	// Watch yields each change to a key with this prefix that is committed
	// after Watch returned, in order of commit. It is ranged over once. It
	// ends when ctx ends; before that only with an error (ErrClosed,
	// ErrOverrun), which is the last thing it yields.
	Watch(ctx context.Context, prefix string) iter.Seq2[Change, error]
	// Close waits for running transactions and releases the store.
	Close() error
}

// Tx is what View and Update hand to their function. It is valid only there
// and used by one goroutine.
type Tx interface {
	// Get returns a copy of the value; ErrNotFound if there is none.
	Get(key string) ([]byte, error)
	// Put sets a value and keeps no reference to val. ErrKey, ErrTooLarge, and
	// ErrReadOnly in a View; such an error also fails the whole Update.
	Put(key string, val []byte) error
	// Delete removes a key; one that is not there is no error.
	Delete(key string) error
	// Scan yields all keys with this prefix in byte order with a copy of their
	// values, as they were when the loop began. "" is every key.
	Scan(prefix string) iter.Seq2[string, []byte]
}

// Change is one key's new state.
type Change struct {
	Key   string
	Value []byte // nil if the key was deleted
}

// Errors about what was asked.
var (
	ErrNotFound = errors.New("no such record")
	ErrKey      = errors.New("not a valid key")
	ErrTooLarge = errors.New("value over the limit of 1 MiB")
	ErrClosed   = errors.New("store is closed")
	ErrOverrun  = errors.New("watcher fell too far behind: read everything again")
)

// Errors about the store's file. Each names the way out.
var (
	ErrLocked = errors.New("in use by another process: " +
		"stop the other lockplate first, or let it do the work through its API")
	ErrCorrupt = errors.New("store file is damaged: " +
		"keep a copy of it, then restore the last backup into an empty state directory")
	ErrFormat = errors.New("store has a format that this version does not know: " +
		"use the lockplate version that wrote it, or a newer one")
	ErrReadOnly = errors.New("store is read-only")
	ErrNoSpace  = errors.New("no space left for the store: nothing was changed, free some space and try again")
	ErrIO       = errors.New("store file cannot be read or written: " +
		"repair the disk below it, then start lockplate again")
)

// CheckKey says whether key may be used: 1 to MaxKey bytes of UTF-8 without
// NUL, parts separated by single slashes.
func CheckKey(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("%w: empty", ErrKey)
	case len(key) > MaxKey:
		return fmt.Errorf("%w: %d bytes, limit %d", ErrKey, len(key), MaxKey)
	case !utf8.ValidString(key) || strings.ContainsRune(key, 0):
		return fmt.Errorf("%w: %q is not clean UTF-8", ErrKey, key)
	case key[0] == '/' || key[len(key)-1] == '/' || strings.Contains(key, "//"):
		return fmt.Errorf("%w: %q has an empty part", ErrKey, key)
	}
	return nil
}

// checkPair is the one place where a key and a value are judged before a Put.
func checkPair(key string, val []byte) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if len(val) > MaxValue {
		return fmt.Errorf("%w: %q has %d bytes", ErrTooLarge, key, len(val))
	}
	return nil
}
