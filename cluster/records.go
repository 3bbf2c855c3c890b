package cluster

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"lockplate/store"
)

// Keys of this package's records in the store. Values are JSON, but for the
// counters under ids/, which are 8 bytes big endian. docs/FORMAT has the table.
const (
	keyCluster  = "cluster"
	prefixDrive = "drives/"
	prefixVol   = "volumes/"
	prefixAsync = "asyncs/"
	prefixFault = "faults/"
	prefixEvent = "events/"
	prefixID    = "ids/"
)

// maxRecord bounds a record before it is parsed.
const maxRecord = 64 << 10

// phase of a record marks a change that spans the store and a drive, so that
// the next boot can finish it or take it back.
type phase string

const (
	phaseLive     phase = ""
	phaseCreating phase = "creating" // image may or may not be there: take back
	phasePurging  phase = "purging"  // key is gone, image may be there: finish
)

type clusterRecord struct {
	UUID               string         `json:"uuid"`
	Name               string         `json:"name"`
	Created            time.Time      `json:"created"`
	SoftwareEncryption bool           `json:"softwareEncryption"`
	NodeID             int64          `json:"nodeID"`
	NodeName           string         `json:"nodeName"`
	Attributes         map[string]any `json:"attributes,omitempty"`
}

type driveRecord struct {
	ID     int64     `json:"id"`
	UUID   string    `json:"uuid"`
	URI    string    `json:"uri"`
	Role   DriveRole `json:"role"`
	Active bool      `json:"active"`
	Lost   bool      `json:"lost,omitempty"` // a metadata drive that failed while active
	Added  time.Time `json:"added"`
}

type volumeRecord struct {
	ID            int64          `json:"id"`
	UUID          string         `json:"uuid"`
	Name          string         `json:"name"`
	Phase         phase          `json:"phase,omitempty"`
	AccountID     int64          `json:"accountID"`
	Size          int64          `json:"size"`
	Emulate512    bool           `json:"emulate512"`
	Access        Access         `json:"access"`
	Encrypted     bool           `json:"encrypted"`
	DriveID       int64          `json:"driveID"`
	Image         string         `json:"image"`
	HeaderDriveID int64          `json:"headerDriveID,omitempty"`
	HeaderImage   string         `json:"headerImage,omitempty"`
	Discard       string         `json:"discard"`
	Adopted       bool           `json:"adopted,omitempty"`
	LUKSVersion   int            `json:"luksVersion,omitempty"`
	LUKSUUID      string         `json:"luksUUID,omitempty"`
	Created       time.Time      `json:"created"`
	Deleted       time.Time      `json:"deleted,omitzero"`
	Purge         time.Time      `json:"purge,omitzero"`
	Attributes    map[string]any `json:"attributes,omitempty"`
	QoS           *QoS           `json:"qos,omitempty"` // nil: never set, or the policy's
	QoSPolicyID   int64          `json:"qosPolicyID,omitempty"`
}

// live says that the volume counts: made whole, and not deleted.
func (r *volumeRecord) live() bool { return r.Phase == phaseLive && r.Deleted.IsZero() }

type asyncRecord struct {
	Handle   int64          `json:"handle"`
	Type     string         `json:"type"`
	Created  time.Time      `json:"created"`
	Updated  time.Time      `json:"updated"`
	Done     bool           `json:"done"`
	State    string         `json:"state,omitempty"`
	Progress int            `json:"progress,omitempty"`
	Result   map[string]any `json:"result,omitempty"`
	ErrName  string         `json:"errName,omitempty"`
	ErrText  string         `json:"errText,omitempty"`
	Actor    *Actor         `json:"actor,omitempty"` // who asked for it
}

func recordKey(prefix string, id int64) string { return fmt.Sprintf("%s%010d", prefix, id) }

// parseRecord is the one way a record is read: bounded, one JSON value, no
// unknown member (a newer format must not be half understood).
func parseRecord(b []byte, v any) error {
	if len(b) > maxRecord {
		return fmt.Errorf("record of %d bytes is over the limit of %d", len(b), maxRecord)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("parse record: %w", err)
	}
	if d.More() {
		return errors.New("parse record: trailing data")
	}
	return nil
}

func putRecord(tx store.Tx, key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", key, err)
	}
	if len(b) > maxRecord {
		return fmt.Errorf("encode %s: %w: %d bytes", key, ErrLimit, len(b))
	}
	return tx.Put(key, b)
}

func getRecord(tx store.Tx, key string, v any) error {
	b, err := tx.Get(key)
	if err != nil {
		return err
	}
	if err := parseRecord(b, v); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// scanRecords parses every record under prefix, in order of their ids.
func scanRecords[T any](tx store.Tx, prefix string) ([]T, error) {
	var out []T
	for k, b := range tx.Scan(prefix) {
		var v T
		if err := parseRecord(b, &v); err != nil {
			return nil, fmt.Errorf("%s: %w", k, err)
		}
		out = append(out, v)
	}
	return out, nil
}

// nextID gives the next id of a kind: 1, 2, … and none twice, even if the
// object is deleted again.
func nextID(tx store.Tx, kind string) (int64, error) {
	n, err := lastID(tx, kind)
	if err != nil {
		return 0, err
	}
	if n >= 1<<53-1 {
		return 0, fmt.Errorf("counter %s: %w", prefixID+kind, ErrLimit)
	}
	return n + 1, putLastID(tx, kind, n+1)
}

// lastID is the id of a kind that was given out last, 0 for none.
func lastID(tx store.Tx, kind string) (int64, error) {
	key := prefixID + kind
	switch b, err := tx.Get(key); {
	case errors.Is(err, store.ErrNotFound):
		return 0, nil
	case err != nil:
		return 0, err
	case len(b) != 8:
		return 0, fmt.Errorf("counter %s has %d bytes, want 8", key, len(b))
	default:
		return int64(binary.BigEndian.Uint64(b) & math.MaxInt64), nil
	}
}

func putLastID(tx store.Tx, kind string, id int64) error {
	return tx.Put(prefixID+kind, binary.BigEndian.AppendUint64(nil, uint64(id)))
}

func notFound(kind string, id int64) error {
	return &NotFoundError{Kind: kind, ID: strconv.FormatInt(id, 10)}
}

// getByID reads one record, turning the store's "not found" into ours.
func getByID[T any](tx store.Tx, prefix, kind string, id int64) (T, error) {
	var v T
	err := getRecord(tx, recordKey(prefix, id), &v)
	if errors.Is(err, store.ErrNotFound) {
		return v, notFound(kind, id)
	}
	return v, err
}
