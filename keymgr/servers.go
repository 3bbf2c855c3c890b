package keymgr

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"lockplate/keymgr/kmip"
	"lockplate/store"
)

// Keys of the records of key servers and providers.
const (
	prefixServers   = "keyservers/"   // + id, 10 digits: serverRecord
	prefixProviders = "keyproviders/" // + id, 10 digits: providerRecord
	prefixIDs       = "ids/"          // + kind: last id given out, 8 bytes big endian
)

// Limits of what users may give.
const (
	maxName  = 128      // characters of a display name
	maxHosts = 16       // addresses of a key server
	maxText  = 64 << 10 // bytes of certificates in a record
)

// KeyServer is one KMIP server, at one or several addresses.
type KeyServer struct {
	ID                int64
	ProviderID        int64 // 0: none
	Active            bool  // its provider is active
	Name              string
	Hostnames         []string // each may have a port of its own
	Port              int
	CACertificate     string // as given: PEM, any number, or bare base64
	ClientCertificate string // likewise
}

// KeyServerChange says what ModifyKeyServer replaces; nil members stay.
type KeyServerChange struct {
	Name              *string
	Hostnames         []string
	Port              *int
	CACertificate     *string
	ClientCertificate *string
}

// serverRecord is the durable form of a KeyServer, JSON.
type serverRecord struct {
	Version           int      `json:"version"`
	ID                int64    `json:"id"`
	ProviderID        int64    `json:"providerID,omitempty"`
	Name              string   `json:"name"`
	Hostnames         []string `json:"hostnames"`
	Port              int      `json:"port"`
	CACertificate     string   `json:"caCertificate"`
	ClientCertificate string   `json:"clientCertificate"`
}

// sameWay says that both records reach the same server in the same way.
func (r *serverRecord) sameWay(o *serverRecord) bool {
	return slices.Equal(r.Hostnames, o.Hostnames) && r.Port == o.Port &&
		r.CACertificate == o.CACertificate && r.ClientCertificate == o.ClientCertificate
}

// same says that both records are equal.
func (r *serverRecord) same(o *serverRecord) bool {
	return r.sameWay(o) && r.Name == o.Name && r.ProviderID == o.ProviderID
}

// describe gives the record as callers see it.
func (r *serverRecord) describe(active map[int64]bool) KeyServer {
	return KeyServer{
		ID: r.ID, ProviderID: r.ProviderID, Active: active[r.ProviderID], Name: r.Name, Hostnames: r.Hostnames,
		Port: r.Port, CACertificate: r.CACertificate, ClientCertificate: r.ClientCertificate,
	}
}

// idKey is the key of a numbered record, in the order of the numbers.
func idKey(prefix string, id int64) string { return fmt.Sprintf("%s%010d", prefix, id) }

// nextID gives the next id of a kind: 1, 2, … and none twice.
func nextID(tx store.Tx, kind string) (int64, error) {
	key := prefixIDs + kind
	b, err := tx.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		b, err = make([]byte, 8), nil
	}
	if err != nil {
		return 0, err
	}
	if len(b) != 8 || binary.BigEndian.Uint64(b) >= 1<<53-1 {
		return 0, fmt.Errorf("counter %s: %w", key, ErrIntegrity)
	}
	n := binary.BigEndian.Uint64(b) + 1
	return int64(n), tx.Put(key, binary.BigEndian.AppendUint64(nil, n))
}

// checkName refuses a display name that would not fit on a line.
func checkName(what, name string) error {
	if name == "" || !utf8.ValidString(name) || utf8.RuneCountInString(name) > maxName ||
		strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("%w: name %.200q of a %s: 1 to %d printable characters are needed", ErrInvalid, name, what, maxName)
	}
	return nil
}

// checkServer refuses a record that cannot work whatever the server does.
func (m *Manager) checkServer(r *serverRecord) error {
	if err := checkName("key server", r.Name); err != nil {
		return err
	}
	if n := len(r.Hostnames); n == 0 || n > maxHosts {
		return fmt.Errorf("%w: %d host names: 1 to %d are needed", ErrInvalid, n, maxHosts)
	}
	if r.Port < 1 || r.Port > 65535 {
		return fmt.Errorf("%w: port %d: 1 to 65535 are possible", ErrInvalid, r.Port)
	}
	if len(r.CACertificate)+len(r.ClientCertificate) > maxText {
		return fmt.Errorf("%w: certificates have more than %d bytes", ErrInvalid, maxText)
	}
	k, err := m.clients.fresh(r)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	_ = k.Close() // never fails
	cert, err := m.certificate(r.ClientCertificate)
	if errors.Is(err, ErrNoKeyPair) {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w: client: %w", ErrInvalid, err)
	}
	if !kmip.MatchesKey(cert) {
		return fmt.Errorf("%w: the client certificate is not for the present key pair: "+
			"have the present certificate signing request signed", ErrInvalid)
	}
	return nil
}

// CreateKeyServer records a key server without contacting it. Its ID, provider
// and Active are given here; Port 0 is 5696. ErrInvalid, ErrNoKeyPair.
func (m *Manager) CreateKeyServer(ctx context.Context, s KeyServer) (KeyServer, error) {
	r := serverRecord{
		Version: recordVersion, Name: s.Name, Hostnames: s.Hostnames, Port: s.Port,
		CACertificate: s.CACertificate, ClientCertificate: s.ClientCertificate,
	}
	if r.Port == 0 {
		r.Port = kmip.DefaultPort
	}
	if err := m.checkServer(&r); err != nil {
		return KeyServer{}, fmt.Errorf("create key server: %w", err)
	}
	err := m.st.Update(ctx, func(tx store.Tx) (err error) {
		if r.ID, err = nextID(tx, "keyserver"); err != nil {
			return err
		}
		return putBig(tx, idKey(prefixServers, r.ID), &r)
	})
	if err != nil {
		return KeyServer{}, fmt.Errorf("create key server: %w", err)
	}
	return r.describe(nil), nil
}

// KeyServer gives one; ErrNoKeyServer.
func (m *Manager) KeyServer(ctx context.Context, id int64) (out KeyServer, err error) {
	err = m.st.View(ctx, func(tx store.Tx) error {
		r, err := getServer(tx, id)
		if err != nil {
			return err
		}
		active, err := activeProviders(tx)
		out = r.describe(active)
		return err
	})
	return out, err
}

// KeyServers lists all by id.
func (m *Manager) KeyServers(ctx context.Context) (out []KeyServer, err error) {
	err = m.st.View(ctx, func(tx store.Tx) error {
		out = nil
		recs, err := servers(tx, nil)
		if err != nil {
			return err
		}
		active, err := activeProviders(tx)
		for i := range recs {
			out = append(out, recs[i].describe(active))
		}
		return err
	})
	return out, err
}

// ModifyKeyServer replaces what c gives, once the server was seen to work that
// way at all its addresses, and to have the master keys that its provider is to
// have; on failure nothing is changed. An empty change does nothing. Errors:
// ErrNoKeyServer, ErrInvalid, ErrNoKeyPair, *kmip.Error, ErrWrongKey.
func (m *Manager) ModifyKeyServer(ctx context.Context, id int64, c KeyServerChange) (KeyServer, error) {
	var was serverRecord
	err := m.st.View(ctx, func(tx store.Tx) error {
		r, err := getServer(tx, id)
		if err == nil {
			was = *r
		}
		return err
	})
	if err != nil {
		return KeyServer{}, err
	}
	r := was
	if c.apply(&r); !r.same(&was) {
		if err := m.replaceServer(ctx, &was, &r); err != nil {
			return KeyServer{}, fmt.Errorf("modify key server %d: %w", id, err)
		}
	}
	return m.KeyServer(ctx, id)
}

// apply sets what is given.
func (c *KeyServerChange) apply(r *serverRecord) {
	set(&r.Name, c.Name)
	set(&r.Port, c.Port)
	set(&r.CACertificate, c.CACertificate)
	set(&r.ClientCertificate, c.ClientCertificate)
	if c.Hostnames != nil {
		r.Hostnames = c.Hostnames
	}
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// replaceServer proves the new way and records it, if nobody else changed the
// record meanwhile: the proof would be for something else.
func (m *Manager) replaceServer(ctx context.Context, was, r *serverRecord) error {
	if err := m.checkServer(r); err != nil {
		return err
	}
	if err := m.proveServer(ctx, r, r.ProviderID); err != nil {
		return err
	}
	return m.st.Update(ctx, func(tx store.Tx) error {
		now, err := getServer(tx, r.ID)
		if err != nil {
			return err
		}
		if !now.same(was) {
			return ErrChanged
		}
		return putBig(tx, idKey(prefixServers, r.ID), r)
	})
}

// DeleteKeyServer forgets a key server. ErrNoKeyServer; ErrKeyServerInUse for
// the last one of an active provider.
func (m *Manager) DeleteKeyServer(ctx context.Context, id int64) error {
	err := m.st.Update(ctx, func(tx store.Tx) error {
		r, err := getServer(tx, id)
		if err == nil {
			err = dispensable(tx, r)
		}
		if err != nil {
			return err
		}
		return tx.Delete(idKey(prefixServers, id))
	})
	if err != nil {
		return fmt.Errorf("delete key server: %w", err)
	}
	m.clients.remove(id)
	return nil
}

// dispensable fails for the last server of an active provider.
func dispensable(tx store.Tx, r *serverRecord) error {
	active, err := activeProviders(tx)
	if err != nil || !active[r.ProviderID] {
		return err
	}
	all, err := servers(tx, &r.ProviderID)
	if err == nil && len(all) < 2 {
		err = fmt.Errorf("key server %d: %w", r.ID, ErrKeyServerInUse)
	}
	return err
}

// TestKeyServer proves reach, trust and function at every address of a key
// server: the errors are *kmip.Error, and say which address and step failed.
// ErrNoKeyServer.
func (m *Manager) TestKeyServer(ctx context.Context, id int64) error {
	var r *serverRecord
	err := m.st.View(ctx, func(tx store.Tx) (err error) {
		r, err = getServer(tx, id)
		return err
	})
	if err == nil {
		err = m.proveServer(ctx, r, 0)
	}
	if err != nil {
		return fmt.Errorf("test key server %d: %w", id, err)
	}
	return nil
}

// proveServer tests a key server as a record has it, and that it has the keys
// that provider is to have (0: none).
func (m *Manager) proveServer(ctx context.Context, r *serverRecord, provider int64) error {
	k, err := m.clients.fresh(r)
	if err != nil {
		return err
	}
	defer k.Close()
	if err := kmip.Failed(k.Test(ctx)); err != nil {
		return err
	}
	return m.proveKeys(ctx, k, provider)
}

// getServer reads one record; ErrNoKeyServer.
func getServer(tx store.Tx, id int64) (*serverRecord, error) {
	key := idKey(prefixServers, id)
	b, err := tx.Get(key)
	if errors.Is(err, store.ErrNotFound) || id < 1 {
		return nil, fmt.Errorf("key server %d: %w", id, ErrNoKeyServer)
	}
	if err != nil {
		return nil, err
	}
	return parseServer(key, b)
}

// parseServer reads the record at key, which must be the one its id says.
func parseServer(key string, b []byte) (*serverRecord, error) {
	r := &serverRecord{}
	err := parseBig(b, r)
	if err == nil && (r.ID < 1 || idKey(prefixServers, r.ID) != key) {
		err = fmt.Errorf("%w (id does not fit its key)", ErrIntegrity)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return r, nil
}

// servers lists the key servers by id, only those of provider if that is given.
func servers(tx store.Tx, provider *int64) (out []serverRecord, err error) {
	for key, b := range tx.Scan(prefixServers) {
		r, err := parseServer(key, b)
		if err != nil {
			return nil, err
		}
		if provider == nil || r.ProviderID == *provider {
			out = append(out, *r)
		}
	}
	return out, nil
}
