package keymgr_test

import (
	"strings"
	"testing"

	"lockplate/keymgr"
	"lockplate/keymgr/kmiptest"
)

// peer is a key server, of whatever make.
type peer struct {
	address string
	ca      string
	dir     string // of PyKMIP
	sign    func(request []byte) ([]byte, error)
	fault   func(line string) // "lose Create", "drop Get": once; "": healthy
	stop    func()
	start   func() // again, at the same address, with the same keys
	count   func() int
}

// makes are the key servers that every rekey is tested with. They share no code.
func makes() map[string]func(testing.TB) *peer {
	return map[string]func(testing.TB) *peer{"fake": fakePeer, "PyKMIP": pykmipPeer, "ovh": ovhPeer}
}

func fakePeer(t testing.TB) *peer {
	ca := kmiptest.NewCA(t, "fake")
	s := kmiptest.Start(t, ca, kmiptest.Options{})
	ops := map[string]uint32{
		"Create": kmiptest.OpCreate, "Activate": kmiptest.OpActivate, "Get": kmiptest.OpGet, "Locate": kmiptest.OpLocate,
		"Revoke": kmiptest.OpRevoke, "Destroy": kmiptest.OpDestroy,
	}
	return &peer{
		address: s.Address, ca: string(ca.PEM()), sign: ca.Sign,
		fault: func(line string) {
			s.Heal()
			if how, op, ok := strings.Cut(line, " "); ok {
				s.Inject(kmiptest.Fault{Op: ops[op], Times: 1, Lose: how == "lose", Drop: how == "drop"})
			}
		},
		stop:  func() { s.Close() },
		start: func() { s = kmiptest.Start(t, ca, kmiptest.Options{Keys: s.Keys, Listen: s.Address}) },
		count: func() int { return s.Keys.Count() },
	}
}

func ovhPeer(t testing.TB) *peer {
	ca := kmiptest.NewCA(t, "ovh")
	s := kmiptest.StartOVH(t, ca)
	return &peer{
		address: s.Address, ca: string(ca.PEM()), sign: ca.Sign,
		fault: func(line string) { s.Fault(line, 1) }, stop: s.Stop, start: s.Start, count: s.Count,
	}
}

func pykmipPeer(t testing.TB) *peer {
	p := kmiptest.StartPyKMIP(t)
	return &peer{
		address: p.Address, ca: string(p.CA()), dir: p.Dir, sign: p.Sign,
		fault: func(line string) {
			if line == "" {
				p.Fault()
				return
			}
			p.Fault(line, "times 1")
		},
		stop: p.Stop, start: p.Start,
		count: func() (n int) { return made(p.Requests()) },
	}
}

// made counts keys by what PyKMIP says it did.
func made(requests []string) (n int) {
	for _, line := range requests {
		switch strings.ToLower(line) {
		case "create ok", "create lose":
			n++
		case "destroy ok", "destroy lose":
			n--
		}
	}
	return n
}

// peerRig is a cluster with volumes and two providers, each of one key server.
type peerRig struct {
	*rekeyRig
	peers [2]*peer
}

// newPeerRig follows the manual: a key pair, a request signed by each server's
// authority, servers, providers, tests.
func newPeerRig(t *testing.T, start func(testing.TB) *peer, volumes int) *peerRig {
	t.Helper()
	r := &peerRig{rekeyRig: &rekeyRig{rig: newRig(t, "file"), jobs: &jobs{}, model: map[string]string{}}}
	r.held = func(i int) int { return r.peers[i].count() }
	r.begin(volumes)
	if err := r.m.CreateKeyPair(t.Context(), keymgr.Subject{CommonName: "lockplate-test", Organization: "Org"}); err != nil {
		t.Fatal(err)
	}
	for i := range r.peers {
		r.peers[i] = start(t)
		r.p[i] = r.trust(t, r.peers[i])
	}
	return r
}

// trust makes a provider of a key server, and tests it.
func (r *peerRig) trust(t *testing.T, p *peer) int64 {
	t.Helper()
	ctx := t.Context()
	request, err := r.m.SigningRequest(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := p.sign([]byte(request))
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.m.CreateKeyServer(ctx, keymgr.KeyServer{
		Name: "peer", Hostnames: []string{p.address}, CACertificate: p.ca, ClientCertificate: string(cert),
	})
	if err != nil {
		t.Fatal(err)
	}
	provider, err := r.m.CreateKeyProvider(ctx, "peer")
	if err == nil {
		err = r.m.AddServerToProvider(ctx, provider.ID, s.ID)
	}
	if err == nil {
		err = r.m.TestKeyProvider(ctx, provider.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	return provider.ID
}

// both sets a fault of both servers.
func (r *peerRig) both(fault string) {
	for _, p := range r.peers {
		p.fault(fault)
	}
}
