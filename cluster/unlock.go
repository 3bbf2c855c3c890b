package cluster

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"lockplate/keymgr"
)

// Waits of the loop that asks key servers for the master key. It never ends:
// a key server may come back after any time.
const (
	unlockFirst = 500 * time.Millisecond
	unlockMost  = 5 * time.Second
	unlockTime  = 10 * time.Second // for one attempt
)

// unlocking fetches the master key when that is not at hand, and then opens
// what was locked, until ctx ends. It is apart from the other background work,
// which must not wait for key servers.
func (c *Cluster) unlocking(ctx context.Context) {
	c.lockedEvent(ctx)
	wait := unlockFirst
	t := time.NewTimer(wait)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if c.unlock(ctx) {
			wait = unlockFirst
		} else {
			wait = min(2*wait, unlockMost)
		}
		t.Reset(wait)
	}
}

// unlock is one round of unlocking. It reports whether the key is at hand.
func (c *Cluster) unlock(ctx context.Context) bool {
	m, err := c.keyManager()
	if err != nil || m.Locked() == nil {
		return true
	}
	try, cancel := context.WithTimeout(ctx, unlockTime)
	defer cancel()
	key := m.Master().ID
	if err := m.Unlock(try); err != nil {
		return false
	}
	c.auditKey(ctx, "fetch master key", key, nil)
	c.note(ctx, Event{Type: EventEncryption, Message: "Master key fetched, volumes are unlocked", Details: map[string]any{"keyID": key}})
	c.admin.Lock()
	c.openVolumes(ctx)
	c.admin.Unlock()
	if _, err := c.Faults(ctx); err != nil {
		c.log.Error("faults cannot be brought up to date", "err", err)
	}
	return true
}

// keyConditions finds what is wrong with key servers and certificates.
func (c *Cluster) keyConditions(ctx context.Context) []condition {
	m, err := c.keyManager()
	if err != nil {
		return nil
	}
	var out []condition
	if err := m.Locked(); err != nil {
		k := m.Master()
		what := fmt.Sprintf("Master key %s cannot be had from key provider %d, so volumes stay locked", k.ID, k.ProviderID)
		out = append(out, condition{code: faultKmipServer, args: []any{what, lockReason(err)}})
	} else {
		out = append(out, c.watch.conditions()...)
	}
	keys, err := m.History(ctx)
	if err != nil {
		c.log.Error("master keys cannot be listed", "err", err)
	}
	if n := len(keys) - 1; n > 0 && keys[n].State == keymgr.StateAbandoned {
		what := fmt.Sprintf("failed: master key %s was given up, and %s stays in use", keys[n].ID, m.Master().ID)
		out = append(out, condition{code: faultRekeyFailed, key: keys[n].ID, args: []any{what}})
	}
	out = append(out, c.haltedCondition(ctx, m)...)
	servers, err := m.KeyServers(ctx)
	if err != nil {
		c.log.Error("key servers cannot be listed", "err", err)
	}
	for _, s := range servers {
		if s.ProviderID != 0 {
			out = append(out, certificateConditions(s, c.now())...)
		}
	}
	return out
}

// haltedCondition tells of a rekey whose new key is in use and does not open all
// that it should.
func (c *Cluster) haltedCondition(ctx context.Context, m *keymgr.Manager) []condition {
	key, old, why, err := m.Halted(ctx)
	if err != nil {
		c.log.Error("rekey job cannot be read", "err", err)
	}
	if key == "" {
		return nil
	}
	what := fmt.Sprintf("could not be confirmed: master key %s is in use, the old one %s is kept: %s", key, old, why)
	return []condition{{code: faultRekeyFailed, key: key, severity: sevError, args: []any{what}}}
}

// lockReason says in a sentence that does not change from one attempt to the
// next why a key server cannot be used or a key be had. The errors themselves have port
// numbers in them and are in the log.
func lockReason(err error) string {
	switch {
	case errors.Is(err, keymgr.ErrNoServers):
		return "the key provider has no key servers"
	case errors.Is(err, keymgr.ErrNoKeyProvider):
		return "there is no such key provider any more"
	case errors.Is(err, keymgr.ErrNoKeyPair):
		return "there is no key pair to log in with"
	}
	switch keymgr.ErrorName(err) {
	case "xKmipAuthenticationFailure":
		return "authentication failure: the client certificate is not accepted, or the server's is not from the given CA"
	case "xKmipKeyNotFound":
		return "key missing: it is not there, or not for this client"
	case "xKmipKeyConflict":
		return "key different: what is handed out is not the key that was made, and is not used"
	case "xKmipServerError":
		return "server error: it answers with an error"
	}
	return "connection failure: it cannot be reached"
}

// Times before the end of a certificate at which its fault gets worse.
const (
	certWarning  = 30 * 24 * time.Hour
	certError    = 7 * 24 * time.Hour
	certCritical = 3 * 24 * time.Hour
)

// certificateConditions looks at the certificates of a key server.
func certificateConditions(s keymgr.KeyServer, now time.Time) []condition {
	var out []condition
	for _, c := range []struct{ name, text, fix string }{
		{"CA", s.CACertificate, "Give the key server's new root CA certificate with ModifyKeyServerKmip"},
		{"client", s.ClientCertificate, "Get a new one signed (GetClientCertificateSignRequest) and give it with ModifyKeyServerKmip"},
	} {
		severity, what := expiry(certificates(c.text), now)
		if severity != "" {
			out = append(out, condition{
				code: faultKmipCertificate, key: idString(s.ID) + "/" + c.name, severity: severity,
				args: []any{c.name, s.ID, s.Name, what, c.fix},
			})
		}
	}
	return out
}

// expiry says how bad it is that a certificate ends, and what is the matter;
// "" when all is well.
func expiry(certs []*x509.Certificate, now time.Time) (severity, what string) {
	if len(certs) == 0 {
		return sevCritical, "cannot be read"
	}
	first := firstToEnd(certs)
	end := first.NotAfter.UTC().Format(time.DateOnly)
	switch left := first.NotAfter.Sub(now); {
	case now.Before(first.NotBefore):
		return sevCritical, "is not valid before " + first.NotBefore.UTC().Format(time.DateOnly)
	case left <= 0:
		return sevCritical, "has expired on " + end
	case left <= certCritical:
		return sevCritical, "expires on " + end
	case left <= certError:
		return sevError, "expires on " + end
	case left <= certWarning:
		return sevWarning, "expires on " + end
	}
	return "", ""
}

// firstToEnd is the one that counts of several certificates.
func firstToEnd(certs []*x509.Certificate) *x509.Certificate {
	return slices.MinFunc(certs, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
}

// certificates parses what a user gave: PEM, any number, or one as base64.
// keymgr has checked it; what does not parse is left out.
func certificates(text string) []*x509.Certificate {
	var out []*x509.Certificate
	add := func(der []byte) {
		if c, err := x509.ParseCertificate(der); err == nil {
			out = append(out, c)
		}
	}
	for rest := []byte(text); ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		add(b.Bytes)
	}
	if len(out) == 0 {
		if der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), "")); err == nil {
			add(der)
		}
	}
	return out
}
