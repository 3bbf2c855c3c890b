package api

import (
	"context"

	"lockplate/api/wire"
	"lockplate/cluster"
)

// elementAccess are the values that Element has for the access of an admin.
// Which of them are served is for the cluster to say.
func elementAccess() []string {
	return []string{
		wire.AccessAdministrator, wire.AccessRead, "accounts", "clusterAdmin", "drives",
		"nodes", "reporting", "repositories", "supportAdmin", "volumes", "write",
	}
}

// roles reads an access list. A name that Element does not have is refused
// here, one that is not served by the cluster.
func roles(access []string) ([]cluster.Role, error) {
	out := make([]cluster.Role, 0, len(access))
	for _, a := range access {
		if err := enum(a, elementAccess()...); err != nil {
			return nil, err
		}
		out = append(out, cluster.Role(a))
	}
	return out, nil
}

// addClusterAdmin makes a user. acceptEula is taken and has no effect.
func (s *Server) addClusterAdmin(ctx context.Context, _ identity, p *wire.AddClusterAdminParams) (wire.AddClusterAdminResult, error) {
	r, err := roles(p.Access)
	if err := firstError(err, checkAttributes(p.Attributes)); err != nil {
		return wire.AddClusterAdminResult{}, err
	}
	u, err := s.cluster.AddUser(ctx, p.Username, p.Password, r, p.Attributes)
	return wire.AddClusterAdminResult{ClusterAdminID: u.ID}, err
}

// listClusterAdmins lists users, never their passwords.
func (s *Server) listClusterAdmins(ctx context.Context, _ identity, _ *wire.Empty) (wire.ListClusterAdminsResult, error) {
	out := wire.ListClusterAdminsResult{ClusterAdmins: []wire.ClusterAdmin{}}
	users, err := s.cluster.Users(ctx)
	for _, u := range users {
		out.ClusterAdmins = append(out.ClusterAdmins, userShape(u))
	}
	return out, err
}

// modifyClusterAdmin changes the password, the access, or both.
func (s *Server) modifyClusterAdmin(ctx context.Context, _ identity, p *wire.ModifyClusterAdminParams) (wire.Empty, error) {
	r, err := roles(p.Access)
	if err != nil {
		return wire.Empty{}, err
	}
	_, err = s.cluster.ModifyUser(ctx, int64(p.ClusterAdminID), p.Password, r)
	return wire.Empty{}, err
}

// removeClusterAdmin removes a user, but not the last administrator.
func (s *Server) removeClusterAdmin(ctx context.Context, _ identity, p *wire.RemoveClusterAdminParams) (wire.Empty, error) {
	return wire.Empty{}, s.cluster.RemoveUser(ctx, int64(p.ClusterAdminID))
}
