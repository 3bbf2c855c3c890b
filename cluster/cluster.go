package cluster

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"lockplate/blockdev"
	"lockplate/keymgr"
	"lockplate/store"
)

// Files in the state directory.
const (
	lockFile  = "lock"
	storeFile = "store.db"
)

// StorePath is the path of the store in a state directory.
func StorePath(state string) string { return filepath.Join(state, storeFile) }

// Config is what a Cluster needs to run.
type Config struct {
	State      string // state directory, made (0700) if missing
	Sealer     keymgr.SealerOptions
	Audit      AuditOptions
	Logger     *slog.Logger          // nil: discard
	Registerer prometheus.Registerer // nil: none
	Now        func() time.Time      // nil: time.Now
	Rand       io.Reader             // nil: crypto/rand

	hangTime time.Duration // 0: the constant of this name
}

// Cluster is one running gateway. All methods may be called concurrently.
//
// Lock order: admin, then mu, then that of a volume. admin is held over a whole administrative change
// (one at a time, it may wait on drives); mu guards the maps and is never held
// over I/O. Client I/O takes neither: it goes through the gate of its volume.
type Cluster struct {
	cfg     Config
	log     *slog.Logger
	lock    *os.File
	users   *users
	metrics *metrics
	faults  faultTable
	audit   *auditLog
	watch   keyWatch

	rekeying sync.Mutex // held while a rekey is begun
	rekeyBy  atomic.Pointer[Actor]

	admin sync.Mutex
	mu    sync.Mutex
	store store.Store
	rec   *clusterRecord // nil: no cluster yet
	keys  *keymgr.Manager
	drive map[int64]*liveDrive
	vol   map[int64]*liveVolume

	policy map[int64]policyRecord // under mu

	unlimited atomic.Bool // no volume is held to its QoS any more

	serverCert atomic.Pointer[func() *x509.Certificate] // of the API; nil: not watched

	stop func()        // ends the background work
	done chan struct{} // closed when it has ended
}

// Open takes the state directory for this process, opens the store and, if a
// cluster exists, boots it: master key, drives, volumes. A drive or volume
// that cannot be used does not fail Open; it is shown as a fault and tried
// again. Errors: ErrStateBusy, and those of store and keymgr.
func Open(ctx context.Context, cfg Config) (*Cluster, error) {
	c := newCluster(cfg)
	if err := c.takeState(); err != nil {
		return nil, err
	}
	c.audit.run()
	if err := c.open(ctx); err != nil {
		c.release()
		return nil, err
	}
	bg, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.stop = cancel
	var work sync.WaitGroup
	work.Go(func() { c.background(bg) })
	work.Go(func() { c.unlocking(bg) })
	work.Go(func() { c.watching(bg) })
	go func() {
		work.Wait()
		close(c.done)
	}()
	return c, nil
}

func newCluster(cfg Config) *Cluster {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.NewRegistry()
	}
	if cfg.hangTime == 0 {
		cfg.hangTime = hangTime
	}
	cfg.Sealer.StateDir = cfg.State
	c := &Cluster{
		cfg: cfg, log: cfg.Logger, done: make(chan struct{}),
		drive: map[int64]*liveDrive{}, vol: map[int64]*liveVolume{}, policy: map[int64]policyRecord{},
	}
	c.audit = newAuditLog(cfg.State, cfg.Audit, c.now)
	c.metrics = newMetrics(cfg.Registerer, c)
	return c
}

func (c *Cluster) now() time.Time { return c.cfg.Now().UTC() }

// takeState makes the state directory and locks it for this process.
func (c *Cluster) takeState() error {
	if err := os.MkdirAll(c.cfg.State, 0o700); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(c.cfg.State, lockFile), os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("lock state directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("%s: %w", c.cfg.State, ErrStateBusy)
		}
		return fmt.Errorf("lock state directory: %w", err)
	}
	c.lock = f
	return nil
}

func (c *Cluster) open(ctx context.Context) error {
	st, err := store.OpenBolt(StorePath(c.cfg.State), store.BoltOptions{})
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	c.setStore(st)
	var rec clusterRecord
	err = st.View(ctx, func(tx store.Tx) error { return getRecord(tx, keyCluster, &rec) })
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read cluster record: %w", err)
	}
	return c.boot(ctx, &rec)
}

func (c *Cluster) setStore(st store.Store) {
	c.store = st
	c.users = newUsers(st, c.now, c.cfg.Rand)
}

// boot brings up a cluster that exists: key manager, then drives, then volumes.
func (c *Cluster) boot(ctx context.Context, rec *clusterRecord) error {
	if rec.SoftwareEncryption {
		k, err := c.openKeys(ctx, rec)
		if err != nil {
			return fmt.Errorf("open master key: %w", err)
		}
		c.keys = k
	}
	c.mu.Lock()
	c.rec = rec
	c.mu.Unlock()
	if err := c.loadDrives(ctx); err != nil {
		return err
	}
	if err := c.loadPolicies(ctx); err != nil {
		return fmt.Errorf("load QoS policies: %w", err)
	}
	return c.loadVolumes(ctx)
}

func (c *Cluster) openKeys(ctx context.Context, rec *clusterRecord) (*keymgr.Manager, error) {
	spec, err := keymgr.SealerSpec(ctx, c.store)
	if err != nil {
		return nil, err
	}
	action := "open master key"
	if c.cfg.Sealer.Shares != nil { // instead of the sealer, which is lost
		spec, action = "shares", "open master key from recovery shares"
	}
	s, err := keymgr.ParseSealer(spec, c.cfg.Sealer)
	if err != nil {
		return nil, err
	}
	m, err := keymgr.Open(ctx, c.store, c.keyOptions(rec.UUID, s))
	c.auditKey(ctx, action, rec.UUID, err)
	return m, err
}

func (c *Cluster) keyOptions(cluster string, s keymgr.Sealer) keymgr.Options {
	return keymgr.Options{
		Cluster: cluster, Sealer: s, Rand: c.cfg.Rand, Now: c.now, Logger: c.log, Hooks: c.jobHooks(), Observer: c.metrics.kmip,
	}
}

// Close flushes and closes every volume, then drives, keys and store. Front
// ends must have been stopped before.
func (c *Cluster) Close(ctx context.Context) error {
	c.stop()
	<-c.done
	c.admin.Lock()
	defer c.admin.Unlock()
	var errs []error
	c.mu.Lock()
	vols := make([]*liveVolume, 0, len(c.vol))
	for _, v := range c.vol {
		vols = append(vols, v)
	}
	c.mu.Unlock()
	for _, v := range vols {
		if err := v.deactivate(ctx); err != nil {
			errs = append(errs, fmt.Errorf("volume %s: %w", v.record().Name, err))
		}
	}
	return errors.Join(append(errs, c.release())...)
}

// release gives back what open took, in the reverse order.
func (c *Cluster) release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, d := range c.drive {
		errs = append(errs, d.close())
	}
	if c.keys != nil {
		errs = append(errs, c.keys.Close())
	}
	if c.store != nil {
		errs = append(errs, c.store.Close())
	}
	c.audit.close()
	return errors.Join(append(errs, c.lock.Close())...)
}

// Exists says whether Create has been done.
func (c *Cluster) Exists() bool { return c.record() != nil }

func (c *Cluster) record() *clusterRecord {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rec
}

// require returns the cluster's record, or ErrNoCluster.
func (c *Cluster) require() (*clusterRecord, error) {
	if r := c.record(); r != nil {
		return r, nil
	}
	return nil, ErrNoCluster
}

// Create makes the cluster: master key, first administrator, record. A create
// that was cut short leaves nothing that a second one trips over.
func (c *Cluster) Create(ctx context.Context, p CreateParams) error {
	defer clear(p.Password)
	defer clear(p.SealPassphrase)
	c.admin.Lock()
	defer c.admin.Unlock()
	if c.Exists() {
		return ErrClusterExists
	}
	if err := c.mayChange(); err != nil {
		return err
	}
	rec, err := c.newRecord(p)
	if err != nil {
		return err
	}
	if err := c.emptyStore(ctx); err != nil {
		return err
	}
	if p.SoftwareEncryption {
		if c.keys, err = c.createKeys(ctx, rec, p); err != nil {
			return err
		}
	}
	if p.Username != "" {
		if _, err := c.users.add(ctx, p.Username, p.Password, []Role{RoleAdmin}, nil); err != nil {
			return err
		}
	}
	err = c.store.Update(ctx, func(tx store.Tx) error {
		if err := putRecord(tx, keyCluster, rec); err != nil {
			return err
		}
		return putEvent(tx, Event{Type: EventService, Message: "Cluster created"}, c.now())
	})
	if err != nil {
		return fmt.Errorf("record the cluster: %w", err)
	}
	c.mu.Lock()
	c.rec = rec
	c.mu.Unlock()
	c.log.Info("cluster created", "cluster", rec.UUID, "encrypted", rec.SoftwareEncryption)
	return nil
}

func (c *Cluster) newRecord(p CreateParams) (*clusterRecord, error) {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "lockplate"
	}
	if p.Name == "" {
		p.Name = host
	}
	if len(p.Name) > 64 {
		return nil, &InvalidError{"name", "longer than 64 characters"}
	}
	if p.SoftwareEncryption && p.Seal == "" {
		return nil, &InvalidError{"seal", "say what protects the internal master key: file:PATH, passphrase or credential:NAME"}
	}
	id, err := newUUID(c.cfg.Rand)
	if err != nil {
		return nil, err
	}
	return &clusterRecord{
		UUID: id, Name: p.Name, Created: c.now(), SoftwareEncryption: p.SoftwareEncryption,
		NodeID: 1, NodeName: host, Attributes: p.Attributes,
	}, nil
}

// emptyStore makes sure that Create starts from nothing: what a cut-short
// Create left (a master key that wraps nothing, a user) goes. A store with
// drives or volumes but no cluster is not touched.
func (c *Cluster) emptyStore(ctx context.Context) error {
	if c.keys != nil {
		c.keys.Close()
		c.keys = nil
	}
	return c.store.Update(ctx, func(tx store.Tx) error {
		for _, p := range []string{prefixDrive, prefixVol} {
			for k := range tx.Scan(p) {
				return fmt.Errorf("%w: the store has %s but no cluster record; run 'lockplate store check'", ErrState, k)
			}
		}
		var keys []string
		for k := range tx.Scan("") {
			if k != store.KeyFormat {
				keys = append(keys, k)
			}
		}
		for _, k := range keys {
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *Cluster) createKeys(ctx context.Context, rec *clusterRecord, p CreateParams) (*keymgr.Manager, error) {
	s, err := c.newSealer(p.Seal, p.SealPassphrase)
	if err != nil {
		return nil, err
	}
	m, err := keymgr.Create(ctx, c.store, p.Seal, c.keyOptions(rec.UUID, s))
	c.auditKey(ctx, "make master key", p.Seal, err)
	if err != nil {
		return nil, fmt.Errorf("make master key: %w", err)
	}
	return m, nil
}

// Info describes the cluster. ErrNoCluster before Create.
func (c *Cluster) Info(context.Context) (Info, error) {
	r, err := c.require()
	if err != nil {
		return Info{}, err
	}
	return Info{
		Name: r.Name, UUID: r.UUID, Created: r.Created, SoftwareEncryption: r.SoftwareEncryption,
		NodeID: r.NodeID, NodeName: r.NodeName, Attributes: r.Attributes,
	}, nil
}

// Encryption tells how software encryption at rest stands.
func (c *Cluster) Encryption(ctx context.Context) (Encryption, error) {
	r, err := c.require()
	if err != nil || !r.SoftwareEncryption {
		return Encryption{}, err
	}
	m := c.keys.Master()
	out := Encryption{Enabled: true, Version: 1, Master: &m, Locked: c.keys.Locked()}
	if s, err := c.keys.Shares(ctx); err == nil {
		out.Shares = &s
	} else if !errors.Is(err, keymgr.ErrNoShares) {
		c.log.Error("recovery shares cannot be looked at", "err", err) // the rest is no worse for it
	}
	out.RekeyHandle, err = c.lastRekey(ctx)
	return out, err
}

// Backup writes the whole store to w, sealed with the passphrase.
func (c *Cluster) Backup(ctx context.Context, w io.Writer, passphrase []byte) error {
	if _, err := c.require(); err != nil {
		return err
	}
	if err := c.mayChange(); err != nil {
		return err
	}
	err := keymgr.SealBackup(ctx, w, c.store, passphrase)
	c.auditKey(ctx, "back up wrapped keys", c.record().UUID, err)
	return err
}

// CheckStore reads every record of the store, opens every wrapped data key,
// and lists what is wrong.
func (c *Cluster) CheckStore(ctx context.Context) ([]string, error) {
	out, err := checkRecords(ctx, c.store)
	if err != nil || !c.Exists() || c.keys == nil {
		return out, err
	}
	wraps, err := c.keys.Verify(ctx)
	c.auditKey(ctx, "unwrap all data keys to check them", c.record().UUID, err)
	return append(out, texts(wraps)...), err
}

var _ interface {
	Open(context.Context, string) (blockdev.Device, error)
	Names(context.Context) ([]string, error)
} = (*Exports)(nil)
