package api_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lockplate/api"
	"lockplate/api/client"
	"lockplate/api/wire"
	"lockplate/cluster"
)

// auditLines are the records of a class from number after on: actor, role,
// address, what and how it ended.
func (g *gateway) auditLines(t *testing.T, kind string, after int64) []string {
	t.Helper()
	var out []string
	err := cluster.AuditEach(g.state(), cluster.AuditFilter{After: after}, func(r cluster.AuditRecord) error {
		if r.Kind == kind {
			out = append(out, strings.Join([]string{r.Actor, r.Role, r.From, r.Action, r.Outcome}, "|"))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (g *gateway) lastSeq(t *testing.T) int64 {
	t.Helper()
	r, err := cluster.AuditVerify(g.state(), "")
	if err != nil || len(r.Problems) > 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	return r.LastSeq
}

// Each call leaves one record that it began and one of its result, each use of
// a key one, each failed login one; and all of them say who it was.
func TestEveryRecordNamesItsActor(t *testing.T) {
	g := startGateway(t)
	ctx := t.Context()
	local := g.client(t, client.Options{Socket: g.socket})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check := func(what, kind string, after int64, want ...string) {
		t.Helper()
		if got := g.auditLines(t, kind, after); !slices.Equal(got, want) {
			t.Errorf("%s: %s records\n%q, want\n%q", what, kind, got, want)
		}
	}
	must(local.Call(ctx, wire.MethodCreateCluster, wire.CreateClusterParams{
		AcceptEula: true, Seal: "file:" + filepath.Join(g.dir, "key"), Username: "ann", Password: wire.Password("long enough"),
	}, nil))
	uid := g.auditLines(t, cluster.AuditAdmin, 0)[0]
	uid, _, _ = strings.Cut(uid, "|")
	if !strings.HasPrefix(uid, "uid:") {
		t.Errorf("the caller on the socket is %q", uid)
	}
	check("create", cluster.AuditAdmin, 0,
		uid+"|administrator|unix|CreateCluster|begun", uid+"|administrator|unix|CreateCluster|ok")
	check("create", cluster.AuditKey, 0, uid+"|administrator|unix|make master key|ok")

	as := func(user, password string) *client.Client {
		return g.client(t, client.Options{
			Server: "https://" + g.addr, LocalCert: api.CertPath(g.state()), User: user, Password: wire.Password(password),
		})
	}
	ann := as("ann", "long enough")
	const annIs = "ann|administrator|127.0.0.1|"
	var h wire.AsyncHandleResult
	must(ann.Call(ctx, wire.MethodAddDrives, wire.AddDrivesParams{
		Drives: []wire.NewDrive{{URI: "dir:" + filepath.Join(g.dir, "d1")}},
	}, &h))
	at := g.lastSeq(t)
	must(ann.Call(ctx, wire.MethodCreateVolume, map[string]any{"name": "v", "totalSize": 1 << 20, "accountID": 1}, nil))
	check("volume", cluster.AuditAdmin, at, annIs+"CreateVolume|begun", annIs+"CreateVolume|ok")
	check("volume", cluster.AuditKey, at, annIs+"make data key|ok", annIs+"unwrap data key|ok")

	at = g.lastSeq(t)
	must(ann.Call(ctx, "RekeySoftwareEncryptionAtRestMasterKey", nil, &h))
	_, err := local.WaitAsync(ctx, h.AsyncHandle, nil)
	must(err)
	check("rekey", cluster.AuditKey, at, annIs+"begin rekey|ok", annIs+"end rekey|ok")

	at = g.lastSeq(t)
	must(ann.Call(ctx, wire.MethodAddClusterAdmin, map[string]any{
		"username": "ron", "password": "only reads", "access": []string{"read"}, "acceptEula": true,
	}, nil))
	must(as("ron", "only reads").Call(ctx, wire.MethodListVolumes, nil, nil))
	if as("ron", "only reads").Call(ctx, wire.MethodDeleteVolume, map[string]any{"volumeID": 1}, nil) == nil {
		t.Error("a reader deleted a volume")
	}
	check("reader", cluster.AuditAdmin, at, annIs+"AddClusterAdmin|begun", annIs+"AddClusterAdmin|ok",
		"ron|read|127.0.0.1|DeleteVolume|denied")

	at = g.lastSeq(t)
	if as("ann", "wrong one").Call(ctx, wire.MethodGetAPI, nil, nil) == nil {
		t.Error("a wrong password was taken")
	}
	check("login", cluster.AuditLogin, at, "ann||127.0.0.1|login|denied")
	check("login", cluster.AuditAdmin, at)
}
