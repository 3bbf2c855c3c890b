package api

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	"lockplate/api/wire"
)

func itoa(n int) string { return strconv.Itoa(n) }

// audited names the parameters that may be logged. No other is: a list of
// what to hide would miss the next secret.
func audited() []string {
	return []string{
		"name", "username", "volumeID", "driveID", "clusterAdminID", "asyncHandle",
		"slot", "drives", "access", "totalSize", "image",
	}
}

// audit logs one call: who, what, on what, how it ended. Calls that change
// nothing are below info.
func (s *Server) audit(ctx context.Context, method string, who identity, c *call, bad *wire.Error, took time.Duration) {
	level, code := slog.LevelInfo, okCode
	if m := s.methods.find(c.method); m != nil && m.access == readers {
		level = slog.LevelDebug
	}
	if bad != nil {
		code = bad.Name
	}
	if !s.log.Enabled(ctx, level) {
		return
	}
	var params []any
	for _, name := range audited() {
		if v, ok := c.params[name]; ok {
			params = append(params, slog.String(name, clip(string(v))))
		}
	}
	s.log.LogAttrs(ctx, level, "api call", slog.String("method", method), slog.String("user", clip(who.name)),
		slog.String("from", who.from), slog.String("code", code), slog.Duration("took", took), slog.Group("params", params...))
}
