package luks

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"lockplate/blockdev"
	"lockplate/blockdev/blockdevtest"
)

// luks1Image returns the smallest golden LUKS1 image.
func luks1Image(t testing.TB) []byte {
	t.Helper()
	return golden(t, "qemu-luks1-aes128.img.gz")
}

// TestReadsDataQemuEncrypted has qemu write into containers of cryptsetup's.
func TestReadsDataQemuEncrypted(t *testing.T) {
	needTool(t, "qemu-img")
	needTool(t, "cryptsetup")
	for name, args := range map[string][]string{
		"default":       nil,
		"sha1-plain":    {"--hash", "sha1", "--cipher", "aes-xts-plain"},
		"sha512-aes128": {"--hash", "sha512", "--key-size", "256"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			raw := newFile(t, dir, "raw", pattern(1<<20), 0)
			pw := newFile(t, dir, "pw", []byte(testPass), 0)
			path := newFile(t, dir, "luks", nil, 3<<20)
			cryptsetup(t, append(args, "luksFormat", "--type", "luks1", "--align-payload", "4096", "--pbkdf-force-iterations", "1000", "--key-file", pw, path)...)
			tool(t, 0, "qemu-img", "convert", "-q", "-n", "-f", "raw", "--object", "secret,id=s,file="+pw,
				"--target-image-opts", raw, "driver=luks,key-secret=s,file.filename="+path)
			wantDataFile(t, path)
		})
	}
}

// TestReadsWhatQemuMade has qemu make the container too. Measuring its key
// derivation fails now and then on a busy machine, so it may try again.
func TestReadsWhatQemuMade(t *testing.T) {
	needTool(t, "qemu-img")
	dir := t.TempDir()
	raw := newFile(t, dir, "raw", pattern(1<<20), 0)
	pw := newFile(t, dir, "pw", []byte(testPass), 0)
	path := filepath.Join(dir, "luks")
	for try := 1; ; try++ {
		out, err := exec.Command("qemu-img", "convert", "-q", "-f", "raw", "-O", "luks", "--object", "secret,id=s,file="+pw,
			"-o", "key-secret=s,iter-time=50", raw, path).CombinedOutput()
		if err == nil {
			break
		}
		if try == 5 || !bytes.Contains(out, []byte("accurate CPU usage")) {
			t.Fatalf("qemu-img: %v: %s", err, out)
		}
	}
	wantDataFile(t, path)
}

// wantDataFile is wantData for a file with testPass and 1 MiB of pattern.
func wantDataFile(t *testing.T, path string) {
	t.Helper()
	img, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wantData(t, img, img, testPass, pattern(1<<20))
}

// wantData opens a container and compares what its data decrypts to. Header
// and data may be the same image.
func wantData(t *testing.T, hdr, data []byte, passphrase string, want []byte) {
	t.Helper()
	dev := fromBytes(t, hdr, 0)
	h := reread(t, dev)
	key, _, err := h.Unlock(context.Background(), dev, []byte(passphrase))
	if err != nil {
		t.Fatal(err)
	}
	n, err := h.DataSize(int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	s, err := h.Sectors(key)
	if err != nil {
		t.Fatal(err)
	}
	got := bytes.Clone(data[h.DataOffset : h.DataOffset+n])
	if !bytes.Equal(decryptXTS(t, key, got, h.SectorSize, h.IVTweak), want) {
		t.Error("data decrypted independently differs")
	}
	s.Decrypt(got, got, 0)
	if !bytes.Equal(got, want) {
		t.Error("data decrypted by Sectors differs")
	}
}

// TestQemuReadsWhatSectorsWrote puts data encrypted here into a LUKS1 container
// of cryptsetup's and reads it with qemu.
func TestQemuReadsWhatSectorsWrote(t *testing.T) {
	needTool(t, "qemu-img")
	needTool(t, "cryptsetup")
	dir := t.TempDir()
	img := newFile(t, dir, "img", nil, 3<<20)
	pw := newFile(t, dir, "pw", []byte(testPass), 0)
	cryptsetup(t, "luksFormat", "--type", "luks1", "--pbkdf-force-iterations", "1000", "--key-file", pw, img)
	dev := openFile(t, img)
	h := reread(t, dev)
	key, _, err := h.Unlock(context.Background(), dev, []byte(testPass))
	if err != nil {
		t.Fatal(err)
	}
	s, err := h.Sectors(key)
	if err != nil {
		t.Fatal(err)
	}
	data := pattern(1 << 20)
	s.Encrypt(data, data, 0)
	put(t, dev, h.DataOffset, data)
	dev.Close()
	out := filepath.Join(dir, "out")
	tool(t, 0, "qemu-img", "convert", "-q", "-O", "raw", "--object", "secret,id=s,file="+pw,
		"--image-opts", "driver=luks,key-secret=s,file.filename="+img, out)
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, pattern(1<<20)) {
		t.Error("qemu read something else")
	}
}

func TestLUKS1IsNeverWritten(t *testing.T) {
	ctx := context.Background()
	img := luks1Image(t)
	dev := blockdevtest.NewFaulty(fromBytes(t, img, 0))
	h := reread(t, dev)
	writes := changes(ctx, dev, h)
	for name, change := range writes {
		if err := change(); !errors.Is(err, ErrReadOnly) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if fixed, err := Repair(ctx, dev); fixed || err != nil {
		t.Errorf("repair: %v, %v", fixed, err)
	}
	if n := dev.Count(blockdevtest.OpWrite) + dev.Count(blockdevtest.OpZero); n != 0 {
		t.Errorf("%d writes", n)
	}
}

func TestHostileLUKS1(t *testing.T) {
	u32 := func(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
	img := luks1Image(t)
	for name, c := range map[string]struct {
		off        int64
		p          []byte
		read, open error
	}{
		"key of 0 bytes":       {off1Key, u32(0), ErrCorrupt, nil},
		"key of 4 GiB":         {off1Key, u32(1<<32 - 1), ErrCorrupt, nil},
		"no stripes":           {off1Slots + 44, u32(0), ErrCorrupt, nil},
		"stripes beyond limit": {off1Slots + 44, u32(1<<32 - 1), ErrCorrupt, nil},
		"area beyond the end":  {off1Slots + 40, u32(1<<32 - 1), nil, ErrTruncated},
		"slot rounds 0":        {off1Slots + 4, u32(0), nil, ErrUnsupported},
		"slot rounds too many": {off1Slots + 4, u32(1<<32 - 1), nil, ErrUnsupported},
		"key digest rounds":    {off1Rounds, u32(1<<32 - 1), nil, ErrUnsupported},
		"hash":                 {off1Hash, []byte("md5\x00\x00\x00"), nil, ErrUnsupported},
		"cipher":               {off1Cipher, []byte("twofish\x00"), nil, ErrUnsupported},
		"mode":                 {off1Mode, []byte("cbc-essiv:sha256\x00"), nil, ErrUnsupported},
		"text without end":     {off1Cipher, bytes.Repeat([]byte("a"), 96), nil, ErrUnsupported},
		"slot disabled":        {off1Slots, u32(0xdead), nil, ErrNoKeyslot},
		"slot state unknown":   {off1Slots, u32(7), nil, ErrNoKeyslot},
		"salt":                 {off1Slots + 8, []byte("other"), nil, ErrWrongPassphrase},
		"key digest":           {off1Digest, []byte("other"), nil, ErrWrongPassphrase},
	} {
		t.Run(name, func(t *testing.T) {
			dev := fromBytes(t, img, 0)
			put(t, dev, c.off, c.p)
			h, err := Read(context.Background(), dev)
			if !errors.Is(err, c.read) {
				t.Fatalf("read: %v, want %v", err, c.read)
			}
			if h == nil {
				return
			}
			if _, _, err := h.Unlock(context.Background(), dev, []byte(goldenPass)); !errors.Is(err, c.open) {
				t.Errorf("unlock: %v, want %v", err, c.open)
			}
		})
	}
}

func TestLUKS1PlainEndsAt2TiB(t *testing.T) {
	h := reread(t, fromBytes(t, golden(t, "cryptsetup-luks1-plain.img.gz"), 0))
	if n, err := h.DataSize(h.DataOffset + plainLimit); n != plainLimit || err != nil {
		t.Errorf("2 TiB: %d, %v", n, err)
	}
	if _, err := h.DataSize(h.DataOffset + plainLimit + 512); !errors.Is(err, ErrUnsupported) {
		t.Errorf("2 TiB and a sector: %v", err)
	}
}

func TestLUKS1OverLUKS2IsLUKS1(t *testing.T) {
	dev, _ := newContainer(t, 20<<20, Options{})
	put(t, dev, 0, luks1Image(t)[:luks1Size])
	if h, err := Read(context.Background(), blockdev.Device(dev)); err != nil || h.Version != 1 {
		t.Errorf("%v, %v", h, err)
	}
}
