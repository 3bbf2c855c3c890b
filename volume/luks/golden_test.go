package luks

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lockplate/blockdev"
)

var writeGolden = flag.String("write-golden", "", "write a new image of this version's format to `FILE`.gz; never over an old one")

const (
	goldenPass = "golden passphrase"
	ourGolden  = "lockplate-1.img.gz"
)

// golden unpacks an image of testdata/golden; the README there says how each
// was made.
func golden(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "golden", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	p, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestGoldenImagesOpenForEver opens every image ever committed.
func TestGoldenImagesOpenForEver(t *testing.T) {
	for hdr, data := range map[string]string{
		"cryptsetup-argon2id.hdr.gz":      "cryptsetup-argon2id.data.gz",
		"cryptsetup-pbkdf2-aes128.hdr.gz": "cryptsetup-pbkdf2-aes128.data.gz",
		"cryptsetup-luks1-plain.img.gz":   "",
		"qemu-luks1-aes128.img.gz":        "",
		ourGolden:                         "",
	} {
		t.Run(hdr, func(t *testing.T) {
			img := golden(t, hdr)
			body := img
			if data != "" {
				body = golden(t, data)
			}
			wantData(t, img, body, goldenPass, pattern(16<<10))
		})
	}
}

func TestGoldenReencryptionIsRefused(t *testing.T) {
	img := golden(t, "cryptsetup-reencrypt.hdr.gz")
	_, err := Read(context.Background(), fromBytes(t, img, 0))
	if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "online-reencrypt-v2") {
		t.Errorf("error %v", err)
	}
}

// makeGolden makes a container as this version writes it, from fixed random
// bytes: 1 MiB of header, keyslots of both kinds, a token, a fixed segment.
func makeGolden(t *testing.T) []byte {
	t.Helper()
	ctx := context.Background()
	dev := blockdev.NewMem(1<<20 + 16<<10)
	h, err := Format(ctx, dev, testKey(64, 1), Options{
		Label: "golden", SectorSize: 4096, DataOffset: 1 << 20, SegmentSize: 16 << 10,
		Token: &Token{Cluster: "cluster-id", Volume: "volume-id", Drive: "drive-id"},
		Rand:  rand.NewChaCha8([32]byte([]byte("lockplate golden image, format 1"))),
	})
	if err != nil {
		t.Fatal(err)
	}
	h, _, err = h.AddKeyslot(ctx, dev, testKey(64, 1), []byte(goldenPass), KDF{Memory: 1024, Iterations: 4, Parallel: 2})
	if err != nil {
		t.Fatal(err)
	}
	s, err := h.Sectors(testKey(64, 1))
	if err != nil {
		t.Fatal(err)
	}
	data := pattern(16 << 10)
	s.Encrypt(data, data, 0)
	put(t, dev, h.DataOffset, data)
	return contents(t, dev, 0, dev.Info().Size)
}

// TestFormatIsByteExact keeps what is written from changing unnoticed: the
// same random bytes give the committed image.
func TestFormatIsByteExact(t *testing.T) {
	img := makeGolden(t)
	if *writeGolden != "" {
		storeGolden(t, *writeGolden, img)
	}
	want := golden(t, ourGolden)
	if !bytes.Equal(img, want) {
		n := 0
		for n < min(len(img), len(want)) && img[n] == want[n] {
			n++
		}
		t.Errorf("image differs from the committed one at byte %d", n)
	}
}

// storeGolden writes a new golden image.
func storeGolden(t *testing.T, name string, img []byte) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join("testdata", "golden", name+".gz"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, _ := gzip.NewWriterLevel(f, gzip.BestCompression)
	if _, err := z.Write(img); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
}
