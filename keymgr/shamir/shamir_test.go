package shamir

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"strings"
	"testing"
)

// stream is the random source of testdata/vectors.py.
func stream(seed string) io.Reader {
	var b []byte
	for i := range 64 {
		h := sha256.Sum256(binary.BigEndian.AppendUint32([]byte(seed), uint32(i)))
		b = append(b, h[:]...)
	}
	return bytes.NewReader(b)
}

// TestVectors compares with shares that testdata/vectors.py computed.
func TestVectors(t *testing.T) {
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []struct {
		Seed, Secret      string
		Threshold, Shares int
		Texts             []string
	}
	if err := json.Unmarshal(b, &all); err != nil || len(all) < 5 {
		t.Fatal(err)
	}
	for _, v := range all {
		secret, _ := hex.DecodeString(v.Secret)
		shares, err := Split(stream(v.Seed), secret, v.Threshold, v.Shares)
		if err != nil {
			t.Fatal(err)
		}
		texts := map[string]bool{}
		for _, s := range shares {
			texts[string(s.Text())] = true
		}
		var set Set
		for _, want := range v.Texts {
			if !texts[want] {
				t.Errorf("%d of %d: no share is %s", v.Threshold, v.Shares, want)
			}
			add(t, &set, want)
		}
		if got, err := set.Combine(); err != nil || !bytes.Equal(got, secret) {
			t.Errorf("%d of %d: %x, %v", v.Threshold, v.Shares, got, err)
		}
	}
}

func add(t *testing.T, set *Set, text string) {
	t.Helper()
	s, err := Parse([]byte(text))
	if err == nil {
		err = set.Add(s)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func split(t *testing.T, threshold, shares int) (secret []byte, out []Share) {
	t.Helper()
	secret = make([]byte, SecretBytes)
	rand.Read(secret)
	out, err := Split(rand.Reader, secret, threshold, shares)
	if err != nil {
		t.Fatal(err)
	}
	return secret, out
}

// combine adds the shares of a bit mask.
func combine(t *testing.T, shares []Share, mask int) ([]byte, error) {
	var set Set
	for i, s := range shares {
		if mask>>i&1 == 1 {
			if err := set.Add(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	return set.Combine()
}

func TestEverySubsetOfThresholdReconstructs(t *testing.T) {
	for n := 2; n <= 7; n++ {
		for k := 2; k <= n; k++ {
			secret, shares := split(t, k, n)
			for mask := range 1 << n {
				got, err := combine(t, shares, mask)
				if have := bits.OnesCount(uint(mask)); have >= k {
					if err != nil || !bytes.Equal(got, secret) {
						t.Fatalf("%d of %d, subset %b: %v", k, n, mask, err)
					}
				} else if !errors.Is(err, ErrTooFew) {
					t.Fatalf("%d of %d, subset %b: %v", k, n, mask, err)
				}
			}
		}
	}
}

// TestTooFewSharesTellNothing: with one share less, every value of the secret
// is as likely as any other, since each fits exactly one value of the missing
// share.
func TestTooFewSharesTellNothing(t *testing.T) {
	secret, shares := split(t, 3, 5)
	seen := map[byte]int{}
	for guess := range 256 {
		forged := Share{Set: shares[0].Set, Threshold: 3, Index: 3, value: bytes.Repeat([]byte{byte(guess)}, SecretBytes)}
		got, err := (&Set{[]Share{shares[0], shares[1], forged}}).Combine()
		if err != nil {
			t.Fatal(err)
		}
		seen[got[0]]++
		if bytes.Equal(got, secret) {
			t.Fatal("a guess gives the whole secret")
		}
	}
	if len(seen) != 256 {
		t.Errorf("two shares of three leave %d values of a byte", len(seen))
	}
	for i := range shares {
		shares[i].Threshold = 2 // lie about what is needed
	}
	if got, err := combine(t, shares, 0b11); err != nil || bytes.Equal(got, secret) {
		t.Errorf("two shares of three: %x, %v", got, err)
	}
}

func TestWrongShares(t *testing.T) {
	_, a := split(t, 3, 5)
	_, b := split(t, 3, 5)
	var set Set
	if _, err := set.Combine(); !errors.Is(err, ErrTooFew) || set.Missing() != 1 {
		t.Errorf("no shares: %v", err)
	}
	for _, c := range []struct {
		s    Share
		want error
		text string
	}{
		{a[0], nil, ""},
		{a[0], ErrDuplicate, "share 1 of set"},
		{b[1], ErrMixed, "of set " + a[0].Set.String()},
		{a[4], nil, ""},
	} {
		err := set.Add(c.s)
		if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.text) {
			t.Errorf("%v: %v", c.s, err)
		}
	}
	if _, err := set.Combine(); !errors.Is(err, ErrTooFew) || set.Missing() != 1 || len(set.Have()) != 2 {
		t.Errorf("2 of 3: %v, missing %d", err, set.Missing())
	}
	bad := a[1]
	bad.value = bytes.Clone(bad.value)
	bad.value[9]++
	if _, err := (&Set{[]Share{a[0], a[2], a[3], bad}}).Combine(); !errors.Is(err, ErrDamaged) {
		t.Errorf("altered share over the threshold: %v", err)
	}
	set.Wipe()
	if set.Missing() != 1 || !bytes.Equal(a[0].value, make([]byte, SecretBytes)) {
		t.Error("not wiped")
	}
}

func TestSplitRefuses(t *testing.T) {
	for _, c := range [][2]int{{1, 3}, {0, 0}, {4, 3}, {2, 256}, {-1, 2}} {
		if _, err := Split(rand.Reader, make([]byte, SecretBytes), c[0], c[1]); !errors.Is(err, ErrInvalid) {
			t.Errorf("%d of %d: %v", c[0], c[1], err)
		}
	}
	if _, err := Split(rand.Reader, make([]byte, 31), 2, 3); err == nil {
		t.Error("31 bytes split")
	}
	if _, err := Split(strings.NewReader("short"), make([]byte, SecretBytes), 2, 3); err == nil {
		t.Error("split without randomness")
	}
}

// TestTextIsForgiving takes a share as people type it, and names the group that
// is wrong.
func TestTextIsForgiving(t *testing.T) {
	shares, err := Split(stream("typed"), make([]byte, SecretBytes), 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	text := string(shares[2].Text())
	zeroes := strings.NewReplacer("0", "o", "1", "l")
	for _, typed := range []string{
		text, strings.ToLower(text), " " + text + "\r\n", strings.ReplaceAll(text, "-", "- "),
		text[:50] + "\n  " + text[50:], textPrefix + zeroes.Replace(text[len(textPrefix):]),
		textPrefix + strings.ReplaceAll(text[len(textPrefix):], "-", ""),
	} {
		s, err := Parse([]byte(typed))
		if err != nil || s.Index != 3 || !bytes.Equal(s.value, shares[2].value) {
			t.Errorf("%q: %v, %v", typed, s, err)
		}
	}
	for i := len(textPrefix); i < len(text); i++ {
		if text[i] == '-' {
			continue
		}
		group := fmt.Sprintf("group %d is", (i-len(textPrefix))/7+1)
		for _, c := range []byte(alphabet + "u*") {
			if c == text[i] {
				continue
			}
			if _, err := Parse([]byte(text[:i] + string(c) + text[i+1:])); !errors.Is(err, ErrText) || !strings.Contains(err.Error(), group) {
				t.Fatalf("character %d is %c: %v", i, c, err)
			}
		}
		if j := i + 1; j < len(text) && text[j] != '-' && text[j] != text[i] {
			swapped := text[:i] + text[j:j+1] + text[i:i+1] + text[j+1:]
			if _, err := Parse([]byte(swapped)); !errors.Is(err, ErrText) {
				t.Fatalf("characters %d and %d changed places: %v", i, j, err)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	shares, err := Split(stream("x"), make([]byte, SecretBytes), 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	text := string(shares[0].Text())
	for _, c := range []struct {
		text string
		want error
	}{
		{"", ErrText},
		{"lockplate-share-2-" + text[len(textPrefix):], ErrVersion},
		{text[:len(text)-1], ErrText},
		{text + "0", ErrText},
		{strings.Repeat(" ", MaxText) + text, ErrText},
		{text[:25] + text[32:39] + text[25:32] + text[39:], ErrText}, // two groups changed places
	} {
		if _, err := Parse([]byte(c.text)); !errors.Is(err, c.want) {
			t.Errorf("%.60q: %v", c.text, err)
		}
	}
}

func TestShareDoesNotPrintItsValue(t *testing.T) {
	_, shares := split(t, 2, 2)
	for _, s := range []string{fmt.Sprintf("%v %+v %#v %x %s", shares[0], shares[0], shares[0], shares[0], &shares[0]), fmt.Sprint(shares)} {
		if strings.Contains(s, fmt.Sprint(shares[0].value[:3])) || strings.Contains(s, hex.EncodeToString(shares[0].value[:4])) {
			t.Errorf("printed: %s", s)
		}
	}
}

// TestField checks the arithmetic against its definition.
func TestField(t *testing.T) {
	for a := range 256 {
		if p := mul(byte(a), inverse(byte(a))); a > 0 && p != 1 {
			t.Errorf("%d times its inverse is %d", a, p)
		}
		for b := range 256 {
			p := 0
			for i := range 8 {
				if b>>i&1 == 1 {
					p ^= a << i
				}
			}
			for i := 14; i >= 8; i-- {
				if p>>i&1 == 1 {
					p ^= 0x11b << (i - 8)
				}
			}
			if got := mul(byte(a), byte(b)); int(got) != p {
				t.Fatalf("%d times %d is %d, not %d", a, b, got, p)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	shares, err := Split(stream("x"), make([]byte, SecretBytes), 2, 3)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(shares[0].Text())
	f.Add([]byte("lockplate-share-2-"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(b)
		if err != nil {
			return
		}
		again, err := Parse(s.Text())
		if err != nil || again.Index != s.Index || !bytes.Equal(again.value, s.value) {
			t.Fatalf("%q does not come back: %v", b, err)
		}
	})
}
