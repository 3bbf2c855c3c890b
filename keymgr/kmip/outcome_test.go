package kmip_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"lockplate/keymgr/kmip"
	"lockplate/keymgr/kmiptest"
)

func wantUnknown(t *testing.T, err error, name string) {
	t.Helper()
	var unknown *kmip.UnknownOutcomeError
	if !errors.As(err, &unknown) {
		t.Fatalf("got %v, want an UnknownOutcomeError", err)
	}
	if unknown.Name != name || unknown.Address == "" || unknown.Operation == "" || kmip.ClassOf(err) == "" {
		t.Errorf("%+v", unknown)
	}
}

// TestCreateIsNeverRepeated: however the answer gets lost, and whichever
// addresses there are, the request was sent once.
func TestCreateIsNeverRepeated(t *testing.T) {
	for name, f := range map[string]kmiptest.Fault{
		"drop":      {Op: kmiptest.OpCreate, Drop: true},
		"lose":      {Op: kmiptest.OpCreate, Lose: true},
		"delay":     {Op: kmiptest.OpCreate, Delay: time.Minute},
		"drip":      {Op: kmiptest.OpCreate, Drip: 100 * time.Millisecond},
		"wrong id":  kmiptest.EditItem(kmiptest.OpCreate, func(i *kmiptest.Node) { i.Find(kmiptest.TagBatchItemID).Value[0] ^= 1 }),
		"truncated": {Op: kmiptest.OpCreate, Raw: func(b []byte) []byte { return b[:len(b)-8] }, HangUp: true},
		"no id":     kmiptest.EditPayload(kmiptest.OpCreate, func(p *kmiptest.Node) { p.Kids = nil }),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, kmiptest.Options{})
			second := kmiptest.Start(t, r.ca, kmiptest.Options{Keys: r.server.Keys})
			config := r.config(r.server.Address, second.Address)
			config.RequestTimeout = 500 * time.Millisecond * slack
			c := open(t, config)
			r.server.Inject(f)
			second.Inject(f)
			_, err := c.Create(t.Context(), kmip.Object{Name: name})
			wantUnknown(t, err, name)
			if n := r.server.Requests(kmiptest.OpCreate) + second.Requests(kmiptest.OpCreate); n != 1 {
				t.Errorf("Create was sent %d times", n)
			}
			r.server.Heal()
			second.Heal()
			ids, err := c.Locate(t.Context(), kmip.Search{Name: name})
			if err != nil || len(ids) != r.server.Keys.Count() {
				t.Errorf("Locate: %q, %v; %d keys exist", ids, err, r.server.Keys.Count())
			}
		})
	}
}

func TestCreateCancelledByTheCallerIsUnknown(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	c := open(t, r.config())
	r.server.Inject(kmiptest.Fault{Op: kmiptest.OpCreate, Delay: time.Minute})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		r.server.Await(kmiptest.OpCreate)
		cancel()
	}()
	_, err := c.Create(ctx, kmip.Object{Name: "k"})
	var unknown *kmip.UnknownOutcomeError
	if !errors.As(err, &unknown) || !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}

// TestCreateRefusedIsKnown: an answer that says no is no unknown outcome, nor
// is a server that could not be reached.
func TestCreateRefusedIsKnown(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	r.server.Inject(kmiptest.Deny(kmiptest.OpCreate))
	var unknown *kmip.UnknownOutcomeError
	_, err := open(t, r.config()).Create(t.Context(), kmip.Object{Name: "k"})
	if wantClass(t, err, kmip.ClassPermissionDenied); errors.As(err, &unknown) {
		t.Error(err)
	}
	_, err = open(t, r.config(kmiptest.Dead(t))).Create(t.Context(), kmip.Object{Name: "k"})
	if wantClass(t, err, kmip.ClassRefused); errors.As(err, &unknown) {
		t.Error(err)
	}
}

// TestCreateUsesNoStaleConnection: a connection that died while idle would
// make the outcome of a Create unknown for nothing.
func TestCreateUsesNoStaleConnection(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	c := open(t, r.config())
	mustCreate(t, c, "first")
	r.server.HangUp()
	mustCreate(t, c, "second")
	if r.server.Keys.Count() != 2 {
		t.Errorf("%d keys", r.server.Keys.Count())
	}
}

func TestRepeatableRequestsAreRepeatedOnce(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	c := open(t, r.config())
	id := mustCreate(t, c, "k")
	for _, op := range []struct {
		op uint32
		do func() error
	}{
		{kmiptest.OpQuery, func() error { _, err := c.Query(t.Context()); return err }},
		{kmiptest.OpLocate, func() error { _, err := c.Locate(t.Context(), kmip.Search{Name: "k"}); return err }},
		{kmiptest.OpGet, func() error { _, err := c.Get(t.Context(), id, kmip.SymmetricKey); return err }},
		{kmiptest.OpGetAttributes, func() error { _, err := c.GetAttributes(t.Context(), id); return err }},
		{kmiptest.OpActivate, func() error { return c.Activate(t.Context(), id) }},
		{kmiptest.OpRevoke, func() error { return c.Revoke(t.Context(), id, kmip.Cessation) }},
		{kmiptest.OpDestroy, func() error { return c.Destroy(t.Context(), id) }},
	} {
		r.server.Inject(kmiptest.Fault{Op: op.op, Lose: true, Times: 1}) // done, answer lost
		if err := op.do(); err != nil {
			t.Errorf("operation 0x%x with one answer lost: %v", op.op, err)
		}
		r.server.Heal()
	}
}
