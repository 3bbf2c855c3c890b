package api_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"lockplate/api/client"
	"lockplate/api/wire"
	"lockplate/keymgr/kmiptest"
)

// rule is one row of what Element's documentation, SDKs and transcripts say: a
// call, and the error that it must end in, or what its result must hold.
type rule struct {
	says   string
	method string
	params string // with $NAMES of elementRig.values
	name   string // of the error, "" for success
	want   string // regular expression over the message, or over the result
}

// elementRig is a gateway with two key servers that hold the same keys, one
// that holds others, and one address where nobody listens.
type elementRig struct {
	t      *testing.T
	c      *client.Client
	ca     *kmiptest.CA
	values map[string]string
}

func newElementRig(t *testing.T) *elementRig {
	t.Helper()
	g := startGateway(t)
	r := &elementRig{t: t, c: g.client(t, client.Options{Socket: g.socket}), ca: kmiptest.NewCA(t, "servers")}
	r.values = map[string]string{"DIR": g.dir, "CA": string(r.ca.PEM()), "OTHERCA": string(kmiptest.NewCA(t, "others").PEM())}
	r.values["FOREIGN"] = pemOf(r.ca.Client("foreign", time.Now().AddDate(1, 0, 0)).Certificate[0])
	keys := kmiptest.NewKeys()
	for name, address := range map[string]string{
		"A": kmiptest.Start(t, r.ca, kmiptest.Options{Keys: keys}).Address, "B": kmiptest.Start(t, r.ca, kmiptest.Options{Keys: keys}).Address,
		"OTHER": kmiptest.Start(t, r.ca, kmiptest.Options{}).Address, "DEAD": kmiptest.Dead(t),
	} {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		r.values[name] = port
	}
	return r
}

func pemOf(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// call makes a call and gives its result as it came.
func (r *elementRig) call(method, params string) (string, error) {
	r.t.Helper()
	text := os.Expand(params, func(name string) string {
		value, ok := r.values[name]
		if !ok {
			r.t.Fatalf("%s: no value $%s", params, name)
		}
		b, _ := json.Marshal(value)
		return strings.Trim(string(b), `"`)
	})
	if text == "" {
		text = "{}"
	}
	var out json.RawMessage
	err := r.c.Call(r.t.Context(), method, json.RawMessage(text), &out)
	return string(out), err
}

// hold checks rules in order.
func (r *elementRig) hold(rules []rule) {
	r.t.Helper()
	for _, row := range rules {
		out, err := r.call(row.method, row.params)
		switch {
		case row.name == "" && err != nil, row.name != "" && !client.IsName(err, row.name):
			r.t.Errorf("%s: %s: %v %s, want %q", row.says, row.method, err, out, row.name)
		case row.name != "":
			out = err.Error()
			fallthrough
		default:
			if !regexp.MustCompile(row.want).MatchString(out) {
				r.t.Errorf("%s: %s: %s, want %s", row.says, row.method, out, row.want)
			}
		}
	}
}

// job waits for the end of the job that a call began.
func (r *elementRig) job(method, params string) wire.GetAsyncResultResult {
	r.t.Helper()
	out, err := r.call(method, params)
	var h wire.AsyncHandleResult
	if err == nil {
		err = json.Unmarshal([]byte(out), &h)
	}
	var done wire.GetAsyncResultResult
	if err == nil {
		done, err = r.c.WaitAsync(r.t.Context(), h.AsyncHandle, nil)
	}
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, params, err)
	}
	return done
}

// certify has the authority of the key servers sign the request of the cluster.
func (r *elementRig) certify() {
	r.t.Helper()
	out, err := r.call(wire.MethodGetSignRequest, "")
	var req wire.GetClientCertificateSignRequestResult
	if err == nil {
		err = json.Unmarshal([]byte(out), &req)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	cert, err := r.ca.Sign([]byte(req.SignRequest))
	if err != nil {
		r.t.Fatal(err)
	}
	block, _ := pem.Decode(cert)
	r.values["CERT"], r.values["BARE"] = string(cert), base64.StdEncoding.EncodeToString(block.Bytes)
}

// server is the parameters of a key server at one of the ports.
func server(port string) string {
	return `{"kmipCaCertificate":"$CA","kmipClientCertificate":"$CERT","kmipKeyServerHostnames":["127.0.0.1"],"kmipKeyServerName":"n","kmipKeyServerPort":"$` + port + `"}`
}

// TestElementRules goes through key management as Element has it, on a real
// cluster with key servers that were made for tests, refusals first.
func TestElementRules(t *testing.T) {
	r := newElementRig(t)
	const provider1, key1 = `{"keyProviderID":1}`, `{"keyServerID":1}`

	r.hold([]rule{
		{"no cluster yet", "GetClusterInfo", "", wire.ErrNoCluster, "init"},
		{"acceptEula must be true", "CreateCluster", `{"acceptEula":false,"seal":"file:$DIR/key"}`, wire.ErrInvalidParameter, "acceptEula"},
		{"mvip, svip and nodes are taken; encryption is the default", "CreateCluster", `{"mvip":"192.0.2.1","svip":"192.0.2.2","nodes":[],"username":"","password":"","attributes":{},"acceptEula":true,"seal":"file:$DIR/key","orderNumber":"","serialNumber":""}`, "", `^{}$`},
		{"a second one", "CreateCluster", `{"acceptEula":true}`, wire.ErrClusterExists, ""},
		{"encryption is on, and was chosen here", "GetClusterInfo", "", "", `"encryptionAtRestState":"disabled","softwareEncryptionAtRestState":"enabled"`},
		{"starts internal, state and status alike, version 1", "GetSoftwareEncryptionAtRestInfo", "", "", `"keyManagementType":"internal"},"state":"enabled","status":"enabled","version":1`},
		{"drives are not encrypted by themselves", "GetEncryptionAtRestInfo", "", "", `"state":"disabled"`},
	})

	// Client certificate.
	r.hold([]rule{
		{"no key pair yet", "GetClientCertificateSignRequest", "", wire.ErrKeyPairNotFound, "no key pair: make it first"},
		{"a key server needs one", "CreateKeyServerKmip", strings.ReplaceAll(server("A"), "$CERT", "$FOREIGN"), wire.ErrKeyPairNotFound, ""},
		{"country has two letters", "CreatePublicPrivateKeyPair", `{"country":"Germany"}`, wire.ErrInvalidParameter, "country"},
		{"all members are optional", "CreatePublicPrivateKeyPair", "", "", `^{}$`},
		{"a new one replaces the old", "CreatePublicPrivateKeyPair", `{"commonName":"c","country":"DE","emailAddress":"e@example.org","locality":"l","organization":"o","organizationalUnit":"ou","state":"s"}`, "", `^{}$`},
		{"the request is PEM", "GetClientCertificateSignRequest", "", "", `"clientCertificateSignRequest":"-----BEGIN CERTIFICATE REQUEST-----\\n`},
	})
	first, _ := r.call(wire.MethodGetSignRequest, "")
	if again, _ := r.call(wire.MethodGetSignRequest, ""); again != first {
		t.Error("a second request must be for the same key")
	}
	r.certify()

	// Key servers.
	r.hold([]rule{
		{"not a certificate", "CreateKeyServerKmip", strings.ReplaceAll(server("A"), "$CA", "x"), wire.ErrInvalidParameter, "CA: .*certificate"},
		{"client certificate of another key", "CreateKeyServerKmip", strings.ReplaceAll(server("A"), "$CERT", "$FOREIGN"), wire.ErrInvalidParameter, "(?i)key pair"},
		{"no hosts", "CreateKeyServerKmip", strings.ReplaceAll(server("A"), `["127.0.0.1"]`, `[]`), wire.ErrInvalidParameter, "kmipKeyServerHostnames"},
		{"port 0", "CreateKeyServerKmip", strings.ReplaceAll(server("A"), "$A", "0"), wire.ErrInvalidParameter, "kmipKeyServerPort"},
		{"port 65536", "CreateKeyServerKmip", strings.ReplaceAll(server("A"), "$A", "65536"), wire.ErrInvalidParameter, "kmipKeyServerPort"},
		{"a required member is missing", "CreateKeyServerKmip", `{"kmipCaCertificate":"$CA"}`, wire.ErrMissingParameter, `Missing member=\[kmipClientCertificate\]`},
		{"not contacted; no provider: null and null; bare base64 is taken", "CreateKeyServerKmip", strings.ReplaceAll(server("A"), "$CERT", "$BARE"), "", `"keyProviderID":null,.*"kmipAssignedProviderIsActive":null`},
		{"it need not exist; the port is 5696 when not given", "CreateKeyServerKmip", strings.ReplaceAll(server("A"), `,"kmipKeyServerPort":"$A"`, ""), "", `"kmipKeyServerPort":5696`},
		{"names are not unique", "CreateKeyServerKmip", server("B"), "", `"kmipKeyServerName":"n"`},
		{"a server nobody listens at", "CreateKeyServerKmip", server("DEAD"), "", `"keyServerID":4`},
		{"certificates come back as given", "GetKeyServerKmip", key1, "", `"kmipClientCertificate":"[A-Za-z0-9+/=]+"`},
		{"a quoted id", "GetKeyServerKmip", `{"keyServerID":"1"}`, "", `"keyServerID":1`},
		{"unknown id", "GetKeyServerKmip", `{"keyServerID":99}`, wire.ErrKeyServerNotFound, "99"},
		{"unknown id", "ModifyKeyServerKmip", `{"keyServerID":99}`, wire.ErrKeyServerNotFound, "99"},
		{"unknown id", "DeleteKeyServerKmip", `{"keyServerID":99}`, wire.ErrKeyServerNotFound, "99"},
		{"unknown id", "TestKeyServerKmip", `{"keyServerID":99}`, wire.ErrKeyServerNotFound, "99"},
		{"id alone: no action, no error, even at a dead server", "ModifyKeyServerKmip", `{"keyServerID":4}`, "", `"keyServerID":4`},
		{"the server is contacted", "ModifyKeyServerKmip", `{"keyServerID":1,"kmipKeyServerPort":"$DEAD"}`, wire.ErrKmipConnection, "127.0.0.1:"},
		{"wrong root", "ModifyKeyServerKmip", `{"keyServerID":1,"kmipCaCertificate":"$OTHERCA"}`, wire.ErrKmipAuthentication, ""},
		{"nothing is kept of that", "TestKeyServerKmip", key1, "", `^{}$`},
		{"given members replace", "ModifyKeyServerKmip", `{"keyServerID":1,"kmipKeyServerName":"first"}`, "", `"kmipKeyServerName":"first"`},
		{"the failure names address and step", "TestKeyServerKmip", `{"keyServerID":4}`, wire.ErrKmipConnection, `127\.0\.0\.1:\d+.*connect`},
		{"a server without provider counts as inactive", "ListKeyServersKmip", `{"kmipAssignedProviderIsActive":false,"kmipHasProviderAssigned":false}`, "", `"keyServerID":1.*"keyServerID":4`},
		{"filters combine", "ListKeyServersKmip", `{"keyProviderID":1,"kmipHasProviderAssigned":false}`, "", `"kmipKeyServers":\[\]`},
	})

	// Key providers.
	r.hold([]rule{
		{"starts inactive and empty", "CreateKeyProviderKmip", `{"keyProviderName":"p"}`, "", `"keyProviderIsActive":false,.*"keyServerIDs":\[\]`},
		{"names are not unique", "CreateKeyProviderKmip", `{"keyProviderName":"p"}`, "", `"keyProviderID":2`},
		{"name is required", "CreateKeyProviderKmip", ``, wire.ErrMissingParameter, `keyProviderName`},
		{"unknown id", "GetKeyProviderKmip", `{"keyProviderID":9}`, wire.ErrKeyProviderNotFound, "9"},
		{"unknown id", "DeleteKeyProviderKmip", `{"keyProviderID":9}`, wire.ErrKeyProviderNotFound, "9"},
		{"unknown id", "AddKeyServerToProviderKmip", `{"keyProviderID":9,"keyServerID":1}`, wire.ErrKeyProviderNotFound, "9"},
		{"unknown id", "AddKeyServerToProviderKmip", `{"keyProviderID":1,"keyServerID":9}`, wire.ErrKeyServerNotFound, "9"},
		{"unknown id", "RemoveKeyServerFromProviderKmip", `{"keyServerID":9}`, wire.ErrKeyServerNotFound, "9"},
		{"no server to test", "TestKeyProviderKmip", provider1, wire.ErrNotPermitted, "(?i)server"},
		{"a provider without servers takes no key", "RekeySoftwareEncryptionAtRestMasterKey", `{"keyManagementType":"external","keyProviderID":1}`, wire.ErrNotPermitted, "(?i)server"},
		{"the server is contacted", "AddKeyServerToProviderKmip", `{"keyProviderID":1,"keyServerID":4}`, wire.ErrKmipConnection, ""},
		{"nothing is kept of that", "GetKeyProviderKmip", provider1, "", `"keyServerIDs":\[\]`},
		{"it works", "AddKeyServerToProviderKmip", `{"keyProviderID":1,"keyServerID":1}`, "", `^{}$`},
		{"already there: no action, no error", "AddKeyServerToProviderKmip", `{"keyProviderID":1,"keyServerID":1}`, "", `^{}$`},
		{"in another provider", "AddKeyServerToProviderKmip", `{"keyProviderID":2,"keyServerID":1}`, wire.ErrKeyServerInUse, "1"},
		{"inactive is false, not null, now", "GetKeyServerKmip", key1, "", `"kmipAssignedProviderIsActive":false`},
		{"several servers with the same keys", "AddKeyServerToProviderKmip", `{"keyProviderID":1,"keyServerID":3}`, "", `^{}$`},
		{"every server is tried", "TestKeyProviderKmip", provider1, "", `^{}$`},
		{"inactive with servers", "ListKeyProvidersKmip", `{"keyProviderIsActive":false,"kmipKeyProviderHasServerAssigned":true}`, "", `"keyProviderID":1.*"keyServerIDs":\[1,3\]`},
		{"not assigned: no action, no error", "RemoveKeyServerFromProviderKmip", `{"keyServerID":4}`, "", `^{}$`},
	})

	// Rekey, hardware, and what an active provider forbids.
	r.hold([]rule{
		{"external needs a provider", "RekeySoftwareEncryptionAtRestMasterKey", `{"keyManagementType":"external"}`, wire.ErrMissingParameter, "keyProviderID"},
		{"internal has none", "RekeySoftwareEncryptionAtRestMasterKey", `{"keyManagementType":"internal","keyProviderID":1}`, wire.ErrInvalidParameter, "keyProviderID"},
		{"a provider alone", "RekeySoftwareEncryptionAtRestMasterKey", provider1, wire.ErrInvalidParameter, "keyManagementType"},
		{"unknown provider", "RekeySoftwareEncryptionAtRestMasterKey", `{"keyManagementType":"external","keyProviderID":9}`, wire.ErrKeyProviderNotFound, "9"},
	})
	done := r.job(wire.MethodRekey, `{"keyManagementType":"External","keyProviderID":"1"}`)
	if text, _ := done.Result["operation"].(string); done.ResultType != wire.MethodRekey || done.Result["state"] != "Ready" || !strings.Contains(text, "keyProviderID=1") {
		t.Errorf("rekey: %+v", done)
	}
	r.hold([]rule{
		{"lower case in answers, and the provider", "GetSoftwareEncryptionAtRestInfo", "", "", `"keyManagementType":"external","keyProviderID":1}`},
		{"gone with its result", "GetSoftwareEncryptionAtRestInfo", "", "", `^{"masterKeyInfo":{[^}]*},"state"`},
		{"active now", "GetKeyServerKmip", key1, "", `"kmipAssignedProviderIsActive":true`},
		{"an active provider stays", "DeleteKeyProviderKmip", `{"keyProviderID":"1"}`, wire.ErrKeyProviderActive, "(?i)rekey"},
		{"one of two servers may go", "RemoveKeyServerFromProviderKmip", `{"keyServerID":3}`, "", `^{}$`},
		{"the last one may not", "RemoveKeyServerFromProviderKmip", key1, wire.ErrKeyServerInUse, ""},
		{"nor be deleted", "DeleteKeyServerKmip", key1, wire.ErrKeyServerInUse, ""},
		{"nor lose its key pair", "CreatePublicPrivateKeyPair", "", wire.ErrKeyPairInUse, ""},
		{"a server that lacks the keys does not join", "ModifyKeyServerKmip", `{"keyServerID":3,"kmipKeyServerPort":"$OTHER"}`, "", ""},
		{"a server that lacks the keys does not join", "AddKeyServerToProviderKmip", `{"keyProviderID":1,"keyServerID":3}`, wire.ErrKmipKeyNotFound, "does not hold"},
		{"hardware: unknown provider", "EnableEncryptionAtRest", `{"keyProviderID":9}`, wire.ErrKeyProviderNotFound, "9"},
		{"hardware: no drive can", "EnableEncryptionAtRest", provider1, wire.ErrNotPermitted, "Encryption is not supported"},
		{"hardware: no drive can", "DisableEncryptionAtRest", "", wire.ErrNotPermitted, "Encryption is not supported"},
		{"hardware: unknown drive", "SecureEraseDrives", `{"drives":[9]}`, wire.ErrDriveNotFound, "9"},
	})
	r.leaveProvider()
}

// leaveProvider moves back to an internal key: the provider is active until
// its keys are destroyed, and goes then.
func (r *elementRig) leaveProvider() {
	const provider1, key1 = `{"keyProviderID":1}`, `{"keyServerID":1}`
	done := r.job(wire.MethodRekey, `{"keyManagementType":"internal"}`)
	if done.Result["state"] != "Ready" {
		r.t.Errorf("rekey: %+v", done)
	}
	r.hold([]rule{
		{"keys exist there still", "GetKeyProviderKmip", provider1, "", `"keyProviderIsActive":true`},
		{"so it stays", "DeleteKeyProviderKmip", provider1, wire.ErrKeyProviderActive, ""},
	})
	old, _ := done.Result["keyToDecommission"].(map[string]any)
	r.values["OLD"], _ = old["keyID"].(string)
	r.hold([]rule{
		{"destroyed at its servers too", "DestroyMasterKey", `{"keyID":"$OLD"}`, "", ""},
		{"no key of it exists", "GetKeyProviderKmip", provider1, "", `"keyProviderIsActive":false`},
		{"so it goes", "DeleteKeyProviderKmip", provider1, "", `^{}$`},
		{"its servers stay, in no provider", "GetKeyServerKmip", key1, "", `"keyProviderID":null`},
		{"an id is given once", "CreateKeyProviderKmip", `{"keyProviderName":"p"}`, "", `"keyProviderID":3`},
	})
}

// TestElementDriveRules is the same for drives and volumes.
func TestElementDriveRules(t *testing.T) {
	r := newElementRig(t)
	r.hold([]rule{{"a cluster", "CreateCluster", `{"acceptEula":true,"seal":"file:$DIR/key"}`, "", ""}})
	if err := os.Mkdir(filepath.Join(r.values["DIR"], "d2"), 0o700); err != nil {
		t.Fatal(err)
	}
	if done := r.job("AddDrives", `{"drives":[{"uri":"dir:$DIR/d1","type":"block"}]}`); done.ResultType != "DriveAdd" || done.Error != nil {
		t.Errorf("%+v", done)
	}
	r.hold([]rule{
		{"sizes round up to whole MiB", "CreateVolume", `{"name":"v","accountID":1,"totalSize":1000000000}`, "", `"totalSize":1000341504`},
		{"a name has 1-64 characters", "CreateVolume", `{"name":"","totalSize":1}`, wire.ErrInvalidParameter, "name"},
		{"only growing", "ModifyVolume", `{"volumeID":1,"totalSize":1}`, wire.ErrInvalidParameter, "totalSize"},
		{"only deleted volumes are purged", "PurgeDeletedVolume", `{"volumeID":1}`, wire.ErrNotPermitted, ""},
		{"only deleted volumes are restored", "RestoreDeletedVolume", `{"volumeID":1}`, wire.ErrNotPermitted, ""},
		{"a drive in use stays", "RemoveDrives", `{"drives":[1]}`, wire.ErrInUse, "1"},
		{"an active drive is not erased", "SecureEraseDrives", `{"drives":[1]}`, wire.ErrNotPermitted, "active"},
		{"deleted, with a time to purge", "DeleteVolume", `{"volumeID":1}`, "", `"purgeTime":"2.*"status":"deleted"`},
		{"purged", "PurgeDeletedVolume", `{"volumeID":1}`, "", `^{}$`},
		{"gone", "DeleteVolume", `{"volumeID":1}`, wire.ErrVolumeNotFound, "1"},
		{"an id is given once", "CreateVolume", `{"name":"v","totalSize":1}`, "", `"volumeID":2`},
		{"unknown account", "ListVolumesForAccount", `{"accountID":9}`, wire.ErrAccountNotFound, "9"},
	})
	r.job("AddDrives", `{"drives":[{"uri":"dir:$DIR/d2"}]}`)
	r.job("RemoveDrives", `{"drives":[2]}`)
	r.hold([]rule{
		{"removed: available", "ListDrives", "", "", `"driveID":2,.*"status":"available"`},
		{"and a fault says so, to be added", "ListClusterFaults", `{"faultTypes":"current"}`, "", `"code":"driveAvailable".*Node ID \d+ has 1 available drive`},
		{"not self-encrypting", "SecureEraseDrives", `{"drives":["2"]}`, wire.ErrNotPermitted, "Encryption is not supported: drive 2 .* not self-encrypting"},
		{"hardware of a directory", "GetDriveHardwareInfo", `{"driveID":2}`, "", `"description":"dir"`},
		{"a bare id is taken", "AddDrives", `{"drives":[2]}`, "", `"asyncHandle":\d`},
		{"the fault is resolved by itself", "ListClusterFaults", `{"faultTypes":"resolved"}`, "", `"code":"driveAvailable"`},
		{"resolved ones are what is cleared", "ClearClusterFaults", "", "", `^{}$`},
		{"and are gone", "ListClusterFaults", `{"faultTypes":"resolved"}`, "", `"faults":\[\]`},
	})
}
