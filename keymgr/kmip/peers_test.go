package kmip_test

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"lockplate/keymgr/kmip"
	"lockplate/keymgr/kmiptest"
)

func TestPyKMIPAtEveryVersion(t *testing.T) {
	p := kmiptest.StartPyKMIP(t)
	for _, v := range kmip.AllVersions() {
		t.Run(v.String(), func(t *testing.T) {
			c, err := kmip.New(kmip.Config{
				Addresses: []string{p.Address}, CACertificates: p.CA(), Certificate: p.Certificate, Versions: []kmip.Version{v},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			conversation(t, c, v)
		})
	}
}

// conversation uses every operation as the key manager does.
func conversation(t *testing.T, c *kmip.Client, v kmip.Version) {
	ctx := context.Background()
	info, err := c.Query(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", info)
	name := "lockplate/test/mk/" + t.Name()
	made, err := c.Create(ctx, kmip.Object{Name: name, Group: "lockplate/test"})
	if err != nil {
		t.Fatal(err)
	}
	ids, err := c.Locate(ctx, kmip.Search{Name: name, Type: kmip.SymmetricKey})
	if err != nil || !slices.Equal(ids, []string{made.ID}) {
		t.Fatalf("Locate: %q, %v, want %q", ids, err, made.ID)
	}
	if err := c.Activate(ctx, made.ID); err != nil {
		t.Fatal(err)
	}
	if err := c.Activate(ctx, made.ID); err != nil {
		t.Fatal("second Activate:", err)
	}
	a, err := c.GetAttributes(ctx, made.ID)
	if err != nil || a.State != kmip.Active || !slices.Equal(a.Names, []string{name}) {
		t.Fatalf("GetAttributes: %+v, %v", a, err)
	}
	key, err := c.Get(ctx, made.ID, kmip.SymmetricKey)
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Get(ctx, made.ID, kmip.SymmetricKey)
	if err != nil || !bytes.Equal(again.Bytes, key.Bytes) {
		t.Fatal("second Get differs", err)
	}
	if err := c.Destroy(ctx, made.ID); err == nil {
		t.Fatal("an active key was destroyed")
	}
	for range 2 {
		if err := c.Revoke(ctx, made.ID, kmip.Cessation); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := c.Destroy(ctx, made.ID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Get(ctx, made.ID, kmip.SymmetricKey); kmip.ClassOf(err) != kmip.ClassKeyNotFound {
		t.Fatalf("Get of a destroyed key: %v", err)
	}
}
