package keymgr_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"lockplate/blockdev"
	"lockplate/cipher"
	"lockplate/keymgr"
	"lockplate/keymgr/kmip"
	"lockplate/keymgr/kmiptest"
	"lockplate/store"
	"lockplate/store/storetest"
	"lockplate/volume"
)

// jobs is the list of jobs that a cluster would keep. Its records are in the
// store, as a cluster's are.
type jobs struct {
	mu       sync.Mutex
	progress []string
}

func (j *jobs) hooks() keymgr.Hooks {
	return keymgr.Hooks{
		Begin: func(tx store.Tx, _ time.Time) (int64, error) {
			n := int64(100)
			for range tx.Scan("test/job/") {
				n++
			}
			return n, tx.Put(fmt.Sprint("test/job/", n), []byte("running"))
		},
		Progress: func(_ int64, state string, _ int) {
			j.mu.Lock()
			defer j.mu.Unlock()
			if n := len(j.progress); n == 0 || j.progress[n-1] != state {
				j.progress = append(j.progress, state)
			}
		},
		End: func(tx store.Tx, handle int64, result map[string]any, name, text string) error {
			key := fmt.Sprint("test/job/", handle)
			if b, err := tx.Get(key); err != nil || string(b) != "running" {
				return fmt.Errorf("job %d ends, and is %q, %v", handle, b, err)
			}
			return tx.Put(key, fmt.Appendf(nil, "%v %s %s", result, name, text))
		},
	}
}

// watch calls back after every commit until it says true.
func (r *rig) watch(until func(records map[string]string) bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	changes := r.st.Watch(ctx, "")
	if until(storetest.Dump(r.t, r.st)) {
		return
	}
	for _, err := range changes {
		if err != nil {
			break
		}
		if until(storetest.Dump(r.t, r.st)) {
			return
		}
	}
	r.t.Fatalf("nothing more happens; the store has %v", texts(storetest.Dump(r.t, r.st)))
}

func texts(records map[string]string) (out []string) {
	for k, v := range records {
		if strings.HasPrefix(v, "{") && k != "trust" && !strings.HasPrefix(k, "keyservers/") || strings.HasPrefix(k, "test/") {
			out = append(out, k+": "+v+"\n")
		}
	}
	return out
}

// ended waits for the end of a job and gives its text.
func (r *rig) ended(handle int64) (text string) {
	r.t.Helper()
	r.watch(func(records map[string]string) bool {
		text = records[fmt.Sprint("test/job/", handle)]
		return text != "running" && records["rekey"] == ""
	})
	return text
}

// clean waits until nothing is left of a rekey.
func (r *rig) clean() {
	r.t.Helper()
	r.watch(tidy)
}

// quick is a patience for tests.
var quick = keymgr.Timing{Limit: 20 * time.Second, Grace: 5 * time.Millisecond, Retry: time.Millisecond}

// rekeyRig is a cluster with volumes and two providers: servers 1 and 2 share
// keys, as do 3 and 4.
type rekeyRig struct {
	*rig
	k     *kms
	jobs  *jobs
	m     *keymgr.Manager
	p     [2]int64        // providers
	held  func(i int) int // how many keys a provider has
	model map[string]string
	disks map[string]*blockdev.Mem // encrypted data of the volumes
}

func newRekeyRig(t testing.TB, volumes int) *rekeyRig {
	t.Helper()
	r := &rekeyRig{rig: newRig(t, "file"), k: newKMS(t, 0), jobs: &jobs{}, model: map[string]string{}}
	for i := range 2 {
		keys := kmiptest.NewKeys()
		keys.NeedActive = i == 1 // some servers hand out active keys only
		r.k.add(keys)
		r.k.add(keys)
	}
	r.kmip = r.k.adjust
	r.held = func(i int) int { return r.k.servers[2*i].Keys.Count() }
	r.begin(volumes)
	for i := range r.p {
		r.p[i], _ = r.k.join(r.m, 2*i+1, 2*i+2)
	}
	return r
}

// begin makes the cluster.
func (r *rekeyRig) begin(volumes int) {
	r.t.Helper()
	r.hooks, r.timing = r.jobs.hooks(), quick
	r.m = r.create()
	for range volumes {
		v := uuid.NewString()
		r.model[v] = strings.Repeat(v, 2)[:64]
	}
	r.putAll(r.m, r.model)
	r.disks = map[string]*blockdev.Mem{}
	for v, key := range r.model {
		r.disks[v] = blockdev.NewMem(dataBytes)
		if err := r.onDisk(v, key, func(d *volume.Volume) error { return d.WriteAt(r.t.Context(), dataOf(v), 0, 0) }); err != nil {
			r.t.Fatal(err)
		}
	}
}

// dataBytes is the size of a volume's data.
const dataBytes = 8 << 10

// dataOf is what a volume holds, which is different for each.
func dataOf(id string) []byte { return []byte(strings.Repeat(id, dataBytes/len(id)+1)[:dataBytes]) }

// onDisk opens a volume's disk with a data key.
func (r *rekeyRig) onDisk(id, key string, do func(*volume.Volume) error) error {
	x, err := cipher.NewXTS([]byte(key), 512)
	if err != nil {
		return err
	}
	d, err := volume.Open(r.disks[id], x, volume.Options{})
	if err != nil {
		return err
	}
	return do(d) // the disk stays open for the next time
}

// wantData reads all volumes with the data keys that the manager gives.
func (r *rekeyRig) wantData() {
	r.t.Helper()
	for id, disk := range r.disks {
		key, err := r.key(r.m, id)
		got := make([]byte, dataBytes)
		if err == nil {
			err = r.onDisk(id, key, func(d *volume.Volume) error { return d.ReadAt(r.t.Context(), got, 0) })
		}
		if err != nil || !bytes.Equal(got, dataOf(id)) {
			r.t.Fatalf("data of volume %s (%d bytes) cannot be read: %v", id, disk.Info().Size, err)
		}
	}
}

// putAll adds many keys in few transactions.
func (r *rig) putAll(m *keymgr.Manager, model map[string]string) {
	r.t.Helper()
	err := r.st.Update(context.Background(), func(tx store.Tx) error {
		for v, s := range model {
			k := secret(r.t, s)
			if err := m.PutDataKey(tx, v, k); err != nil {
				return err
			}
			k.Destroy()
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rekeyRig) rekey(to keymgr.RekeyTarget) int64 {
	r.t.Helper()
	h, err := r.m.Rekey(context.Background(), to)
	if err != nil {
		r.t.Fatal(err)
	}
	return h
}

func (r *rekeyRig) toProvider(i int) keymgr.RekeyTarget {
	return keymgr.RekeyTarget{Type: keymgr.External, ProviderID: r.p[i]}
}

func (r *rekeyRig) reopen() {
	r.t.Helper()
	r.m.Close()
	r.m = r.mustOpen()
}

var internal = keymgr.RekeyTarget{Type: keymgr.Internal}

// TestRekeyAllDirections goes through all four, and to the same provider again;
// after each one all keys are readable, also after a restart, and only what
// must be there is at the key servers.
func TestRekeyAllDirections(t *testing.T) {
	r := newRekeyRig(t, 200)
	was := r.m.Master()
	for i, to := range []keymgr.RekeyTarget{r.toProvider(0), r.toProvider(1), {}, internal, {}} {
		r.jobs.progress = nil
		h := r.rekey(to)
		if h != int64(100+i) {
			t.Errorf("handle %d", h)
		}
		text := r.ended(h)
		now := r.m.Master()
		if to.Type == "" {
			to = keymgr.RekeyTarget{Type: was.Type, ProviderID: was.ProviderID}
		}
		if now.ID == was.ID || now.Type != to.Type || now.ProviderID != to.ProviderID || now.State != keymgr.StateCurrent {
			t.Errorf("after rekey to %v: %+v", to, now)
		}
		for _, want := range []string{"keyToDecommission:map[keyID:" + was.ID, "newKey:map[keyID:" + now.ID, "state:Ready", "transferred from "} {
			if !strings.Contains(text, want) {
				t.Errorf("result %q lacks %q", text, want)
			}
		}
		if got := strings.Join(r.jobs.progress, " "); got != "CreateNewMasterKey RewrapDataEncryptionKeys DecommissionOldMasterKey" {
			t.Errorf("progress %s", got)
		}
		r.clean()
		r.wantKeys(r.m, r.model)
		r.reopen()
		if err := r.m.Locked(); err != nil {
			t.Error(err)
		}
		r.wantKeys(r.m, r.model)
		was = now
	}
	for i, want := range []int{1, 2} {
		if n := r.k.servers[2*i].Keys.Count(); n != want {
			t.Errorf("provider %d has %d keys, want %d", i+1, n, want)
		}
	}
	r.wantHistory("internal decommissioned gone", "external decommissioned", "external decommissioned", "external decommissioned",
		"internal decommissioned gone", "internal current")
}

func (r *rekeyRig) wantHistory(want ...string) {
	r.t.Helper()
	h, err := r.m.History(context.Background())
	var got []string
	for _, k := range h {
		s := string(k.Type) + " " + string(k.State)
		if !k.Destroyed.IsZero() {
			s += " gone"
		}
		got = append(got, s)
	}
	if strings.Join(got, ", ") != strings.Join(want, ", ") || err != nil {
		r.t.Errorf("history %q, %v; want %q", got, err, want)
	}
}

func TestRekeyRefusesAtOnce(t *testing.T) {
	r := newRekeyRig(t, 1)
	lonely, err := r.m.CreateKeyProvider(t.Context(), "lonely")
	if err != nil {
		t.Fatal(err)
	}
	before := len(storetest.Dump(t, r.st))
	for name, c := range map[string]struct {
		to   keymgr.RekeyTarget
		want error
	}{
		"provider alone":          {keymgr.RekeyTarget{ProviderID: 1}, keymgr.ErrInvalid},
		"internal with provider":  {keymgr.RekeyTarget{Type: keymgr.Internal, ProviderID: 1}, keymgr.ErrInvalid},
		"external alone":          {keymgr.RekeyTarget{Type: keymgr.External}, keymgr.ErrInvalid},
		"unknown type":            {keymgr.RekeyTarget{Type: "x"}, keymgr.ErrInvalid},
		"unknown provider":        {keymgr.RekeyTarget{Type: keymgr.External, ProviderID: 99}, keymgr.ErrNoKeyProvider},
		"provider without server": {keymgr.RekeyTarget{Type: keymgr.External, ProviderID: lonely.ID}, keymgr.ErrNoServers},
	} {
		if _, err := r.m.Rekey(t.Context(), c.to); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.k.servers[0].Refuse()
	r.k.servers[1].Refuse()
	if _, err := r.m.Rekey(t.Context(), r.toProvider(0)); kmip.ClassOf(err) == "" {
		t.Errorf("dead provider: %v", err)
	}
	if n := len(storetest.Dump(t, r.st)); n != before {
		t.Errorf("%d records, were %d", n, before)
	}
}

func TestSecondRekeyNamesTheFirst(t *testing.T) {
	r := newRekeyRig(t, 1)
	r.k.servers[0].Inject(kmiptest.Fault{Op: kmiptest.OpCreate, Delay: 100 * time.Millisecond})
	h := r.rekey(r.toProvider(0))
	var running *keymgr.RekeyRunningError
	if _, err := r.m.Rekey(t.Context(), internal); !errors.As(err, &running) || running.Handle != h {
		t.Errorf("second rekey: %v", err)
	}
	for what, err := range map[string]error{
		"delete provider": r.m.DeleteKeyProvider(t.Context(), r.p[0]),
		"new key pair":    r.m.CreateKeyPair(t.Context(), keymgr.Subject{}),
		"destroy old":     r.m.DestroyKey(t.Context(), r.m.Master().ID),
	} {
		if !errors.Is(err, keymgr.ErrProviderActive) && !errors.Is(err, keymgr.ErrKeyPairInUse) && !errors.Is(err, keymgr.ErrKeyInUse) {
			t.Errorf("%s during a rekey: %v", what, err)
		}
	}
	r.ended(h)
}

// TestVolumesComeAndGoDuringRekey makes, reads and deletes keys all the time.
func TestVolumesComeAndGoDuringRekey(t *testing.T) {
	r := newRekeyRig(t, 100)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	mine := map[string]string{}
	wg.Go(func() {
		for i := 0; ; i++ {
			v := uuid.NewString()
			r.put(r.m, v, v)
			if got, err := r.key(r.m, v); got != v || err != nil {
				t.Errorf("new key during rekey: %q, %v", got, err)
			}
			if i%2 == 0 {
				mine[v] = v
			} else if err := r.st.Update(context.Background(), func(tx store.Tx) error { return r.m.DeleteDataKey(tx, v) }); err != nil {
				t.Errorf("delete during rekey: %v", err)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for _, to := range []keymgr.RekeyTarget{{}, r.toProvider(0), internal, {}} {
		r.ended(r.rekey(to))
	}
	close(stop)
	wg.Wait()
	for v, k := range mine {
		r.model[v] = k
	}
	r.clean()
	r.wantKeys(r.m, r.model)
}
