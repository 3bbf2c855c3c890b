package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"lockplate/store"
)

// Limits of users, chosen so that reading all of them stays cheap.
const (
	maxUsers        = 256
	maxUserName     = 128  // bytes
	minUserPassword = 8    // bytes, as Element asks
	maxUserPassword = 1024 // bytes
)

const prefixUser = "users/"

// userRecord is one user in the store. Hash is the PHC string of the password.
type userRecord struct {
	ID         int64          `json:"id"`
	Name       string         `json:"name"`
	Hash       string         `json:"hash"`
	Roles      []Role         `json:"roles"`
	Attributes map[string]any `json:"attributes,omitempty"`
	Created    time.Time      `json:"created"`
}

func (r *userRecord) user() User {
	return User{
		ID: r.ID, Name: r.Name, Roles: slices.Clone(r.Roles),
		Attributes: r.Attributes, Created: r.Created,
	}
}

// users keeps the API's users in the store and proves their passwords.
type users struct {
	store    store.Store
	now      func() time.Time
	hasher   *hasher
	throttle *throttle
	proved   provedCache
}

func newUsers(st store.Store, now func() time.Time, rand io.Reader) *users {
	return &users{
		store: st, now: now,
		hasher:   newHasher(rand),
		throttle: newThrottle(now),
		proved:   provedCache{now: now, rand: rand},
	}
}

// AddUser makes a user and wipes password. Names are unique, case counts.
// Errors:
// InvalidError, ErrExists, ErrLimit.
func (c *Cluster) AddUser(ctx context.Context, name string, password []byte, roles []Role, attrs map[string]any) (User, error) {
	if _, err := c.require(); err != nil {
		return User{}, err
	}
	if err := c.mayChange(); err != nil {
		return User{}, err
	}
	return c.users.add(ctx, name, password, roles, attrs)
}

// Users lists all users by id.
func (c *Cluster) Users(ctx context.Context) ([]User, error) {
	if _, err := c.require(); err != nil {
		return nil, err
	}
	return c.users.list(ctx)
}

// ModifyUser changes the password (nil keeps it; wiped) and the roles (none
// keeps them). The last administrator stays one.
func (c *Cluster) ModifyUser(ctx context.Context, id int64, password []byte, roles []Role) (User, error) {
	if _, err := c.require(); err != nil {
		return User{}, err
	}
	if err := c.mayChange(); err != nil {
		return User{}, err
	}
	return c.users.modify(ctx, id, password, roles)
}

// RemoveUser removes a user, but not the last administrator.
func (c *Cluster) RemoveUser(ctx context.Context, id int64) error {
	if _, err := c.require(); err != nil {
		return err
	}
	if err := c.mayChange(); err != nil {
		return err
	}
	return c.users.remove(ctx, id)
}

// Authenticate proves a user's password, which it wipes. Failures are limited
// per caller (from, an address without port) and per name; a caller over the
// limit gets ErrRateLimited without a look at the password. A wrong name takes
// the same time and gives the same ErrDenied as a wrong password.
func (c *Cluster) Authenticate(ctx context.Context, name string, password []byte, from string) (User, error) {
	if _, err := c.require(); err != nil {
		return User{}, ErrDenied
	}
	u, err := c.users.authenticate(ctx, name, password, from)
	switch {
	case errors.Is(err, ErrRateLimited):
		c.audit.refused.add(name, cmp.Or(actorOf(ctx).From, from))
	case errors.Is(err, ErrDenied):
		e := AuditEntry{Kind: AuditLogin, Actor: name, From: cmp.Or(actorOf(ctx).From, from), Action: "login", Outcome: AuditDenied}
		if err := c.audit.record(e, false); err != nil {
			c.log.Error("failed login is not in the audit log", "err", err)
		}
	}
	return u, err
}

func (u *users) add(ctx context.Context, name string, password []byte, roles []Role, attrs map[string]any) (User, error) {
	defer clear(password)
	if err := checkNewUser(name, password, roles); err != nil {
		return User{}, err
	}
	hash, err := u.hasher.hash(ctx, password)
	if err != nil {
		return User{}, err
	}
	rec := userRecord{Name: name, Hash: hash, Roles: normalRoles(roles), Attributes: attrs, Created: u.now().UTC()}
	err = u.store.Update(ctx, func(tx store.Tx) error { return u.insert(tx, &rec) })
	if err != nil {
		return User{}, fmt.Errorf("add user %q: %w", name, err)
	}
	return rec.user(), nil
}

// insert gives rec an id and stores it if its name is free.
func (u *users) insert(tx store.Tx, rec *userRecord) error {
	all, err := scanRecords[userRecord](tx, prefixUser)
	if err != nil {
		return err
	}
	if len(all) >= maxUsers {
		return fmt.Errorf("%w: %d users", ErrLimit, maxUsers)
	}
	for i := range all {
		if all[i].Name == rec.Name {
			return ErrExists
		}
	}
	if rec.ID, err = nextID(tx, "user"); err != nil {
		return err
	}
	return putRecord(tx, recordKey(prefixUser, rec.ID), rec)
}

func (u *users) list(ctx context.Context) ([]User, error) {
	var out []User
	err := u.store.View(ctx, func(tx store.Tx) error {
		all, err := scanRecords[userRecord](tx, prefixUser)
		out = make([]User, 0, len(all))
		for i := range all {
			out = append(out, all[i].user())
		}
		return err
	})
	return out, err
}

func (u *users) modify(ctx context.Context, id int64, password []byte, roles []Role) (User, error) {
	defer clear(password)
	hash, err := u.checkChange(ctx, password, roles)
	if err != nil {
		return User{}, err
	}
	var rec userRecord
	err = u.store.Update(ctx, func(tx store.Tx) error {
		if rec, err = getByID[userRecord](tx, prefixUser, "user", id); err != nil {
			return err
		}
		if len(roles) > 0 {
			rec.Roles = normalRoles(roles)
		}
		if hash != "" {
			rec.Hash = hash
		}
		if err := keepsAdmin(tx, id, rec.Roles); err != nil {
			return err
		}
		return putRecord(tx, recordKey(prefixUser, id), rec)
	})
	if err != nil {
		return User{}, fmt.Errorf("modify user %d: %w", id, err)
	}
	return rec.user(), nil
}

// checkChange validates what modify is to change and hashes the password.
func (u *users) checkChange(ctx context.Context, password []byte, roles []Role) (hash string, err error) {
	if len(roles) > 0 {
		if err := checkRoles(roles); err != nil {
			return "", err
		}
	}
	if password == nil {
		return "", nil
	}
	if err := checkPassword(password); err != nil {
		return "", err
	}
	return u.hasher.hash(ctx, password)
}

func (u *users) remove(ctx context.Context, id int64) error {
	err := u.store.Update(ctx, func(tx store.Tx) error {
		if _, err := getByID[userRecord](tx, prefixUser, "user", id); err != nil {
			return err
		}
		if err := keepsAdmin(tx, id, nil); err != nil {
			return err
		}
		return tx.Delete(recordKey(prefixUser, id))
	})
	if err != nil {
		return fmt.Errorf("remove user %d: %w", id, err)
	}
	return nil
}

// keepsAdmin refuses to give user id these roles if that takes the last
// administrator away.
func keepsAdmin(tx store.Tx, id int64, roles []Role) error {
	all, err := scanRecords[userRecord](tx, prefixUser)
	if err != nil || slices.Contains(roles, RoleAdmin) {
		return err
	}
	was := false
	for i := range all {
		if !slices.Contains(all[i].Roles, RoleAdmin) {
			continue
		}
		if all[i].ID != id {
			return nil
		}
		was = true
	}
	if was {
		return fmt.Errorf("%w: this is the last administrator; add another one first", ErrState)
	}
	return nil
}

func (u *users) authenticate(ctx context.Context, name string, password []byte, from string) (User, error) {
	defer clear(password)
	if !u.throttle.allowed(from, name) {
		return User{}, ErrRateLimited
	}
	rec, err := u.find(ctx, name)
	if err != nil {
		return User{}, fmt.Errorf("look up user: %w", err)
	}
	if len(password) > maxUserPassword {
		rec, password = nil, password[:maxUserPassword]
	}
	if !u.proved.has(rec, password) {
		if err := u.prove(ctx, rec, password, from, name); err != nil {
			return User{}, err
		}
	}
	return rec.user(), nil
}

// prove checks password against rec, or against nothing in the same time if
// rec is nil, and counts a failure. Since it may have waited for its turn, it
// asks again what came out meanwhile: many guesses sent at once get no
// further than one after the other.
func (u *users) prove(ctx context.Context, rec *userRecord, password []byte, from, name string) error {
	done, err := u.hasher.turn(ctx)
	if err != nil {
		return fmt.Errorf("check password: %w", err)
	}
	defer done()
	if !u.throttle.allowed(from, name) {
		return ErrRateLimited
	}
	if u.proved.has(rec, password) {
		return nil
	}
	hash := ""
	if rec != nil {
		hash = rec.Hash
	}
	switch ok, err := verifyPassword(hash, password); {
	case err != nil:
		return fmt.Errorf("check password of user %q: %w", name, err)
	case !ok:
		u.throttle.failed(from, name)
		return ErrDenied
	}
	u.proved.put(rec, password)
	return nil
}

// find returns the user of that name, or nil.
func (u *users) find(ctx context.Context, name string) (*userRecord, error) {
	var found *userRecord
	err := u.store.View(ctx, func(tx store.Tx) error {
		all, err := scanRecords[userRecord](tx, prefixUser)
		for i := range all {
			if all[i].Name == name {
				found = &all[i]
			}
		}
		return err
	})
	return found, err
}

func checkNewUser(name string, password []byte, roles []Role) error {
	return errors.Join(checkUserName(name), checkPassword(password), checkRoles(roles))
}

func checkUserName(name string) error {
	switch {
	case name == "" || len(name) > maxUserName || !utf8.ValidString(name):
		return &InvalidError{"username", fmt.Sprintf("must be 1 to %d bytes of text", maxUserName)}
	case strings.ContainsFunc(name, func(r rune) bool { return r == ':' || !unicode.IsPrint(r) }):
		return &InvalidError{"username", "must not hold a colon or control characters"}
	}
	return nil
}

func checkPassword(p []byte) error {
	if len(p) < minUserPassword || len(p) > maxUserPassword {
		return &InvalidError{"password", fmt.Sprintf("must be %d to %d bytes long", minUserPassword, maxUserPassword)}
	}
	return nil
}

func checkRoles(roles []Role) error {
	if len(roles) == 0 {
		return &InvalidError{"access", "give administrator or read"}
	}
	for _, r := range roles {
		if r != RoleAdmin && r != RoleReader {
			return &InvalidError{"access", fmt.Sprintf("%.40q is not served here: give administrator or read", r)}
		}
	}
	return nil
}

// normalRoles sorts and drops repeats.
func normalRoles(roles []Role) []Role {
	out := slices.Clone(roles)
	slices.Sort(out)
	return slices.Compact(out)
}
