package kmip

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gemalto/kmip-go/kmip14"
	"github.com/gemalto/kmip-go/ttlv"
)

// Attributes are what a server tells about a key. What it does not tell is
// zero.
type Attributes struct {
	State  State
	Names  []string
	Groups []string
	Custom []Custom // text attributes that were asked for
}

// GetAttributes asks for state and names, or for the attributes given by name
// ("x-…", "Object Group").
func (c *Client) GetAttributes(ctx context.Context, id string, names ...string) (Attributes, error) {
	if len(names) == 0 {
		names = []string{attrState, attrName}
	}
	q, err := about(kmip14.OperationGetAttributes, id, func(e *ttlv.Encoder) {
		for _, n := range names {
			e.EncodeTextString(kmip14.TagAttributeName, n)
		}
	})
	if err != nil {
		return Attributes{}, err
	}
	return perform(ctx, c, q, readAttributes, nil)
}

func readAttributes(p item) (out Attributes, err error) {
	p.each(kmip14.TagAttribute, func(a item) {
		if e := out.add(a); e != nil {
			err = e
		}
	})
	return out, err
}

func (out *Attributes) add(a item) error {
	name, err := a.text(kmip14.TagAttributeName, maxText)
	if err != nil {
		return err
	}
	value, ok, err := a.only(kmip14.TagAttributeValue)
	if err != nil || !ok {
		return err
	}
	switch name {
	case attrState:
		state, err := a.enum(kmip14.TagAttributeValue)
		out.State = State(state)
		return err
	case attrName:
		text, err := value.text(kmip14.TagNameValue, maxText)
		out.Names = append(out.Names, text)
		return err
	case attrGroup:
		text, err := value.string(maxText)
		out.Groups = append(out.Groups, text)
		return err
	}
	if value.kind() != ttlv.TypeTextString {
		return nil
	}
	text, err := value.string(maxFrame)
	out.Custom = append(out.Custom, Custom{name, text})
	return err
}

// Activate makes a key Active; one that is already is no error. Where the
// server tells the state afterwards and it is another, ClassKeyNotActive.
func (c *Client) Activate(ctx context.Context, id string) error {
	q, err := about(kmip14.OperationActivate, id, nil)
	if err != nil {
		return err
	}
	_, failed := perform(ctx, c, q, nothing, nil)
	if failed != nil && !answered(failed) {
		return failed
	}
	a, err := c.GetAttributes(ctx, id, attrState)
	switch {
	case err == nil && a.State == Active:
		return nil
	case failed != nil:
		return failed
	case ClassOf(err) == ClassUnsupported:
		return nil // it cannot tell
	case err != nil || a.State == 0:
		return err
	}
	p := c.addresses[0]
	return p.wrap(q.op.String(), &classified{ClassKeyNotActive, StepResult, fmt.Errorf("the key is %v after Activate", a.State)})
}

// nothing is the result of an operation that only succeeds.
func nothing(item) (struct{}, error) { return struct{}{}, nil }

// answered reports whether a server understood and refused the request.
func answered(err error) bool {
	var r *resultError
	return errors.As(err, &r)
}

// Reason is why a key is revoked.
type Reason uint32

// The reasons that this package has a use for.
const (
	Cessation  = Reason(kmip14.RevocationReasonCodeCessationOfOperation)
	Superseded = Reason(kmip14.RevocationReasonCodeSuperseded)
	Compromise = Reason(kmip14.RevocationReasonCodeKeyCompromise)
)

// Revoke ends the use of a key, which may still be fetched from most servers.
// One that is revoked already is no error, one that is gone ClassKeyNotFound.
func (c *Client) Revoke(ctx context.Context, id string, why Reason) error {
	q, err := about(kmip14.OperationRevoke, id, revocation(why, c.addresses[0].now()))
	if err != nil {
		return err
	}
	_, failed := perform(ctx, c, q, nothing, nil)
	if failed == nil || !answered(failed) || ClassOf(failed) == ClassKeyNotFound {
		return failed
	}
	if a, err := c.GetAttributes(ctx, id, attrState); err == nil && revoked(a.State, why) {
		return nil
	}
	return failed
}

func revocation(why Reason, since time.Time) func(*ttlv.Encoder) {
	return func(e *ttlv.Encoder) {
		structure(e, kmip14.TagRevocationReason, func(e *ttlv.Encoder) {
			e.EncodeEnumeration(kmip14.TagRevocationReasonCode, uint32(why))
		})
		if why == Compromise {
			e.EncodeDateTime(kmip14.TagCompromiseOccurrenceDate, since)
		}
	}
}

// revoked reports whether a state is what Revoke would have led to.
func revoked(s State, why Reason) bool {
	if why == Compromise {
		return s == Compromised || s == DestroyedCompromised
	}
	return s == Deactivated || s == Compromised || s == Destroyed || s == DestroyedCompromised
}

// Destroy removes the bytes of a key from the server. One that is gone is no
// error. An active key must be revoked before: ClassPermissionDenied or
// ClassKeyNotActive.
func (c *Client) Destroy(ctx context.Context, id string) error {
	q, err := about(kmip14.OperationDestroy, id, nil)
	if err != nil {
		return err
	}
	_, err = perform(ctx, c, q, nothing, nil)
	if ClassOf(err) == ClassKeyNotFound {
		return nil
	}
	return err
}

// Info is what a server tells about itself. A server may leave out anything:
// it is for display, never a reason to refuse the server.
type Info struct {
	Version    Version
	Vendor     string // as the server says: hostile, quote it
	Operations []string
	Objects    []string
}

// Query asks a server about itself.
func (c *Client) Query(ctx context.Context) (Info, error) {
	return perform(ctx, c, query(), readInfo, nil)
}

func query() request {
	return request{op: kmip14.OperationQuery, repeatable: true, bare: true, payload: func(e *ttlv.Encoder) {
		for _, f := range []kmip14.QueryFunction{
			kmip14.QueryFunctionQueryOperations, kmip14.QueryFunctionQueryObjects, kmip14.QueryFunctionQueryServerInformation,
		} {
			e.EncodeEnumeration(kmip14.TagQueryFunction, uint32(f))
		}
	}}
}

func readInfo(p item) (out Info, err error) {
	collect := func(tag ttlv.Tag, name func(uint32) string, to *[]string) {
		p.each(tag, func(m item) {
			if m.kind() == ttlv.TypeEnumeration {
				*to = append(*to, name(readU32(m)))
			}
		})
	}
	collect(kmip14.TagOperation, func(v uint32) string { return kmip14.Operation(v).String() }, &out.Operations)
	collect(kmip14.TagObjectType, func(v uint32) string { return kmip14.ObjectType(v).String() }, &out.Objects)
	if m, ok, _ := p.only(kmip14.TagVendorIdentification); ok {
		out.Vendor, err = m.string(maxFrame)
		out.Vendor = clip(out.Vendor)
	}
	return out, err
}
