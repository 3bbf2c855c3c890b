package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"lockplate/keymgr"
	"lockplate/store"
)

// jobHooks keeps a rekey in the list of async results. Its beginning and end
// are written in keymgr's own transactions: a handle that was given out is
// always that of the job.
func (c *Cluster) jobHooks() keymgr.Hooks {
	return keymgr.Hooks{
		Begin: c.beginRekeyOf, Progress: c.rekeyProgress, End: c.endRekey,
		Shared: func(key, set string) {
			c.auditKey(context.Background(), "seal new master key for recovery shares of set "+set, key, nil)
		},
	}
}

// beginRekeyOf is beginRekey that keeps who asked for it: the audit log names
// him at the end of the job too, even after a restart.
func (c *Cluster) beginRekeyOf(tx store.Tx, now time.Time) (int64, error) {
	id, err := beginRekey(tx, now)
	if err != nil {
		return 0, err
	}
	key, r := recordKey(prefixAsync, id), asyncRecord{}
	if err := getRecord(tx, key, &r); err != nil {
		return 0, err
	}
	r.Actor = c.rekeyBy.Load()
	return id, putRecord(tx, key, r)
}

func beginRekey(tx store.Tx, now time.Time) (int64, error) {
	id, err := nextAsync(tx)
	if err != nil {
		return 0, err
	}
	r := asyncRecord{Handle: id, Type: AsyncRekey, Created: now, Updated: now, State: keymgr.RekeyCreate}
	if err := putRecord(tx, recordKey(prefixAsync, id), r); err != nil {
		return 0, err
	}
	if err := tx.Put(keyLastRekey, binary.BigEndian.AppendUint64(nil, uint64(id))); err != nil {
		return 0, err
	}
	return id, putEvent(tx, Event{
		Type: EventEncryption, Message: "Rekey of the master key began", Details: map[string]any{"asyncHandle": id},
	}, now)
}

// rekeyProgress records how far a job came. A failure costs no more than that
// the job looks younger than it is.
func (c *Cluster) rekeyProgress(handle int64, state string, percent int) {
	ctx := context.Background() // the job has no caller to wait for
	key := recordKey(prefixAsync, handle)
	var r asyncRecord
	err := c.store.View(ctx, func(tx store.Tx) error {
		r = asyncRecord{}
		return getRecord(tx, key, &r)
	})
	if err == nil && (r.Done || r.State == state && r.Progress == percent) {
		return
	}
	if err == nil {
		err = c.store.Update(ctx, func(tx store.Tx) error {
			now := asyncRecord{}
			if err := getRecord(tx, key, &now); err != nil || now.Done {
				return err
			}
			now.State, now.Progress, now.Updated = state, percent, c.now()
			return putRecord(tx, key, now)
		})
	}
	if err != nil {
		c.log.Warn("progress of a rekey is not recorded", "job", handle, "err", err)
	}
}

// endRekey records the end of a job. A job whose record is gone, as after a
// restore, gets a new one.
func (c *Cluster) endRekey(tx store.Tx, handle int64, result map[string]any, errName, errText string) error {
	key, now := recordKey(prefixAsync, handle), c.now()
	r := asyncRecord{}
	if err := getRecord(tx, key, &r); errors.Is(err, store.ErrNotFound) {
		r = asyncRecord{Handle: handle, Type: AsyncRekey, Created: now}
	} else if err != nil {
		return err
	}
	r.Updated, r.Done, r.State = now, true, keymgr.RekeyReady
	r.Result, r.ErrName, r.ErrText = result, errName, errText
	e := Event{
		Type: EventEncryption, Message: "Rekey of the master key is complete",
		Details: map[string]any{"asyncHandle": handle},
	}
	var failed error
	if errName != "" {
		failed = errors.New(errName)
		e.Message, e.Severity = "Rekey of the master key failed", 2
		e.Details["error"] = errText
	}
	ctx := context.Background()
	if r.Actor != nil {
		ctx = WithActor(ctx, *r.Actor)
	}
	c.auditKey(ctx, "end rekey", idString(handle), failed)
	if err := putRecord(tx, key, r); err != nil {
		return fmt.Errorf("record end of job: %w", err)
	}
	return putEvent(tx, e, now)
}

// keyLastRekey holds the handle of the latest rekey, 8 bytes big endian.
const keyLastRekey = prefixID + "rekey"

// lastRekey is the handle of the current or latest rekey, 0 if there is none
// or its result was handed out.
func (c *Cluster) lastRekey(ctx context.Context) (handle int64, err error) {
	err = c.store.View(ctx, func(tx store.Tx) error {
		handle = 0
		b, err := tx.Get(keyLastRekey)
		if err != nil || len(b) != 8 {
			return err
		}
		id := int64(binary.BigEndian.Uint64(b))
		if _, err = tx.Get(recordKey(prefixAsync, id)); err == nil {
			handle = id
		}
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return handle, err
}
