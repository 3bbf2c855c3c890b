package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"lockplate/keymgr"
	"lockplate/store"
)

// RekeyOptions say how the rekey is measured.
type RekeyOptions struct {
	Dir     string    `json:"-"`       // where the stores are made
	Volumes []int     `json:"volumes"` // how many data keys there are
	Rounds  int       `json:"rounds"`
	Log     io.Writer `json:"-"` // progress
}

// Names of what is measured of a rekey.
const (
	transaction = "transaction"
	wholeRekey  = "whole"
	dataKey     = 64       // bytes of one
	wrapPrefix  = "wraps/" // docs/FORMAT: pages of wrapped data keys
	fillBatch   = 128      // data keys put in one transaction: one page
	rekeyTarget = "rewrap" // the only target there is
)

// Rekey measures how long it takes to put the data keys of many volumes under a
// new internal master key: the one transaction that does it, synced to disk,
// and the whole from the call to the confirmed end.
func Rekey(ctx context.Context, o RekeyOptions) (*Report, error) {
	r := &Report{Name: "rekey", Title: "Rekey of the master key", Settings: o, Time: time.Now()}
	// Filling a store takes longer than its rekey: it is done once, and every
	// round rekeys what the one before left.
	stores := make([]*rekeyStore, len(o.Volumes))
	for i, n := range o.Volumes {
		s, err := newRekeyStore(ctx, o.Dir, n)
		if err != nil {
			return nil, fmt.Errorf("prepare %d volumes: %w", n, err)
		}
		defer s.close()
		stores[i] = s
	}
	for round := range o.Rounds {
		for _, i := range rotated(len(stores), round) {
			n := o.Volumes[i]
			t, err := stores[i].rekey(ctx)
			if err != nil {
				return nil, fmt.Errorf("rekey of %d volumes: %w", n, err)
			}
			r.add(fmt.Sprint(n), rekeyTarget, transaction, "ms", t.transaction.Seconds()*1000)
			r.add(fmt.Sprint(n), rekeyTarget, wholeRekey, "ms", t.whole.Seconds()*1000)
			fmt.Fprintf(o.Log, "round %d: %d volumes in %v\n", round+1, n, t.transaction.Round(time.Microsecond))
		}
	}
	r.Machine = machine()
	r.rekeyTables(o)
	return r, nil
}

// rekeyTimes is one rekey.
type rekeyTimes struct{ transaction, whole time.Duration }

// timedStore notes how long the last transaction took that wrote pages of
// wrapped keys.
type timedStore struct {
	store.Store
	mu   sync.Mutex
	took time.Duration
}

// timedTx notes that it wrote such a page.
type timedTx struct {
	store.Tx
	wrote *bool
}

// Put writes to the store below.
func (t timedTx) Put(key string, val []byte) error {
	*t.wrote = *t.wrote || strings.HasPrefix(key, wrapPrefix)
	return t.Tx.Put(key, val)
}

// Update runs a transaction of the store below.
func (s *timedStore) Update(ctx context.Context, fn func(store.Tx) error) error {
	wrote, start := false, time.Now()
	err := s.Store.Update(ctx, func(tx store.Tx) error { return fn(timedTx{tx, &wrote}) })
	if err == nil && wrote {
		s.mu.Lock()
		s.took = time.Since(start)
		s.mu.Unlock()
	}
	return err
}

// rekeyStore is a store with the data keys of so many volumes. It is rekeyed
// again and again.
type rekeyStore struct {
	dir   string
	bolt  store.Store
	timed *timedStore
	keys  *keymgr.Manager
	ended chan error // hears of the end of each job
}

// newRekeyStore makes a store and fills it.
func newRekeyStore(ctx context.Context, in string, volumes int) (s *rekeyStore, err error) {
	s = &rekeyStore{ended: make(chan error, 1)}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.dir, err = os.MkdirTemp(in, "lockplate-bench-"); err != nil {
		return nil, err
	}
	if s.bolt, err = store.OpenBolt(filepath.Join(s.dir, "store.db"), store.BoltOptions{}); err != nil {
		return nil, err
	}
	s.timed = &timedStore{Store: s.bolt}
	spec := "file:" + filepath.Join(s.dir, "seal.key")
	sealer, err := keymgr.ParseSealer(spec, keymgr.SealerOptions{StateDir: s.dir, Create: true})
	if err != nil {
		return nil, err
	}
	s.keys, err = keymgr.Create(ctx, s.timed, spec, keymgr.Options{Cluster: uuid.NewString(), Sealer: sealer, Hooks: keymgr.Hooks{End: s.end}})
	if err != nil {
		return nil, err
	}
	return s, putDataKeys(ctx, s.timed, s.keys, volumes)
}

// end is told when a job has ended.
func (s *rekeyStore) end(_ store.Tx, _ int64, _ map[string]any, name, text string) error {
	select {
	case s.ended <- endError(name, text):
	default: // a transaction may run twice
	}
	return nil
}

// rekey does one rekey. The end of the one before was told inside the
// transaction that ends it, which may not be over.
func (s *rekeyStore) rekey(ctx context.Context) (t rekeyTimes, err error) {
	var start time.Time
	over := poll(ctx, startLimit, func() bool {
		start = time.Now()
		_, err = s.keys.Rekey(ctx, keymgr.RekeyTarget{Type: keymgr.Internal})
		running := (*keymgr.RekeyRunningError)(nil)
		return !errors.As(err, &running)
	})
	if err = errors.Join(err, over); err != nil {
		return t, err
	}
	select {
	case err = <-s.ended:
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.timed.mu.Lock()
	defer s.timed.mu.Unlock()
	return rekeyTimes{s.timed.took, time.Since(start)}, err
}

// close removes it all.
func (s *rekeyStore) close() {
	if s.keys != nil {
		s.keys.Close()
	}
	if s.bolt != nil {
		s.bolt.Close()
	}
	if s.dir != "" {
		os.RemoveAll(s.dir)
	}
}

// endError is the error that a job ended with, if it did.
func endError(name, text string) error {
	if name == "" && text == "" {
		return nil
	}
	return errors.New(strings.TrimSpace(name + " " + text))
}

// putDataKeys gives so many volumes a data key each.
func putDataKeys(ctx context.Context, st store.Store, m *keymgr.Manager, volumes int) error {
	for put := 0; put < volumes; {
		batch := min(fillBatch, volumes-put)
		err := st.Update(ctx, func(tx store.Tx) error {
			for range batch {
				if err := putDataKey(tx, m); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("put data keys: %w", err)
		}
		put += batch
	}
	return nil
}

// putDataKey gives one new volume a data key.
func putDataKey(tx store.Tx, m *keymgr.Manager) error {
	// What stands in it does not change the time it takes to wrap.
	b := make([]byte, dataKey)
	copy(b, uuid.NewString()) // any bytes: this key protects nothing
	k, err := keymgr.NewSecret(b)
	if err != nil {
		return err
	}
	defer k.Destroy()
	return m.PutDataKey(tx, uuid.NewString(), k)
}

// rekeyTables makes what people read of the values.
func (r *Report) rekeyTables(o RekeyOptions) {
	r.about = fmt.Sprintf("Internal master key, bbolt store in a folder that is %s; %d rounds. Data is not touched: a rekey wraps the volumes' keys anew.",
		map[bool]string{true: "in memory", false: "on disk, synced"}[inMemory(o.Dir)], o.Rounds)
	t := table{title: "Time in ms (quarters of the rounds around the median)", head: []string{"volumes", "the one transaction", "µs a volume", "whole, from the call to the confirmed end"}}
	c := chart{file: "rekey", title: "Rekey", unit: "ms", xUnit: "volumes"}
	one, whole := series{name: "the one transaction"}, series{name: "whole"}
	for _, n := range o.Volumes {
		tx, all := r.rounds(fmt.Sprint(n), rekeyTarget, transaction), r.rounds(fmt.Sprint(n), rekeyTarget, wholeRekey)
		t.row(fmt.Sprint(n), spread(tx), number(median(tx)*1000/float64(n)), spread(all))
		c.at = append(c.at, float64(n))
		one.push(tx)
		whole.push(all)
	}
	c.series = []series{one, whole}
	r.tables, r.charts = append(r.tables, t), append(r.charts, c)
}
