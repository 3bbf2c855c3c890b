package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"

	"lockplate/api/wire"
	"lockplate/cluster"
)

// ServeHTTP answers one request. It never redirects: clients would turn the
// POST into a GET.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if !isEndpoint(r.URL.Path) {
		page(w, http.StatusNotFound)
		return
	}
	if r.Method != http.MethodPost && r.Method != http.MethodGet {
		h.Set("Allow", "GET, POST")
		page(w, http.StatusMethodNotAllowed)
		return
	}
	// A page of another site must not act with credentials that a browser
	// has stored: content types are ignored here, so no preflight saves us.
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		page(w, http.StatusForbidden)
		return
	}
	who, err := s.identify(r)
	if err != nil {
		s.refuse(w, who, err)
		return
	}
	s.answer(w, r, who)
}

// isEndpoint says whether path is the API's: a listed version, with or
// without a slash at the end.
func isEndpoint(path string) bool {
	v, ok := strings.CutPrefix(path, wire.Path+"/")
	return ok && slices.Contains(wire.Versions(), strings.TrimSuffix(v, "/"))
}

// page sends an HTML page that holds "CODE Text.", by which the Python SDK
// knows 401 and 404.
func page(w http.ResponseWriter, code int) {
	text := http.StatusText(code)
	body := "<!DOCTYPE html><html><head><title>" + text + "</title></head><body><h1>" +
		itoa(code) + " " + text + ".</h1></body></html>\n"
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	io.WriteString(w, body)
}

// refuse answers a request without valid credentials.
func (s *Server) refuse(w http.ResponseWriter, who identity, err error) {
	reason, code := "missing", http.StatusUnauthorized
	switch {
	case errors.Is(err, cluster.ErrDenied):
		reason = "wrong"
	case errors.Is(err, cluster.ErrRateLimited):
		reason, code = "limited", http.StatusTooManyRequests
		w.Header().Set("Retry-After", "10")
	case !errors.Is(err, errUnauthenticated):
		reason, code = "error", http.StatusServiceUnavailable
	}
	s.metrics.authFailed(reason)
	s.log.Warn("api login refused", "user", clip(who.name), "from", who.from, "reason", reason, "err", err)
	if code == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="lockplate", charset="UTF-8"`)
	}
	page(w, code)
}

// answer reads the envelope, runs the method and sends the reply.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, who identity) {
	c, bad := s.readCall(w, r)
	defer c.wipe()
	if bad == nil && who.setup && !s.setupMay(c.method) {
		s.refuse(w, who, errUnauthenticated)
		return
	}
	start := s.now()
	reply := wire.Reply{ID: c.id, Error: bad}
	name := unknownMethod
	if bad == nil {
		var m *method
		if m, reply.Error = s.lookup(&c, who); m != nil {
			name = m.name
		}
		if m != nil && reply.Error != nil {
			s.denied(r.Context(), name, who, &c)
		}
		if reply.Error == nil {
			reply.Result, reply.UnusedParameters, reply.Error = s.run(r.Context(), m, who, &c)
		}
	}
	took := s.now().Sub(start)
	s.metrics.observe(name, reply.Error, took)
	s.audit(r.Context(), name, who, &c, reply.Error, took)
	send(w, &reply)
}

// setupMay says whether a caller without credentials may call the method.
func (s *Server) setupMay(name string) bool {
	m := s.methods.find(name)
	return m != nil && m.setup
}

// readCall reads the call of a GET or POST and wipes the body, which may hold
// a password.
func (s *Server) readCall(w http.ResponseWriter, r *http.Request) (call, *wire.Error) {
	if r.Method == http.MethodGet {
		return parseQuery(r.URL.Query())
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if e := (*http.MaxBytesError)(nil); errors.As(err, &e) {
		return call{}, fail(wire.ErrExceededLimit, "request: over %d bytes", maxBody)
	}
	if err != nil {
		return call{}, fail(wire.ErrJSONParse, "request: cut short")
	}
	defer clear(body)
	return parseBody(body)
}

// lookup finds the method of a call if the caller may call it.
func (s *Server) lookup(c *call, who identity) (*method, *wire.Error) {
	m := s.methods.find(c.method)
	switch {
	case m == nil:
		return nil, fail(wire.ErrUnknownMethod, " method=%s", clip(c.method))
	case m.access != readers && !who.admin && !who.setup:
		return m, fail(wire.ErrPermissionDenied, "%s: user %s may only read; ask an administrator", m.name, clip(who.name))
	case m.access == adminOnly && who.get:
		return m, fail(wire.ErrPermissionDenied, "%s: GET is only for methods that change nothing; use POST", m.name)
	}
	return m, nil
}

// run calls the handler, with a bound on how many run and for how long. A
// change goes on when its client hangs up: half of it helps nobody.
func (s *Server) run(ctx context.Context, m *method, who identity, c *call) (res json.RawMessage, unused []string, bad *wire.Error) {
	if m.access == adminOnly {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, workTime)
	defer cancel()
	select {
	case s.working <- struct{}{}:
		defer func() { <-s.working }()
	case <-ctx.Done():
		return nil, nil, fail(wire.ErrRetry, "too many requests at work: try again")
	}
	defer func() {
		if p := recover(); p != nil { // a bug: answer, keep serving disks
			s.log.Error("api panic", "method", m.name, "panic", p, "stack", string(debug.Stack()))
			res, unused, bad = nil, nil, fail(wire.ErrInternal, "%s: internal error, see the log", m.name)
		}
	}()
	v, unused, err := s.audited(ctx, m, who, c)
	if err != nil {
		return nil, unused, wireError(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, unused, fail(wire.ErrInternal, "%s: encode result: %v", m.name, err)
	}
	return b, unused, nil
}

// send writes the reply. Its status is 200 even for an error: clients take
// any other for a failure of the transport.
func send(w http.ResponseWriter, r *wire.Reply) {
	b, err := json.Marshal(r)
	if err != nil { // only an id that is no JSON could, and it was checked
		panic("api: encode reply: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", itoa(len(b)))
	w.Write(b)
}
