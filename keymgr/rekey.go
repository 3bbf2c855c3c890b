package keymgr

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"

	"lockplate/keymgr/kmip"
	"lockplate/store"
)

// keyJob is the key of the one rekey job in the store: jobRecord.
const keyJob = "rekey"

// RekeyTarget says where the new master key is to be. The zero value is: where
// the present one is.
type RekeyTarget struct {
	Type       ManagementType
	ProviderID int64 // External only, and needed there
}

// Timing are the patience of a rekey; zero members have their defaults.
type Timing struct {
	Limit time.Duration // until the new key is proven, else the job fails; 15 min
	Grace time.Duration // for key servers to tell each other of a key; 2 s
	Retry time.Duration // wait after a first failure; 500 ms
}

// fill sets the defaults.
func (t *Timing) fill() {
	for _, d := range []struct {
		have *time.Duration
		want time.Duration
	}{{&t.Limit, 15 * time.Minute}, {&t.Grace, 2 * time.Second}, {&t.Retry, 500 * time.Millisecond}} {
		if *d.have == 0 {
			*d.have = d.want
		}
	}
}

// RekeyRunningError refuses a rekey while another one is not done.
type RekeyRunningError struct{ Handle int64 }

// Error names the handle.
func (e *RekeyRunningError) Error() string {
	return "another rekey is running, with handle " + strconv.FormatInt(e.Handle, 10)
}

// jobRecord is the one rekey that may be under way, JSON. How far it came is
// the state of the new key: planned, created, active, verified, current; the
// job ends when the new key, as current one, was confirmed.
type jobRecord struct {
	Version int       `json:"version"`
	Handle  int64     `json:"handle"`
	Old     string    `json:"old"` // ids of master keys
	New     string    `json:"new"`
	Started time.Time `json:"started"`
	Halted  string    `json:"halted,omitempty"` // why it could not be confirmed: both keys are kept
}

// getJob reads the job, nil if there is none.
func getJob(tx store.Tx) (*jobRecord, error) {
	b, err := tx.Get(keyJob)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	j := &jobRecord{}
	if err := parseRecord(b, j); err != nil {
		return nil, fmt.Errorf("%s: %w", keyJob, err)
	}
	return j, nil
}

// retryHalted has a job that was halted tried once more.
func (m *Manager) retryHalted() {
	m.mu.Lock()
	m.halted = ""
	m.mu.Unlock()
	m.wake()
}

// putJob stores the job.
func putJob(tx store.Tx, j *jobRecord) error {
	b, err := marshalRecord(j)
	if err != nil {
		return fmt.Errorf("encode rekey job: %w", err)
	}
	return tx.Put(keyJob, b)
}

// getMaster reads the record of a master key; ErrNotFound.
func getMaster(tx store.Tx, id string) (*masterRecord, error) {
	key := prefixMaster + id
	b, err := tx.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("master key %.40q: %w", id, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	r, err := parseMaster(key, b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return r, nil
}

// Rekey begins to replace the current master key by a new one, and gives the
// job's handle as soon as the plan is durable. The job goes on in the
// background, after a crash too; Hooks tell of its end. Data keys stay the
// same and can be used all the time. Errors, with nothing changed: ErrInvalid,
// ErrNoKeyProvider, ErrNoServers, ErrNoKeyPair, ErrLocked, ErrSealerMissing,
// *RekeyRunningError, and *kmip.Error when no key server of the provider works.
func (m *Manager) Rekey(ctx context.Context, t RekeyTarget) (handle int64, err error) {
	if t, err = m.target(t); err != nil {
		return 0, fmt.Errorf("rekey: %w", err)
	}
	if err := m.st.View(ctx, noJob); err != nil {
		m.retryHalted()
		return 0, fmt.Errorf("rekey: %w", err)
	}
	if err := m.feasible(ctx, t); err != nil {
		return 0, fmt.Errorf("rekey: %w", err)
	}
	id, err := uuid.NewRandomFromReader(m.rand)
	if err != nil {
		return 0, fmt.Errorf("rekey: make id: %w", err)
	}
	m.setUnsent(id.String())
	m.sealing.Lock() // a sealer that is replaced is no longer the one of a plan
	defer m.sealing.Unlock()
	err = m.st.Update(ctx, func(tx store.Tx) (err error) {
		handle, err = m.plan(tx, id.String(), t)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("rekey: %w", err)
	}
	m.log.Info("rekey planned", "key_id", id.String(), "type", t.Type, "provider", t.ProviderID)
	m.wake()
	return handle, nil
}

// target completes what the caller left out.
func (m *Manager) target(t RekeyTarget) (RekeyTarget, error) {
	switch {
	case t.Type == "" && t.ProviderID != 0:
		return t, fmt.Errorf("%w: a key provider without the type of key management", ErrInvalid)
	case t.Type == "":
		cur := m.Master()
		return RekeyTarget{cur.Type, cur.ProviderID}, nil
	case t.Type == Internal && t.ProviderID != 0:
		return t, fmt.Errorf("%w: internal key management has no key provider", ErrInvalid)
	case t.Type == External && t.ProviderID == 0:
		return t, fmt.Errorf("%w: external key management needs a key provider", ErrInvalid)
	case t.Type != Internal && t.Type != External:
		return t, fmt.Errorf("%w: key management %.20q: internal and external are known", ErrInvalid, t.Type)
	}
	return t, nil
}

// noJob fails while a rekey is under way.
func noJob(tx store.Tx) error {
	j, err := getJob(tx)
	if err == nil && j != nil {
		err = &RekeyRunningError{j.Handle}
	}
	return err
}

// feasibleTime bounds how long a caller of Rekey waits for key servers.
const feasibleTime = 10 * time.Second

// feasible refuses what would fail: the old key is not at hand, the sealer is
// away, no key server works.
func (m *Manager) feasible(ctx context.Context, t RekeyTarget) error {
	if err := m.use(func(ring) error { return nil }); errors.Is(err, ErrLocked) {
		return fmt.Errorf("%w; %s", err, lostKey)
	} else if err != nil {
		return err
	}
	if t.Type == Internal {
		return m.internal().Check(ctx)
	}
	src, err := m.provider(ctx, t.ProviderID)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, feasibleTime)
	defer cancel()
	results := src.Client.Test(ctx)
	for _, r := range results {
		if r.Err == nil {
			return nil
		}
	}
	return kmip.Failed(results)
}

// plan records job and new key.
func (m *Manager) plan(tx store.Tx, id string, t RekeyTarget) (handle int64, err error) {
	if err := noJob(tx); err != nil {
		return 0, err
	}
	old, err := currentMaster(tx)
	if err != nil {
		return 0, err
	}
	now := m.now().UTC()
	r := &masterRecord{
		Version: recordVersion, ID: id, Type: t.Type, ProviderID: t.ProviderID,
		Name: "lockplate/" + m.cluster + "/mk/" + id, State: StatePlanned, Created: now, Sweep: t.Type == External,
	}
	if t.Type == Internal {
		r.Sealer = m.sealer.get().Kind()
	} else if err := stillServed(tx, t.ProviderID); err != nil {
		return 0, err
	}
	err = masters(tx, func(o *masterRecord) error {
		r.Generation = max(r.Generation, o.Generation+1)
		return nil
	})
	if err != nil {
		return 0, err
	}
	j := &jobRecord{Version: recordVersion, Handle: int64(r.Generation), Old: old.ID, New: id, Started: now}
	if m.hooks.Begin != nil {
		if j.Handle, err = m.hooks.Begin(tx, now); err != nil {
			return 0, err
		}
	}
	return j.Handle, errors.Join(putMaster(tx, r), putJob(tx, j))
}

// stillServed says that a provider has servers, now that it is to be active.
func stillServed(tx store.Tx, provider int64) error {
	if _, err := getProvider(tx, provider); err != nil {
		return err
	}
	all, err := servers(tx, &provider)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("key provider %d: %w", provider, ErrNoServers)
	}
	return err
}

// setUnsent notes that this process has not asked a key server to make the key:
// nobody else did, so that there is nothing to look for.
func (m *Manager) setUnsent(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unsent = id
}

// wasUnsent reports, once, whether setUnsent noted the key.
func (m *Manager) wasUnsent(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	was := m.unsent == id
	m.unsent = ""
	return was
}
