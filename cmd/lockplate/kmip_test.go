package main

import (
	"errors"
	"slices"
	"testing"

	"lockplate/api/wire"
)

func TestPickIDByNumberOrName(t *testing.T) {
	things := []named{{1, "vault"}, {2, "twice"}, {3, "twice"}, {12, "7"}}
	all := func() ([]named, error) { return things, nil }
	for arg, want := range map[string]wire.Int{"5": 5, "vault": 1, "7": 7, "0": 0, "-1": 0, "twice": 0, "Vault": 0, "": 0} {
		got, err := pickID("key provider", arg, "kmip provider list", all)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v", arg, got, err)
		}
		if err != nil && hintFor(err) == "" {
			t.Errorf("%q: %v has no hint", arg, err)
		}
	}
	away := errors.New("no daemon")
	if _, err := pickID("key provider", "vault", "", func() ([]named, error) { return nil, away }); !errors.Is(err, away) {
		t.Errorf("%v", err)
	}
	if n, err := pickID("key provider", "3", "", func() ([]named, error) { return nil, away }); n != 3 || err != nil {
		t.Errorf("a number needs no list: %d, %v", n, err)
	}
}

// Only what can be typed as it is, and means one thing, is offered as a name.
func TestCompletionsOfNames(t *testing.T) {
	got, err := completions([]named{{1, "vault"}, {2, "twice"}, {3, "twice"}, {4, "main eks"}, {5, "6"}, {7, ""}, {8, "a$b"}}, nil)
	want := []string{"vault\tnumber 1", "2\ttwice", "3\ttwice", "4\tmain eks", "5\t6", "7\t", "8\ta$b"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}
