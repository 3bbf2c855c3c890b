package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lockplate/keymgr"
	"lockplate/store"
)

// rekeyInternal rekeys to a key of the cluster's own and waits for the end.
func (r *rig) rekeyInternal() {
	r.t.Helper()
	h, err := r.Rekey(r.t.Context(), keymgr.RekeyTarget{Type: keymgr.Internal})
	r.must(err)
	r.eventually(func() bool {
		a, err := r.Async(r.t.Context(), h, true)
		r.must(err)
		if a.ErrName != "" {
			r.t.Fatalf("rekey: %s: %s", a.ErrName, a.ErrText)
		}
		return a.Done
	})
}

// A rekey that could not be confirmed, with its new key in use, is a fault until
// it is.
func TestHaltedRekeyIsAFault(t *testing.T) {
	t.Parallel()
	r := withCluster(t)
	r.rekeyInternal()
	keys, err := r.MasterKeys(t.Context())
	r.must(err)
	job := fmt.Sprintf(`{"version":1,"handle":99,"old":%q,"new":%q,"started":"2026-01-02T03:04:05Z","halted":"a record is damaged"}`,
		keys[0].ID, keys[1].ID)
	r.must(r.store.Update(t.Context(), func(tx store.Tx) error { return tx.Put("rekey", []byte(job)) }))
	f := r.current()
	if codes(f) != "rekeyFailed" || f[0].Severity != sevError || !strings.Contains(f[0].Text, keys[1].ID) ||
		!strings.Contains(f[0].Text, "a record is damaged") {
		t.Fatalf("faults of a halted rekey: %+v", f)
	}
	var running *keymgr.RekeyRunningError
	if _, err := r.Rekey(t.Context(), keymgr.RekeyTarget{}); !errors.As(err, &running) || running.Handle != 99 {
		t.Errorf("rekey on top: %v", err)
	}
	r.eventually(func() bool { return len(r.current()) == 0 }) // confirmed meanwhile
	r.rekeyInternal()
}

// A provider whose servers are lost for good is left behind and deleted, and what
// may still exist there is on record.
func TestForgottenKeyIsOnRecord(t *testing.T) {
	t.Parallel()
	r, srv := withKeyServer(t)
	v := r.create(CreateVolume{Name: "v", Size: mib})
	r.rekey()
	old := r.keys.Master()
	srv.Refuse()
	srv.HangUp()
	r.rekeyInternal()
	if err := r.DeleteKeyProvider(t.Context(), old.ProviderID); !errors.Is(err, keymgr.ErrProviderActive) {
		t.Errorf("delete of an active provider: %v", err)
	}
	left, err := r.ForgetKey(t.Context(), old.ID)
	if err != nil || len(left) != 1 {
		t.Fatalf("forgotten at %v, %v", left, err)
	}
	r.must(r.DeleteKeyProvider(t.Context(), old.ProviderID))
	r.eventually(func() bool { return len(r.current()) == 0 })
	r.restart()
	if got := r.volume(v.ID); got.State != VolumeOnline {
		t.Errorf("volume %+v", got)
	}
	r.shutdown()
	text := ""
	logs, err := filepath.Glob(filepath.Join(r.dir, "state", "audit*"))
	r.must(err)
	for _, name := range logs {
		b, err := os.ReadFile(name)
		r.must(err)
		text += string(b)
	}
	if !strings.Contains(text, `"forget master key"`) || !strings.Contains(text, old.ID+" at "+left[0]) {
		t.Errorf("not in the audit log: %s", text)
	}
}
