package cluster

import (
	"context"
	"errors"
	"fmt"

	"lockplate/store"
)

// Types of async results, with Element's spelling.
const (
	asyncDriveAdd     = "DriveAdd"
	asyncDriveRemoval = "DriveRemoval"

	// AsyncRekey is the type of a rekey of the master key.
	AsyncRekey = "RekeySoftwareEncryptionAtRestMasterKey"
)

// maxAsyncs bounds the results that nobody fetched; the oldest go.
const maxAsyncs = 1000

// nextAsync gives a new handle, and ends the one so many before it unless its
// work is still going on.
func nextAsync(tx store.Tx) (int64, error) {
	id, err := nextID(tx, "async")
	if err != nil || id <= maxAsyncs {
		return id, err
	}
	var old asyncRecord
	key := recordKey(prefixAsync, id-maxAsyncs)
	if err := getRecord(tx, key, &old); err != nil || !old.Done {
		return id, ignoreNotFound(err)
	}
	return id, tx.Delete(key)
}

func ignoreNotFound(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// putDone records work that was finished by the time its caller gets the
// handle, so that the result survives a restart like any other.
func (c *Cluster) putDone(tx store.Tx, kind string, result map[string]any) (int64, error) {
	id, err := nextAsync(tx)
	if err != nil {
		return 0, err
	}
	now := c.now()
	return id, putRecord(tx, recordKey(prefixAsync, id), asyncRecord{
		Handle: id, Type: kind, Created: now, Updated: now, Done: true, Result: result,
	})
}

func (r *asyncRecord) async() Async {
	a := Async{
		Handle: r.Handle, Type: r.Type, Created: r.Created, Updated: r.Updated,
		Done: r.Done, Result: r.Result, ErrName: r.ErrName, ErrText: r.ErrText,
		State: r.State, Progress: r.Progress,
	}
	if r.Done {
		a.Progress = 100
	}
	return a
}

// Async returns the state of long work. A finished result is handed out once,
// unless keep.
func (c *Cluster) Async(ctx context.Context, handle int64, keep bool) (Async, error) {
	if _, err := c.require(); err != nil {
		return Async{}, err
	}
	var r asyncRecord
	read := func(tx store.Tx) (err error) {
		r, err = getByID[asyncRecord](tx, prefixAsync, "async", handle)
		return err
	}
	if err := c.store.View(ctx, read); err != nil {
		return Async{}, err
	}
	if keep || !r.Done {
		return r.async(), nil
	}
	err := c.store.Update(ctx, func(tx store.Tx) error {
		if err := read(tx); err != nil {
			return err
		}
		return tx.Delete(recordKey(prefixAsync, handle))
	})
	if err != nil {
		return Async{}, fmt.Errorf("end async result %d: %w", handle, err)
	}
	return r.async(), nil
}

// Asyncs lists all async results by handle and consumes none.
func (c *Cluster) Asyncs(ctx context.Context) ([]Async, error) {
	if _, err := c.require(); err != nil {
		return nil, err
	}
	var out []Async
	err := c.store.View(ctx, func(tx store.Tx) error {
		recs, err := scanRecords[asyncRecord](tx, prefixAsync)
		for i := range recs {
			out = append(out, recs[i].async())
		}
		return err
	})
	return out, err
}
