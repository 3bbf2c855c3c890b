package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"lockplate/keymgr"
)

// Every server of the active provider is tested again and again, so that an
// administrator hears of an outage within 5 s, while volumes still go on, and
// not at the next start. The test logs in and asks a question; it fetches no key.
// A server that hangs is known after both times, which leaves a second for a busy
// machine.
const (
	watchEvery = 1500 * time.Millisecond
	watchTime  = 2500 * time.Millisecond // for one test
)

// keyWatch is what the last round of tests found.
type keyWatch struct {
	mu   sync.Mutex
	list []watched
}

// watched is a key server of the active provider; bad is what is wrong.
type watched struct {
	server keymgr.KeyServer
	bad    error
}

func (w *keyWatch) set(list []watched) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = list
}

// conditions tells of the servers that failed: a warning while another one of
// the provider works.
func (w *keyWatch) conditions() []condition {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []condition
	for _, s := range w.list {
		if s.bad == nil {
			continue
		}
		what := fmt.Sprintf("Key server %d (%s) of the active key provider %d cannot be used, volumes that are open go on",
			s.server.ID, s.server.Name, s.server.ProviderID)
		out = append(out, condition{
			code: faultKmipServer, key: "server/" + idString(s.server.ID), args: []any{what, lockReason(s.bad)},
		})
	}
	if len(out) < len(w.list) {
		for i := range out {
			out[i].severity = sevWarning
		}
	}
	return out
}

// watching tests the key servers until ctx ends.
func (c *Cluster) watching(ctx context.Context) {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		c.watchServers(ctx)
	}
}

// watchServers is one round of tests, of all servers at once.
func (c *Cluster) watchServers(ctx context.Context) {
	list := c.toWatch(ctx)
	var wg sync.WaitGroup
	for i := range list {
		wg.Go(func() {
			try, cancel := context.WithTimeout(ctx, watchTime)
			defer cancel()
			list[i].bad = c.keys.TestKeyServer(try, list[i].server.ID)
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return
	}
	c.watch.set(list)
	if len(list) > 0 {
		if _, err := c.Faults(ctx); err != nil {
			c.log.Error("faults cannot be brought up to date", "err", err)
		}
	}
}

// toWatch lists the servers of the provider that the master key is at. While
// the key is not at hand there are none: the fault of that says more.
func (c *Cluster) toWatch(ctx context.Context) []watched {
	m, err := c.keyManager()
	if err != nil || m.Locked() != nil || m.Master().Type != keymgr.External {
		return nil
	}
	servers, err := m.KeyServers(ctx)
	if err != nil {
		return nil
	}
	var out []watched
	for _, s := range servers {
		if s.ProviderID == m.Master().ProviderID {
			out = append(out, watched{server: s})
		}
	}
	slices.SortFunc(out, func(a, b watched) int { return cmp.Compare(a.server.ID, b.server.ID) })
	return out
}
