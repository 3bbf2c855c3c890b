package cluster

import (
	"context"
	"errors"
	"strconv"
	"sync"
)

// ErrAudit says that the audit log cannot be written. Nothing may be changed
// without a record of it.
var ErrAudit = errors.New("the audit log cannot be written, so nothing may be changed: " +
	"make room on the file system of the state directory, or remount it for writing")

// actorSystem is the actor of what the gateway does by itself.
const actorSystem = "system"

// refusedLogins counts logins that are refused without a look at the password:
// they come as fast as a client can send, so the log gets their number.
type refusedLogins struct {
	mu   sync.Mutex
	n    int64
	name string // the latest
	from string
}

func (r *refusedLogins) add(name, from string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
	r.name, r.from = name, from
}

func (r *refusedLogins) take() (AuditEntry, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.n
	r.n = 0
	return AuditEntry{
		Kind: AuditLogin, Actor: r.name, From: r.from, Action: "login", Outcome: AuditDenied,
		Detail: map[string]string{"reason": "rate limited", "count": strconv.FormatInt(n, 10)},
	}, n > 0
}

// Actor is on whose behalf something is done.
type Actor struct {
	Name string `json:"name"`           // user name, or "uid:N" of a process of this machine
	Role string `json:"role,omitempty"` // as the audit log shows it
	From string `json:"from,omitempty"` // address, or "unix"
}

type actorKey struct{}

// WithActor says on whose behalf calls with this context are made: the audit
// log shows it beside the keys that are used.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// actorOf is who a context works for: the gateway itself if nobody else.
func actorOf(ctx context.Context) Actor {
	if a, ok := ctx.Value(actorKey{}).(Actor); ok {
		return a
	}
	return Actor{Name: actorSystem}
}

// Audit records an administrative call, or a login that failed elsewhere than
// in Authenticate. When it returns nil the record is durable. Errors: ErrAudit,
// on which the caller must not do what the entry tells of.
func (c *Cluster) Audit(_ context.Context, e AuditEntry) error { return c.audit.record(e, true) }

// auditKey records the use of a key. It is durable within a second.
func (c *Cluster) auditKey(ctx context.Context, action, object string, cause error) {
	who := actorOf(ctx)
	e := AuditEntry{
		Kind: AuditKey, Actor: who.Name, Role: who.Role, From: who.From, Action: action, Object: object, Outcome: AuditOK,
	}
	if cause != nil {
		e.Outcome, e.Detail = AuditFailed, map[string]string{"reason": cause.Error()}
	}
	if err := c.audit.record(e, false); err != nil {
		c.log.Error("use of a key is not in the audit log", "action", action, "object", object, "err", err)
	}
}

// mayChange refuses administrative changes that could not be audited.
func (c *Cluster) mayChange() error { return c.audit.flush() }
