package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"lockplate/api/wire"
)

// qosFlags are the flags of a volume's quality of service.
type qosFlags struct {
	least, most, burst int64
	policy             int64
}

func (f *qosFlags) register(fs *pflag.FlagSet) {
	fs.Int64Var(&f.most, "qos-max-iops", 0, "limit in requests of 4 KiB a second, 100-200000 (200000: no limit)")
	fs.Int64Var(&f.burst, "qos-burst-iops", 0, "limit while there is credit from times of less than the maximum (default the maximum)")
	fs.Int64Var(&f.least, "qos-min-iops", 0, "least that is wanted, 50-15000 (kept and shown, not guaranteed)")
	fs.Int64Var(&f.policy, "qos-policy", 0, "number of a QoS policy, instead of values")
}

// params are what was given: values, or a policy. A policy of 0 is none.
func (f *qosFlags) params(c *cobra.Command) (q *wire.QOSParams, policy *wire.Int, associate *bool) {
	value := func(flag string, v int64) *wire.Int {
		n := wire.Int(v)
		return given(c.Flags().Changed(flag), &n)
	}
	p := wire.QOSParams{
		MinIOPS: value("qos-min-iops", f.least), MaxIOPS: value("qos-max-iops", f.most), BurstIOPS: value("qos-burst-iops", f.burst),
	}
	q = given(p != (wire.QOSParams{}), &p)
	if policy = value("qos-policy", f.policy); policy != nil {
		associate = new(f.policy != 0)
	}
	return q, policy, associate
}

// qosText says how fast a volume may be.
func qosText(v wire.Volume) string {
	q := v.QOS
	text := fmt.Sprintf("min %d, max %d, burst %d IOPS for %d s", q.MinIOPS, q.MaxIOPS, q.BurstIOPS, q.BurstTime)
	if q.MaxIOPS >= wire.NoLimitIOPS {
		text = "no limit"
	}
	if v.QOSPolicyID != nil {
		text += fmt.Sprintf(", by policy %d", *v.QOSPolicyID)
	}
	return text
}
