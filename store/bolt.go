package store

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// bucketName is the one bucket of the file; keys in it are ours as they are.
const bucketName = "lockplate"

// BoltOptions changes how OpenBolt opens. The zero value is right for a daemon.
type BoltOptions struct {
	// ReadOnly opens an existing store for View only and shares it with other
	// readers.
	ReadOnly bool
	// LockWait is how long to wait for another process; 0 is half a second,
	// long enough for a predecessor that is just exiting.
	LockWait time.Duration
}

// Bolt is a Store in one bbolt file.
type Bolt struct {
	db      *bolt.DB
	path    string
	feed    feed
	writer  chan struct{} // holds one token: the right to Update
	closing sync.Once

	failed error // set under writer; why no Update is possible any more
}

// OpenBolt opens the store at path, making it (mode 0600) if there is none. One
// process at a time may have it open. Errors: ErrLocked, ErrCorrupt, ErrFormat,
// ErrReadOnly, ErrNoSpace, those of the file system.
func OpenBolt(path string, o BoltOptions) (Store, error) {
	if o.LockWait == 0 {
		o.LockWait = 500 * time.Millisecond
	}
	db, err := openOrMake(path, o)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	s := &Bolt{db: db, path: path, writer: make(chan struct{}, 1)}
	s.writer <- struct{}{}
	if err := s.View(context.Background(), checkFormat); err != nil {
		db.Close()
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return s, nil
}

// checkFormat refuses a store that is not ours to interpret.
func checkFormat(tx Tx) error {
	v, err := tx.Get(KeyFormat)
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w (it has no format record)", ErrFormat)
	}
	if err != nil {
		return err
	}
	if string(v) != Format {
		return fmt.Errorf("%w (%.40q, want %q)", ErrFormat, v, Format)
	}
	return nil
}

// View implements Store.
func (s *Bolt) View(ctx context.Context, fn func(Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return guard(func() error {
		btx, err := s.db.Begin(false)
		if err != nil {
			return s.classify(err)
		}
		defer btx.Rollback()
		tx, err := newBoltTx(btx)
		if err != nil {
			return err
		}
		return fn(tx)
	})
}

// Update implements Store.
func (s *Bolt) Update(ctx context.Context, fn func(Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.writer:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { s.writer <- struct{}{} }()
	if s.failed != nil {
		return s.failed
	}
	return guard(func() error { return s.update(ctx, fn) })
}

func (s *Bolt) update(ctx context.Context, fn func(Tx) error) error {
	btx, err := s.db.Begin(true)
	if err != nil {
		return s.classify(err)
	}
	defer btx.Rollback() // harmless after Commit
	tx, err := newBoltTx(btx)
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		return err
	}
	if tx.err != nil {
		return tx.err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(tx.changes) == 0 {
		return nil
	}
	if err := btx.Commit(); err != nil {
		return s.commitFailed(err)
	}
	s.feed.publish(tx.ordered())
	return nil
}

// commitFailed decides what a failed commit leaves. Lack of space shows while
// new pages are written, before the meta page makes them count: nothing was
// changed, and a later try may succeed. After any other failure the kernel may
// have dropped pages that this process still sees, so writing ends until the
// file is opened, and thereby read, anew.
func (s *Bolt) commitFailed(err error) error {
	err = s.classify(err)
	if !errors.Is(err, ErrNoSpace) {
		s.failed = err
	}
	return err
}

// classify turns errors of bbolt and the kernel into ours.
func (s *Bolt) classify(err error) error {
	switch {
	case errors.Is(err, berrors.ErrDatabaseNotOpen):
		return ErrClosed
	case errors.Is(err, berrors.ErrDatabaseReadOnly):
		return ErrReadOnly
	}
	return fmt.Errorf("store %s: %w", s.path, osError(err))
}

// osError adds our sentinel to an error of the operating system.
func osError(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w (%w)", ErrNoSpace, err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: its file system does not allow writes (%w)", ErrReadOnly, err)
	case errors.Is(err, syscall.EIO), errors.Is(err, syscall.EFBIG), errors.Is(err, berrors.ErrInvalidMapping):
		return fmt.Errorf("%w (%w)", ErrIO, err)
	}
	return err
}

// guard runs f and turns a memory fault into ErrIO. bbolt reads its file
// through a mapping, where a bad sector or a file cut short by someone else is
// a signal, not an error; without this it would end every open volume.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch r := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }:
			err = fmt.Errorf("%w (memory fault)", ErrIO)
		default:
			panic(r)
		}
	}()
	return f()
}

// Close implements Store.
func (s *Bolt) Close() (err error) {
	s.closing.Do(func() {
		<-s.writer // a running Update ends first; later ones find bbolt closed
		defer func() { s.writer <- struct{}{} }()
		s.feed.close()
		err = s.db.Close()
	})
	return err
}
