package api

import (
	"crypto/x509"
	"encoding/pem"
	"testing"

	"lockplate/api/wire"
)

// What does not exist is an empty list, whatever it is filtered by.
func TestAbsentThingsAreEmptyLists(t *testing.T) {
	r := newAPIRig(t)
	for _, a := range wire.Absences() {
		got := resultOf[map[string][]any](t, r, a.Method, `{"volumeID":1}`)
		if list, ok := got[a.Member]; len(got) != 1 || !ok || list == nil || len(list) != 0 {
			t.Errorf("%s: %v, want an empty list in %s", a.Method, got, a.Member)
		}
	}
}

func TestTheGatewayIsTheOneService(t *testing.T) {
	all := resultOf[wire.ListServicesResult](t, newAPIRig(t), "ListServices", `{}`).Services
	if len(all) != 1 || all[0].Service.NodeID != all[0].Node.NodeID || all[0].Service.ServiceID != all[0].Node.AssociatedMasterServiceID {
		t.Errorf("%+v", all)
	}
}

func TestStatsByVolumeAndAccount(t *testing.T) {
	r := newAPIRig(t)
	if rows := resultOf[wire.ListVolumeStatsResult](t, r, "ListVolumeStatsByVolume", `{"includeVirtualVolumes":false}`).VolumeStats; len(rows) != 2 || rows[0].VolumeID != 7 || rows[0].NonZeroBlocks != 2 {
		t.Errorf("by volume: %+v", rows)
	}
	rows := resultOf[wire.ListVolumeStatsResult](t, r, "ListVolumeStatsByAccount", `{}`).VolumeStats
	if len(rows) != 1 || rows[0].AccountID != 1 || rows[0].VolumeID != 0 || rows[0].VolumeSize != 2<<30 || rows[0].WriteOps != 20 {
		t.Errorf("by account: %+v", rows)
	}
	if rows := resultOf[wire.ListVolumeStatsResult](t, r, "ListVolumeStatsByAccount", `{"accounts":[2]}`).VolumeStats; len(rows) != 0 {
		t.Errorf("of no account: %+v", rows)
	}
}

func TestFeatureStatus(t *testing.T) {
	r := newAPIRig(t)
	for params, want := range map[string]int{`{}`: len(wire.Features()), `{"feature":"fipsdrives"}`: 1} {
		if got := resultOf[wire.GetFeatureStatusResult](t, r, "GetFeatureStatus", params).Features; len(got) != want || got[0].Enabled {
			t.Errorf("%s: %+v", params, got)
		}
	}
	r.wantError("unknown", r.post(`{"method":"GetFeatureStatus","params":{"feature":"teleport"}}`), wire.ErrUnrecognizedEnum, "teleport")
}

func TestSSLCertificate(t *testing.T) {
	r := newAPIRig(t)
	if r.cert() != nil {
		t.Error("there is no certificate yet")
	}
	r.wantError("no HTTPS", r.post(`{"method":"GetSSLCertificate"}`), wire.ErrNotPermitted, "HTTPS")
	if err := r.srv.Reload(); err != nil {
		t.Fatal(err)
	}
	got := resultOf[wire.GetSSLCertificateResult](t, r, "GetSSLCertificate", `{}`)
	block, rest := pem.Decode([]byte(got.Certificate))
	if block == nil || len(rest) != 0 {
		t.Fatalf("certificate %q", got.Certificate)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil || cert.Subject.String() != got.Details.Subject || wire.FormatTime(cert.NotAfter) != got.Details.NotAfter {
		t.Errorf("%v: %+v", err, got.Details)
	}
	if !r.cert().Equal(cert) {
		t.Error("the faults are told of another certificate")
	}
	if d := got.Details; len(d.SHA1Fingerprint) != 59 || d.Serial == "" || d.Issuer != d.Subject {
		t.Errorf("%+v", d)
	}
}
