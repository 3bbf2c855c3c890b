package keymgr

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"lockplate/keymgr/kmip"
	"lockplate/store"
)

// States of a rekey, as Element names them.
const (
	RekeyCreate       = "CreateNewMasterKey"
	RekeyRewrap       = "RewrapDataEncryptionKeys"
	RekeyDecommission = "DecommissionOldMasterKey"
	RekeyReady        = "Ready"
)

// errUnsafeKey is a new key that must not be used.
var errUnsafeKey = errors.New("the new master key is not safe to use")

// work does one step of the job, or else cleans up.
func (m *Manager) work(ctx context.Context) (again bool, err error) {
	var j *jobRecord
	var r *masterRecord
	err = m.st.View(ctx, func(tx store.Tx) (err error) {
		if j, err = getJob(tx); err == nil && j != nil {
			r, err = getMaster(tx, j.New)
		}
		return err
	})
	switch {
	case err != nil:
		m.log.Error("rekey job cannot be read", "err", err)
		return false, err
	case j == nil:
		return false, m.cleanUp(ctx)
	case j.Halted != "" && m.gaveUp(j.New):
		return false, nil // see halt
	}
	if err := m.step(ctx, j, r); err != nil && ctx.Err() == nil {
		return m.stepFailed(ctx, j, r, err)
	}
	return true, nil
}

// step does what follows the state of the new key.
func (m *Manager) step(ctx context.Context, j *jobRecord, r *masterRecord) error {
	switch r.State {
	case StatePlanned:
		m.progress(j, RekeyCreate, 0)
		if r.Type == Internal {
			return m.createInternal(ctx, r)
		}
		return m.createExternal(ctx, r)
	case StateCreated:
		m.progress(j, RekeyCreate, 15)
		return m.activate(ctx, r)
	case StateActive:
		m.progress(j, RekeyCreate, 30)
		return m.verify(ctx, j, r)
	case StateVerified:
		m.progress(j, RekeyRewrap, 45)
		return m.rewrap(ctx, j, r)
	case StateCurrent:
		m.progress(j, RekeyDecommission, 85)
		return m.confirm(ctx, j, r)
	}
	return fmt.Errorf("%w (rekey to master key %s, which is %s)", ErrIntegrity, r.ID, r.State)
}

// progress tells the job's owner how far it is.
func (m *Manager) progress(j *jobRecord, state string, percent int) {
	if m.hooks.Progress != nil {
		m.hooks.Progress(j.Handle, state, percent)
	}
}

// stepFailed decides between another attempt and the end of the job.
func (m *Manager) stepFailed(ctx context.Context, j *jobRecord, r *masterRecord, err error) (again bool, _ error) {
	m.log.Warn("rekey step failed", "key_id", r.ID, "state", r.State, "err", err)
	if r.State == StateCurrent {
		if errors.Is(err, ErrIntegrity) || r.Type == Internal && errors.Is(err, ErrWrongKey) {
			return true, m.halt(ctx, j, err)
		}
		return false, err // the new key is in use: there is no way but on
	}
	if m.hopeless(j, err) || m.now().After(j.Started.Add(m.timing.Limit)) {
		return true, m.fail(ctx, j, err)
	}
	return false, err
}

// hopeless says that another attempt would fail as well.
func (m *Manager) hopeless(j *jobRecord, err error) bool {
	if errors.Is(err, ErrLocked) { // that is about the old key, which may come back
		return false
	}
	for _, e := range []error{ErrIntegrity, ErrFormat, ErrWrongKey, ErrWrongPassphrase, ErrReseal, errUnsafeKey, ErrNoKeyProvider, ErrNoServers} {
		if errors.Is(err, e) {
			return true
		}
	}
	switch kmip.ClassOf(err) {
	case kmip.ClassPermissionDenied, kmip.ClassAuthentication, kmip.ClassUnsupported, kmip.ClassKeyMismatch, kmip.ClassKeyNotActive:
		return true
	case kmip.ClassKeyNotFound: // servers may need a while to tell each other
		return m.now().After(j.Started.Add(4 * m.timing.Grace))
	}
	return false
}

// send is where a test may end the process, before and after something is asked
// of a key server.
func (m *Manager) send(what string, do func() error) error {
	if m.point == nil {
		return do()
	}
	if err := m.point("before " + what); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return m.point("after " + what)
}

// advance records a new state of a key that is not in use yet.
func (m *Manager) advance(ctx context.Context, r *masterRecord, change func(tx store.Tx, now *masterRecord) error) error {
	return m.st.Update(ctx, func(tx store.Tx) error {
		now, err := getMaster(tx, r.ID)
		if err != nil {
			return err
		}
		if now.State != r.State {
			return fmt.Errorf("master key %s is %s: %w", r.ID, now.State, ErrChanged)
		}
		if err := change(tx, now); err != nil {
			return err
		}
		return putMaster(tx, now)
	})
}

// fail ends the job before the new key is in use: the old one stays, the new
// one is to be destroyed.
func (m *Manager) fail(ctx context.Context, j *jobRecord, cause error) error {
	done := false
	err := m.st.Update(ctx, func(tx store.Tx) error {
		done = false
		r, err := getMaster(tx, j.New)
		if err != nil || r.State == StateCurrent {
			return err
		}
		done = true
		r.State = StateAbandoned
		if r.Type == Internal {
			r.Destroyed = m.now().UTC()
			if err := deleteSealed(tx, r.ID); err != nil {
				return err
			}
		}
		return errors.Join(putMaster(tx, r), m.end(tx, j, nil, cause))
	})
	if err != nil || !done {
		return err
	}
	m.forget(j.New)
	m.log.Error("rekey failed, the old master key stays", "key_id", j.Old, "err", cause)
	return nil
}

// end removes the job and tells of its end in the same transaction.
func (m *Manager) end(tx store.Tx, j *jobRecord, result map[string]any, cause error) error {
	if err := tx.Delete(keyJob); err != nil {
		return err
	}
	return m.tellEnd(tx, j, result, cause)
}

// tellEnd gives the result to the job's owner, once: a halted job was told of as
// failed.
func (m *Manager) tellEnd(tx store.Tx, j *jobRecord, result map[string]any, cause error) error {
	if m.hooks.End == nil || j.Halted != "" {
		return nil
	}
	name, text := "", ""
	if cause != nil {
		name, text = ErrorName(cause), cause.Error()
		if hint := Hint(cause); hint != "" {
			text += "; " + hint
		}
	}
	return m.hooks.End(tx, j.Handle, result, name, text)
}

// halt stops a job whose new key is in use and was not confirmed. Both keys are
// kept; the next start tries again, and so does the next call of Rekey.
func (m *Manager) halt(ctx context.Context, j *jobRecord, cause error) error {
	m.log.Error("rekey could not be confirmed, both master keys are kept", "key_id", j.New, "err", cause)
	m.mu.Lock()
	m.halted = j.New
	m.mu.Unlock()
	if j.Halted != "" {
		return nil
	}
	return m.st.Update(ctx, func(tx store.Tx) error {
		if err := m.tellEnd(tx, j, nil, cause); err != nil {
			return err
		}
		h := *j
		h.Halted = cause.Error()
		return putJob(tx, &h)
	})
}

// Halted gives the key, now current, of a rekey that could not be confirmed, the
// old key, and why; "" if there is none. Both keys are kept until it is: the
// next start tries again, and so does Rekey.
func (m *Manager) Halted(ctx context.Context) (key, old, why string, err error) {
	err = m.st.View(ctx, func(tx store.Tx) error {
		j, err := getJob(tx)
		if err == nil && j != nil && j.Halted != "" {
			key, old, why = j.New, j.Old, j.Halted
		}
		return err
	})
	return key, old, why, err
}

// gaveUp says that halt was called for the key in this process.
func (m *Manager) gaveUp(id string) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.halted == id
}

// forget wipes a key in memory that is not needed any more.
func (m *Manager) forget(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := uuid.MustParse(id)
	if w := m.ring[u]; w != nil {
		delete(m.ring, u)
		w.key.Destroy()
	}
}

// ErrorName gives the name by which a failure of key management goes on the
// API.
func ErrorName(err error) string {
	switch kmip.ClassOf(err) {
	case "":
		return "xRekeyFailed"
	case kmip.ClassKeyNotFound:
		return "xKmipKeyNotFound"
	case kmip.ClassKeyMismatch:
		return "xKmipKeyConflict"
	case kmip.ClassTLSClientRejected, kmip.ClassTLSServerUntrusted, kmip.ClassTLSServerName, kmip.ClassTLSServerExpired,
		kmip.ClassClientCertExpired, kmip.ClassClientCertKeyMismatch, kmip.ClassAuthentication, kmip.ClassPermissionDenied:
		return "xKmipAuthenticationFailure"
	case kmip.ClassDNS, kmip.ClassRefused, kmip.ClassTimeout, kmip.ClassReset, kmip.ClassTLSVersion:
		return "xKmipConnectionFailure"
	}
	return "xKmipServerError"
}

// Hint says which step failed at a key server and what there is to be fixed, ""
// for other errors. It says more than ErrorName and has no full stop.
func Hint(err error) string {
	hint, step := kmip.HintOf(err), kmip.StepOf(err)
	if hint == "" || step == "" {
		return hint
	}
	return fmt.Sprintf("step %q failed: %s", string(step), hint)
}

// wait waits, or until ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
