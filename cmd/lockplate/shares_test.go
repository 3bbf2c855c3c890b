package main

import (
	"crypto/rand"
	"strings"
	"testing"

	"lockplate/keymgr"
	"lockplate/keymgr/shamir"
)

// TestSharesAreAskedUntilEnoughAreRight: a slip of the finger costs one line,
// not the whole ceremony.
func TestSharesAreAskedUntilEnoughAreRight(t *testing.T) {
	var texts []string
	for range 2 { // two sets
		all, err := shamir.Split(rand.Reader, make([]byte, shamir.SecretBytes), 2, 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range all {
			texts = append(texts, string(s.Text()))
		}
	}
	slip := strings.Replace(texts[0], texts[0][18:24], "ZZZZZZ", 1)
	term := &fakeTerminal{interactive: true, lines: []string{slip, texts[0], texts[0], texts[4], strings.ToLower(texts[2]), "not read"}}
	a, _, shown := testApp("", term)
	set, err := a.sharesAsker(t.Context(), nil)(keymgr.SharesInfo{Threshold: 2})
	if err != nil || set.Missing() != 0 || len(term.lines) != 1 {
		t.Fatalf("%v, %d lines left", err, len(term.lines))
	}
	if _, err := set.Combine(); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"group 1 is mistyped", "was given already", "different sets", "2 of the 2 that are needed"} {
		if !strings.Contains(shown.String(), want) {
			t.Errorf("the terminal does not say %q: %s", want, shown)
		}
	}
	if strings.Contains(shown.String(), texts[0][25:40]) {
		t.Error("the terminal shows a share")
	}
	if _, err := a.sharesAsker(t.Context(), nil)(keymgr.SharesInfo{Threshold: 3}); err == nil {
		t.Error("went on without shares")
	}
}
