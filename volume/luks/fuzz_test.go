package luks

import (
	"bytes"
	"context"
	"errors"
	"math"
	"runtime"
	"testing"

	"lockplate/blockdev"
)

// fuzzAlloc is the most memory that reading a hostile header of the fuzz
// device's size may ask for: copies of both headers, the JSON tree of one, and
// what a tree of maxJSONValues costs.
const fuzzAlloc = 96 << 20

// bounded runs fn and fails when it allocated more than fuzzAlloc.
func bounded(t *testing.T, fn func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > fuzzAlloc {
		t.Errorf("allocated %d bytes", n)
	}
}

// knownError tells whether err is one that callers can branch on.
func knownError(err error) bool {
	for _, e := range []error{
		ErrNotLUKS, ErrCorrupt, ErrTruncated, ErrUnsupported, ErrWrongKey, ErrWrongPassphrase, ErrNoKeyslot, ErrNoRoom, ErrReadOnly,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// exercise does with a header that could be read what can be done with it.
func exercise(t *testing.T, dev blockdev.Device, h *Header) {
	t.Helper()
	ctx := context.Background()
	if n, err := h.DataSize(math.MaxInt64); err == nil && (n <= 0 || n%int64(h.SectorSize) != 0) {
		t.Errorf("data size %d with sectors of %d", n, h.SectorSize)
	} else if err != nil && !knownError(err) {
		t.Errorf("data size: %v", err)
	}
	_, _ = h.Sectors(testKey(64, 1))
	if !cheapToOpen(h) {
		return
	}
	if _, _, err := h.Unlock(ctx, dev, []byte(goldenPass)); err != nil && !knownError(err) {
		t.Errorf("unlock: %v", err)
	}
	next, err := h.SetToken(ctx, dev, Token{"a", "b", "c"})
	if err != nil {
		if !knownError(err) {
			t.Errorf("set token: %v", err)
		}
		return
	}
	again, err := Read(ctx, dev)
	if err != nil || again.Epoch != next.Epoch || *again.Token != (Token{"a", "b", "c"}) {
		t.Errorf("a header that was changed cannot be read: %v", err)
	}
}

// cheapToOpen keeps the fuzzer from running derivations of minutes, which are
// within the limits.
func cheapToOpen(h *Header) bool {
	work := int64(0)
	for _, s := range h.meta.slots {
		work += s.kdf.rounds * max(s.kdf.memory, 1)
		work += int64(s.stripes)
	}
	for _, d := range h.meta.digests {
		work += d.kdf.rounds
	}
	return work < 200_000
}

// FuzzHeader reads any two binary headers, 512 bytes each, and JSON texts as
// the copies of a 16 KiB header; with fix, the checksums of what looks like a
// copy are made to match first.
func FuzzHeader(f *testing.F) {
	for _, name := range []string{"cryptsetup-reencrypt.hdr.gz", ourGolden, "cryptsetup-pbkdf2-aes128.hdr.gz"} {
		img := golden(f, name)
		text, _, _ := bytes.Cut(img[binSize:minHdrSize], []byte{0})
		f.Add(img[:512], text, img[minHdrSize:minHdrSize+512], text, true)
		f.Add(img[:512], []byte("{}"), img[minHdrSize:minHdrSize+512], text, true)
		f.Add([]byte{}, []byte{}, img[minHdrSize:minHdrSize+512], text, true)
		f.Add(img[:512], text, []byte{}, []byte{}, false)
	}
	f.Fuzz(func(t *testing.T, bin1, text1, bin2, text2 []byte, fix bool) {
		p := make([]byte, 1<<20)
		for i, b := range [][]byte{bin1, text1, bin2, text2} {
			off := i/2*minHdrSize + i%2*binSize
			copy(p[off:off+minHdrSize-binSize], b)
		}
		if fix {
			fixChecksums(p)
		}
		dev := fromBytes(t, p, 0)
		bounded(t, func() {
			h, err := Read(context.Background(), dev)
			if err != nil {
				if !knownError(err) {
					t.Errorf("read: %v", err)
				}
				return
			}
			exercise(t, dev, h)
			if _, err := Repair(context.Background(), dev); err != nil {
				t.Errorf("repair: %v", err)
			}
		})
	})
}

// fixChecksums seals every copy in p whose binary header parses.
func fixChecksums(p []byte) {
	for _, off := range []int{0, minHdrSize, 2 * minHdrSize, 4 * minHdrSize} {
		if len(p) < off+binSize {
			return
		}
		bin, err := parseBin(p[off:off+binSize], int64(off))
		if err != nil || int64(len(p)-off) < bin.hdrSize {
			continue
		}
		whole := p[off : off+int(bin.hdrSize)]
		if sum, err := bin.checksum(whole); err == nil {
			copy(whole[offChecksum:], sum)
		}
	}
}

// FuzzMetadata reads any text as the JSON area of a header that is otherwise
// intact.
func FuzzMetadata(f *testing.F) {
	for _, name := range []string{"cryptsetup-reencrypt.hdr.gz", "cryptsetup-argon2id.hdr.gz", ourGolden, "cryptsetup-pbkdf2-aes128.hdr.gz"} {
		text, _, _ := bytes.Cut(golden(f, name)[binSize:minHdrSize], []byte{0})
		f.Add(text)
	}
	f.Add([]byte(`{"keyslots":{},"tokens":{},"segments":{},"digests":{},"config":{}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) >= minHdrSize-binSize {
			return
		}
		area := append(bytes.Clone(text), make([]byte, minHdrSize-binSize-len(text))...)
		dev := blockdev.NewMem(1 << 20)
		bin := binHeader{hdrSize: minHdrSize, seq: 1, algorithm: "sha256", uuid: "fuzz"}
		if err := (&copies{}).write(context.Background(), dev, bin, area, nil); err != nil {
			t.Fatal(err)
		}
		bounded(t, func() {
			h, err := Read(context.Background(), dev)
			if err != nil {
				if !knownError(err) {
					t.Errorf("read: %v", err)
				}
				return
			}
			exercise(t, dev, h)
		})
	})
}

// FuzzLUKS1 reads any bytes as a LUKS1 header before a golden keyslot area.
func FuzzLUKS1(f *testing.F) {
	img := luks1Image(f)
	f.Add(img[:luks1Size])
	f.Add(golden(f, "cryptsetup-luks1-plain.img.gz")[:luks1Size])
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) > luks1Size {
			p = p[:luks1Size]
		}
		dev := fromBytes(t, img, 0)
		put(t, dev, 0, append([]byte("LUKS\xba\xbe\x00\x01"), p[min(len(p), 8):]...))
		bounded(t, func() {
			h, err := Read(context.Background(), dev)
			if err != nil {
				if !knownError(err) {
					t.Errorf("read: %v", err)
				}
				return
			}
			exercise(t, dev, h)
		})
	})
}

// TestLargestHeaderIsBounded reads the worst JSON that the limits allow.
func TestLargestHeaderIsBounded(t *testing.T) {
	dev := blockdev.NewMem(20 << 20)
	text := append([]byte(`{"a":[`), bytes.Repeat([]byte(`[[]],`), maxJSONValues/3-10)...)
	text = append(text, []byte(`0]}`)...)
	area := append(text, make([]byte, maxHdrSize-binSize-len(text))...)
	bin := binHeader{hdrSize: maxHdrSize, seq: 1, algorithm: "sha256"}
	if err := (&copies{}).write(context.Background(), dev, bin, area, nil); err != nil {
		t.Fatal(err)
	}
	bounded(t, func() {
		if _, err := Read(context.Background(), dev); !errors.Is(err, ErrCorrupt) {
			t.Errorf("error %v", err)
		}
	})
}
