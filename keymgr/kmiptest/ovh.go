package kmiptest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/ovh/kmip-go"
	"github.com/ovh/kmip-go/kmipserver"
	"github.com/ovh/kmip-go/payloads"
)

// OVH is a running key server on ovh/kmip-go's kmipserver: TLS 1.3, identifiers
// that are UUIDs, custom attributes. Its keys outlive Stop and Start.
type OVH struct {
	Address string

	t      testing.TB
	config *tls.Config
	store  *ovhStore

	mu     sync.Mutex
	server *kmipserver.Server
	done   chan struct{}
	fault  wireFault
}

// StartOVH starts one for the time of the test. Clients need a certificate of ca.
func StartOVH(t testing.TB, ca *CA) *OVH {
	t.Helper()
	s := &OVH{t: t, Address: "127.0.0.1:0", store: &ovhStore{byID: map[string]*ovhObject{}}, config: &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(),
		Certificates: []tls.Certificate{*ca.Server(time.Now().AddDate(1, 0, 0), "127.0.0.1")},
	}}
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// Start starts it again after Stop, at the same address.
func (s *OVH) Start() {
	s.t.Helper()
	raw, err := listen(s.Address)
	if err != nil {
		s.t.Fatal(err)
	}
	server := kmipserver.NewServer(wireListener{tls.NewListener(raw, s.config), s}, s.store.routes())
	done := make(chan struct{})
	go func() {
		_ = server.Serve()
		close(done)
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Address, s.server, s.done = raw.Addr().String(), server, done
}

// Stop ends it and all its connections; again is nothing.
func (s *OVH) Stop() {
	s.mu.Lock()
	server, done := s.server, s.done
	s.server = nil
	s.mu.Unlock()
	if server != nil {
		_ = server.Shutdown()
		<-done
	}
}

// Count gives how many keys exist.
func (s *OVH) Count() int {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	return len(s.store.byID)
}

type ovhStore struct {
	mu   sync.Mutex
	byID map[string]*ovhObject
}

type ovhObject struct {
	object     kmip.Object
	attributes []kmip.Attribute
	state      kmip.State
}

func (s *ovhStore) routes() *kmipserver.BatchExecutor {
	e := kmipserver.NewBatchExecutor()
	e.Route(kmip.OperationCreate, kmipserver.HandleFunc(s.create))
	e.Route(kmip.OperationRegister, kmipserver.HandleFunc(s.register))
	e.Route(kmip.OperationLocate, kmipserver.HandleFunc(s.locate))
	e.Route(kmip.OperationGet, kmipserver.HandleFunc(s.get))
	e.Route(kmip.OperationGetAttributes, kmipserver.HandleFunc(s.attributes))
	e.Route(kmip.OperationActivate, kmipserver.HandleFunc(s.activate))
	e.Route(kmip.OperationRevoke, kmipserver.HandleFunc(s.revoke))
	e.Route(kmip.OperationDestroy, kmipserver.HandleFunc(s.destroy))
	e.Route(kmip.OperationQuery, kmipserver.HandleFunc(s.query))
	return e
}

func (s *ovhStore) put(o kmip.Object, attributes []kmip.Attribute) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := uuid.NewString()
	s.byID[id] = &ovhObject{o, attributes, kmip.StatePreActive}
	return id
}

// with calls f with the object, under the lock.
func (s *ovhStore) with(id string, f func(*ovhObject) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.byID[id]; o != nil {
		return f(o)
	}
	return kmipserver.ErrItemNotFound
}

func (s *ovhStore) create(_ context.Context, r *payloads.CreateRequestPayload) (*payloads.CreateResponsePayload, error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	o := &kmip.SymmetricKey{KeyBlock: kmip.KeyBlock{
		KeyFormatType: kmip.KeyFormatTypeRaw, CryptographicAlgorithm: kmip.CryptographicAlgorithmAES, CryptographicLength: 256,
		KeyValue: &kmip.KeyValue{Plain: &kmip.PlainKeyValue{KeyMaterial: kmip.KeyMaterial{Bytes: &key}}},
	}}
	id := s.put(o, r.TemplateAttribute.Attribute)
	return &payloads.CreateResponsePayload{ObjectType: r.ObjectType, UniqueIdentifier: id}, nil
}

func (s *ovhStore) register(_ context.Context, r *payloads.RegisterRequestPayload) (*payloads.RegisterResponsePayload, error) {
	return &payloads.RegisterResponsePayload{UniqueIdentifier: s.put(r.Object, r.TemplateAttribute.Attribute)}, nil
}

func (s *ovhStore) locate(_ context.Context, r *payloads.LocateRequestPayload) (*payloads.LocateResponsePayload, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &payloads.LocateResponsePayload{}
	for id, o := range s.byID {
		if !slices.ContainsFunc(r.Attribute, func(want kmip.Attribute) bool { return !o.has(want) }) {
			out.UniqueIdentifier = append(out.UniqueIdentifier, id)
		}
	}
	return out, nil
}

func (o *ovhObject) has(want kmip.Attribute) bool {
	if want.AttributeName == kmip.AttributeNameObjectType {
		return want.AttributeValue == o.object.ObjectType()
	}
	return slices.ContainsFunc(o.attributes, func(a kmip.Attribute) bool {
		return a.AttributeName == want.AttributeName && reflect.DeepEqual(a.AttributeValue, want.AttributeValue)
	})
}

func (s *ovhStore) get(_ context.Context, r *payloads.GetRequestPayload) (*payloads.GetResponsePayload, error) {
	out := &payloads.GetResponsePayload{UniqueIdentifier: r.UniqueIdentifier}
	return out, s.with(r.UniqueIdentifier, func(o *ovhObject) error {
		out.ObjectType, out.Object = o.object.ObjectType(), o.object
		return nil
	})
}

func (s *ovhStore) attributes(_ context.Context, r *payloads.GetAttributesRequestPayload) (*payloads.GetAttributesResponsePayload, error) {
	out := &payloads.GetAttributesResponsePayload{UniqueIdentifier: r.UniqueIdentifier}
	return out, s.with(r.UniqueIdentifier, func(o *ovhObject) error {
		all := append([]kmip.Attribute{{AttributeName: kmip.AttributeNameState, AttributeValue: o.state}}, o.attributes...)
		for _, a := range all {
			if len(r.AttributeName) == 0 || slices.Contains(r.AttributeName, a.AttributeName) {
				out.Attribute = append(out.Attribute, a)
			}
		}
		return nil
	})
}

func (s *ovhStore) activate(_ context.Context, r *payloads.ActivateRequestPayload) (*payloads.ActivateResponsePayload, error) {
	return &payloads.ActivateResponsePayload{UniqueIdentifier: r.UniqueIdentifier}, s.with(r.UniqueIdentifier, func(o *ovhObject) error {
		if o.state != kmip.StatePreActive {
			return kmipserver.Errorf(kmip.ResultReasonIllegalOperation, "not pre-active")
		}
		o.state = kmip.StateActive
		return nil
	})
}

func (s *ovhStore) revoke(_ context.Context, r *payloads.RevokeRequestPayload) (*payloads.RevokeResponsePayload, error) {
	return &payloads.RevokeResponsePayload{UniqueIdentifier: r.UniqueIdentifier}, s.with(r.UniqueIdentifier, func(o *ovhObject) error {
		if o.state != kmip.StateActive {
			return kmipserver.Errorf(kmip.ResultReasonIllegalOperation, "not active")
		}
		o.state = kmip.StateDeactivated
		if r.RevocationReason.RevocationReasonCode == kmip.RevocationReasonCodeKeyCompromise {
			o.state = kmip.StateCompromised
		}
		return nil
	})
}

func (s *ovhStore) destroy(_ context.Context, r *payloads.DestroyRequestPayload) (*payloads.DestroyResponsePayload, error) {
	return &payloads.DestroyResponsePayload{UniqueIdentifier: r.UniqueIdentifier}, s.with(r.UniqueIdentifier, func(o *ovhObject) error {
		if o.state == kmip.StateActive {
			return kmipserver.ErrPermissionDenied
		}
		delete(s.byID, r.UniqueIdentifier)
		return nil
	})
}

func (s *ovhStore) query(context.Context, *payloads.QueryRequestPayload) (*payloads.QueryResponsePayload, error) {
	return &payloads.QueryResponsePayload{
		Operations:           []kmip.Operation{kmip.OperationCreate, kmip.OperationGet, kmip.OperationRegister},
		ObjectType:           []kmip.ObjectType{kmip.ObjectTypeSymmetricKey, kmip.ObjectTypeSecretData},
		VendorIdentification: "ovh/kmip-go",
	}, nil
}
