package keymgr

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"lockplate/store"
)

// Keys of this package's records in the store.
const (
	prefixMaster = "master/" // + id: masterRecord
	prefixSealed = "sealed/" // + id: sealed internal master key
	prefixWraps  = "wraps/"  // + page number, 8 digits: page of wrapped data keys
	keySealer    = "sealer"  // sealerRecord

	keyRecovery    = "recovery"  // recoveryRecord
	prefixRecovery = "recovery/" // + id: internal master key, sealed for recovery shares
)

// State is a master key's place in its life: planned, created, active,
// verified, current, retiring, decommissioned; or abandoned at any point before
// current. Exactly one key is current.
type State string

// The states, in order.
const (
	StatePlanned        State = "planned"
	StateCreated        State = "created"
	StateActive         State = "active"
	StateVerified       State = "verified"
	StateCurrent        State = "current"
	StateRetiring       State = "retiring"
	StateDecommissioned State = "decommissioned"
	StateAbandoned      State = "abandoned"
)

func (s State) valid() bool {
	switch s {
	case StatePlanned, StateCreated, StateActive, StateVerified, StateCurrent, StateRetiring,
		StateDecommissioned, StateAbandoned:
		return true
	}
	return false
}

const recordVersion = 1

// What bounds a JSON record before it is parsed; a big one has certificates.
const (
	maxRecord    = 16 << 10
	maxBigRecord = 128 << 10
)

// masterRecord is the durable description of a master key, JSON.
type masterRecord struct {
	Version    int            `json:"version"`
	ID         string         `json:"id"`
	Type       ManagementType `json:"type"`
	ProviderID int64          `json:"providerID,omitempty"` // external: who has it
	ServerID   string         `json:"serverID,omitempty"`   // external: its id there
	Name       string         `json:"name"`                 // lockplate/CLUSTER/mk/ID
	State      State          `json:"state"`
	KCV        string         `json:"kcv,omitempty"`    // hex; from verified on
	Sealer     string         `json:"sealer,omitempty"` // internal: kind
	Generation uint64         `json:"generation"`       // 1 for the first, then one more each
	Created    time.Time      `json:"created"`
	Sweep      bool           `json:"sweep,omitempty"`    // external: other keys of its name may exist there
	Destroyed  time.Time      `json:"destroyed,omitzero"` // it exists nowhere any more
	Forgotten  time.Time      `json:"forgotten,omitzero"` // external: given up where it could not be destroyed
	Left       []string       `json:"left,omitempty"`     // with forgotten: where it may still exist
}

// sealerRecord says how internal master keys are sealed.
type sealerRecord struct {
	Version int    `json:"version"`
	Spec    string `json:"spec"` // as ParseSealer takes it
}

func marshalRecord(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err == nil && len(b) > maxRecord {
		err = ErrTooLarge
	}
	return b, err
}

// putBig stores a record with certificates.
func putBig(tx store.Tx, key string, v any) error {
	b, err := json.Marshal(v)
	if err == nil && len(b) > maxBigRecord {
		err = ErrTooLarge
	}
	if err != nil {
		return fmt.Errorf("encode %s: %w", key, err)
	}
	return tx.Put(key, b)
}

// putMaster stores a master key's record.
func putMaster(tx store.Tx, r *masterRecord) error {
	b, err := marshalRecord(r)
	if err != nil {
		return fmt.Errorf("encode master key record: %w", err)
	}
	return tx.Put(prefixMaster+r.ID, b)
}

// parseRecord is strict: a member it does not know would be half understood.
// The version is looked at first, so that a newer record is called that.
func parseRecord(b []byte, v any) error { return parseJSON(b, v, maxRecord) }

// parseBig is parseRecord for a record with certificates.
func parseBig(b []byte, v any) error { return parseJSON(b, v, maxBigRecord) }

func parseJSON(b []byte, v any, limit int) error {
	if len(b) > limit {
		return fmt.Errorf("%w (%d bytes)", ErrIntegrity, len(b))
	}
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return fmt.Errorf("%w (%w)", ErrIntegrity, err)
	}
	if head.Version != recordVersion {
		return fmt.Errorf("%w (version %d)", ErrFormat, head.Version)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w (%w)", ErrIntegrity, err)
	}
	return nil
}

// parseMaster reads the record at key, which must be the one its id says.
func parseMaster(key string, b []byte) (*masterRecord, error) {
	r := &masterRecord{}
	if err := parseRecord(b, r); err != nil {
		return nil, err
	}
	id, err := uuid.Parse(r.ID)
	switch {
	case err != nil || id.String() != r.ID || key != prefixMaster+r.ID:
		err = errors.New("id does not fit its key")
	case !r.State.valid():
		err = fmt.Errorf("unknown state %.40q", r.State)
	case r.Type != Internal && r.Type != External:
		err = fmt.Errorf("unknown type %.40q", r.Type)
	case r.Type == External && r.ProviderID < 1:
		err = errors.New("no provider")
	case r.Generation == 0:
		err = errors.New("generation 0")
	case r.proven() && len(r.kcv()) != kcvBytes:
		err = errors.New("no check value")
	case r.lost() && (r.Type == Internal || r.State != StateDecommissioned && r.State != StateAbandoned):
		err = fmt.Errorf("forgotten, and %s %s", r.Type, r.State)
	}
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrIntegrity, err)
	}
	return r, nil
}

// proven says that the key is, or was, fit to wrap.
func (r *masterRecord) proven() bool {
	return r.State == StateVerified || r.State == StateCurrent || r.State == StateRetiring
}

func (r *masterRecord) kcv() []byte {
	b, err := hex.DecodeString(r.KCV)
	if err != nil {
		return nil
	}
	return b
}

// currentMaster finds the one current key. ErrNoMaster; ErrIntegrity if there
// are two.
func currentMaster(tx store.Tx) (*masterRecord, error) {
	var cur *masterRecord
	err := masters(tx, func(r *masterRecord) error {
		if r.State != StateCurrent {
			return nil
		}
		if cur != nil {
			return fmt.Errorf("%w (master keys %s and %s are both current)", ErrIntegrity, cur.ID, r.ID)
		}
		cur = r
		return nil
	})
	if err == nil && cur == nil {
		err = ErrNoMaster
	}
	if err != nil {
		return nil, err
	}
	return cur, nil
}

// masters yields every master key to fn until that fails.
func masters(tx store.Tx, fn func(*masterRecord) error) error {
	for k, b := range tx.Scan(prefixMaster) {
		r, err := parseMaster(k, b)
		if err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}
