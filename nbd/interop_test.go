package nbd

import (
	"bytes"
	"os"
	"testing"

	"lockplate/blockdev"
)

func TestSmoke(t *testing.T) {
	a := startServer(t, Config{Exports: one(blockdev.NewMem(64 << 20))})
	t.Log(run(t, "nbdinfo", a.uri("disk")))
	t.Log(run(t, "nbdinfo", "--map", a.uri("disk")))
	t.Log(run(t, "nbdinfo", "--list", a.uri("")))
	t.Log(run(t, "nbdcopy", "--no-extents", a.uri("disk"), "null:"))
	img := t.TempDir() + "/img"
	if err := os.WriteFile(img, bytes.Repeat([]byte("lockplate "), 3<<20)[:30<<20], 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "nbdcopy", img, a.uri("disk"))
	t.Log(run(t, "nbdcopy", a.uri("disk"), t.TempDir()+"/out"))
}
