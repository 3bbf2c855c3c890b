package api

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"lockplate/api/wire"
	"lockplate/cluster"
)

func itoa(n int) string { return strconv.Itoa(n) }

// logged names the parameters that may be logged. No other is: a list of
// what to hide would miss the next secret.
func logged() []string {
	return []string{
		"name", "username", "volumeID", "driveID", "clusterAdminID", "asyncHandle",
		"slot", "drives", "access", "totalSize", "image", "faultTypes", "keyID", "keyManagementType",
		"keyServerID", "keyProviderID", "keyProviderName", "kmipKeyServerName", "kmipKeyServerHostnames",
	}
}

// audit logs one call: who, what, on what, how it ended. Calls that change
// nothing are below info.
func (s *Server) audit(ctx context.Context, method string, who identity, c *call, bad *wire.Error, took time.Duration) {
	level, code := slog.LevelInfo, okCode
	if m := s.methods.find(c.method); m != nil && m.access != adminOnly {
		level = slog.LevelDebug
	}
	if bad != nil {
		code = bad.Name
	}
	if !s.log.Enabled(ctx, level) {
		return
	}
	var params []any
	for _, name := range logged() {
		if v, ok := c.params[name]; ok {
			params = append(params, slog.String(name, clip(string(v))))
		}
	}
	s.log.LogAttrs(ctx, level, "api call", slog.String("method", method), slog.String("user", clip(who.name)),
		slog.String("from", who.from), slog.String("code", code), slog.Duration("took", took), slog.Group("params", params...))
}

// entry is what the audit log gets to know of an administrative call.
func (c *call) entry(method string, who identity, outcome string) cluster.AuditEntry {
	a := who.actor()
	e := cluster.AuditEntry{
		Kind: cluster.AuditAdmin, Actor: a.Name, Role: a.Role, From: a.From, Action: method, Outcome: outcome,
		Detail: map[string]string{},
	}
	for _, name := range logged() {
		v, ok := c.params[name]
		if !ok {
			continue
		}
		e.Detail[name] = clip(string(v))
		if e.Object == "" && strings.HasSuffix(name, "ID") {
			e.Object = name + " " + clip(string(v))
		}
	}
	return e
}

// audited runs an administrative call between two records of the audit log.
// What cannot be recorded is not begun.
func (s *Server) audited(ctx context.Context, m *method, who identity, c *call) (any, []string, error) {
	ctx = cluster.WithActor(ctx, who.actor())
	if m.access != adminOnly {
		return m.run(ctx, who, c)
	}
	if err := s.cluster.Audit(ctx, c.entry(m.name, who, cluster.AuditBegun)); err != nil {
		return nil, nil, err
	}
	end := c.entry(m.name, who, cluster.AuditFailed) // before the parameters are wiped
	defer func() {
		if err := s.cluster.Audit(context.WithoutCancel(ctx), end); err != nil {
			s.log.Error("end of a call is not in the audit log", "method", m.name, "err", err)
		}
	}()
	v, unused, err := m.run(ctx, who, c)
	if err == nil {
		end.Outcome = cluster.AuditOK
	} else {
		end.Detail["error"] = wireError(err).Name
	}
	return v, unused, err
}

// denied records a call that the caller's role does not allow.
func (s *Server) denied(ctx context.Context, method string, who identity, c *call) {
	if err := s.cluster.Audit(ctx, c.entry(method, who, cluster.AuditDenied)); err != nil {
		s.log.Error("a denied call is not in the audit log", "method", method, "err", err)
	}
}
