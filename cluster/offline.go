package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"lockplate/keymgr"
	"lockplate/store"
)

// CheckState examines the store of a state directory that no daemon has open:
// the file's structure, then every record and how they refer to each other.
func CheckState(ctx context.Context, state string) ([]string, error) {
	structural, err := store.Check(StorePath(state))
	if err != nil {
		return nil, err
	}
	if len(structural) > 0 {
		return texts(structural), nil
	}
	st, err := store.OpenBolt(StorePath(state), store.BoltOptions{})
	if err != nil {
		return nil, err
	}
	defer st.Close()
	return checkRecords(ctx, st)
}

// Restore fills the store of an empty state directory from a backup. It takes
// the directory's lock, so no daemon can be running on it. The master key in
// the backup is as sealed as it was: the sealer (key file, passphrase) is
// needed to start. Errors: ErrStateBusy, ErrClusterExists, those of keymgr.
func Restore(ctx context.Context, state string, r io.Reader, passphrase []byte) error {
	c := newCluster(Config{State: state})
	if err := c.takeState(); err != nil {
		return err
	}
	defer c.release()
	st, err := store.OpenBolt(StorePath(state), store.BoltOptions{})
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	c.store = st
	err = st.View(ctx, func(tx store.Tx) error {
		if _, err := tx.Get(keyCluster); err == nil {
			return fmt.Errorf("%s: %w: restore into an empty state directory", state, ErrClusterExists)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return keymgr.OpenBackup(ctx, r, st, passphrase)
}

// checkRecords lists what is wrong with the records of an open store.
func checkRecords(ctx context.Context, st store.Store) ([]string, error) {
	problems, err := keymgr.Check(ctx, st)
	if err != nil {
		return nil, err
	}
	out := texts(problems)
	err = st.View(ctx, func(tx store.Tx) error {
		out = append(out, checkObjects(tx)...)
		return nil
	})
	return out, err
}

func texts(problems []store.Problem) []string {
	var out []string
	for _, p := range problems {
		out = append(out, p.String())
	}
	return out
}

// checkObjects checks the records of this package.
func checkObjects(tx store.Tx) []string {
	var out []string
	bad := func(format string, a ...any) { out = append(out, fmt.Sprintf(format, a...)) }
	var cl clusterRecord
	if err := getRecord(tx, keyCluster, &cl); err != nil && !errors.Is(err, store.ErrNotFound) {
		bad("%s: %v", keyCluster, err)
	}
	drives := checkKind(tx, prefixDrive, bad, func(d driveRecord) int64 { return d.ID })
	policies := checkKind(tx, prefixPolicy, bad, func(p policyRecord) int64 { return p.ID })
	vols := checkKind(tx, prefixVol, bad, func(v volumeRecord) int64 { return v.ID })
	checkKind(tx, prefixUser, bad, func(u userRecord) int64 { return u.ID })
	checkKind(tx, prefixAsync, bad, func(a asyncRecord) int64 { return a.Handle })
	checkKind(tx, prefixFault, bad, func(f faultRecord) int64 { return f.ID })
	checkKind(tx, prefixEvent, bad, func(e eventRecord) int64 { return e.ID })
	checkKeys(tx, vols, bad)
	names := map[string]int64{}
	for id, v := range vols {
		if _, ok := drives[v.DriveID]; !ok {
			bad("volume %d is on drive %d, which does not exist", id, v.DriveID)
		}
		if _, ok := policies[v.QoSPolicyID]; !ok && v.QoSPolicyID != 0 {
			bad("volume %d has QoS policy %d, which does not exist", id, v.QoSPolicyID)
		}
		if !v.live() {
			continue
		}
		if other, dup := names[v.Name]; dup {
			bad("volumes %d and %d have the same name %q", other, id, v.Name)
		}
		names[v.Name] = id
	}
	return out
}

// checkKeys checks that every encrypted volume has a wrapped data key and every
// wrapped data key a volume.
func checkKeys(tx store.Tx, vols map[int64]volumeRecord, bad func(string, ...any)) {
	wrapped, err := keymgr.Wrapped(tx)
	if err != nil {
		return // the key manager's own check says more
	}
	orphans := map[string]bool{}
	for _, id := range wrapped {
		orphans[id] = true
	}
	for id, v := range vols {
		if v.Encrypted && !orphans[v.UUID] && v.Phase != phasePurging {
			bad("volume %d (%s) has no wrapped data key: only a recovery passphrase or a backup of the store opens it", id, v.Name)
		}
		delete(orphans, v.UUID)
	}
	for id := range orphans {
		bad("the wrapped data key of volume %s belongs to no volume", id)
	}
}

// checkKind parses every record under prefix and checks that key and id agree.
func checkKind[T any](tx store.Tx, prefix string, bad func(string, ...any), id func(T) int64) map[int64]T {
	out := map[int64]T{}
	for k, b := range tx.Scan(prefix) {
		var v T
		if err := parseRecord(b, &v); err != nil {
			bad("%s: %v", k, err)
			continue
		}
		if want := recordKey(prefix, id(v)); k != want {
			bad("%s: record has id %s", k, strings.TrimPrefix(want, prefix))
		}
		out[id(v)] = v
	}
	return out
}
