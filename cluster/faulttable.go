package cluster

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"lockplate/store"
)

// maxResolved bounds the history of faults that have ended; the oldest go.
const maxResolved = 1000

// faultRecord is a fault in the store. Key is the condition's.
type faultRecord struct {
	ID       int64     `json:"id"`
	Key      string    `json:"key"`
	Code     string    `json:"code"`
	Severity string    `json:"severity"`
	Type     string    `json:"type"`
	Text     string    `json:"text"`
	DriveID  int64     `json:"driveID,omitempty"`
	VolumeID int64     `json:"volumeID,omitempty"`
	Since    time.Time `json:"since"`
	Resolved time.Time `json:"resolved,omitzero"`
}

func (r *faultRecord) fault() Fault {
	return Fault{
		ID: r.ID, Code: r.Code, Severity: r.Severity, Type: r.Type, Text: r.Text,
		DriveID: r.DriveID, VolumeID: r.VolumeID, Since: r.Since, Resolved: r.Resolved,
	}
}

// faultTable keeps the faults that hold and those that held. It lives in
// memory, so that a store that fails does not hide faults; what the store does
// not have yet is dirty and written as soon as that is possible again.
type faultTable struct {
	mu       sync.Mutex
	loaded   bool
	last     int64                   // highest id given
	seen     map[string]time.Time    // since when conditions hold that are not shown yet
	all      map[int64]*faultRecord  // by id
	open     map[string]*faultRecord // those that hold, by condition
	dirty    map[int64]bool          // to be written, or deleted if not in all
	storeErr error                   // why the last write failed
}

// load reads the table from the store, once.
func (t *faultTable) load(ctx context.Context, st store.Store) error {
	if t.loaded {
		return nil
	}
	t.seen, t.all = map[string]time.Time{}, map[int64]*faultRecord{}
	t.open, t.dirty = map[string]*faultRecord{}, map[int64]bool{}
	err := st.View(ctx, func(tx store.Tx) error {
		recs, err := scanRecords[faultRecord](tx, prefixFault)
		for i := range recs {
			r := &recs[i]
			t.all[r.ID] = r
			if r.Resolved.IsZero() {
				t.open[r.Key] = r
			}
		}
		if err == nil {
			t.last, err = lastID(tx, "fault")
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("load faults: %w", err)
	}
	t.loaded = true
	return nil
}

// update takes the conditions that hold now, and returns the events of those
// that are news.
func (t *faultTable) update(conds []condition, rules map[string]FaultRule, now time.Time) (news []Event) {
	holds := map[string]bool{}
	for i := range conds {
		rule := rules[conds[i].code]
		key := conds[i].code + "/" + conds[i].key
		holds[key] = true
		since, known := t.seen[key]
		old := t.open[key]
		if old != nil {
			since = old.Since
		} else if !known {
			since = now
			t.seen[key] = now
		}
		if now.Sub(since) < rule.Hold {
			continue
		}
		f := conds[i].fault(&rule, since, now)
		if old == nil {
			news = append(news, t.raise(key, f))
		} else if old.Text != f.Text || old.Severity != f.Severity {
			old.Text, old.Severity = f.Text, f.Severity
			t.dirty[old.ID] = true
		}
	}
	maps.DeleteFunc(t.seen, func(k string, _ time.Time) bool { return !holds[k] || t.open[k] != nil })
	return append(news, t.resolve(holds, now)...)
}

func (t *faultTable) raise(key string, f Fault) Event {
	t.last++
	r := &faultRecord{
		ID: t.last, Key: key, Code: f.Code, Severity: f.Severity, Type: f.Type, Text: f.Text,
		DriveID: f.DriveID, VolumeID: f.VolumeID, Since: f.Since,
	}
	t.all[r.ID], t.open[key], t.dirty[r.ID] = r, r, true
	return r.event("Cluster fault raised")
}

// resolve ends the faults whose condition does not hold any more.
func (t *faultTable) resolve(holds map[string]bool, now time.Time) (news []Event) {
	for key, r := range t.open {
		if holds[key] {
			continue
		}
		r.Resolved = now
		t.dirty[r.ID] = true
		delete(t.open, key)
		news = append(news, r.event("Cluster fault resolved"))
	}
	if over := len(t.all) - len(t.open) - maxResolved; over > 0 {
		ended := t.list(func(r *faultRecord) bool { return !r.Resolved.IsZero() })
		for _, f := range ended[:over] {
			delete(t.all, f.ID)
			t.dirty[f.ID] = true
		}
	}
	return news
}

func (r *faultRecord) event(what string) Event {
	e := Event{
		Type: EventService, Message: what + ": " + r.Code, DriveID: r.DriveID,
		Details: map[string]any{"clusterFaultID": r.ID, "code": r.Code, "details": r.Text},
	}
	if r.Resolved.IsZero() {
		e.Severity = map[string]int{sevWarning: 1, sevError: 2, sevCritical: 3}[r.Severity]
	}
	return e
}

// list gives the faults that want asks for, by id.
func (t *faultTable) list(want func(*faultRecord) bool) []Fault {
	var out []Fault
	for _, r := range t.all {
		if want(r) {
			out = append(out, r.fault())
		}
	}
	slices.SortFunc(out, func(a, b Fault) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// saveAtOnce is how many faults go into one transaction.
const saveAtOnce = 32

// save writes what the store does not have yet. It does so even if the caller
// who happened to ask has gone meanwhile.
func (t *faultTable) save(ctx context.Context, st store.Store, news []Event, now time.Time) {
	if len(t.dirty) == 0 && len(news) == 0 && t.storeErr == nil {
		return
	}
	ctx = context.WithoutCancel(ctx)
	t.storeErr = st.Update(ctx, func(tx store.Tx) error { return putLastID(tx, "fault", t.last) })
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(t.dirty)), saveAtOnce) {
		if t.storeErr != nil {
			return
		}
		t.storeErr = st.Update(ctx, func(tx store.Tx) error { return t.put(tx, ids) })
		if t.storeErr == nil {
			maps.DeleteFunc(t.dirty, func(id int64, _ bool) bool { return slices.Contains(ids, id) })
		}
	}
	for events := range slices.Chunk(news, saveAtOnce) {
		if t.storeErr != nil {
			return
		}
		t.storeErr = st.Update(ctx, func(tx store.Tx) error {
			for _, e := range events {
				if err := putEvent(tx, e, now); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// put writes the faults of these ids, or that they are gone.
func (t *faultTable) put(tx store.Tx, ids []int64) error {
	for _, id := range ids {
		var err error
		if r := t.all[id]; r != nil {
			err = putRecord(tx, recordKey(prefixFault, id), r)
		} else {
			err = tx.Delete(recordKey(prefixFault, id))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// refreshFaults brings the table up to date; the caller holds its lock.
func (c *Cluster) refreshFaults(ctx context.Context) error {
	t := &c.faults
	if err := t.load(ctx, c.store); err != nil {
		return err
	}
	conds := c.conditions(ctx)
	if t.storeErr != nil {
		conds = append(conds, condition{code: faultStoreUnwritable, args: []any{t.storeErr}})
	}
	rules := map[string]FaultRule{}
	for _, r := range FaultRules() {
		rules[r.Code] = r
	}
	now := c.now()
	news := t.update(conds, rules, now)
	for _, e := range news {
		c.log.Log(ctx, faultLevel(e), e.Message, "drive", e.DriveID, "fault", e.Details["clusterFaultID"], "details", e.Details["details"])
	}
	t.save(ctx, c.store, news, now)
	return nil
}

// Faults lists the conditions that hold now, oldest first. Faults clear by
// themselves when the condition ends.
func (c *Cluster) Faults(ctx context.Context) ([]Fault, error) {
	return c.listFaults(ctx, func(r *faultRecord) bool { return r.Resolved.IsZero() })
}

// FaultHistory lists the faults that have ended and are not cleared yet, oldest
// first.
func (c *Cluster) FaultHistory(ctx context.Context) ([]Fault, error) {
	return c.listFaults(ctx, func(r *faultRecord) bool { return !r.Resolved.IsZero() })
}

func (c *Cluster) listFaults(ctx context.Context, want func(*faultRecord) bool) ([]Fault, error) {
	if _, err := c.require(); err != nil {
		return nil, err
	}
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	if err := c.refreshFaults(ctx); err != nil {
		return nil, err
	}
	return c.faults.list(want), nil
}

// FaultSet says which faults are meant.
type FaultSet string

// Sets of faults, with Element's spelling.
const (
	FaultsCurrent  FaultSet = "current"
	FaultsResolved FaultSet = "resolved"
	FaultsAll      FaultSet = "all"
)

// ClearFaults drops faults from the list. A current one whose condition still
// holds comes back as a new one at once.
func (c *Cluster) ClearFaults(ctx context.Context, which FaultSet) error {
	if _, err := c.require(); err != nil {
		return err
	}
	if !slices.Contains([]FaultSet{FaultsCurrent, FaultsResolved, FaultsAll}, which) {
		return &InvalidError{"faultTypes", fmt.Sprintf("%.40q is not current, resolved or all", string(which))}
	}
	t := &c.faults
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.load(ctx, c.store); err != nil {
		return err
	}
	t.clear(which)
	t.save(ctx, c.store, nil, c.now())
	if t.storeErr != nil {
		return fmt.Errorf("clear faults: %w", t.storeErr)
	}
	return nil
}

func (t *faultTable) clear(which FaultSet) {
	for id, r := range t.all {
		current := r.Resolved.IsZero()
		if which != FaultsAll && current != (which == FaultsCurrent) {
			continue
		}
		delete(t.all, id)
		t.dirty[id] = true
		if current {
			delete(t.open, r.Key)
		}
	}
}
