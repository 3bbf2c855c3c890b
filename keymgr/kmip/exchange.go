package kmip

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gemalto/kmip-go/kmip14"
	"github.com/gemalto/kmip-go/ttlv"
)

// exchange sends q and reads its answer, all within the request timeout and
// ctx, whichever ends first; a server that sends a byte now and then gains
// nothing. After any error the connection must not be used again, save that
// alive reports true.
func (c *conn) exchange(ctx context.Context, q request, v Version) (a answer, alive bool, err error) {
	defer func() {
		if r := recover(); r != nil { // for what nobody thought of: a server must not stop the gateway
			a, alive, err = answer{}, false, malformed("that cannot be read: %v", r)
		}
	}()
	id := newItemID()
	msg, err := q.encode(v, id)
	if err != nil {
		return answer{}, true, err
	}
	defer clear(msg)
	if err := c.SetDeadline(time.Now().Add(c.from.requestTimeout)); err != nil {
		return answer{}, false, err
	}
	defer c.interruptBy(ctx)()
	frame, err := c.roundTrip(msg)
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded) {
			err = ctx.Err()
		}
		return answer{}, false, err
	}
	payload, err := q.envelope(frame, v, id)
	if err != nil {
		var result *resultError
		alive = errors.As(err, &result) && q.correlated(frame, id)
		clear(c.buf)
		return answer{}, alive, err
	}
	return answer{payload: payload, frame: c.buf}, true, nil
}

// interruptBy makes reads and writes fail when ctx ends. The function returned
// ends that, and only returns when no deadline of it can hit the next request.
func (c *conn) interruptBy(ctx context.Context) func() {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = c.SetDeadline(time.Unix(1, 0))
		close(done)
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

func (c *conn) roundTrip(msg []byte) (frame item, err error) {
	if _, err := c.Write(msg); err != nil {
		return nil, err
	}
	frame, c.buf, err = readFrame(c, c.buf)
	if err != nil {
		clear(c.buf)
	}
	return frame, err
}

// correlated reports whether a failure bears our batch item id; if not, the
// server lost count, and another answer may follow.
func (q request) correlated(frame item, id []byte) bool {
	batch, err := frame.member(kmip14.TagBatchItem, ttlv.TypeStructure)
	return err == nil && q.correlate(batch, id, false) == nil
}

// errVersion is a server that speaks none of our versions, errNoneOfOurs is
// how it says so.
var (
	errVersion    = errors.New("no common version of KMIP")
	errNoneOfOurs = errors.New("other versions")
)

// negotiate finds the best common version, once per address. It needs the
// first answer of the server, so it also proves that the server accepts us:
// with TLS 1.3 the handshake does not. A server may close the connection on a
// version that it does not know; then c is replaced. After an error c is closed.
func (p *endpoint) negotiate(ctx context.Context, c *conn) (*conn, Version, error) {
	answered := false // at least one version was refused in words
	var last error
	for _, v := range p.versions {
		if c == nil {
			var err error
			if c, err = p.redial(ctx); err != nil {
				return nil, v, err
			}
		}
		found, alive, err := p.offer(ctx, c, v)
		if err == nil {
			p.setVersion(found)
			return c, found, nil
		}
		if !alive {
			c.discard()
			c = nil
		}
		last = err
		if !speaksOtherVersion(err) {
			break
		}
		class, _ := classify(err, StepResult)
		answered = answered || class != ClassReset
	}
	if c != nil {
		c.discard()
	}
	if answered && speaksOtherVersion(last) {
		last = &classified{ClassNoCommonVersion, StepResult, fmt.Errorf("%w: %w", errVersion, last)}
	}
	return nil, Version{}, last
}

func (p *endpoint) redial(ctx context.Context) (*conn, error) {
	cert, leaf, err := p.clientCertificate()
	if err != nil {
		return nil, err
	}
	return p.connect(ctx, cert, leaf)
}

func (p *endpoint) knownVersion() Version {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.version
}

// setVersion remembers what was negotiated. The zero version makes the next
// request negotiate again: the server may have been replaced.
func (p *endpoint) setVersion(v Version) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.version = v
}

// speaksOtherVersion tells errors that a lower version may avoid from those
// that it cannot. A closed connection is such: it is the answer of some
// servers to a version they do not know.
func speaksOtherVersion(err error) bool {
	var result *resultError
	if errors.Is(err, errNoneOfOurs) || errors.Is(err, errMalformed) {
		return true
	}
	if errors.As(err, &result) {
		class, _ := classOfReason(result.reason)
		return class == ClassUnsupported || class == ClassServerError
	}
	class, _ := classify(err, StepResult)
	return class == ClassReset
}

// offer asks in version v which version to use. Servers without Discover
// Versions, which 1.0 does not have, prove v by answering a Query.
func (p *endpoint) offer(ctx context.Context, c *conn, v Version) (Version, bool, error) {
	alive := true
	if v.Minor > 0 {
		var a answer
		var err error
		a, alive, err = c.exchange(ctx, discover(p.versions), v)
		if err == nil {
			defer a.wipe()
			found, err := pickVersion(a.payload, p.versions)
			return found, true, err
		}
		var result *resultError
		if !alive || !errors.As(err, &result) || result.reason != kmip14.ResultReasonOperationNotSupported {
			return Version{}, alive, err
		}
	}
	a, alive, err := c.exchange(ctx, query(), v)
	a.wipe()
	return v, alive, err
}

func discover(versions []Version) request {
	return request{op: kmip14.OperationDiscoverVersions, repeatable: true, bare: true, payload: func(e *ttlv.Encoder) {
		for _, v := range versions {
			encodeVersion(e, v)
		}
	}}
}

// pickVersion takes our best of those that the server lists.
func pickVersion(payload item, ours []Version) (Version, error) {
	listed := map[Version]bool{}
	var broken error
	payload.each(kmip14.TagProtocolVersion, func(m item) {
		major, err := m.integer(kmip14.TagProtocolVersionMajor, ttlv.TypeInteger)
		if err != nil {
			broken = err
			return
		}
		minor, err := m.integer(kmip14.TagProtocolVersionMinor, ttlv.TypeInteger)
		if err != nil {
			broken = err
			return
		}
		listed[Version{int32(major), int32(minor)}] = true
	})
	if broken != nil {
		return Version{}, broken
	}
	for _, v := range ours {
		if listed[v] {
			return v, nil
		}
	}
	return Version{}, fmt.Errorf("%w: the server lists %d, none of them ours", errNoneOfOurs, len(listed))
}
