package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"lockplate/blockdev"
	"lockplate/keymgr"
	"lockplate/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mib = 1 << 20

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// rig is a cluster in a temporary directory with a key file elsewhere.
type rig struct {
	t     *testing.T
	dir   string
	clock *clock
	reg   prometheus.Registerer // nil: the cluster's own
	*Cluster
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), clock: &clock{t: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}
	r.start()
	t.Cleanup(func() { r.shutdown() })
	return r
}

// withCluster is newRig with a cluster made and one directory as drive.
func withCluster(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	r.must(r.Create(t.Context(), r.params()))
	r.addDrive("d1", RoleBlock)
	return r
}

func (r *rig) params() CreateParams {
	return CreateParams{Seal: "file:" + filepath.Join(r.dir, "key"), SoftwareEncryption: true}
}

func (r *rig) config() Config {
	return Config{State: filepath.Join(r.dir, "state"), Now: r.clock.now, Registerer: r.reg, hangTime: 5 * time.Second}
}

func (r *rig) start() {
	r.t.Helper()
	c, err := Open(context.Background(), r.config())
	r.must(err)
	r.Cluster = c
}

func (r *rig) shutdown() {
	if r.Cluster == nil {
		return
	}
	r.must(r.Close(context.Background()))
	r.Cluster = nil
}

func (r *rig) restart() {
	r.t.Helper()
	r.shutdown()
	r.start()
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) addDrive(name string, role DriveRole) string {
	r.t.Helper()
	dir := filepath.Join(r.dir, name)
	_, err := r.AddDrives(r.t.Context(), []AddDrive{{URI: "dir:" + dir, Role: role}})
	r.must(err)
	return dir
}

func (r *rig) create(p CreateVolume) Volume {
	r.t.Helper()
	v, err := r.CreateVolume(r.t.Context(), p)
	r.must(err)
	if v.State != VolumeOnline {
		r.t.Fatalf("new volume is %s: %s", v.State, v.Reason)
	}
	return v
}

func (r *rig) attach(name string) blockdev.Device {
	r.t.Helper()
	d, err := r.Exports("nbd").Open(r.t.Context(), name)
	r.must(err)
	r.t.Cleanup(func() { d.Close() })
	return d
}

// write puts b at off and flushes. b is kept: the device may scramble its own.
func (r *rig) write(d blockdev.Device, off int64, b []byte) {
	r.t.Helper()
	r.must(d.WriteAt(r.t.Context(), bytes.Clone(b), off, 0))
	r.must(d.Flush(r.t.Context()))
}

func (r *rig) expect(d blockdev.Device, off int64, want []byte) {
	r.t.Helper()
	got := make([]byte, len(want))
	r.must(d.ReadAt(r.t.Context(), got, off))
	if !bytes.Equal(got, want) {
		r.t.Fatalf("%d bytes at %d differ from what was written", len(want), off)
	}
}

func (r *rig) volume(id int64) Volume {
	r.t.Helper()
	v, err := r.Volume(r.t.Context(), id)
	r.must(err)
	return v
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func TestDataSurvivesRestartAndIsCiphertextBelow(t *testing.T) {
	r := withCluster(t)
	v := r.create(CreateVolume{Name: "vol1", Size: 8 * mib})
	text := bytes.Repeat([]byte("a known sentence. "), 5000)
	r.write(r.attach("vol1"), 12345, text)
	r.restart()
	r.expect(r.attach("vol1"), 12345, text)
	raw, err := os.ReadFile(v.Path)
	r.must(err)
	if bytes.Contains(raw, []byte("known sentence")) {
		t.Error("the backing file has the plaintext")
	}
	if got := int64(len(raw)); got != v.Size+headerRoom {
		t.Errorf("image has %d bytes, want %d", got, v.Size+headerRoom)
	}
}

func TestPlainClusterStoresPlaintext(t *testing.T) {
	r := newRig(t)
	r.must(r.Create(t.Context(), CreateParams{}))
	r.addDrive("d1", RoleBlock)
	v := r.create(CreateVolume{Name: "vol1", Size: mib})
	if v.Encrypted || v.Cipher != "" {
		t.Errorf("volume claims encryption: %+v", v)
	}
	r.write(r.attach("vol1"), 4096, []byte("in the clear"))
	r.restart()
	raw, err := os.ReadFile(r.volume(v.ID).Path)
	r.must(err)
	if !bytes.Contains(raw, []byte("in the clear")) {
		t.Error("plain volume's file does not have the text")
	}
	e, err := r.Encryption(t.Context())
	r.must(err)
	if e.Enabled || e.Master != nil {
		t.Errorf("Encryption = %+v, want disabled", e)
	}
	if _, err := r.CreateVolume(t.Context(), CreateVolume{Name: "v2", Size: mib, Passphrase: []byte("x")}); err == nil {
		t.Error("a recovery passphrase was accepted on a plain cluster")
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	r := newRig(t)
	if _, err := Open(t.Context(), r.config()); !errors.Is(err, ErrStateBusy) {
		t.Errorf("second Open = %v, want ErrStateBusy", err)
	}
}

func TestMethodsBeforeCreate(t *testing.T) {
	r := newRig(t)
	if r.Exists() {
		t.Error("Exists before Create")
	}
	ctx := t.Context()
	_, e1 := r.Volumes(ctx)
	_, e2 := r.Drives(ctx)
	_, e3 := r.AddDrives(ctx, []AddDrive{{URI: "dir:" + r.dir}})
	_, e4 := r.CreateVolume(ctx, CreateVolume{Name: "v", Size: 1})
	_, e5 := r.Info(ctx)
	for i, err := range []error{e1, e2, e3, e4, e5} {
		if !errors.Is(err, ErrNoCluster) {
			t.Errorf("call %d = %v, want ErrNoCluster", i+1, err)
		}
	}
}

func TestCreateTwiceIsRefused(t *testing.T) {
	r := withCluster(t)
	if err := r.Create(t.Context(), r.params()); !errors.Is(err, ErrClusterExists) {
		t.Errorf("second Create = %v, want ErrClusterExists", err)
	}
	r.restart()
	if err := r.Create(t.Context(), r.params()); !errors.Is(err, ErrClusterExists) {
		t.Errorf("Create after restart = %v, want ErrClusterExists", err)
	}
}

// A crash between the master key and the cluster record must not stop a second
// try, nor may a second try throw away a store that holds volumes.
func TestCreateAfterCutShortCreate(t *testing.T) {
	r := newRig(t)
	r.must(r.Create(t.Context(), r.params()))
	first := r.mustInfo().UUID
	r.must(r.Cluster.store.Update(t.Context(), func(tx store.Tx) error { return tx.Delete(keyCluster) }))
	r.restart()
	if r.Exists() {
		t.Fatal("cluster exists without its record")
	}
	r.must(r.Create(t.Context(), r.params()))
	if r.mustInfo().UUID == first {
		t.Error("second cluster has the first one's id")
	}
	r.addDrive("d1", RoleBlock)
	r.create(CreateVolume{Name: "v", Size: mib})
	r.must(r.Cluster.store.Update(t.Context(), func(tx store.Tx) error { return tx.Delete(keyCluster) }))
	r.restart()
	if err := r.Create(t.Context(), r.params()); !errors.Is(err, ErrState) {
		t.Errorf("Create over a store with volumes = %v, want ErrState", err)
	}
}

func (r *rig) mustInfo() Info {
	i, err := r.Info(r.t.Context())
	r.must(err)
	return i
}

func TestWrongSealerKeyIsRefused(t *testing.T) {
	r := withCluster(t)
	r.shutdown()
	key := filepath.Join(r.dir, "key")
	good, err := os.ReadFile(key)
	r.must(err)
	r.must(os.WriteFile(key, random(len(good)), 0o600))
	if c, err := Open(t.Context(), r.config()); err == nil {
		c.Close(t.Context())
		t.Error("opened with another key file")
	}
	r.must(os.Remove(key))
	if c, err := Open(t.Context(), r.config()); err == nil || !strings.Contains(err.Error(), key) {
		t.Errorf("missing key file: error %v does not name it", err)
		if err == nil {
			c.Close(t.Context())
		}
	}
	r.must(os.WriteFile(key, good, 0o600))
	r.start()
}

func TestPassphraseSealer(t *testing.T) {
	r := newRig(t)
	p := r.params()
	p.Seal, p.SealPassphrase = "passphrase", []byte("correct horse")
	r.must(r.Create(t.Context(), p))
	r.shutdown()
	open := func(pass string) (*Cluster, error) {
		cfg := r.config()
		cfg.Sealer.Passphrase = func(bool) ([]byte, error) { return []byte(pass), nil }
		return Open(t.Context(), cfg)
	}
	if _, err := open("wrong"); !errors.Is(err, keymgr.ErrWrongPassphrase) {
		t.Errorf("wrong passphrase: %v, want ErrWrongPassphrase", err)
	}
	c, err := open("correct horse")
	r.must(err)
	r.Cluster = c
}

func TestBackupRestoresTheCluster(t *testing.T) {
	r := withCluster(t)
	r.create(CreateVolume{Name: "vol1", Size: mib})
	data := random(mib)
	r.write(r.attach("vol1"), 0, data)
	var buf bytes.Buffer
	r.must(r.Backup(t.Context(), &buf, []byte("pw")))
	r.shutdown()
	r.must(os.RemoveAll(filepath.Join(r.dir, "state")))
	if err := Restore(t.Context(), filepath.Join(r.dir, "state"), bytes.NewReader(buf.Bytes()), []byte("no")); err == nil {
		t.Error("restored with a wrong passphrase")
	}
	r.must(Restore(t.Context(), filepath.Join(r.dir, "state"), bytes.NewReader(buf.Bytes()), []byte("pw")))
	r.start()
	r.expect(r.attach("vol1"), 0, data)
	r.shutdown()
	if err := Restore(t.Context(), filepath.Join(r.dir, "state"), bytes.NewReader(buf.Bytes()), []byte("pw")); !errors.Is(err, ErrClusterExists) {
		t.Errorf("restore over a cluster = %v, want ErrClusterExists", err)
	}
}

func TestCheckFindsWhatIsWrong(t *testing.T) {
	r := withCluster(t)
	r.create(CreateVolume{Name: "vol1", Size: mib})
	if p, err := r.CheckStore(t.Context()); err != nil || len(p) != 0 {
		t.Fatalf("CheckStore of a good store = %q, %v", p, err)
	}
	r.must(r.Cluster.store.Update(t.Context(), func(tx store.Tx) error {
		if err := tx.Put(recordKey(prefixDrive, 7), []byte(`{"id":8}`)); err != nil {
			return err
		}
		if err := tx.Put(recordKey(prefixVol, 9), []byte(`{"surprise":1}`)); err != nil {
			return err
		}
		if err := tx.Put(recordKey(prefixVol, 5), []byte(`{"id":5,"uuid":"u","name":"keyless","driveID":7,"encrypted":true,"discard":"off"}`)); err != nil {
			return err
		}
		return tx.Delete(recordKey(prefixDrive, 1))
	}))
	r.shutdown()
	p, err := CheckState(t.Context(), filepath.Join(r.dir, "state"))
	r.must(err)
	for _, want := range []string{"record has id 0000000008", "surprise", "on drive 1, which does not exist", "(keyless) has no wrapped data key"} {
		if !strings.Contains(strings.Join(p, "\n"), want) {
			t.Errorf("problems %q do not mention %q", p, want)
		}
	}
}
