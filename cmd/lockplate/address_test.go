package main

import (
	"strings"
	"testing"
)

func TestParseAddresses(t *testing.T) {
	for in, want := range map[string]string{
		"tcp:127.0.0.1:10809":               "tcp:127.0.0.1:10809",
		"tcp:[::1]:10809":                   "tcp:[::1]:10809",
		"tcp::10809":                        "tcp::10809",
		"unix:/run/x.sock":                  "unix:/run/x.sock",
		"none":                              "",
		"tcp:127.0.0.1":                     "error",
		"tcp:127.0.0.1:":                    "error",
		"127.0.0.1:10809":                   "error",
		"unix:":                             "error",
		"udp:127.0.0.1:1":                   "error",
		"":                                  "error",
		"unix:/" + strings.Repeat("x", 107): "error",
	} {
		got, err := parseAddresses([]string{in})
		switch {
		case want == "error":
			if exitCode(err) != exitUsage || hintFor(err) == "" {
				t.Errorf("%q: error %v, want a usage error with a hint", in, err)
			}
		case err != nil:
			t.Errorf("%q: %v", in, err)
		case want == "" && len(got) != 0, want != "" && (len(got) != 1 || got[0].String() != want):
			t.Errorf("%q: got %v, want %q", in, got, want)
		}
	}
	if _, err := parseAddresses([]string{"none", "tcp:127.0.0.1:1"}); err == nil {
		t.Error("none beside another address was taken")
	}
}

func TestPlaintextBeyondThisMachineIsRefused(t *testing.T) {
	for at, local := range map[string]bool{
		"tcp:127.0.0.1:1": true, "tcp:127.8.8.8:1": true, "tcp:[::1]:1": true, "tcp:localhost:1": true, "unix:/x": true,
		"tcp:0.0.0.0:1": false, "tcp::1": false, "tcp:[::]:1": false, "tcp:192.0.2.1:1": false,
		"tcp:localhost.example:1": false, "tcp:127.0.0.1.example:1": false,
	} {
		a, err := parseAddress(at)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkPlaintext(a, false, false); (err == nil) != local {
			t.Errorf("%s: error %v, want refused: %v", at, err, !local)
		}
		for _, allowed := range [][2]bool{{true, false}, {false, true}} {
			if err := checkPlaintext(a, allowed[0], allowed[1]); err != nil {
				t.Errorf("%s with TLS %v, allow_plaintext %v: %v", at, allowed[0], allowed[1], err)
			}
		}
	}
}
