package keymgr

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"lockplate/store"
)

// Check examines every record of this package: that it parses, and that master
// keys, sealed keys and pages fit together. It needs no key, so it does not say
// whether wraps open; Manager.Verify does.
func Check(ctx context.Context, st store.Store) ([]store.Problem, error) {
	var c checker
	err := st.View(ctx, func(tx store.Tx) error {
		c = checker{masters: map[string]*masterRecord{}, volumes: map[uuid.UUID]string{}}
		c.checkMasters(tx)
		c.checkSealed(tx)
		c.checkSealer(tx)
		c.checkRecovery(tx)
		c.checkPages(tx)
		c.checkTrust(tx)
		c.checkServers(tx)
		c.checkJob(tx)
		return nil
	})
	return c.out, err
}

// Wrapped lists the volumes that have a data key, in no order.
func Wrapped(tx store.Tx) ([]string, error) {
	var out []string
	err := pages(tx, func(p page) error {
		for i := range p.count() {
			out = append(out, p.rec(i).volume().String())
		}
		return nil
	})
	return out, err
}

type checker struct {
	out     []store.Problem
	masters map[string]*masterRecord
	current *masterRecord
	volumes map[uuid.UUID]string // to the page each is in
}

func (c *checker) bad(where, format string, a ...any) {
	c.out = append(c.out, store.Problem{Where: where, Text: fmt.Sprintf(format, a...)})
}

func (c *checker) checkMasters(tx store.Tx) {
	for k, b := range tx.Scan(prefixMaster) {
		r, err := parseMaster(k, b)
		if err != nil {
			c.bad(k, "%v", err)
			continue
		}
		c.masters[r.ID] = r
		if r.State != StateCurrent {
			continue
		}
		if c.current != nil {
			c.bad(k, "is current, and so is %s", c.current.ID)
		}
		c.current = r
		if _, err := tx.Get(prefixSealed + r.ID); r.Type == Internal && err != nil {
			c.bad(k, "its sealed key is missing: %v", err)
		}
	}
	if len(c.masters) > 0 && c.current == nil {
		c.bad(prefixMaster, "no master key is current")
	}
}

func (c *checker) checkSealed(tx store.Tx) {
	for k, b := range tx.Scan(prefixSealed) {
		h, _, err := parseBlob(b)
		if err != nil {
			c.bad(k, "%v", err)
			continue
		}
		r := c.masters[k[len(prefixSealed):]]
		if r == nil {
			c.bad(k, "sealed key without a master key record")
		} else if r.Sealer != h.kind.String() {
			c.bad(k, "sealed by %s, its record says %q", h.kind, r.Sealer)
		}
	}
}

func (c *checker) checkSealer(tx store.Tx) {
	b, err := tx.Get(keySealer)
	if errors.Is(err, store.ErrNotFound) {
		if len(c.masters) > 0 {
			c.bad(keySealer, "record is missing")
		}
		return
	}
	var r sealerRecord
	if err == nil {
		err = parseRecord(b, &r)
	}
	if err == nil {
		err = mayKeep(r.Spec)
	}
	if err != nil {
		c.bad(keySealer, "%v", err)
	}
}

func (c *checker) checkPages(tx store.Tx) {
	next, full := uint32(0), true
	for k, b := range tx.Scan(prefixWraps) {
		p, err := parsePage(k, b)
		if err != nil {
			c.bad(k, "%v", err)
			next++
			continue
		}
		if p.number() != next || !full {
			c.bad(k, "page %d is missing or not full", p.number()-1)
		}
		next, full = p.number()+1, p.count() == pageRecords
		c.checkPage(k, p)
	}
}

func (c *checker) checkPage(key string, p page) {
	if c.current == nil || p.master().String() != c.current.ID {
		c.bad(key, "wrapped under master key %s, which is not the current one", p.master())
	} else if p.generation() != c.current.Generation {
		c.bad(key, "generation %d, its master key has %d", p.generation(), c.current.Generation)
	}
	for i := range p.count() {
		v := p.rec(i).volume()
		if other, dup := c.volumes[v]; dup {
			c.bad(key, "volume %s has a key in %s too", v, other)
		}
		c.volumes[v] = key
	}
}

// checkTrust examines the key pair.
func (c *checker) checkTrust(tx store.Tx) {
	r, err := getTrust(tx)
	if errors.Is(err, ErrNoKeyPair) {
		return
	}
	if err == nil {
		if _, err = r.request(); err == nil {
			_, _, err = parseBlob(r.Sealed)
		}
	}
	if err != nil {
		c.bad(keyTrust, "%v", err)
	}
}

// checkServers examines key servers and providers, and that what is named
// exists.
func (c *checker) checkServers(tx store.Tx) {
	providers := map[int64]bool{0: true}
	for key, b := range tx.Scan(prefixProviders) {
		r, err := parseProvider(key, b)
		if err != nil {
			c.bad(key, "%v", err)
			continue
		}
		providers[r.ID] = true
	}
	for key, b := range tx.Scan(prefixServers) {
		r, err := parseServer(key, b)
		if err != nil {
			c.bad(key, "%v", err)
		} else if !providers[r.ProviderID] {
			c.bad(key, "key provider %d does not exist", r.ProviderID)
		}
	}
	for id, r := range c.masters {
		if r.Type == External && r.Destroyed.IsZero() && !r.lost() && !providers[r.ProviderID] {
			c.bad(prefixMaster+id, "key provider %d does not exist", r.ProviderID)
		}
	}
}

// checkJob examines the rekey job and the keys it is about.
func (c *checker) checkJob(tx store.Tx) {
	j, err := getJob(tx)
	if err != nil {
		c.bad(keyJob, "%v", err)
	}
	if j == nil {
		return
	}
	for _, id := range []string{j.Old, j.New} {
		if c.masters[id] == nil {
			c.bad(keyJob, "master key %.40q does not exist", id)
		}
	}
	if j.Halted != "" {
		c.bad(keyJob, "the last rekey could not be confirmed: %s", j.Halted)
	}
}
