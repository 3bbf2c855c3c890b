package cluster

import (
	"context"
	"fmt"
	"slices"
	"unicode/utf8"

	"lockplate/store"
)

// Ranges of the quality of service, in requests of 4 KiB a second. A volume
// whose QoS was never set has NoQoS, and MostIOPS is never limited.
const (
	LeastMinIOPS = 50
	MostMinIOPS  = 15_000
	LeastIOPS    = 100 // of maxIOPS and burstIOPS
	MostIOPS     = 200_000
)

// Limits of the rest of it.
const (
	MaxQoSPolicies   = 500
	defaultBurstTime = 60    // seconds
	mostBurstTime    = 3_600 // seconds
	maxPolicyName    = 64    // characters
)

const prefixPolicy = "qospolicies/"

// QoS is how fast a volume may be. MinIOPS is kept and shown, not guaranteed.
type QoS struct {
	MinIOPS   int64 `json:"minIOPS"`
	MaxIOPS   int64 `json:"maxIOPS"`   // in the long run
	BurstIOPS int64 `json:"burstIOPS"` // while there is credit
	BurstTime int64 `json:"burstTime"` // seconds that full credit lasts
}

// NoQoS is what is told of a volume without limits.
func NoQoS() QoS { return QoS{LeastMinIOPS, MostIOPS, MostIOPS, defaultBurstTime} }

// QoSChange holds the members of a QoS to set; nil keeps. A volume or policy
// that had none takes NoQoS, but no burst unless one is asked for.
type QoSChange struct{ MinIOPS, MaxIOPS, BurstIOPS, BurstTime *int64 }

// over is what base becomes, checked; nil stands for none so far.
func (c QoSChange) over(base *QoS) (*QoS, error) {
	q := NoQoS()
	if base != nil {
		q = *base
	} else {
		setIf(&q.MaxIOPS, c.BurstIOPS)
		setIf(&q.BurstIOPS, c.MaxIOPS)
	}
	setIf(&q.MinIOPS, c.MinIOPS)
	setIf(&q.MaxIOPS, c.MaxIOPS)
	setIf(&q.BurstIOPS, c.BurstIOPS)
	setIf(&q.BurstTime, c.BurstTime)
	return &q, q.check()
}

func setIf(dst, v *int64) {
	if v != nil {
		*dst = *v
	}
}

// check refuses values outside their ranges, or out of order.
func (q QoS) check() error {
	for _, m := range []struct {
		name           string
		v, least, most int64
	}{
		{"minIOPS", q.MinIOPS, LeastMinIOPS, MostMinIOPS},
		{"maxIOPS", q.MaxIOPS, LeastIOPS, MostIOPS},
		{"burstIOPS", q.BurstIOPS, LeastIOPS, MostIOPS},
		{"burstTime", q.BurstTime, 1, mostBurstTime},
	} {
		switch {
		case m.v < m.least:
			return &InvalidError{m.name, fmt.Sprintf("%d is below the least, %d", m.v, m.least)}
		case m.v > m.most:
			return fmt.Errorf("%s: %w: %d is over %d", m.name, ErrLimit, m.v, m.most)
		}
	}
	switch {
	case q.MaxIOPS < q.MinIOPS:
		return &InvalidError{"maxIOPS", fmt.Sprintf("%d is below minIOPS, %d", q.MaxIOPS, q.MinIOPS)}
	case q.BurstIOPS < q.MaxIOPS:
		return &InvalidError{"burstIOPS", fmt.Sprintf("%d is below maxIOPS, %d", q.BurstIOPS, q.MaxIOPS)}
	}
	return nil
}

// QoSPolicy is a QoS with a name, which volumes share.
type QoSPolicy struct {
	ID      int64
	Name    string
	QoS     QoS
	Volumes []int64 // that have it now, deleted ones left out
}

// policyRecord is a policy in the store. Its volumes name it, not it them.
type policyRecord struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
	QoS  QoS    `json:"qos"`
}

func checkPolicyName(name string) error {
	if n := utf8.RuneCountInString(name); n < 1 || n > maxPolicyName || !utf8.ValidString(name) {
		return &InvalidError{"name", fmt.Sprintf("use 1-%d characters", maxPolicyName)}
	}
	return nil
}

// loadPolicies reads the policies. Volumes come after, since they name them.
func (c *Cluster) loadPolicies(ctx context.Context) error {
	return c.store.View(ctx, func(tx store.Tx) error {
		recs, err := scanRecords[policyRecord](tx, prefixPolicy)
		for _, r := range recs {
			c.setPolicy(r)
		}
		return err
	})
}

// setPolicy shows a policy that is durable.
func (c *Cluster) setPolicy(r policyRecord) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.policy[r.ID] = r
}

// policyRecord finds a policy.
func (c *Cluster) policyRecord(id int64) (policyRecord, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, ok := c.policy[id]; ok {
		return r, nil
	}
	return policyRecord{}, notFound("QoS policy", id)
}

// qosOf is the QoS that holds for a volume: its policy's, or its own; nil if
// it was never set.
func (c *Cluster) qosOf(r *volumeRecord) *QoS {
	if r.QoSPolicyID == 0 {
		return r.QoS
	}
	p, err := c.policyRecord(r.QoSPolicyID)
	if err != nil {
		return r.QoS
	}
	return &p.QoS
}

// withQoS is a volume's record after a change of its QoS or its policy. Values
// that are set part the volume from its policy; policy 0 does so and keeps the
// values.
func (c *Cluster) withQoS(r volumeRecord, change *QoSChange, policy *int64) (volumeRecord, error) {
	if change != nil && policy != nil && *policy != 0 {
		return r, &InvalidError{"qosPolicyID", "give either qos or qosPolicyID"}
	}
	if policy != nil && *policy != 0 {
		_, err := c.policyRecord(*policy)
		r.QoS, r.QoSPolicyID = nil, *policy
		return r, err
	}
	var err error
	if change != nil {
		r.QoS, err = change.over(c.qosOf(&r))
	} else if policy != nil {
		r.QoS = c.qosOf(&r)
	} else {
		return r, nil
	}
	r.QoSPolicyID = 0
	return r, err
}

// volumesWith are the volumes of a policy, by id.
func (c *Cluster) volumesWith(policy int64) []*liveVolume {
	return slices.DeleteFunc(c.liveVolumes(), func(v *liveVolume) bool { return v.record().QoSPolicyID != policy })
}

// describePolicy adds to a policy who has it.
func (c *Cluster) describePolicy(r policyRecord) QoSPolicy {
	p := QoSPolicy{ID: r.ID, Name: r.Name, QoS: r.QoS}
	for _, v := range c.volumesWith(r.ID) {
		if r := v.record(); r.live() {
			p.Volumes = append(p.Volumes, r.ID)
		}
	}
	return p
}

// QoSPolicies lists all policies by id.
func (c *Cluster) QoSPolicies(context.Context) ([]QoSPolicy, error) {
	if _, err := c.require(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	recs := make([]policyRecord, 0, len(c.policy))
	for _, r := range c.policy {
		recs = append(recs, r)
	}
	c.mu.Unlock()
	slices.SortFunc(recs, func(a, b policyRecord) int { return int(a.ID - b.ID) })
	out := make([]QoSPolicy, len(recs))
	for i, r := range recs {
		out[i] = c.describePolicy(r)
	}
	return out, nil
}

// QoSPolicy describes one policy.
func (c *Cluster) QoSPolicy(_ context.Context, id int64) (QoSPolicy, error) {
	if _, err := c.require(); err != nil {
		return QoSPolicy{}, err
	}
	r, err := c.policyRecord(id)
	if err != nil {
		return QoSPolicy{}, err
	}
	return c.describePolicy(r), nil
}

// CreateQoSPolicy makes a policy that no volume has yet.
func (c *Cluster) CreateQoSPolicy(ctx context.Context, name string, change QoSChange) (QoSPolicy, error) {
	q, err := change.over(nil)
	if err == nil {
		err = checkPolicyName(name)
	}
	if err != nil {
		return QoSPolicy{}, err
	}
	return c.changePolicy(func() (policyRecord, error) {
		all, err := c.QoSPolicies(ctx)
		if err == nil && len(all) >= MaxQoSPolicies {
			err = fmt.Errorf("%w: there are %d QoS policies, and no more can be", ErrLimit, len(all))
		}
		if err != nil {
			return policyRecord{}, err
		}
		r := policyRecord{Name: name, QoS: *q}
		return r, c.store.Update(ctx, func(tx store.Tx) (err error) {
			if r.ID, err = nextID(tx, "qospolicy"); err != nil {
				return err
			}
			return putRecord(tx, recordKey(prefixPolicy, r.ID), r)
		})
	})
}

// changePolicy runs an administrator's change of one policy, and once it is
// durable shows it and holds its volumes to it.
func (c *Cluster) changePolicy(fn func() (policyRecord, error)) (QoSPolicy, error) {
	if _, err := c.require(); err != nil {
		return QoSPolicy{}, err
	}
	c.admin.Lock()
	defer c.admin.Unlock()
	if err := c.mayChange(); err != nil {
		return QoSPolicy{}, err
	}
	r, err := fn()
	if err != nil {
		return QoSPolicy{}, err
	}
	c.setPolicy(r)
	for _, v := range c.volumesWith(r.ID) {
		c.holdTo(v)
	}
	return c.describePolicy(r), nil
}

// ModifyQoSPolicy changes a policy's name or values; nil keeps. Its volumes
// follow at once.
func (c *Cluster) ModifyQoSPolicy(ctx context.Context, id int64, name *string, change *QoSChange) (QoSPolicy, error) {
	return c.changePolicy(func() (policyRecord, error) {
		r, err := c.policyRecord(id)
		if err != nil {
			return r, err
		}
		if name != nil {
			if err := checkPolicyName(*name); err != nil {
				return r, err
			}
			r.Name = *name
		}
		if change != nil {
			q, err := change.over(&r.QoS)
			if err != nil {
				return r, err
			}
			r.QoS = *q
		}
		return r, c.store.Update(ctx, func(tx store.Tx) error {
			return putRecord(tx, recordKey(prefixPolicy, id), r)
		})
	})
}

// DeleteQoSPolicy removes a policy. Its volumes keep the values, each as its
// own; all in one transaction.
func (c *Cluster) DeleteQoSPolicy(ctx context.Context, id int64) error {
	if _, err := c.require(); err != nil {
		return err
	}
	c.admin.Lock()
	defer c.admin.Unlock()
	if err := c.mayChange(); err != nil {
		return err
	}
	p, err := c.policyRecord(id)
	if err != nil {
		return err
	}
	vols := c.volumesWith(id)
	recs := make([]volumeRecord, len(vols))
	for i, v := range vols {
		recs[i] = v.record()
		recs[i].QoS, recs[i].QoSPolicyID = &p.QoS, 0
	}
	err = c.store.Update(ctx, func(tx store.Tx) error {
		for _, r := range recs {
			if err := c.putVolume(tx, r, nil); err != nil {
				return err
			}
		}
		return tx.Delete(recordKey(prefixPolicy, id))
	})
	if err != nil {
		return fmt.Errorf("delete QoS policy %d: %w", id, err)
	}
	for i, v := range vols {
		v.setRecord(recs[i])
	}
	c.mu.Lock()
	delete(c.policy, id)
	c.mu.Unlock()
	return nil
}
