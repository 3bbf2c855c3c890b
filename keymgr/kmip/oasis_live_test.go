package kmip

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gemalto/kmip-go/kmip14"
	"github.com/gemalto/kmip-go/ttlv"

	"lockplate/keymgr/kmiptest"
)

// TestPublishedCasesWithServers plays SASED-M-1 to 3 and SKLC-M-1 to 3 with the
// three key servers. The requests are those that were compared with the published
// bytes; results, states, identifiers and secrets must be as published.
func TestPublishedCasesWithServers(t *testing.T) {
	ca := kmiptest.NewCA(t, "test CA")
	cert := ca.Client("lockplate", time.Now().AddDate(0, 1, 0))
	of := func(address string) Config {
		return Config{
			Addresses: []string{address}, CACertificates: ca.PEM(),
			Certificate: func() (*tls.Certificate, error) { return cert, nil },
		}
	}
	for name, config := range map[string]func(t *testing.T) Config{
		"fake": func(t *testing.T) Config { return of(kmiptest.Start(t, ca, kmiptest.Options{}).Address) },
		"ovh":  func(t *testing.T) Config { return of(kmiptest.StartOVH(t, ca).Address) },
		"PyKMIP": func(t *testing.T) Config {
			p := kmiptest.StartPyKMIP(t)
			return Config{Addresses: []string{p.Address}, CACertificates: p.CA(), Certificate: p.Certificate}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := New(config(t))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for _, n := range []string{"1", "2", "3"} {
				lifecycleWith(t, c, "SKLC-M-"+n+"-14")
			}
			storageArrayWith(t, c, name == "PyKMIP")
		})
	}
}

// lifecycleWith plays a case and compares each answer with the published one.
func lifecycleWith(t *testing.T, c *Client, name string) {
	t.Helper()
	id, steps := "", 0
	for msgs := oasis(t, name); len(msgs) > 1; msgs = msgs[2:] {
		steps++
		batch, err := msgs[0].member(kmip14.TagBatchItem, ttlv.TypeStructure)
		if err != nil {
			t.Fatal(err)
		}
		op, _ := batch.enum(kmip14.TagOperation)
		answer, err := msgs[1].member(kmip14.TagBatchItem, ttlv.TypeStructure)
		if err != nil {
			t.Fatal(err)
		}
		status, _ := answer.enum(kmip14.TagResultStatus)
		state, err := sendPublished(t, c, name, kmip14.Operation(op), &id, batch)
		var refused *resultError
		if wantRefusal := status != 0; errors.As(err, &refused) != wantRefusal || err != nil && !wantRefusal {
			t.Errorf("%s, step %d, %v: %v, want refusal %v", name, steps, kmip14.Operation(op), err, wantRefusal)
		}
		if kmip14.Operation(op) == kmip14.OperationGetAttributes {
			payload, _ := answer.member(kmip14.TagResponsePayload, ttlv.TypeStructure)
			if want, err := readAttributes(payload); err != nil || state != want.State {
				t.Errorf("%s, step %d: state %v, published %v, %v", name, steps, state, want.State, err)
			}
		}
	}
	t.Logf("%s: %d requests, answered as published", name, steps)
}

// sendPublished does what one published request does, to the key of this run.
func sendPublished(t *testing.T, c *Client, name string, op kmip14.Operation, id *string, batch item) (State, error) {
	var more func(*ttlv.Encoder)
	switch op {
	case kmip14.OperationCreate:
		made, err := c.Create(t.Context(), Object{Name: name})
		*id = made.ID
		return 0, err
	case kmip14.OperationGetAttributes:
		var asked []string
		payload, _ := batch.member(kmip14.TagRequestPayload, ttlv.TypeStructure)
		payload.each(kmip14.TagAttributeName, func(m item) { asked = append(asked, string(m.value())) })
		q, err := about(op, *id, names(asked...))
		if err != nil {
			t.Fatal(err)
		}
		a, err := perform(t.Context(), c, q, readAttributes, nil)
		return a.State, err
	case kmip14.OperationRevoke:
		more = revocation(Compromise, time.Unix(6, 0))
	case kmip14.OperationModifyAttribute:
		more = func(e *ttlv.Encoder) {
			attribute(e, "Activation Date", func(e *ttlv.Encoder) { e.EncodeDateTime(kmip14.TagAttributeValue, time.Unix(6, 0)) })
		}
	}
	q, err := about(op, *id, more)
	if err != nil {
		t.Fatal(err)
	}
	_, err = perform(t.Context(), c, q, nothing, nil)
	return 0, err
}

// storageArrayWith plays the three cases of the profile for storage arrays.
func storageArrayWith(t *testing.T, c *Client, refusesCustom bool) {
	t.Helper()
	ctx := t.Context()
	info, err := c.Query(ctx)
	if err != nil || info.Vendor == "" || !slices.Contains(info.Operations, "Register") {
		t.Errorf("M-1: %+v, %v", info, err)
	}
	secret := bytes.Repeat([]byte{0x2a}, KeyBytes)
	o := Object{Name: "SASED-M-2-14-name", Group: "SASED-M-2-14-group"}
	for i := range 4 {
		o.Custom = append(o.Custom, Custom{fmt.Sprint("x-CustomAttribute", i+1), fmt.Sprint("CustomValue", i+1)})
	}
	if ids, err := c.Locate(ctx, Search{Name: o.Name, Type: SecretData, Max: -1}); err != nil || len(ids) != 0 {
		t.Errorf("M-2 Locate: %q, %v", ids, err)
	}
	made, err := c.Register(ctx, o, secret)
	if err != nil || made.CustomRefused != refusesCustom {
		t.Fatalf("M-2 Register: %+v, %v", made, err)
	}
	ids, err := c.Locate(ctx, Search{Group: o.Group, Type: SecretData, Max: -1})
	if err != nil || !slices.Equal(ids, []string{made.ID}) {
		t.Errorf("M-3 Locate: %q, %v, want %q", ids, err, made.ID)
	}
	for _, want := range []Custom{o.Custom[3], o.Custom[2]} {
		a, err := c.GetAttributes(ctx, made.ID, want.Name)
		if err != nil || !refusesCustom && !slices.Equal(a.Custom, []Custom{want}) {
			t.Errorf("M-3 GetAttributes of %s: %+v, %v", want.Name, a, err)
		}
	}
	key, err := c.Get(ctx, made.ID, SecretData)
	if err != nil || !bytes.Equal(key.Bytes, secret) {
		t.Errorf("M-3 Get: %v", err)
	}
	if err := c.Destroy(ctx, made.ID); err != nil {
		t.Errorf("M-3 Destroy: %v", err)
	}
	t.Logf("SASED-M-1 to 3: answered as published; custom attributes refused: %v", refusesCustom)
}
