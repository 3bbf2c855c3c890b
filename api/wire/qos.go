package wire

// QOS is Element's quality of service, in requests of 4 KiB a second. A volume
// without limits has the widest values. "curve" is left out: the Go SDKs
// declare it as an integer, the Python SDK as an object.
type QOS struct {
	BurstIOPS int64          `json:"burstIOPS"`
	BurstTime int64          `json:"burstTime"` // seconds
	Curve     map[string]int `json:"curve,omitempty"`
	MaxIOPS   int64          `json:"maxIOPS"`
	MinIOPS   int64          `json:"minIOPS"` // kept, not guaranteed
}

// NoLimitIOPS is the maxIOPS of a volume without limits.
const NoLimitIOPS = 200_000

// QOSParams are the members of a QOS to set; what is not given stays. Other
// members of Element's object, as its curve, are taken and have no effect.
type QOSParams struct {
	BurstIOPS *Int `json:"burstIOPS,omitempty"` // 100-200,000, not below maxIOPS
	BurstTime *Int `json:"burstTime,omitempty"` // 1-3,600 seconds
	MaxIOPS   *Int `json:"maxIOPS,omitempty"`   // 100-200,000, not below minIOPS
	MinIOPS   *Int `json:"minIOPS,omitempty"`   // 50-15,000
}

// QOSPolicy is Element's object of that name.
type QOSPolicy struct {
	Name        string  `json:"name"`
	QOS         QOS     `json:"qos"`
	QOSPolicyID int64   `json:"qosPolicyID"`
	VolumeIDs   []int64 `json:"volumeIDs"`
}

// CreateQoSPolicyParams makes a policy.
type CreateQoSPolicyParams struct {
	Name string     `json:"name" param:"required"` // 1-64 characters
	QOS  *QOSParams `json:"qos" param:"required"`
}

// ModifyQoSPolicyParams changes what is given, of QOS also a part.
type ModifyQoSPolicyParams struct {
	QOSPolicyID Int        `json:"qosPolicyID" param:"required"`
	Name        *string    `json:"name,omitempty"`
	QOS         *QOSParams `json:"qos,omitempty"`
}

// QoSPolicyIDParams names one policy: GetQoSPolicy, DeleteQoSPolicy.
type QoSPolicyIDParams struct {
	QOSPolicyID Int `json:"qosPolicyID" param:"required"`
}

// QoSPolicyResult holds one policy: CreateQoSPolicy, ModifyQoSPolicy,
// GetQoSPolicy.
type QoSPolicyResult struct {
	QOSPolicy QOSPolicy `json:"qosPolicy"`
}

// ListQoSPoliciesResult holds policies.
type ListQoSPoliciesResult struct {
	QOSPolicies []QOSPolicy `json:"qosPolicies"`
}
