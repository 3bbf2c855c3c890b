package kmip

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gemalto/kmip-go/kmip14"
)

// staggerFor is how long each of n addresses is waited for before the next is
// asked as well.
func staggerFor(n int) time.Duration {
	return min(maxStagger, staggerSum/time.Duration(n))
}

// perform has a request done that can be repeated, by whichever address is
// first. parse makes the result while the answer is there; it must copy what
// it keeps. drop gets results that came too late.
func perform[T any](ctx context.Context, c *Client, q request, parse func(item) (T, error), drop func(T)) (T, error) {
	eps := c.order()
	if drop == nil {
		drop = func(T) {}
	}
	value, won, runs := race(ctx, len(eps), staggerFor(len(eps)), func(ctx context.Context, i int) (T, error) {
		return attempt(ctx, eps[i], q, c.fresh, parse)
	}, drop)
	c.settle(q, eps, won, runs)
	if won < 0 {
		return value, fail(ctx, q, runs)
	}
	return value, nil
}

// attempt does a request at one address. A connection that broke, perhaps
// because the server had closed it while it was idle, is replaced once.
func attempt[T any](ctx context.Context, p *endpoint, q request, fresh bool, parse func(item) (T, error)) (value T, err error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, p.connectTimeout+p.requestTimeout)
	defer cancel()
	for try := range 2 {
		var s *session
		if s, err = p.open(ctx, fresh || try > 0); err != nil {
			break
		}
		value, err = once(ctx, s, q, parse)
		if class, _ := classify(err, StepResult); err == nil || class != ClassReset || ctx.Err() != nil {
			break
		}
	}
	return value, p.report(q, began, err)
}

// once does a request in a session, and ends that. A connection that brought a
// key is not used again, so that the key does not stay in its buffers.
func once[T any](ctx context.Context, s *session, q request, parse func(item) (T, error)) (value T, err error) {
	a, alive, err := s.exchange(ctx, q, s.version)
	if err == nil {
		value, err = parse(a.payload)
		alive = err == nil && q.op != kmip14.OperationGet
		a.wipe()
	}
	s.end(alive)
	return value, err
}

// report makes an Error of what went wrong at an address, and tells those who
// want to know.
func (p *endpoint) report(q request, began time.Time, err error) error {
	class := ClassOK
	if err != nil {
		err = p.wrap(q.op.String(), err)
		class = ClassOf(err)
	}
	switch {
	case class == ClassOK:
		p.good()
	case class == "": // cancelled or closed: says nothing about the address
		return err
	case class.aboutServer():
		p.bad(p.now())
	}
	if class == ClassProtocol || class == ClassNoCommonVersion || class == ClassUnsupported {
		p.setVersion(Version{})
	}
	if p.observer.Request != nil {
		p.observer.Request(q.op.String(), class, time.Since(began))
	}
	return err
}

// wrap makes an Error of err. What the caller did is none.
func (p *endpoint) wrap(operation string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, ErrClosed) || errors.Is(err, ErrInput) {
		return fmt.Errorf("kmip %s at %s: %w", operation, p.address, err)
	}
	class, step := classify(err, StepResult)
	return &Error{Class: class, Address: p.address, Operation: operation, Step: step, Hint: hint(class), Err: err}
}

// settle remembers addresses that were too slow, and reports a failover.
func (c *Client) settle(q request, eps []*endpoint, won int, runs []entry) {
	for i, r := range runs {
		if r.late {
			eps[i].bad(eps[i].now())
		}
	}
	if won <= 0 {
		return
	}
	c.log.Warn("key server address skipped", "operation", q.op.String(), "server", eps[0].address, "used", eps[won].address)
	if c.observer.Failover != nil {
		c.observer.Failover(q.op.String(), eps[0].address, eps[won].address)
	}
}

// fail makes one error of those of all addresses.
func fail(ctx context.Context, q request, runs []entry) error {
	var all addressErrors
	for _, r := range runs {
		if r.err != nil && ClassOf(r.err) != "" {
			all = append(all, r.err)
		}
	}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("kmip %s: %w", q.op, ctx.Err())
	case len(all) == 0:
		return runs[0].err
	case len(all) == 1:
		return all[0]
	}
	// A key is missing only if nobody has it: whoever could not be asked leads.
	slices.SortStableFunc(all, func(a, b error) int { return missing(a) - missing(b) })
	return all
}

func missing(err error) int {
	if ClassOf(err) == ClassKeyNotFound {
		return 1
	}
	return 0
}

// addressErrors is what each address said. errors.As finds the first.
type addressErrors []error

func (e addressErrors) Error() string {
	texts := make([]string, len(e))
	for i, err := range e {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (e addressErrors) Unwrap() []error { return e }

// performOnce sends a request that must not be repeated, over a connection on
// which the server has just answered. Until it is sent, addresses compete as
// for any request; after that its fate is that of the one address.
func performOnce[T any](ctx context.Context, c *Client, q request, name string, parse func(item) (T, error)) (T, string, error) {
	eps := c.order()
	var none T
	s, won, runs := race(ctx, len(eps), staggerFor(len(eps)), func(ctx context.Context, i int) (*session, error) {
		began := time.Now()
		s, err := eps[i].open(ctx, true)
		if err != nil {
			err = eps[i].report(q, began, err)
		}
		return s, err
	}, func(s *session) { s.end(true) })
	c.settle(q, eps, won, runs)
	if won < 0 {
		return none, "", fail(ctx, q, runs)
	}
	p, began := eps[won], time.Now()
	value, err := once(ctx, s, q, parse)
	var refused *resultError
	if err == nil || errors.As(err, &refused) || errors.Is(err, ErrInput) {
		return value, p.address, p.report(q, began, err)
	}
	err = p.report(q, began, err)
	return none, p.address, &UnknownOutcomeError{Operation: q.op.String(), Name: name, Address: p.address, Err: err}
}
