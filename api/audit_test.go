package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"lockplate/api/wire"
	"lockplate/cluster"
)

func TestAdministrativeCallsAreAudited(t *testing.T) {
	r := newAPIRig(t)
	r.post(`{"method":"CreateKeyProviderKmip","params":{"keyProviderName":"vault"}}`)
	r.post(`{"method":"DeleteVolume","params":{}}`)
	r.post(`{"method":"ListVolumes"}`)
	r.post(`{"method":"ListKeyServersKmip"}`)
	r.post(`{"method":"AddClusterAdmin","params":{"username":"u","password":"very secret","access":["read"]}}`)
	r.do(http.MethodPost, endpoint, `{"method":"DeleteVolume","params":{"volumeID":7}}`, asReader)
	want := []string{
		`CreateKeyProviderKmip begun  map[keyProviderName:"vault"]`, `CreateKeyProviderKmip ok  map[keyProviderName:"vault"]`,
		`DeleteVolume begun  map[]`, `DeleteVolume failed  map[error:xMissingParameter]`,
		`AddClusterAdmin begun  map[access:["read"] username:"u"]`, `AddClusterAdmin ok  map[access:["read"] username:"u"]`,
		`DeleteVolume denied volumeID 7 map[volumeID:7]`,
	}
	var got []string
	for _, e := range r.entries {
		if e.Kind != cluster.AuditAdmin || e.From == "" || e.Actor == "" {
			t.Errorf("%+v", e)
		}
		got = append(got, e.Action+" "+e.Outcome+" "+e.Object+" "+fmt.Sprint(e.Detail))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Nothing is changed that cannot be recorded; what changes nothing still works.
func TestWithoutAuditLogNothingChanges(t *testing.T) {
	r := newAPIRig(t)
	r.noAudit = cluster.ErrAudit
	r.wantError("a change", r.post(`{"method":"DeleteVolume","params":{"volumeID":7}}`), wire.ErrNotPermitted, "audit log")
	if r.last != nil {
		t.Errorf("it was done: %v", r.last)
	}
	resultOf[wire.ListVolumesResult](t, r, "ListVolumes", `{}`)
	resultOf[wire.ListKeyServersKmipResult](t, r, "ListKeyServersKmip", `{}`)
}

func TestRekeyNeedsEncryption(t *testing.T) {
	r := newAPIRig(t)
	r.plain = true
	r.wantError("a plain cluster", r.post(`{"method":"RekeySoftwareEncryptionAtRestMasterKey"}`), wire.ErrNotEncrypted, "without software encryption")
}
