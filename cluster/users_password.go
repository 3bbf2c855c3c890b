package cluster

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"
)

// Argon2id parameters of new password hashes: what OWASP names as the least
// for logins. RFC 9106.
const (
	hashMemory  = 19 << 10 // KiB
	hashTime    = 2
	hashThreads = 1
	hashSalt    = 16 // bytes
	hashSum     = 32 // bytes
)

// Bounds of parameters read from the store, so that a damaged or planted
// record cannot ask for all of memory.
const (
	maxHashMemory = 256 << 10 // KiB
	maxHashTime   = 16
	maxHashText   = 512 // bytes
)

// maxHashing is how many passwords are hashed at once; others wait. It bounds
// memory (and the load that wrong logins can make).
const maxHashing = 2

// hasher makes and checks Argon2id hashes in PHC form:
// $argon2id$v=19$m=19456,t=2,p=1$SALT$SUM.
type hasher struct {
	rand  io.Reader
	slots chan struct{}
}

func newHasher(rand io.Reader) *hasher {
	return &hasher{rand: rand, slots: make(chan struct{}, maxHashing)}
}

// phc is a hash and what it was made with.
type phc struct {
	memory, time uint32
	threads      uint8
	salt, sum    []byte
}

// turn waits until one more password may be hashed; done ends the turn.
func (h *hasher) turn(ctx context.Context) (done func(), err error) {
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// hash makes the hash of a new password.
func (h *hasher) hash(ctx context.Context, password []byte) (string, error) {
	p := newPHC()
	if _, err := io.ReadFull(h.rand, p.salt); err != nil {
		return "", fmt.Errorf("read random bytes: %w", err)
	}
	done, err := h.turn(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	p.sum = p.derive(password)
	return p.String(), nil
}

// newPHC has the parameters of new hashes, salt and sum zero.
func newPHC() phc {
	return phc{
		memory: hashMemory, time: hashTime, threads: hashThreads,
		salt: make([]byte, hashSalt), sum: make([]byte, hashSum),
	}
}

// verifyPassword says whether password has this hash. For hash "" (no such
// user) it does the same work and says no. Call it in a turn.
func verifyPassword(hash string, password []byte) (bool, error) {
	p := newPHC()
	if hash != "" {
		var err error
		if p, err = parsePHC(hash); err != nil {
			return false, err
		}
	}
	same := subtle.ConstantTimeCompare(p.derive(password), p.sum) == 1
	return same && hash != "", nil
}

func (p phc) derive(password []byte) []byte {
	return argon2.IDKey(password, p.salt, p.time, p.memory, p.threads, uint32(len(p.sum)))
}

func (p phc) String() string {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s",
		argon2.Version, p.memory, p.time, p.threads, b64(p.salt), b64(p.sum))
}

var errPasswordHash = errors.New("password hash in the store is damaged")

// parsePHC reads a hash and checks its parameters against the bounds.
func parsePHC(s string) (p phc, err error) {
	f := strings.Split(s, "$")
	if len(s) > maxHashText || len(f) != 6 || f[0] != "" || f[1] != "argon2id" ||
		f[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return phc{}, errPasswordHash
	}
	if _, err = fmt.Sscanf(f[3], "m=%d,t=%d,p=%d", &p.memory, &p.time, &p.threads); err != nil {
		return phc{}, errPasswordHash
	}
	var err1, err2 error
	p.salt, err1 = base64.RawStdEncoding.Strict().DecodeString(f[4])
	p.sum, err2 = base64.RawStdEncoding.Strict().DecodeString(f[5])
	if err1 != nil || err2 != nil || !p.bounded() || p.String() != s {
		return phc{}, errPasswordHash
	}
	return p, nil
}

func (p phc) bounded() bool {
	return p.memory >= 8 && p.memory <= maxHashMemory && p.time >= 1 && p.time <= maxHashTime &&
		p.threads >= 1 && p.threads <= 16 && len(p.salt) >= 8 && len(p.salt) <= 64 &&
		len(p.sum) >= 16 && len(p.sum) <= 64
}

// provedFor is how long a proved password is not hashed again: clients send
// it with every call.
const provedFor = time.Minute

// provedCache remembers passwords that were right, as HMAC under a key that
// exists only in this process. An entry is bound to the stored hash, so a
// changed password or a removed user ends it at once. The zero value with now
// and rand set is ready.
type provedCache struct {
	now  func() time.Time
	rand io.Reader

	mu    sync.Mutex
	key   []byte
	until map[int64]proof // by user id, so bounded by maxUsers
}

type proof struct {
	mac [sha256.Size]byte
	end time.Time
}

// has says whether password was proved for rec; never for a nil rec.
func (c *provedCache) has(rec *userRecord, password []byte) bool {
	if rec == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.until[rec.ID]
	if !ok || c.now().After(p.end) {
		delete(c.until, rec.ID)
		return false
	}
	mac := c.mac(rec, password)
	return subtle.ConstantTimeCompare(mac[:], p.mac[:]) == 1
}

// put remembers that password is rec's.
func (c *provedCache) put(rec *userRecord, password []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.key == nil {
		key := make([]byte, sha256.Size)
		if _, err := io.ReadFull(c.rand, key); err != nil {
			return // no cache, only slower
		}
		c.key, c.until = key, map[int64]proof{}
	}
	c.until[rec.ID] = proof{c.mac(rec, password), c.now().Add(provedFor)}
}

func (c *provedCache) mac(rec *userRecord, password []byte) (out [sha256.Size]byte) {
	m := hmac.New(sha256.New, c.key)
	fmt.Fprintf(m, "%d:%s:", rec.ID, rec.Hash)
	m.Write(password)
	m.Sum(out[:0])
	return out
}
