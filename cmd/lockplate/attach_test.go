package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"lockplate/api/wire"
)

func TestAttachmentsOfEveryKindOfListener(t *testing.T) {
	v := wire.Volume{Name: "web", TotalSize: 1 << 30, Access: "readWrite"}
	got := attachments([]wire.Listener{
		{Kind: "nbd", Address: "tcp:127.0.0.1:10809"},
		{Kind: "nbd", Address: "tcp:[2001:db8::1]:10900", TLS: true},
		{Kind: "nbd", Address: "tcp:0.0.0.0:10809"},
		{Kind: "nbd", Address: "unix:/run/lock plate/nbd.sock"},
		{Kind: "api", Address: "tcp:127.0.0.1:10811", TLS: true},
	}, v)
	want := []struct{ uri, client, tab string }{
		{"nbd://127.0.0.1/web", "nbd-client 127.0.0.1 10809 /dev/nbd0 -name web -block-size 4096 -persist", "nbd0 127.0.0.1 web bs=4096,persist"},
		{"nbds://[2001:db8::1]:10900/web", "nbd-client 2001:db8::1 10900 /dev/nbd0 -name web -block-size 4096 -persist -cacertfile CA.pem", "nbd0 2001:db8::1 web bs=4096,persist,port=10900,cacertfile=CA.pem"},
		{"nbd://HOST/web", "nbd-client HOST 10809 /dev/nbd0 -name web -block-size 4096 -persist", "nbd0 HOST web bs=4096,persist"},
		{"nbd+unix:///web?socket=/run/lock%20plate/nbd.sock", "nbd-client -unix '/run/lock plate/nbd.sock' /dev/nbd0 -name web -block-size 4096 -persist", "nbd0 /run/lock plate/nbd.sock web unix,bs=4096,persist"},
	}
	if len(got) != len(want) {
		t.Fatalf("%d attachments, want %d", len(got), len(want))
	}
	for i, w := range want {
		if d := cmp.Diff([]string{w.uri, w.client, w.tab}, []string{got[i].URI, got[i].NBDClient, got[i].NBDTab}); d != "" {
			t.Error(d)
		}
	}
}

func TestBlockSizeIsWhatTheServerTells(t *testing.T) {
	for _, c := range []struct {
		v    wire.Volume
		want int
	}{
		{wire.Volume{TotalSize: 1 << 20}, 4096},
		{wire.Volume{TotalSize: 1 << 20, Enable512e: true}, 512},
		{wire.Volume{TotalSize: 1<<20 + 512}, 512},
	} {
		if got := blockSize(c.v); got != c.want {
			t.Errorf("%+v: %d, want %d", c.v, got, c.want)
		}
	}
}

func TestDeletedVolumeCannotBeAttached(t *testing.T) {
	got := attachments([]wire.Listener{{Kind: "nbd", Address: "tcp:127.0.0.1:1"}}, wire.Volume{Name: "x", Status: wire.VolumeDeleted})
	if len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func TestShellWord(t *testing.T) {
	for in, want := range map[string]string{
		"plain-1.0": "plain-1.0", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$x": "'$x'", "a?b": "'a?b'",
	} {
		if got := shellWord(in); got != want {
			t.Errorf("shellWord(%q) = %s, want %s", in, got, want)
		}
	}
}
