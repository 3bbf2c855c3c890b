package api

import (
	"context"

	"lockplate/api/wire"
	"lockplate/cluster"
)

// qosShape gives a quality of service as Element has it.
func qosShape(q cluster.QoS) wire.QOS {
	return wire.QOS{BurstIOPS: q.BurstIOPS, BurstTime: q.BurstTime, MaxIOPS: q.MaxIOPS, MinIOPS: q.MinIOPS}
}

// policyID is nil for no policy: Element has null there.
func policyID(id int64) *int64 {
	if id == 0 {
		return nil
	}
	return &id
}

// qosChange is what a client sets; nil if it sets nothing.
func qosChange(p *wire.QOSParams) *cluster.QoSChange {
	if p == nil || *p == (wire.QOSParams{}) {
		return nil
	}
	return &cluster.QoSChange{
		MinIOPS: (*int64)(p.MinIOPS), MaxIOPS: (*int64)(p.MaxIOPS),
		BurstIOPS: (*int64)(p.BurstIOPS), BurstTime: (*int64)(p.BurstTime),
	}
}

// wantedPolicy is the policy that a client wants for a volume: nil as it is, 0
// none. Element's SDKs say "none" by associateWithQoSPolicy false, and leave
// the id at 0 when they have nothing to say.
func wantedPolicy(associate *bool, id *wire.Int) *int64 {
	switch {
	case associate != nil && !*associate:
		return new(int64)
	case id == nil || *id == 0:
		return nil
	}
	return (*int64)(id)
}

// policyShape gives a policy as Element has it.
func policyShape(p cluster.QoSPolicy) wire.QOSPolicy {
	return wire.QOSPolicy{Name: p.Name, QOS: qosShape(p.QoS), QOSPolicyID: p.ID, VolumeIDs: list(p.Volumes)}
}

// getDefaultQoS tells what a volume has that was made without qos: no limit.
func (s *Server) getDefaultQoS(ctx context.Context, _ identity, _ *wire.Empty) (wire.QOS, error) {
	_, err := s.cluster.Info(ctx)
	return qosShape(cluster.NoQoS()), err
}

// createQoSPolicy makes a policy that no volume has yet.
func (s *Server) createQoSPolicy(ctx context.Context, _ identity, p *wire.CreateQoSPolicyParams) (wire.QoSPolicyResult, error) {
	change := qosChange(p.QOS)
	if change == nil {
		change = &cluster.QoSChange{}
	}
	made, err := s.cluster.CreateQoSPolicy(ctx, p.Name, *change)
	return wire.QoSPolicyResult{QOSPolicy: policyShape(made)}, err
}

// modifyQoSPolicy changes a policy and with it the volumes that have it.
func (s *Server) modifyQoSPolicy(ctx context.Context, _ identity, p *wire.ModifyQoSPolicyParams) (wire.QoSPolicyResult, error) {
	now, err := s.cluster.ModifyQoSPolicy(ctx, int64(p.QOSPolicyID), p.Name, qosChange(p.QOS))
	return wire.QoSPolicyResult{QOSPolicy: policyShape(now)}, err
}

// deleteQoSPolicy removes a policy; its volumes keep the values.
func (s *Server) deleteQoSPolicy(ctx context.Context, _ identity, p *wire.QoSPolicyIDParams) (wire.Empty, error) {
	return wire.Empty{}, s.cluster.DeleteQoSPolicy(ctx, int64(p.QOSPolicyID))
}

// getQoSPolicy shows one policy.
func (s *Server) getQoSPolicy(ctx context.Context, _ identity, p *wire.QoSPolicyIDParams) (wire.QoSPolicyResult, error) {
	one, err := s.cluster.QoSPolicy(ctx, int64(p.QOSPolicyID))
	return wire.QoSPolicyResult{QOSPolicy: policyShape(one)}, err
}

// listQoSPolicies lists all policies, by id.
func (s *Server) listQoSPolicies(ctx context.Context, _ identity, _ *wire.Empty) (wire.ListQoSPoliciesResult, error) {
	all, err := s.cluster.QoSPolicies(ctx)
	out := wire.ListQoSPoliciesResult{QOSPolicies: make([]wire.QOSPolicy, len(all))}
	for i, p := range all {
		out.QOSPolicies[i] = policyShape(p)
	}
	return out, err
}
