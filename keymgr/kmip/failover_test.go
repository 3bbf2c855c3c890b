package kmip_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"lockplate/keymgr/kmip"
	"lockplate/keymgr/kmiptest"
)

const failoverLimit = 2 * time.Second * slack

// TestFailover: whatever is wrong with the addresses before it, the good one
// answers within two seconds; the next request does not wait any more.
func TestFailover(t *testing.T) {
	bad := map[string]func(t *testing.T, r *rig) string{
		"black hole": func(t *testing.T, _ *rig) string { return kmiptest.BlackHole(t) },
		"dead":       func(t *testing.T, _ *rig) string { return kmiptest.Dead(t) },
		"silent":     func(t *testing.T, _ *rig) string { return kmiptest.Silent(t) },
		"refusing": func(t *testing.T, r *rig) string {
			s := kmiptest.Start(t, r.ca, kmiptest.Options{})
			s.Refuse()
			return s.Address
		},
		"hanging": func(t *testing.T, r *rig) string {
			s := kmiptest.Start(t, r.ca, kmiptest.Options{})
			s.Inject(kmiptest.Fault{Delay: time.Minute})
			return s.Address
		},
		"garbage": func(t *testing.T, r *rig) string {
			s := kmiptest.Start(t, r.ca, kmiptest.Options{})
			s.Inject(kmiptest.Replace(0, bytes.Repeat([]byte{0x42}, 100)))
			return s.Address
		},
	}
	for name, make := range bad {
		for _, count := range []int{1, 7} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, kmiptest.Options{})
				id := mustCreate(t, open(t, r.config()), "k")
				var addresses []string
				for range count {
					addresses = append(addresses, make(t, r))
				}
				failover(t, r, id, append(addresses, r.server.Address))
			})
		}
	}
}

func failover(t *testing.T, r *rig, id string, addresses []string) {
	var mu sync.Mutex
	var overs []string
	config := r.config(addresses...)
	config.Observer.Failover = func(op, from, to string) {
		mu.Lock()
		defer mu.Unlock()
		overs = append(overs, op+" "+from+" "+to)
	}
	for _, op := range []struct {
		name string
		do   func(c *kmip.Client) error
	}{
		{"Get", func(c *kmip.Client) error { _, err := c.Get(t.Context(), id, kmip.SymmetricKey); return err }},
		{"Create", func(c *kmip.Client) error {
			_, err := c.Create(t.Context(), kmip.Object{Name: "new"})
			return err
		}},
	} {
		var c *kmip.Client
		took := time.Hour
		for try := 0; try < 3 && took > failoverLimit; try++ { // on a busy machine the best of three counts
			mu.Lock()
			overs = nil
			mu.Unlock()
			c = open(t, config)
			took = min(took, timed(t, func() error { return op.do(c) }))
		}
		t.Logf("%s past %d bad addresses: %v", op.name, len(addresses)-1, took)
		if took > failoverLimit {
			t.Errorf("%s took %v, limit %v", op.name, took, failoverLimit)
		}
		mu.Lock()
		if want := op.name + " " + addresses[0] + " " + r.server.Address; !slices.Equal(overs, []string{want}) {
			t.Errorf("failovers %q, want one: %q", overs, want)
		}
		overs = nil
		mu.Unlock()
		wantQuick(t, func() error { return op.do(c) })
		mu.Lock()
		overs = nil
		mu.Unlock()
	}
}

func timed(t *testing.T, do func() error) time.Duration {
	t.Helper()
	began := time.Now()
	if err := do(); err != nil {
		t.Fatal(err)
	}
	return time.Since(began)
}

// wantQuick wants a request not to wait for a bad address, which takes half a
// second. On a busy machine the best of a few counts.
func wantQuick(t *testing.T, do func() error) {
	t.Helper()
	best := time.Hour
	for range 5 {
		if best = min(best, timed(t, do)); best < 300*time.Millisecond*slack {
			return
		}
	}
	t.Errorf("still waits for the bad address: %v", best)
}

// TestOpenConnectionThatHangs: the server stops answering in the middle of a
// conversation; what can be repeated goes to the next address at once.
func TestOpenConnectionThatHangs(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	second := kmiptest.Start(t, r.ca, kmiptest.Options{Keys: r.server.Keys})
	c := open(t, r.config(r.server.Address, second.Address))
	id := mustCreate(t, c, "k")
	r.server.Inject(kmiptest.Fault{Delay: time.Minute})
	began := time.Now()
	mustGet(t, c, id)
	if took := time.Since(began); took > failoverLimit {
		t.Errorf("took %v", took)
	}
	if second.Requests(kmiptest.OpGet) != 1 {
		t.Error("the second address was not asked")
	}
}

// TestServersOfAProvider: four servers, each with its own trust, of which only
// the last one lives.
func TestServersOfAProvider(t *testing.T) {
	var servers []*kmip.Client
	r := newRig(t, kmiptest.Options{})
	last := open(t, r.config())
	id := mustCreate(t, last, "k")
	for range kmip.MaxServers - 1 {
		servers = append(servers, open(t, newRig(t, kmiptest.Options{}).config(kmiptest.BlackHole(t))))
	}
	all, err := kmip.Join(append(servers, last)...)
	if err != nil {
		t.Fatal(err)
	}
	get := func() error { _, err := all.Get(t.Context(), id, kmip.SymmetricKey); return err }
	if took := timed(t, get); took > failoverLimit {
		t.Errorf("took %v", took)
	}
	wantQuick(t, get)
	if err := all.Close(); err != nil {
		t.Error(err)
	}
	mustGet(t, last, id) // Close of the joined one leaves it open
	if _, err := kmip.Join(append(servers, last, last)...); !errors.Is(err, kmip.ErrConfig) {
		t.Errorf("five servers: %v", err)
	}
	if _, err := kmip.Join(); !errors.Is(err, kmip.ErrConfig) {
		t.Errorf("no servers: %v", err)
	}
}

// TestNameWithABlackHoledAddress: one of the addresses behind a host name drops
// packets; it is remembered, and the second connection does not try it first.
func TestNameWithABlackHoledAddress(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	_, port, _ := net.SplitHostPort(r.server.Address)
	config := r.config("localhost:" + port)
	hole, good := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("127.0.0.1")
	config.Resolve = func(context.Context, string) ([]netip.Addr, error) { return []netip.Addr{hole, good}, nil }
	var mu sync.Mutex
	var dialed []string
	config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, _ := net.SplitHostPort(address)
		mu.Lock()
		dialed = append(dialed, host)
		mu.Unlock()
		if host == hole.String() {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	c := open(t, config)
	began := time.Now()
	mustCreate(t, c, "k")
	if took := time.Since(began); took > failoverLimit {
		t.Errorf("took %v", took)
	}
	mustCreate(t, c, "k")
	if want := []string{"192.0.2.1", "127.0.0.1", "127.0.0.1"}; !slices.Equal(dialed, want) {
		t.Errorf("dialed %q, want %q", dialed, want)
	}
}

// TestHealthIsForgotten: a server that is back is used again, by order, when
// its time is up, and an address that failed is the last resort before.
func TestHealthIsForgotten(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	second := kmiptest.Start(t, r.ca, kmiptest.Options{Keys: r.server.Keys})
	var mu sync.Mutex
	now := time.Now()
	config := r.config(r.server.Address, second.Address)
	config.Now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	c := open(t, config)
	id := mustCreate(t, c, "k")
	r.server.Inject(kmiptest.Fault{Drop: true})
	mustGet(t, c, id)
	r.server.Heal()
	first := r.server.Requests(kmiptest.OpGet)
	mustGet(t, c, id)
	if r.server.Requests(kmiptest.OpGet) != first {
		t.Error("the first address was tried again at once")
	}
	second.Refuse()
	second.HangUp()
	mustGet(t, c, id)
	if r.server.Requests(kmiptest.OpGet) == first {
		t.Error("the first address was no last resort")
	}
	second.Heal()
	mu.Lock()
	now = now.Add(time.Hour)
	mu.Unlock()
	first = r.server.Requests(kmiptest.OpGet)
	mustGet(t, c, id)
	if r.server.Requests(kmiptest.OpGet) != first+1 {
		t.Error("the first address is not used again")
	}
}

// TestMissingKeyMustBeMissingEverywhere: as long as one address cannot be
// asked, nobody may conclude that the key is gone.
func TestMissingKeyMustBeMissingEverywhere(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	second := kmiptest.Start(t, r.ca, kmiptest.Options{})
	c := open(t, r.config(r.server.Address, second.Address))
	_, err := c.Get(t.Context(), "1", kmip.SymmetricKey)
	wantClass(t, err, kmip.ClassKeyNotFound)
	second.Close()
	_, err = c.Get(t.Context(), "1", kmip.SymmetricKey)
	if class := kmip.ClassOf(err); class == kmip.ClassKeyNotFound || class == "" {
		t.Errorf("one address is down: class %q: %v", class, err)
	}
	if err := c.Destroy(t.Context(), "1"); err == nil {
		t.Error("Destroy claims success, though one address is down")
	}
	// A key that only the second has is found there.
	third := kmiptest.Start(t, r.ca, kmiptest.Options{})
	id := mustCreate(t, open(t, r.config(third.Address)), "k")
	mustGet(t, open(t, r.config(r.server.Address, third.Address)), id)
}

func TestEachAddressAlone(t *testing.T) {
	r := newRig(t, kmiptest.Options{})
	second := kmiptest.Start(t, r.ca, kmiptest.Options{}) // another server: it has no keys
	c := open(t, r.config(r.server.Address, second.Address))
	id := mustCreate(t, c, "k")
	var found []int
	for _, one := range c.Each() {
		ids, err := one.Locate(t.Context(), kmip.Search{Name: "k"})
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, len(ids))
	}
	if !slices.Equal(found, []int{1, 0}) {
		t.Errorf("found %v", found)
	}
	one, err := c.At(second.Address)
	if err != nil {
		t.Fatal(err)
	}
	_, err = one.Get(t.Context(), id, kmip.SymmetricKey)
	wantClass(t, err, kmip.ClassKeyNotFound)
	if _, err := c.At("127.0.0.1:1"); !errors.Is(err, kmip.ErrInput) {
		t.Errorf("At of a foreign address: %v", err)
	}
	second.Close()
	results := c.Test(t.Context())
	if results[0].Err != nil || kmip.ClassOf(results[1].Err) == "" {
		t.Errorf("Test: %+v", results)
	}
}
