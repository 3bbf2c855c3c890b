package keymgr

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
)

// Sealer protects an internally held master key at rest. It is used by one
// Manager, which closes it.
type Sealer interface {
	// Kind is "file", "passphrase", "credential", "tpm2" or "shares".
	Kind() string
	// Protects says whether a thief of the state directory's disk lacks what
	// opens the seal, and if not, why.
	Protects() (bool, string)
	// Seal encrypts plain, bound to bind: Unseal needs the same.
	Seal(ctx context.Context, plain *Secret, bind []byte) ([]byte, error)
	// Unseal returns what was sealed. ErrWrongPassphrase, ErrWrongKey,
	// ErrSealerMissing, ErrPermissions, ErrIntegrity, ErrFormat; of a TPM also
	// *tpm2seal.PCRError and *tpm2seal.LockoutError.
	Unseal(ctx context.Context, sealed, bind []byte) (*Secret, error)
	// Close wipes what the sealer remembers.
	Close() error
}

// ParseSealer makes the sealer that spec names: "file:/PATH", "passphrase",
// "credential:NAME", or "tpm2" with options: "tpm2:/DEVICE,pcrs=7+11,pin".
// Nothing is read, asked or made before the first use. ErrBadSealer says what is
// wrong with spec.
func ParseSealer(spec string, o SealerOptions) (Sealer, error) {
	kind, arg, colon := strings.Cut(spec, ":")
	switch {
	case kind == "passphrase" && !colon:
		return sealer{&passSealer{ask: o.Passphrase, costs: o.KDF}}, nil
	case kind == "file" && filepath.IsAbs(arg):
		return sealer{&fileSealer{path: filepath.Clean(arg), state: o.StateDir, create: o.Create}}, nil
	case kind == "file":
		return nil, fmt.Errorf("%w: %q needs an absolute path", ErrBadSealer, spec)
	case kind == "credential" && credentialName.MatchString(arg) && strings.Trim(arg, ".") != "":
		return sealer{&credSealer{name: arg, dir: o.CredentialsDir, state: o.StateDir}}, nil
	case kind == "credential":
		return nil, fmt.Errorf("%w: %q needs a plain name", ErrBadSealer, spec)
	case kind == "shares" && !colon:
		return sealer{&sharesSealer{ask: o.Shares}}, nil
	case kind == "tpm2":
		t, err := parseTPM(arg, colon)
		if err != nil {
			return nil, fmt.Errorf("%w: %.80q: %w", ErrBadSealer, spec, err)
		}
		t.ask = o.Passphrase
		return sealer{t}, nil
	}
	return nil, fmt.Errorf("%w: %.80q", ErrBadSealer, spec)
}

var credentialName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,255}$`)

// method is the part of a sealer that differs by kind.
type method interface {
	baser
	kind() sealKind
	protects() (bool, string)
	close()
}

// sealer is every Sealer.
type sealer struct{ method }

func (s sealer) Kind() string             { return s.kind().String() }
func (s sealer) Protects() (bool, string) { return s.protects() }

func (s sealer) Close() error {
	s.close()
	return nil
}

func (s sealer) Seal(ctx context.Context, plain *Secret, bind []byte) ([]byte, error) {
	b, err := sealBlob(ctx, s.method, plain, bind)
	if err != nil {
		return nil, fmt.Errorf("seal with %s: %w", s.Kind(), err)
	}
	return b, nil
}

func (s sealer) Unseal(ctx context.Context, sealed, bind []byte) (*Secret, error) {
	if h, _, err := parseBlob(sealed); err == nil && h.kind != s.kind() {
		return nil, fmt.Errorf("unseal with %s: %w: it was sealed with a %s", s.Kind(), ErrWrongKey, h.kind)
	}
	p, err := openBlob(ctx, s.method, sealed, bind)
	if err != nil {
		return nil, fmt.Errorf("unseal with %s: %w", s.Kind(), err)
	}
	return p, nil
}

// freshSalt prepares h for sealing by kind k.
func freshSalt(h *header, k sealKind) error {
	h.kind = k
	_, err := io.ReadFull(rand.Reader, h.salt[:])
	return err
}

// passSealer asks for a passphrase once. It remembers the stretched key, so
// that a rekey can seal a new master key while nobody is there to ask; the key
// opens no more than the master key beside it in memory.
type passSealer struct {
	ask   func(confirm bool) ([]byte, error)
	costs Argon2

	mu   sync.Mutex
	have *Secret // stretched with the costs and salt in as
	as   header
}

const maxPassphrase = 1024

func (s *passSealer) kind() sealKind           { return kindPassphrase }
func (s *passSealer) protects() (bool, string) { return true, "" }
func (s *passSealer) wrong() error             { s.close(); return ErrWrongPassphrase }

func (s *passSealer) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.have.Destroy()
	s.have = nil
}

func (s *passSealer) base(_ context.Context, h *header, seal bool) (*Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.have != nil && (seal || s.as.salt == h.salt && s.as.argon2 == h.argon2) {
		h.kind, h.argon2, h.salt = kindPassphrase, s.as.argon2, s.as.salt
		return copySecret(s.have)
	}
	if seal {
		if h.argon2 = s.costs; h.argon2 == (Argon2{}) {
			h.argon2 = defaultArgon2
		}
		if err := freshSalt(h, kindPassphrase); err != nil {
			return nil, err
		}
	}
	have, err := s.stretch(h, seal)
	if err != nil {
		return nil, err
	}
	s.have.Destroy()
	s.have, s.as = have, *h
	return copySecret(have)
}

func (s *passSealer) stretch(h *header, confirm bool) (*Secret, error) {
	if s.ask == nil {
		return nil, fmt.Errorf("%w: nobody to ask for the passphrase: run on a terminal, or give it by file descriptor", ErrSealerMissing)
	}
	p, err := s.ask(confirm)
	defer clear(p)
	if err != nil {
		return nil, fmt.Errorf("ask for the passphrase: %w", err)
	}
	if len(p) == 0 || len(p) > maxPassphrase {
		return nil, fmt.Errorf("%w: it has %d bytes, 1 to %d are allowed", ErrWrongPassphrase, len(p), maxPassphrase)
	}
	return h.argon2.stretch(p, h.salt[:])
}

func copySecret(s *Secret) (*Secret, error) {
	c, err := newSecret(s.Len())
	if err == nil {
		copy(c.Bytes(), s.Bytes())
	}
	return c, err
}

// credSealer reads a credential that systemd hands to the service, each time it
// is needed.
type credSealer struct{ name, dir, state string }

// Limits of a credential in bytes. What is shorter than the least can be
// guessed: it is not stretched as a passphrase is.
const (
	minCredential = 16
	maxCredential = 4096
)

func (s *credSealer) kind() sealKind { return kindCredential }
func (s *credSealer) close()         {}

func (s *credSealer) wrong() error {
	return fmt.Errorf("credential %s: %w: give the service the one that was used to make the cluster", s.name, ErrWrongKey)
}

func (s *credSealer) protects() (bool, string) {
	if s.dir != "" && sameFS(s.dir, s.state) {
		return false, "the credential is on the same file system as the state directory"
	}
	return true, ""
}

func (s *credSealer) base(_ context.Context, h *header, seal bool) (*Secret, error) {
	if s.dir == "" {
		return nil, fmt.Errorf("credential %s: %w: CREDENTIALS_DIRECTORY is not set; start from a systemd unit with LoadCredentialEncrypted=%s",
			s.name, ErrSealerMissing, s.name)
	}
	path := filepath.Join(s.dir, s.name)
	b, err := readSmall(path, maxCredential)
	if os.IsNotExist(err) {
		return nil, fmt.Errorf("credential %s: %w: no file %s; add LoadCredentialEncrypted=%s to the unit", s.name, ErrSealerMissing, path, s.name)
	}
	if err != nil {
		return nil, fmt.Errorf("credential %s: %w", s.name, err)
	}
	if len(b) < minCredential {
		clear(b)
		return nil, fmt.Errorf("credential %s: %w: it has %d bytes, at least %d are needed", s.name, ErrWrongKey, len(b), minCredential)
	}
	if seal {
		if err := freshSalt(h, kindCredential); err != nil {
			return nil, err
		}
	}
	return NewSecret(b)
}

// readSmall reads a file of at most limit bytes.
func readSmall(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not block
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := make([]byte, limit+1)
	n, err := io.ReadFull(f, buf)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, err
	}
	if int64(n) > limit {
		clear(buf)
		return nil, fmt.Errorf("%s: %w: more than %d bytes", path, ErrTooLarge, limit)
	}
	return buf[:n], nil
}

// sameFS says whether two paths, or what of them exists, are on one file system.
func sameFS(a, b string) bool {
	da, oka := device(a)
	db, okb := device(b)
	return oka && okb && da == db
}

func device(path string) (uint64, bool) {
	for path != "" {
		var st syscall.Stat_t
		if syscall.Stat(path, &st) == nil {
			return st.Dev, true
		}
		up := filepath.Dir(path)
		if up == path {
			break
		}
		path = up
	}
	return 0, false
}
