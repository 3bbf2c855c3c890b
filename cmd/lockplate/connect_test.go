package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lockplate/api/wire"
)

func TestWhereTheSocketIs(t *testing.T) {
	if _, err := os.Stat(systemSocket); err == nil {
		t.Skip("this machine runs lockplate as a system service")
	}
	for _, c := range []struct {
		name string
		opt  globalOptions
		env  map[string]string
		want string
	}{
		{"default", globalOptions{}, nil, "/var/lib/lockplate/api.sock"},
		{"state in the environment", globalOptions{}, map[string]string{"LOCKPLATE_STATE": "/e"}, "/e/api.sock"},
		{"--state goes before it", globalOptions{state: "/f"}, map[string]string{"LOCKPLATE_STATE": "/e"}, "/f/api.sock"},
		{"socket in the environment", globalOptions{state: "/f"}, map[string]string{"LOCKPLATE_SOCKET": "/s"}, "/s"},
		{"--socket goes before all", globalOptions{state: "/f", socket: "/g"}, map[string]string{"LOCKPLATE_SOCKET": "/s"}, "/g"},
	} {
		a, _, _ := testApp("", &fakeTerminal{})
		a.opt, a.env = c.opt, func(k string) string { return c.env[k] }
		if got := a.socket(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestServerNeedsAUserAndAsksForThePassword(t *testing.T) {
	a, _, _ := testApp("", &fakeTerminal{interactive: true, lines: []string{"long enough"}})
	a.opt = globalOptions{server: "https://h:1", user: "joe", ca: "/ca", password: secretFlags{name: "password", fd: -1}}
	o, err := a.clientOptions(t.Context())
	if err != nil || o.Server != "https://h:1" || o.User != "joe" || string(o.Password) != "long enough" || o.CAFile != "/ca" || o.Socket != "" {
		t.Errorf("%+v, %v", o, err)
	}
	for _, opt := range []globalOptions{
		{server: "https://h:1"},
		{server: "https://h:1", user: "joe", socket: "/s"},
		{user: "joe"},
		{ca: "/ca"},
		{fingerprint: "00"},
		{server: "https://h:1", user: "joe", password: secretFlags{name: "password", fd: -1}},
	} {
		a, _, _ := testApp("", &fakeTerminal{})
		if opt.password.name == "" {
			opt.password.fd = -1
		}
		a.opt = opt
		if _, err := a.clientOptions(t.Context()); exitCode(err) != exitUsage {
			t.Errorf("%+v: %v, want a usage error", opt, err)
		}
	}
}

func TestPathsAreAbsoluteUnlessTheDaemonIsElsewhere(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	a, _, _ := testApp("", &fakeTerminal{})
	for in, want := range map[string]string{
		"dir:x": "dir:" + filepath.Join(wd, "x"), "file:./x": "file:" + filepath.Join(wd, "x"), "disk:/dev/sdb": "disk:/dev/sdb",
		"dir:/a/../b": "dir:/b", "mem:64M": "mem:64M", "nbd://h/x": "nbd://h/x", "7": "7", "": "",
	} {
		if got := a.localURI(in); got != want {
			t.Errorf("localURI(%q) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"file:k": "file:" + filepath.Join(wd, "k"), "file:/k": "file:/k", "file:": "file:", "passphrase": "passphrase", "credential:x": "credential:x",
	} {
		if got := a.localSeal(in); got != want {
			t.Errorf("localSeal(%q) = %q, want %q", in, got, want)
		}
	}
	a.opt.server = "https://h:1"
	if a.localURI("dir:x") != "dir:x" || a.localSeal("file:k") != "file:k" {
		t.Error("a path on another machine was made absolute here")
	}
}

func TestPickVolumePrefersLiveNames(t *testing.T) {
	vols := []wire.Volume{
		{VolumeID: 1, Name: "web", Status: wire.VolumeDeleted},
		{VolumeID: 2, Name: "web", Status: wire.VolumeActive},
		{VolumeID: 3, Name: "1", Status: wire.VolumeActive},
		{VolumeID: 4, Name: "old", Status: wire.VolumeDeleted},
	}
	for in, want := range map[string]int64{"web": 2, "1": 3, "2": 2, "4": 4, "old": 4, "none": 0, "9": 0, "": 0, "-1": 0} {
		got, ok := pickVolume(vols, in)
		if got.VolumeID != want || ok != (want != 0) {
			t.Errorf("%q: volume %d, want %d", in, got.VolumeID, want)
		}
	}
}

func TestParametersMustBeAnObject(t *testing.T) {
	for in, ok := range map[string]bool{
		"{}": true, `{"a": 1}`: true, " {} ": true, "[]": false, "null": false, "": false, "1": false, `"x"`: false, "{": false, "{} {}": false,
	} {
		a, _, _ := testApp(in, &fakeTerminal{})
		for _, args := range [][]string{{in}, {"-"}} {
			a.in = testInput(in)
			if _, err := a.readParams(args); (err == nil) != ok || err != nil && exitCode(err) != exitUsage {
				t.Errorf("%q by %q: %v", in, args, err)
			}
		}
	}
	a, _, _ := testApp("", &fakeTerminal{})
	got, err := a.readParams(nil)
	if d := cmp.Diff("{}", string(got)); d != "" || err != nil {
		t.Error(d, err)
	}
	a.in = testInput(`{"a": "` + string(make([]byte, maxParams)) + `"}`)
	if _, err := a.readParams([]string{"-"}); exitCode(err) != exitUsage {
		t.Errorf("an endless object: %v", err)
	}
}
