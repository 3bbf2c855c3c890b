package luks

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lockplate/blockdev"
)

const testPass = "correct horse battery staple"

// These tests compare with cryptsetup on plain files; the opening of mapped
// devices needs a kernel and is tested elsewhere.

func TestOpensWhatCryptsetupMade(t *testing.T) {
	needTool(t, "cryptsetup")
	for name, c := range map[string]struct {
		args      []string
		keyBytes  int
		sector    int
		kdf, algo string
		detached  bool
		version   int
	}{
		"default argon2id":     {args: cheap(), keyBytes: 64, kdf: Argon2id},
		"sector 512":           {args: append(cheap(), "--sector-size", "512"), keyBytes: 64, sector: 512, kdf: Argon2id},
		"sector 4096":          {args: append(cheap(), "--sector-size", "4096"), keyBytes: 64, sector: 4096, kdf: Argon2id},
		"sector 1024, AES-128": {args: append(cheap(), "--sector-size", "1024", "--key-size", "256"), keyBytes: 32, sector: 1024, kdf: Argon2id},
		"key size 512":         {args: append(cheap(), "--key-size", "512"), keyBytes: 64, kdf: Argon2id},
		"pbkdf2 sha256":        {args: cheapPBKDF2("sha256"), keyBytes: 64, kdf: PBKDF2},
		"pbkdf2 sha512":        {args: cheapPBKDF2("sha512"), keyBytes: 64, kdf: PBKDF2},
		"pbkdf2 sha1, AES-128": {args: append(cheapPBKDF2("sha1"), "--key-size", "256"), keyBytes: 32, kdf: PBKDF2},
		"argon2i":              {args: []string{"--pbkdf", "argon2i", "--pbkdf-memory", "8192", "--pbkdf-force-iterations", "4", "--pbkdf-parallel", "3"}, keyBytes: 64, kdf: "argon2i"},
		"detached header":      {args: cheap(), keyBytes: 64, kdf: Argon2id, detached: true},
		"header of 64 KiB":     {args: append(cheap(), "--luks2-metadata-size", "64k"), keyBytes: 64, kdf: Argon2id},
		"header of 4 MiB":      {args: append(cheap(), "--luks2-metadata-size", "4m", "--offset", "32768"), keyBytes: 64, kdf: Argon2id},
		"luks1 sha256":         {args: []string{"--type", "luks1", "--pbkdf-force-iterations", "1000"}, keyBytes: 64, sector: 512, kdf: PBKDF2, version: 1},
		"luks1 sha1":           {args: []string{"--type", "luks1", "--pbkdf-force-iterations", "1000", "--hash", "sha1", "--key-size", "256"}, keyBytes: 32, sector: 512, kdf: PBKDF2, version: 1},
		"luks1 sha512, plain":  {args: []string{"--type", "luks1", "--pbkdf-force-iterations", "1000", "--hash", "sha512", "--cipher", "aes-xts-plain"}, keyBytes: 64, sector: 512, kdf: PBKDF2, version: 1},
		"luks1 detached":       {args: []string{"--type", "luks1", "--pbkdf-force-iterations", "1000"}, keyBytes: 64, sector: 512, kdf: PBKDF2, version: 1, detached: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			img := newFile(t, dir, "img", nil, 24<<20)
			pw := newFile(t, dir, "pw", []byte(testPass), 0)
			hdr, args := img, []string{"--key-file", pw}
			if c.detached {
				hdr = newFile(t, dir, "hdr", nil, 1<<20)
				args = append(args, "--header", hdr)
			}
			cryptsetup(t, append(append([]string{"luksFormat", img}, args...), c.args...)...)
			key := dumpKey(t, hdr, pw)
			readFile(t, hdr, func(dev blockdev.Device, h *Header) {
				if h.Version != cmp.Or(c.version, 2) || h.KeyBytes != c.keyBytes || c.sector != 0 && h.SectorSize != c.sector {
					t.Errorf("version %d, key of %d bytes, sectors of %d", h.Version, h.KeyBytes, h.SectorSize)
				}
				if c.detached != (h.DataOffset == 0) || !slices.Equal(h.Keyslots, []Keyslot{{0, c.kdf}}) {
					t.Errorf("data at %d, keyslots %v", h.DataOffset, h.Keyslots)
				}
				if uuid := strings.TrimSpace(cryptsetup(t, "luksUUID", hdr)); h.UUID != uuid {
					t.Errorf("UUID %q, cryptsetup says %q", h.UUID, uuid)
				}
				if slot := wantKey(t, dev, h, testPass, key); slot != 0 {
					t.Errorf("slot %d", slot)
				}
				if _, _, err := h.Unlock(context.Background(), dev, []byte("wrong")); !errors.Is(err, ErrWrongPassphrase) {
					t.Errorf("wrong passphrase: %v", err)
				}
				if _, err := h.Sectors(key); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// dumpKey asks cryptsetup for the volume key.
func dumpKey(t *testing.T, hdr, pw string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	cryptsetup(t, "luksDump", "--dump-volume-key", "--volume-key-file", path, "--key-file", pw, hdr)
	key, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestOpensLUKS1ConvertedToLUKS2(t *testing.T) {
	needTool(t, "cryptsetup")
	dir := t.TempDir()
	img := newFile(t, dir, "img", nil, 4<<20)
	pw := newFile(t, dir, "pw", []byte(testPass), 0)
	cryptsetup(t, "luksFormat", "--type", "luks1", "--pbkdf-force-iterations", "1000", "--hash", "sha1", "--key-file", pw, img)
	key := dumpKey(t, img, pw)
	cryptsetup(t, "convert", "--type", "luks2", img)
	readFile(t, img, func(dev blockdev.Device, h *Header) {
		if h.Version != 2 {
			t.Fatalf("version %d", h.Version)
		}
		wantKey(t, dev, h, testPass, key)
	})
}

// ours writes a container with one Argon2id keyslot to a file.
func ours(t *testing.T, dir string, o Options) (path, pw, keyFile string) {
	t.Helper()
	dev, h := newContainer(t, 20<<20, o)
	_, _, err := h.AddKeyslot(context.Background(), dev, testKey(64, 1), []byte(testPass), KDF{Memory: 8192, Iterations: 4, Parallel: 2})
	if err != nil {
		t.Fatal(err)
	}
	path = newFile(t, dir, "ours", contents(t, dev, 0, 20<<20), 0)
	return path, newFile(t, dir, "pw", []byte(testPass), 0), newFile(t, dir, "key", testKey(64, 1), 0)
}

func TestCryptsetupAcceptsOurs(t *testing.T) {
	needTool(t, "cryptsetup")
	for name, o := range map[string]Options{
		"4096":     {SectorSize: 4096, Label: "lp-vol", Token: &Token{"c", "v", "d"}},
		"512":      {SectorSize: 512, UUID: "8a7e6f0c-2d0f-4f26-8f0c-0123456789ab"},
		"fixed":    {SegmentSize: 1 << 20},
		"1 MiB":    {DataOffset: 1 << 20},
		"detached": {Detached: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, pw, keyFile := ours(t, dir, o)
			dump := cryptsetup(t, "luksDump", path)
			wantLines(t, dump, o)
			cryptsetup(t, "open", "--test-passphrase", "--key-file", pw, path)
			tool(t, 2, "cryptsetup", "-q", "open", "--test-passphrase", "--key-file", keyFile, path)
			cryptsetup(t, "repair", path)
			if got := dumpKey(t, path, pw); !bytes.Equal(got, testKey(64, 1)) {
				t.Error("cryptsetup found another volume key")
			}
		})
	}
}

// wantLines checks what luksDump says about a container of ours.
func wantLines(t *testing.T, dump string, o Options) {
	t.Helper()
	want := []string{"Version: 2", "cipher: aes-xts-plain64", "PBKDF: argon2id", "Key: 512 bits", "AF hash: sha256"}
	if o.Label != "" {
		want = append(want, "Label: "+o.Label)
	}
	if o.UUID != "" {
		want = append(want, "UUID: "+o.UUID)
	}
	if o.SegmentSize != 0 {
		want = append(want, "length: 1048576 [bytes]")
	}
	if o.Token != nil {
		want = append(want, "0: lockplate")
	}
	words := strings.Join(strings.Fields(dump), " ")
	for _, w := range want {
		if !strings.Contains(words, w) {
			t.Errorf("luksDump lacks %q:\n%s", w, dump)
		}
	}
}

func TestHeaderWithoutKeyslotsTakesCryptsetupKeys(t *testing.T) {
	needTool(t, "cryptsetup")
	dir := t.TempDir()
	dev, _ := newContainer(t, 20<<20, Options{})
	path := newFile(t, dir, "ours", contents(t, dev, 0, 20<<20), 0)
	pw := newFile(t, dir, "pw", []byte(testPass), 0)
	keyFile := newFile(t, dir, "key", testKey(64, 1), 0)
	cryptsetup(t, append([]string{"luksAddKey", "--volume-key-file", keyFile, "--key-size", "512", path, pw}, cheap()...)...)
	readFile(t, path, func(dev blockdev.Device, h *Header) { wantKey(t, dev, h, testPass, testKey(64, 1)) })
}

func TestCryptsetupOpensOurAES128(t *testing.T) {
	needTool(t, "cryptsetup")
	ctx, dir := context.Background(), t.TempDir()
	key := testKey(32, 5)
	dev := blockdev.NewMem(20 << 20)
	h, err := Format(ctx, dev, key, Options{SectorSize: 2048})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.AddKeyslot(ctx, dev, key, []byte(testPass), FastKDF()); err != nil {
		t.Fatal(err)
	}
	path := newFile(t, dir, "ours", contents(t, dev, 0, 20<<20), 0)
	if got := dumpKey(t, path, newFile(t, dir, "pw", []byte(testPass), 0)); !bytes.Equal(got, key) {
		t.Error("cryptsetup found another volume key")
	}
}

// TestBothEditOneHeader lets cryptsetup and this package take turns on a file.
func TestBothEditOneHeader(t *testing.T) {
	needTool(t, "cryptsetup")
	ctx, dir := context.Background(), t.TempDir()
	path, pw, _ := ours(t, dir, Options{Token: &Token{"c", "v", "d"}})
	pw2 := newFile(t, dir, "pw2", []byte("second"), 0)
	tok := newFile(t, dir, "tok", []byte(`{"type":"other","keyslots":["1"],"extra":{"n":12345678901234567890,"s":"<&>"}}`), 0)
	cryptsetup(t, append([]string{"luksAddKey", "--key-file", pw, path, pw2}, cheap()...)...)
	cryptsetup(t, "token", "import", "--json-file", tok, "--token-id", "7", path)
	cryptsetup(t, "config", "--priority", "ignore", "--key-slot", "0", path)

	dev := openFile(t, path)
	h := reread(t, dev)
	if slot := wantKey(t, dev, h, "second", testKey(64, 1)); slot != 1 {
		t.Errorf("slot %d", slot)
	}
	wantKey(t, dev, h, testPass, testKey(64, 1))
	h = addSlot(t, dev, h, "third")
	h, err := h.SetToken(ctx, dev, Token{"c2", "v2", "d2"})
	if err != nil {
		t.Fatal(err)
	}
	if h, err = h.RemoveKeyslot(ctx, dev, 1); err != nil {
		t.Fatal(err)
	}
	if _, err = h.SetSegmentSize(ctx, dev, 2<<20); err != nil {
		t.Fatal(err)
	}
	dev.Close()

	out := filepath.Join(dir, "tok.out")
	cryptsetup(t, "token", "export", "--token-id", "7", "--json-file", out, path)
	wantJSON(t, out, `{"type":"other","keyslots":[],"extra":{"n":12345678901234567890,"s":"<&>"}}`)
	out2 := filepath.Join(dir, "tok2.out")
	cryptsetup(t, "token", "export", "--token-id", "0", "--json-file", out2, path)
	wantJSON(t, out2, `{"type":"lockplate","keyslots":[],"cluster":"c2","volume":"v2","drive":"d2"}`)
	tool(t, 2, "cryptsetup", "-q", "open", "--test-passphrase", "--key-file", pw2, path)
	pw3 := newFile(t, dir, "pw3", []byte("third"), 0)
	cryptsetup(t, "open", "--test-passphrase", "--key-file", pw3, path)
	cryptsetup(t, "luksKillSlot", "--key-file", pw3, path, "0")
	readFile(t, path, func(_ blockdev.Device, h *Header) {
		if !slices.Equal(h.Keyslots, []Keyslot{{2, PBKDF2}}) || h.SegmentSize != 2<<20 || *h.Token != (Token{"c2", "v2", "d2"}) {
			t.Errorf("after all: keyslots %v, size %d, token %v", h.Keyslots, h.SegmentSize, h.Token)
		}
	})
}

// wantJSON compares a file with JSON text, whatever the order and spacing.
func wantJSON(t *testing.T, path, want string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	norm := func(p []byte) string {
		tree, err := parseJSON(append(bytes.TrimSpace(p), 0))
		if err != nil {
			t.Fatalf("%v: %s", err, p)
		}
		area, err := marshalJSON(tree, 4096)
		if err != nil {
			t.Fatal(err)
		}
		return string(bytes.TrimRight(area, "\x00"))
	}
	if got := norm(text); got != norm([]byte(want)) {
		t.Errorf("token %s, want %s", got, want)
	}
}

func TestHeaderBackupOfOursRestores(t *testing.T) {
	needTool(t, "cryptsetup")
	dir := t.TempDir()
	path, pw, _ := ours(t, dir, Options{})
	backup := filepath.Join(dir, "backup")
	cryptsetup(t, "luksHeaderBackup", "--header-backup-file", backup, path)
	readFile(t, backup, func(dev blockdev.Device, h *Header) { wantKey(t, dev, h, testPass, testKey(64, 1)) })
	if err := os.WriteFile(path, make([]byte, 20<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	cryptsetup(t, "luksHeaderRestore", "--header-backup-file", backup, path)
	cryptsetup(t, "open", "--test-passphrase", "--key-file", pw, path)
}

func TestRepairsLikeCryptsetup(t *testing.T) {
	needTool(t, "cryptsetup")
	dir := t.TempDir()
	path, pw, _ := ours(t, dir, Options{})
	dev := openFile(t, path)
	put(t, dev, 0, make([]byte, 4096))
	if fixed, err := Repair(context.Background(), dev); !fixed || err != nil {
		t.Fatal(fixed, err)
	}
	reread(t, dev)
	dev.Close()
	cryptsetup(t, "open", "--test-passphrase", "--key-file", pw, path)

	dev = openFile(t, path)
	put(t, dev, 100, make([]byte, 512))
	dev.Close()
	cryptsetup(t, "repair", path) // theirs repairs our copies too
	readFile(t, path, func(blockdev.Device, *Header) {})
}

// TestReadsDataCryptsetupEncrypted has cryptsetup encrypt a file in place
// (without device-mapper) and decrypts it here and in an independent way.
func TestReadsDataCryptsetupEncrypted(t *testing.T) {
	needTool(t, "cryptsetup")
	for _, sector := range []string{"512", "4096"} {
		t.Run(sector, func(t *testing.T) {
			dir := t.TempDir()
			plain := pattern(1 << 20)
			img := newFile(t, dir, "img", plain, 1<<20)
			hdr := filepath.Join(dir, "hdr")
			pw := newFile(t, dir, "pw", []byte(testPass), 0)
			cryptsetup(t, append([]string{
				"reencrypt", "--encrypt", "--type", "luks2", "--header", hdr, "--force-offline-reencrypt",
				"--sector-size", sector, "--key-file", pw, img,
			}, cheap()...)...)
			data, err := os.ReadFile(img)
			if err != nil {
				t.Fatal(err)
			}
			readFile(t, hdr, func(dev blockdev.Device, h *Header) {
				key, _, err := h.Unlock(context.Background(), dev, []byte(testPass))
				if err != nil {
					t.Fatal(err)
				}
				if got := decryptXTS(t, key, data, h.SectorSize, h.IVTweak); !bytes.Equal(got, plain) {
					t.Error("independent decryption differs")
				}
				s, err := h.Sectors(key)
				if err != nil {
					t.Fatal(err)
				}
				s.Decrypt(data, data, 0)
				if !bytes.Equal(data, plain) {
					t.Error("Sectors.Decrypt differs")
				}
			})
		})
	}
}

// TestCryptsetupDecryptsOurData is the other way round: data encrypted here,
// decrypted in place by cryptsetup.
func TestCryptsetupDecryptsOurData(t *testing.T) {
	needTool(t, "cryptsetup")
	for _, sector := range []int{512, 4096} {
		dir := t.TempDir()
		dev, h := newContainer(t, 18<<20, Options{SectorSize: sector})
		h = addSlot(t, dev, h, testPass)
		s, err := h.Sectors(testKey(64, 1))
		if err != nil {
			t.Fatal(err)
		}
		data := pattern(2 << 20)
		s.Encrypt(data, data, 0)
		put(t, dev, h.DataOffset, data)
		img := newFile(t, dir, "img", contents(t, dev, 0, 18<<20), 0)
		pw := newFile(t, dir, "pw", []byte(testPass), 0)
		cryptsetup(t, "reencrypt", "--decrypt", "--header", filepath.Join(dir, "hdr"), "--force-offline-reencrypt", "--key-file", pw, img)
		got, err := os.ReadFile(img)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got[:2<<20], pattern(2<<20)) {
			t.Errorf("sector size %d: cryptsetup decrypted something else", sector)
		}
	}
}

func TestRefusesReencryptionInProgress(t *testing.T) {
	needTool(t, "cryptsetup")
	dir := t.TempDir()
	path, pw, _ := ours(t, dir, Options{})
	cryptsetup(t, append([]string{"reencrypt", "--init-only", "--key-file", pw, path}, cheap()...)...)
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Read(context.Background(), fromBytes(t, p, 0))
	if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "online-reencrypt") {
		t.Errorf("error %v", err)
	}
}
