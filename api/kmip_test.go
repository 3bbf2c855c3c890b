package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lockplate/api/wire"
	"lockplate/keymgr"
	"lockplate/keymgr/kmip"
)

func TestKeyServerFilters(t *testing.T) {
	r := newAPIRig(t)
	for params, want := range map[string][]int64{
		`{}`: {1, 2, 3}, `{"keyProviderID":2}`: {2}, `{"keyProviderID":"9"}`: {},
		`{"kmipHasProviderAssigned":true}`: {1, 2}, `{"kmipHasProviderAssigned":false}`: {3},
		// a server without provider counts as inactive
		`{"kmipAssignedProviderIsActive":true}`: {1}, `{"kmipAssignedProviderIsActive":false}`: {2, 3},
		`{"kmipAssignedProviderIsActive":false,"kmipHasProviderAssigned":true}`: {2},
	} {
		got := []int64{}
		for _, k := range resultOf[wire.ListKeyServersKmipResult](t, r, "ListKeyServersKmip", params).KeyServers {
			got = append(got, k.KeyServerID)
			if (k.KeyProviderID == nil) != (k.ProviderIsActive == nil) {
				t.Errorf("%+v: both are null, or none", k)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", params, got, want)
		}
	}
	for params, want := range map[string][]int64{
		`{}`: {1, 2, 3}, `{"keyProviderIsActive":true}`: {1}, `{"keyProviderIsActive":false}`: {2, 3},
		`{"kmipKeyProviderHasServerAssigned":false}`: {3}, `{"kmipKeyProviderHasServerAssigned":true,"keyProviderIsActive":false}`: {2},
	} {
		got := []int64{}
		for _, k := range resultOf[wire.ListKeyProvidersKmipResult](t, r, "ListKeyProvidersKmip", params).KeyProviders {
			got = append(got, k.KeyProviderID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", params, got, want)
		}
	}
}

func TestKeyParametersReachTheCluster(t *testing.T) {
	r := newAPIRig(t)
	for _, c := range []struct {
		method, params string
		want           any
	}{
		{
			"createpublicprivatekeypair", `{"commonName":"a","organization":"b","organizationalUnit":"c","locality":"d","state":"e","country":"DE","emailAddress":"f"}`,
			keymgr.Subject{CommonName: "a", Organization: "b", OrganizationalUnit: "c", Locality: "d", State: "e", Country: "DE", EmailAddress: "f"},
		},
		{
			"CreateKeyServerKmip", `{"kmipCaCertificate":"a","kmipClientCertificate":"b","kmipKeyServerHostnames":["h","i"],"kmipKeyServerName":"n"}`,
			keymgr.KeyServer{Name: "n", Hostnames: []string{"h", "i"}, CACertificate: "a", ClientCertificate: "b"},
		},
		{
			"CreateKeyServerKmip", `{"kmipCaCertificate":"a","kmipClientCertificate":"b","kmipKeyServerHostnames":["h"],"kmipKeyServerName":"n","kmipKeyServerPort":"5697"}`,
			keymgr.KeyServer{Name: "n", Hostnames: []string{"h"}, Port: 5697, CACertificate: "a", ClientCertificate: "b"},
		},
		{"ModifyKeyServerKmip", `{"keyServerID":15}`, keymgr.KeyServerChange{}},
		{"ModifyKeyServerKmip", `{"keyServerID":15,"kmipKeyServerPort":1,"kmipKeyServerName":"n"}`, keymgr.KeyServerChange{Port: new(1), Name: new("n")}},
		{"AddKeyServerToProviderKmip", `{"keyProviderID":"1","keyServerID":15}`, []int64{1, 15}},
		{"DeleteKeyProviderKmip", `{"keyProviderID":"8"}`, int64(8)},
		{"rekeysoftwareencryptionatrestmasterkey", `{"keyManagementType":"external","keyProviderID":"8"}`, keymgr.RekeyTarget{Type: keymgr.External, ProviderID: 8}},
		{"RekeySoftwareEncryptionAtRestMasterKey", `{"keyManagementType":"Internal"}`, keymgr.RekeyTarget{Type: keymgr.Internal}},
		{"RekeySoftwareEncryptionAtRestMasterKey", `{}`, keymgr.RekeyTarget{}},
		{"DestroyMasterKey", `{"keyID":"` + someUUID + `"}`, someUUID},
		{"DestroyMasterKey", `{"keyID":"` + someUUID + `","forget":false}`, someUUID},
		{"DestroyMasterKey", `{"keyID":"` + someUUID + `","forget":true}`, "forget " + someUUID},
	} {
		reply := r.post(`{"method":"` + c.method + `","params":` + c.params + `}`)
		if d := cmp.Diff(c.want, r.last); reply["error"] != nil || d != "" {
			t.Errorf("%s %s: %s\n%s", c.method, c.params, reply["error"], d)
		}
	}
}

func TestKeyParametersAreChecked(t *testing.T) {
	r := newAPIRig(t)
	const rekey = "RekeySoftwareEncryptionAtRestMasterKey"
	for _, c := range []struct{ method, params, name, message string }{
		{rekey, `{"keyProviderID":8}`, wire.ErrInvalidParameter, "keyManagementType"},
		{rekey, `{"keyManagementType":"external"}`, wire.ErrMissingParameter, "keyProviderID"},
		{rekey, `{"keyManagementType":"internal","keyProviderID":8}`, wire.ErrInvalidParameter, "keyProviderID"},
		{rekey, `{"keyManagementType":"outer"}`, wire.ErrUnrecognizedEnum, "outer"},
		{rekey, `{"keyManagementType":"external","keyProviderID":0}`, wire.ErrInvalidParameter, "keyProviderID"},
		{rekey, `{"keyManagementType":"external","keyProviderID":"<ID number>"}`, wire.ErrParameterType, "keyProviderID"},
		{"CreateKeyServerKmip", `{}`, wire.ErrMissingParameter, "kmip"},
		{"CreateKeyServerKmip", `{"kmipCaCertificate":"a","kmipClientCertificate":"b","kmipKeyServerHostnames":"h","kmipKeyServerName":"n"}`, wire.ErrParameterType, "kmipKeyServerHostnames"},
		{"CreateKeyServerKmip", `{"kmipCaCertificate":"a","kmipClientCertificate":"b","kmipKeyServerHostnames":["h"],"kmipKeyServerName":"n","kmipKeyServerPort":0}`, wire.ErrInvalidParameter, "kmipKeyServerPort"},
		{"ModifyKeyServerKmip", `{"keyServerID":1,"kmipKeyServerPort":65536}`, wire.ErrInvalidParameter, "kmipKeyServerPort"},
		{"ModifyKeyServerKmip", `{"keyServerID":1,"kmipKeyServerHostnames":[]}`, wire.ErrInvalidParameter, "kmipKeyServerHostnames"},
		{"TestKeyServerKmip", `{}`, wire.ErrMissingParameter, "Missing member=[keyServerID]"},
	} {
		r.wantError(c.params, r.post(`{"method":"`+c.method+`","params":`+c.params+`}`), c.name, c.message)
	}
	if r.last != nil {
		t.Errorf("a bad value reached the cluster: %#v", r.last)
	}
}

func TestNamesOfKeyFailures(t *testing.T) {
	r := newAPIRig(t)
	for _, c := range []struct {
		err  error
		name string
	}{
		{keymgr.ErrNoKeyPair, "xKeyPairDoesNotExist"},
		{keymgr.ErrKeyPairInUse, "xKeyPairInUse"},
		{keymgr.ErrNoKeyServer, "xKeyServerDoesNotExist"},
		{keymgr.ErrNoKeyProvider, "xKeyProviderDoesNotExist"},
		{keymgr.ErrProviderActive, "xKeyProviderIsActive"},
		{keymgr.ErrKeyServerInUse, "xKeyServerInUse"},
		{keymgr.ErrKeyServerAssigned, "xKeyServerInUse"},
		{keymgr.ErrInvalid, "xInvalidParameter"},
		{keymgr.ErrNoServers, "xAPINotPermitted"},
		{&keymgr.RekeyRunningError{Handle: 3}, "xRekeyInProgress"},
		{keymgr.ErrLocked, "xKeyUnavailable"},
		{errors.New("anything else"), "xInternalError"},
	} {
		r.err = fmt.Errorf("rekey: %w", c.err)
		r.wantError(c.name, r.post(`{"method":"TestKeyServerKmip","params":{"keyServerID":1}}`), c.name, "rekey: ")
	}
}

// What a job may say of its failure is among the names that clients know.
func TestNamesOfFailedRekeysAreKnown(t *testing.T) {
	for _, err := range []error{
		errors.New("no reason"), &kmip.Error{Class: kmip.ClassRefused}, &kmip.Error{Class: kmip.ClassTLSServerUntrusted},
		&kmip.Error{Class: kmip.ClassKeyNotFound}, &kmip.Error{Class: kmip.ClassKeyMismatch}, &kmip.Error{Class: kmip.ClassServerError},
	} {
		if name := keymgr.ErrorName(err); !slices.Contains(wire.ErrorNames(), name) {
			t.Errorf("%v: %s is not a name of the API", err, name)
		}
	}
}

// The hint of a failure is in the message, for clients of Element, and apart, for
// those that know ours.
func TestHintsOfKeyServersAreForwarded(t *testing.T) {
	r := newAPIRig(t)
	const hint = `step "connect" failed: check that the key server runs`
	r.err = fmt.Errorf("add key server: %w: %w", keymgr.ErrKeysLacking, &kmip.Error{
		Class: kmip.ClassRefused, Address: "eks:5696", Operation: "Test", Step: kmip.StepConnect, Hint: "check that the key server runs", Err: errors.New("cause"),
	})
	reply := r.post(`{"method":"AddKeyServerToProviderKmip","params":{"keyServerID":1,"keyProviderID":1}}`)
	r.wantError("hint", reply, "xKmipConnectionFailure", "cause; "+hint)
	var e wire.Error
	if err := json.Unmarshal(reply["error"], &e); err != nil || e.Lockplate == nil || e.Lockplate.Hint != hint {
		t.Errorf("error %s, %v", reply["error"], err)
	}
	r.err = keymgr.ErrProviderActive
	reply = r.post(`{"method":"DeleteKeyProviderKmip","params":{"keyProviderID":1}}`)
	for _, step := range []string{"lockplate key rekey", "lockplate key history", "lockplate key destroy", "--forget", "ListMasterKeys", "DestroyMasterKey"} {
		r.wantError("active provider", reply, wire.ErrKeyProviderActive, step)
	}
}

// A key server's failure has its class, its address and what to look at.
func TestKeyServerFailuresSayWhatToDo(t *testing.T) {
	r := newAPIRig(t)
	for class, want := range map[kmip.Class][2]string{
		kmip.ClassRefused:            {"xKmipConnectionFailure", "alive and reachable"},
		kmip.ClassTLSServerUntrusted: {"xKmipAuthenticationFailure", "root CA"},
		kmip.ClassServerError:        {"xKmipServerError", "log"},
		kmip.ClassKeyNotFound:        {"xKmipKeyNotFound", "right key server"},
		kmip.ClassKeyMismatch:        {"xKmipKeyConflict", "right key server"},
	} {
		r.err = fmt.Errorf("test: %w", &kmip.Error{Class: class, Address: "eks:5696", Operation: "Test", Err: errors.New("cause")})
		reply := r.post(`{"method":"TestKeyServerKmip","params":{"keyServerID":1}}`)
		r.wantError(string(class), reply, want[0], "eks:5696")
		r.wantError(string(class), reply, want[0], want[1])
	}
}

func TestUnknownMasterKey(t *testing.T) {
	r := newAPIRig(t)
	r.err = fmt.Errorf("destroy master key: %w", keymgr.ErrNotFound)
	r.wantError("an unknown key", r.post(`{"method":"DestroyMasterKey","params":{"keyID":"x"}}`), wire.ErrMasterKeyNotFound, "x does not exist")
}

// Only an administrator sees or changes key servers, as in Element; a reader
// may see which master keys there are.
func TestKeyServersAreForAdministrators(t *testing.T) {
	r := newAPIRig(t)
	for _, m := range r.srv.methods.names {
		if cut := len(m) > 4 && m[len(m)-4:] == "Kmip"; cut && r.srv.methods.find(m).access == readers {
			t.Errorf("%s is not for administrators only", m)
		}
	}
}
