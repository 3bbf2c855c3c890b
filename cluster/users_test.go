package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lockplate/store"
)

// userRig is users over a store of their own.
type userRig struct {
	*users
	t     *testing.T
	clock *clock
}

func newUserRig(t *testing.T) *userRig {
	t.Helper()
	st, err := store.OpenBolt(filepath.Join(t.TempDir(), "store.db"), store.BoltOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	c := &clock{t: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	return &userRig{newUsers(st, c.now, rand.Reader), t, c}
}

func (r *userRig) mustAdd(name, password string, roles ...Role) User {
	r.t.Helper()
	u, err := r.add(r.t.Context(), name, []byte(password), roles, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return u
}

func (r *userRig) login(name, password string) error {
	_, err := r.authenticate(r.t.Context(), name, []byte(password), "192.0.2.1")
	return err
}

const goodPassword = "correct horse"

func TestUserLogsInWithHisRolesOnly(t *testing.T) {
	r := newUserRig(t)
	attrs := map[string]any{"team": "storage"}
	added, err := r.add(t.Context(), "ann", []byte(goodPassword), []Role{RoleReader, RoleAdmin, RoleReader}, attrs)
	if err != nil {
		t.Fatal(err)
	}
	want := User{ID: 1, Name: "ann", Roles: []Role{RoleAdmin, RoleReader}, Attributes: attrs, Created: r.clock.now()}
	if d := cmp.Diff(want, added); d != "" {
		t.Errorf("added: %s", d)
	}
	for range 2 { // the second time from the cache
		got, err := r.authenticate(t.Context(), "ann", []byte(goodPassword), "192.0.2.1")
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("login: %v %s", err, d)
		}
	}
	list, err := r.list(t.Context())
	if d := cmp.Diff([]User{want}, list); err != nil || d != "" {
		t.Errorf("list: %v %s", err, d)
	}
}

func TestWrongNameAndWrongPasswordLookTheSame(t *testing.T) {
	r := newUserRig(t)
	r.mustAdd("ann", goodPassword, RoleAdmin)
	for _, c := range [][2]string{
		{"ann", "wrong"},
		{"ann", ""},
		{"ann", goodPassword + "x"},
		{"Ann", goodPassword},
		{"bob", goodPassword},
		{"", ""},
		{"ann", strings.Repeat("x", 1<<16)},
	} {
		r.clock.advance(time.Hour)
		if err := r.login(c[0], c[1]); err != ErrDenied {
			t.Errorf("login %.20q/%.20q: %v, want exactly ErrDenied", c[0], c[1], err)
		}
	}
}

func TestUnknownNameCostsAsMuchTime(t *testing.T) {
	hash, err := newHasher(rand.Reader).hash(t.Context(), []byte(goodPassword))
	if err != nil {
		t.Fatal(err)
	}
	fastest := func(hash string) time.Duration {
		best := time.Hour
		for range 5 {
			start := time.Now()
			if ok, err := verifyPassword(hash, []byte("wrong")); ok || err != nil {
				t.Fatalf("verify: %v %v", ok, err)
			}
			best = min(best, time.Since(start))
		}
		return best
	}
	known, unknown := fastest(hash), fastest("")
	if unknown < known/3 || known < unknown/3 {
		t.Errorf("known name %v, unknown name %v: tells them apart", known, unknown)
	}
}

func TestNewUserIsChecked(t *testing.T) {
	r := newUserRig(t)
	r.mustAdd("ann", goodPassword, RoleAdmin)
	admin := []Role{RoleAdmin}
	for _, c := range []struct {
		name, password string
		roles          []Role
		param          string // of the InvalidError
	}{
		{"", goodPassword, admin, "username"},
		{"a:b", goodPassword, admin, "username"},
		{"a\nb", goodPassword, admin, "username"},
		{"a\xffb", goodPassword, admin, "username"},
		{strings.Repeat("a", 129), goodPassword, admin, "username"},
		{"bob", "1234567", admin, "password"},
		{"bob", strings.Repeat("p", 1025), admin, "password"},
		{"bob", goodPassword, nil, "access"},
		{"bob", goodPassword, []Role{"drives"}, "access"},
	} {
		_, err := r.add(t.Context(), c.name, []byte(c.password), c.roles, nil)
		if e := (*InvalidError)(nil); !errors.As(err, &e) || e.Param != c.param {
			t.Errorf("add %.20q/%.20q/%v: %v, want an InvalidError of %s", c.name, c.password, c.roles, err, c.param)
		}
	}
	if _, err := r.add(t.Context(), "ann", []byte(goodPassword), admin, nil); !errors.Is(err, ErrExists) {
		t.Errorf("second ann: %v, want ErrExists", err)
	}
}

func TestUsersAreLimited(t *testing.T) {
	r := newUserRig(t)
	err := r.store.Update(t.Context(), func(tx store.Tx) error {
		for i := range maxUsers {
			if err := r.insert(tx, &userRecord{Name: fmt.Sprint("user", i), Roles: []Role{RoleReader}}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.add(t.Context(), "one more", []byte(goodPassword), []Role{RoleAdmin}, nil); !errors.Is(err, ErrLimit) {
		t.Errorf("user %d: %v, want ErrLimit", maxUsers+1, err)
	}
}

func TestChangedPasswordEndsTheOldOneAtOnce(t *testing.T) {
	r := newUserRig(t)
	u := r.mustAdd("ann", goodPassword, RoleAdmin)
	if err := r.login("ann", goodPassword); err != nil { // now in the cache
		t.Fatal(err)
	}
	if _, err := r.modify(t.Context(), u.ID, []byte("another one"), nil); err != nil {
		t.Fatal(err)
	}
	if err := r.login("ann", goodPassword); !errors.Is(err, ErrDenied) {
		t.Errorf("old password: %v, want ErrDenied", err)
	}
	if err := r.login("ann", "another one"); err != nil {
		t.Errorf("new password: %v", err)
	}
}

func TestModifyKeepsWhatIsNotGiven(t *testing.T) {
	r := newUserRig(t)
	r.mustAdd("root", goodPassword, RoleAdmin)
	u := r.mustAdd("ann", goodPassword, RoleAdmin)
	got, err := r.modify(t.Context(), u.ID, nil, []Role{RoleReader})
	if err != nil || len(got.Roles) != 1 || got.Roles[0] != RoleReader {
		t.Fatalf("modify roles: %v %v", got, err)
	}
	if err := r.login("ann", goodPassword); err != nil {
		t.Errorf("password was not kept: %v", err)
	}
	for _, bad := range []struct {
		password []byte
		roles    []Role
	}{{[]byte("short"), nil}, {[]byte{}, nil}, {nil, []Role{"king"}}} {
		if _, err := r.modify(t.Context(), u.ID, bad.password, bad.roles); err == nil {
			t.Errorf("modify to %q %v: no error", bad.password, bad.roles)
		}
	}
	if _, err := r.modify(t.Context(), 99, nil, nil); !isNotFound(err, "user") {
		t.Errorf("modify unknown: %v", err)
	}
}

func isNotFound(err error, kind string) bool {
	e := (*NotFoundError)(nil)
	return errors.As(err, &e) && e.Kind == kind
}

func TestLastAdministratorStays(t *testing.T) {
	r := newUserRig(t)
	ann := r.mustAdd("ann", goodPassword, RoleAdmin)
	bob := r.mustAdd("bob", goodPassword, RoleReader)
	if err := r.remove(t.Context(), ann.ID); !errors.Is(err, ErrState) {
		t.Errorf("remove: %v, want ErrState", err)
	}
	if _, err := r.modify(t.Context(), ann.ID, nil, []Role{RoleReader}); !errors.Is(err, ErrState) {
		t.Errorf("demote: %v, want ErrState", err)
	}
	if _, err := r.modify(t.Context(), bob.ID, nil, []Role{RoleAdmin}); err != nil {
		t.Fatal(err)
	}
	if err := r.remove(t.Context(), ann.ID); err != nil {
		t.Errorf("remove with another administrator there: %v", err)
	}
	if err := r.login("ann", goodPassword); !errors.Is(err, ErrDenied) {
		t.Errorf("removed user: %v, want ErrDenied", err)
	}
	if err := r.remove(t.Context(), ann.ID); !isNotFound(err, "user") {
		t.Errorf("remove twice: %v", err)
	}
}

func TestPasswordsAreWiped(t *testing.T) {
	r := newUserRig(t)
	isWiped := func(what string, p []byte) {
		t.Helper()
		if strings.Trim(string(p), "\x00") != "" {
			t.Errorf("%s left %q in memory", what, p)
		}
	}
	p := []byte(goodPassword)
	u, err := r.add(t.Context(), "ann", p, []Role{RoleAdmin}, nil)
	if err != nil {
		t.Fatal(err)
	}
	isWiped("add", p)
	p = []byte("wrong one")
	r.authenticate(t.Context(), "ann", p, "192.0.2.1")
	isWiped("authenticate", p)
	p = []byte("another one")
	r.modify(t.Context(), u.ID, p, nil)
	isWiped("modify", p)
}

func TestStoreHoldsNoPassword(t *testing.T) {
	r := newUserRig(t)
	r.mustAdd("ann", goodPassword, RoleAdmin)
	err := r.store.View(t.Context(), func(tx store.Tx) error {
		b, err := tx.Get("users/0000000001")
		if strings.Contains(string(b), goodPassword) || !strings.Contains(string(b), "$argon2id$") {
			t.Errorf("record: %s", b)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestGuessingIsStopped(t *testing.T) {
	r := newUserRig(t)
	r.mustAdd("ann", goodPassword, RoleAdmin)
	guess := func(from, name string) error {
		_, err := r.authenticate(t.Context(), name, []byte("wrong one"), from)
		return err
	}
	for i := range 5 {
		if err := guess("192.0.2.1", "ann"); err != ErrDenied {
			t.Fatalf("guess %d: %v, want ErrDenied", i, err)
		}
	}
	if err := guess("192.0.2.1", "ann"); err != ErrRateLimited {
		t.Errorf("guess 6: %v, want ErrRateLimited", err)
	}
	if err := r.login("ann", goodPassword); err != ErrRateLimited {
		t.Errorf("the right password over the limit: %v, want ErrRateLimited", err)
	}
	if _, err := r.authenticate(t.Context(), "ann", []byte(goodPassword), "192.0.2.2"); err != nil {
		t.Errorf("from another place: %v", err)
	}
	r.clock.advance(10 * time.Second)
	if err := guess("192.0.2.1", "ann"); err != ErrDenied {
		t.Errorf("one guess after 10 s: %v, want ErrDenied", err)
	}
	if err := guess("192.0.2.1", "ann"); err != ErrRateLimited {
		t.Errorf("two guesses after 10 s: %v, want ErrRateLimited", err)
	}
	r.clock.advance(time.Minute)
	if err := r.login("ann", goodPassword); err != nil {
		t.Errorf("after a minute: %v", err)
	}
}

func TestThrottleCountsPairAddressAndName(t *testing.T) {
	c := &clock{t: time.Unix(1e9, 0)}
	for _, test := range []struct {
		what string
		who  func(i int) (from, name string)
		want int // failures until refused
	}{
		{"one pair", func(int) (string, string) { return "a", "n" }, 5},
		{"one address, many names", func(i int) (string, string) { return "a", fmt.Sprint(i) }, 20},
		{"one name, many addresses", func(i int) (string, string) { return fmt.Sprint(i), "n" }, 100},
	} {
		th := newThrottle(c.now)
		n := 0
		for ; n < 1000; n++ {
			from, name := test.who(n)
			if !th.allowed(from, name) {
				break
			}
			th.failed(from, name)
		}
		if n != test.want {
			t.Errorf("%s: refused after %d failures, want %d", test.what, n, test.want)
		}
	}
}

func TestThrottleIsBounded(t *testing.T) {
	c := &clock{t: time.Unix(1e9, 0)}
	th := newThrottle(c.now)
	for i := range maxThrottled {
		th.failed(fmt.Sprint("address", i), strings.Repeat("n", 1<<10)+fmt.Sprint(i))
	}
	if len(th.seen) > maxThrottled {
		t.Errorf("%d entries, limit %d", len(th.seen), maxThrottled)
	}
	for k := range th.seen {
		if len(k.name) > maxUserName {
			t.Fatalf("name of %d bytes kept", len(k.name))
		}
	}
	c.advance(time.Hour)
	th.failed("one", "more")
	if len(th.seen) > 3 {
		t.Errorf("%d entries an hour later, want 3", len(th.seen))
	}
}

// Sent at once, guesses must not slip through between check and count.
func TestParallelGuessesGetNoFurther(t *testing.T) {
	r := newUserRig(t)
	r.mustAdd("ann", goodPassword, RoleAdmin)
	var wg sync.WaitGroup
	var denied atomic.Int64
	for range 40 {
		wg.Go(func() {
			if err := r.login("ann", "wrong one"); errors.Is(err, ErrDenied) {
				denied.Add(1)
			}
		})
	}
	wg.Wait()
	if n := denied.Load(); n > 5+maxHashing-1 {
		t.Errorf("%d guesses were looked at, want at most %d", n, 5+maxHashing-1)
	}
}

func TestProvedPasswordExpires(t *testing.T) {
	r := newUserRig(t)
	r.mustAdd("ann", goodPassword, RoleAdmin)
	rec, err := r.find(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.login("ann", goodPassword); err != nil {
		t.Fatal(err)
	}
	if !r.proved.has(rec, []byte(goodPassword)) || r.proved.has(rec, []byte("wrong one")) {
		t.Error("cache does not hold exactly the proved password")
	}
	r.clock.advance(provedFor + time.Second)
	if r.proved.has(rec, []byte(goodPassword)) {
		t.Error("still cached after its time")
	}
}

func TestHashingHeedsTheContext(t *testing.T) {
	h := newHasher(rand.Reader)
	for range maxHashing {
		done, err := h.turn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer done()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.hash(ctx, []byte(goodPassword)); !errors.Is(err, context.Canceled) {
		t.Errorf("hash with all turns taken: %v", err)
	}
}

// Hashes made by the reference implementation's command, argon2 0~20171227
// (Debian): echo -n 'correct horse' | argon2 SALT -id -t T -k M -p P -l L -e.
func TestReferenceHashesVerify(t *testing.T) {
	for _, hash := range []string{
		"$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$rk2Mi3E4dgRMg0fHaYaptWVZRKqs//6b6k3/nntqGJk",
		"$argon2id$v=19$m=4096,t=3,p=4$c29tZXNhbHQxMg$EJivBSbb36mHsnr0WvcaoNASarR2GJ3J",
	} {
		if ok, err := verifyPassword(hash, []byte(goodPassword)); !ok || err != nil {
			t.Errorf("%s: %v %v", hash, ok, err)
		}
		if ok, err := verifyPassword(hash, []byte("Correct horse")); ok || err != nil {
			t.Errorf("%s with a wrong password: %v %v", hash, ok, err)
		}
	}
}

func TestDamagedHashesAreRefused(t *testing.T) {
	const tail = "$MDEyMzQ1Njc4OWFiY2RlZg$rk2Mi3E4dgRMg0fHaYaptWVZRKqs//6b6k3/nntqGJk"
	for _, s := range []string{
		"x", "$argon2i$v=19$m=19456,t=2,p=1" + tail, "$argon2id$v=16$m=19456,t=2,p=1" + tail,
		"$argon2id$v=19$m=4294967295,t=2,p=1" + tail, "$argon2id$v=19$m=19456,t=99,p=1" + tail,
		"$argon2id$v=19$m=19456,t=0,p=1" + tail, "$argon2id$v=19$m=19456,t=2,p=0" + tail,
		"$argon2id$v=19$m=19456,t=2,p=255" + tail, "$argon2id$v=19$m=0,t=2,p=1" + tail,
		"$argon2id$v=19$m=19456,t=2,p=1,x=1" + tail, "$argon2id$v=19$m=19456,t=2,p=1$!$!",
		"$argon2id$v=19$m=19456,t=2,p=1$$", "$argon2id$v=19$m=19456,t=2,p=1" + tail + strings.Repeat("A", 512),
	} {
		if _, err := verifyPassword(s, []byte("x")); !errors.Is(err, errPasswordHash) {
			t.Errorf("%.60s: %v, want errPasswordHash", s, err)
		}
	}
}

func FuzzPasswordHash(f *testing.F) {
	f.Add("$argon2id$v=19$m=4096,t=3,p=4$c29tZXNhbHQxMg$EJivBSbb36mHsnr0WvcaoNASarR2GJ3J")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePHC(s)
		if err != nil {
			return
		}
		if !p.bounded() || p.String() != s {
			t.Errorf("%q accepted as %q", s, p)
		}
	})
}

func TestUsersNeedACluster(t *testing.T) {
	r := newRig(t)
	if _, err := r.AddUser(t.Context(), "ann", []byte(goodPassword), []Role{RoleAdmin}, nil); !errors.Is(err, ErrNoCluster) {
		t.Errorf("AddUser: %v", err)
	}
	if _, err := r.Authenticate(t.Context(), "ann", []byte(goodPassword), "::1"); !errors.Is(err, ErrDenied) {
		t.Errorf("Authenticate: %v, want ErrDenied", err)
	}
	p := r.params()
	p.Username, p.Password = "ann", []byte(goodPassword)
	r.must(r.Create(t.Context(), p))
	u, err := r.Authenticate(t.Context(), "ann", []byte(goodPassword), "::1")
	if err != nil || u.Roles[0] != RoleAdmin {
		t.Errorf("first administrator: %v %v", u, err)
	}
}

func TestCauseFindsTheFailure(t *testing.T) {
	for _, c := range causes() {
		for _, below := range c.below {
			if got := Cause(fmt.Errorf("open volume: %w", below)); got != c.cause {
				t.Errorf("%v: cause %v, want %v", below, got, c.cause)
			}
		}
	}
	if got := Cause(fmt.Errorf("add: %w", ErrExists)); got != ErrExists {
		t.Errorf("own error: cause %v", got)
	}
	if got := Cause(errors.New("something else")); got != nil {
		t.Errorf("unknown error: cause %v", got)
	}
}
