package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// container is a LUKS image as cryptsetup tells it, and nothing of ours.
type container struct {
	t          *testing.T
	image      string
	header     string // the image itself unless detached
	passphrase string // a file
	offset     int64
	sectorSize int
}

// inspect reads the layout from luksDump.
func inspect(t *testing.T, image, header, passphrase string) *container {
	t.Helper()
	c := &container{t: t, image: image, header: header, passphrase: passphrase}
	var meta struct {
		Segments map[string]struct {
			Offset     string `json:"offset"`
			SectorSize int    `json:"sector_size"`
			Encryption string `json:"encryption"`
		} `json:"segments"`
	}
	out := run(t, "cryptsetup", "luksDump", "--dump-json-metadata", c.header)
	must(t, json.Unmarshal([]byte(out), &meta))
	seg, ok := meta.Segments["0"]
	if !ok || seg.Encryption != "aes-xts-plain64" {
		t.Fatalf("no aes-xts-plain64 segment in\n%s", out)
	}
	var err error
	c.offset, err = strconv.ParseInt(seg.Offset, 10, 64)
	must(t, err)
	c.sectorSize = seg.SectorSize
	return c
}

// key lets cryptsetup give the volume key.
func (c *container) key() []byte {
	c.t.Helper()
	file := filepath.Join(c.t.TempDir(), "volume.key")
	run(c.t, "cryptsetup", "luksDump", "--batch-mode", "--dump-volume-key", "--volume-key-file", file, "--key-file", c.passphrase, c.header)
	key, err := os.ReadFile(file)
	must(c.t, err)
	return key
}

// plain decrypts n bytes from the start of the data, without lockplate.
func (c *container) plain(n int64) []byte {
	c.t.Helper()
	f, err := os.Open(c.image)
	must(c.t, err)
	defer f.Close()
	p := make([]byte, n)
	if _, err := f.ReadAt(p, c.offset); err != nil {
		c.t.Fatalf("read %d bytes at %d of the image: %v", n, c.offset, err)
	}
	newXTS(c.t, c.key(), c.sectorSize).decrypt(p, 0)
	return p
}

// fill encrypts data into the container as dm-crypt would have.
func (c *container) fill(data []byte) {
	c.t.Helper()
	encryptFile(c.t, c.image, c.offset, data, newXTS(c.t, c.key(), c.sectorSize))
}

func randomBytes(n int64) []byte {
	p := make([]byte, n)
	_, _ = rand.Read(p) // never fails
	return p
}

func TestCryptsetupOpensWhatWeMade(t *testing.T) {
	need(t, "cryptsetup")
	for _, tt := range []struct {
		name       string
		args       []string
		sectorSize int
	}{
		{"default", nil, 4096},
		{"sectors of 512 bytes", []string{"--sector-size", "512"}, 512},
		{"detached header", []string{"--header", "detached"}, 4096},
		{"pbkdf2 keyslot", []string{"--kdf", "pbkdf2"}, 4096},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			const size = 8 << 20
			g := newGateway(t)
			g.metadataDrive()
			g.recoverable("vol", strconv.Itoa(size), tt.args...)
			c := g.dial("vol")
			data := randomBytes(size)
			for off := 0; off < size; off += 1 << 20 {
				must(t, c.writeAt(data[off:off+1<<20], int64(off)))
			}
			must(t, c.writeAt([]byte("odd bytes at an odd place"), 12345))
			copy(data[12345:], "odd bytes at an odd place")
			must(t, c.flush())
			served, err := c.readAll()
			must(t, err)
			if !bytes.Equal(served, data) {
				t.Fatal("NBD returned other data than was written")
			}
			info := g.show("vol").Lockplate
			g.stop() // lets go of the image

			checkContainer(t, info.Path, headerOf(info.Path, info.HeaderPath), filepath.Join(g.dir, "recovery"), tt.sectorSize, served)
		})
	}
}

func headerOf(image, header string) string {
	if header == "" {
		return image
	}
	return header
}

// checkContainer puts every question to cryptsetup that it answers without
// device-mapper, and compares the data decrypted outside with want.
func checkContainer(t *testing.T, image, header, passphrase string, sectorSize int, want []byte) {
	t.Helper()
	wrong := filepath.Join(t.TempDir(), "wrong")
	must(t, os.WriteFile(wrong, []byte("not it"), 0o600))
	if out := run(t, "cryptsetup", "luksDump", header); !bytes.Contains([]byte(out), []byte("lockplate")) {
		t.Errorf("luksDump shows no lockplate token:\n%s", out)
	}
	run(t, "cryptsetup", "isLuks", "--type", "luks2", header)
	run(t, "cryptsetup", "open", "--test-passphrase", "--key-file", passphrase, header)
	if r := try(t, "cryptsetup", "open", "--test-passphrase", "--key-file", wrong, header); r.code != 2 {
		t.Errorf("cryptsetup with a wrong passphrase: %v", r)
	}
	run(t, "cryptsetup", "repair", "--batch-mode", header)
	c := inspect(t, image, header, passphrase)
	if c.sectorSize != sectorSize {
		t.Errorf("sector size %d, want %d", c.sectorSize, sectorSize)
	}
	if len(c.key()) != 64 {
		t.Errorf("volume key of %d bytes, want 64", len(c.key()))
	}
	if !bytes.Equal(c.plain(int64(len(want))), want) {
		t.Error("decrypted outside lockplate, the data differs from what NBD returned")
	}
}

// The sector size of containers made by cryptsetup 2.6 on a file is 4096 when
// the file's size allows, else 512; each case states its own.
func TestAdoptsWhatCryptsetupMade(t *testing.T) {
	need(t, "cryptsetup")
	luks2 := []string{"--type", "luks2", "--pbkdf-memory", "32768", "--pbkdf-force-iterations", "4"}
	pbkdf2 := []string{"--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"}
	for _, tt := range []struct {
		name   string
		format []string
	}{
		{"luks2 argon2id", luks2},
		{"luks2 pbkdf2", pbkdf2},
		{"sectors of 512 bytes", append([]string{"--sector-size", "512"}, pbkdf2...)},
		{"sectors of 4096 bytes", append([]string{"--sector-size", "4096"}, pbkdf2...)},
		{"AES-128 key", append([]string{"--key-size", "256"}, pbkdf2...)},
		{"AES-256 key", append([]string{"--key-size", "512"}, pbkdf2...)},
		{"data at 1 MiB", append([]string{"--offset", "2048", "--luks2-keyslots-size", "512k"}, pbkdf2...)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			const size = 4 << 20
			g := newGateway(t)
			data := randomBytes(size)
			c := formatted(t, g, tt.format, data)

			g.cli("volume", "adopt", "vol", "--drive", "dir:"+g.drive, "--image", "foreign", "--passphrase-file", c.passphrase)
			checkAdopted(t, g, c, data)
		})
	}
}

// formatted makes a container with cryptsetup in the drive of g and puts data
// into it.
func formatted(t *testing.T, g *gateway, format []string, data []byte) *container {
	t.Helper()
	image, pass := filepath.Join(g.drive, "foreign.img"), g.file("foreign", "made elsewhere")
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 16<<20+int64(len(data))))
	run(t, "cryptsetup", append([]string{"luksFormat", "--batch-mode", image, pass}, format...)...)
	c := inspect(t, image, image, pass)
	must(t, os.Truncate(image, c.offset+int64(len(data))))
	c.fill(data)
	return c
}

// checkAdopted reads the foreign data through lockplate, writes some, and reads
// that outside again, after a restart without the passphrase.
func checkAdopted(t *testing.T, g *gateway, c *container, data []byte) {
	t.Helper()
	nbd := g.dial("vol")
	got, err := nbd.readAll()
	must(t, err)
	if !bytes.Equal(got, data) {
		t.Fatal("the adopted volume reads other data than cryptsetup's container held")
	}
	piece := randomBytes(70000)
	must(t, nbd.writeAt(piece, 1000001))
	copy(data[1000001:], piece)
	must(t, nbd.flush())
	nbd.close()
	g.restart()
	got, err = g.dial("vol").readAll()
	must(t, err)
	if !bytes.Equal(got, data) {
		t.Error("after a restart the adopted volume reads other data")
	}
	g.stop()
	if !bytes.Equal(c.plain(int64(len(data))), data) {
		t.Error("decrypted outside, the adopted container differs from what was written through it")
	}
	run(t, "cryptsetup", "open", "--test-passphrase", "--key-file", c.passphrase, c.header)
}

func TestAdoptsADetachedHeader(t *testing.T) {
	need(t, "cryptsetup")
	const size = 4 << 20
	g := newGateway(t)
	meta := g.metadataDrive()
	image, header, pass := filepath.Join(g.drive, "foreign.img"), filepath.Join(meta, "header.img"), g.file("foreign", "made elsewhere")
	for _, f := range []string{image, header} {
		must(t, os.WriteFile(f, nil, 0o600))
		must(t, os.Truncate(f, 16<<20))
	}
	must(t, os.Truncate(image, size))
	run(t, "cryptsetup", "luksFormat", "--batch-mode", "--header", header, "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", image, pass)
	c := inspect(t, image, header, pass)
	data := randomBytes(size)
	c.fill(data)
	g.cli("volume", "adopt", "vol", "--drive", "dir:"+g.drive, "--image", "foreign", "--passphrase-file", pass,
		"--header-drive", "dir:"+meta, "--header-image", "header")
	checkAdopted(t, g, c, data)
}

func TestAdoptsLUKS1ReadOnly(t *testing.T) {
	need(t, "cryptsetup")
	g := newGateway(t)
	const size, offset = 4 << 20, 2 << 20 // of a LUKS1 container with a 512-bit key
	image, pass := filepath.Join(g.drive, "old.img"), g.file("old", "made long ago")
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, offset+size))
	run(t, "cryptsetup", "luksFormat", "--batch-mode", "--type", "luks1", "--key-size", "512", "--pbkdf-force-iterations", "1000", image, pass)
	c := &container{t: t, image: image, header: image, passphrase: pass, offset: offset, sectorSize: 512}
	data := randomBytes(size)
	c.fill(data)

	g.cli("volume", "adopt", "old", "--drive", "dir:"+g.drive, "--image", "old", "--passphrase-file", pass)
	nbd := g.dial("old")
	got, err := nbd.readAll()
	must(t, err)
	if !bytes.Equal(got, data) {
		t.Error("the LUKS1 volume reads other data than the container holds")
	}
	if err := nbd.writeAt([]byte{1}, 0); err == nil {
		t.Error("a LUKS1 volume was written")
	}
}

// A wrong passphrase, a foreign format and a container cut short are refused,
// each with its exit code, and the image stays as it was.
func TestAdoptRefuses(t *testing.T) {
	need(t, "cryptsetup")
	g := newGateway(t)
	c := formatted(t, g, []string{"--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"}, randomBytes(1<<20))
	cut := filepath.Join(g.drive, "cut.img")
	whole, err := os.ReadFile(c.image)
	must(t, err)
	must(t, os.WriteFile(cut, whole[:10<<10], 0o600))
	must(t, os.WriteFile(filepath.Join(g.drive, "noise.img"), randomBytes(17<<20), 0o600))
	for _, tt := range []struct {
		image, passphrase string
		code              int
	}{
		{"foreign", g.file("wrong", "no"), exitDenied},
		{"cut", c.passphrase, exitIntegrity},
		{"noise", c.passphrase, exitFailure}, // no container at all
		{"absent", c.passphrase, exitNotFound},
	} {
		t.Run(tt.image, func(t *testing.T) {
			r := g.try("volume", "adopt", "vol", "--drive", "dir:"+g.drive, "--image", tt.image, "--passphrase-file", tt.passphrase)
			expectRefusal(t, r, tt.code)
		})
	}
	after, err := os.ReadFile(c.image)
	must(t, err)
	if !bytes.Equal(after, whole) {
		t.Error("a refused adoption changed the image")
	}
}

// Exit codes that docs promise.
const (
	exitFailure   = 1
	exitNotFound  = 10
	exitLocked    = 11
	exitDenied    = 13
	exitIntegrity = 14
	exitBusy      = 15
	exitConflict  = 16
	exitNoSpace   = 17
	exitReadOnly  = 18
)

// expectRefusal wants the code, a message, and no trace of a crash.
func expectRefusal(t *testing.T, r result, code int) {
	t.Helper()
	if r.code != code {
		t.Errorf("want exit %d: %v", code, r)
	}
	if r.err == "" || bytes.Contains([]byte(r.err), []byte("goroutine ")) {
		t.Errorf("want a message a person can use: %v", r)
	}
	t.Logf("exit %d: %s", r.code, r.err)
}
